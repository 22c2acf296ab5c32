"""From captures to sightings: only the probe and the questions beside it, each place once."""

from dataclasses import replace

import pytest

from tests.kit.journeys import PORTS, START_NS, Story, echo_packet, make_probe, story
from tests.kit.machines import NODE1, NODE2, POD1, POD4, two_nodes
from tulle.trace.sightings import Capture, recognise
from tulle.trace.topology import DeviceKey

PROBE = make_probe(two_nodes())


def capture(data: bytes, t_ns: int = START_NS, **changed: object) -> Capture:
    made = Capture(device=DeviceKey(POD1, 2), t_ns=t_ns, pkttype="outgoing", length=len(data), data=data)
    return replace(made, **changed)  # pyright: ignore[reportArgumentType]  # the test names real fields


def seen(told: Story) -> list[tuple[int, bool, bool]]:
    found = recognise(told.captures, told.probe, PORTS)
    return [(sighting.device.netns, sighting.outgoing, sighting.encapsulated) for sighting in found.sightings]


def test_every_tap_of_a_walk_is_a_sighting_and_the_tunnel_shows_where_the_frame_is_wrapped() -> None:
    wrapped = [netns for netns, _, encapsulated in seen(story().walks()) if encapsulated]
    assert len(seen(story().walks())) == 12
    assert wrapped == [NODE1, 50, 50, NODE2]


def test_without_the_tunnels_port_the_outer_packet_is_a_stranger() -> None:
    told = story().walks()
    found = recognise(told.captures, told.probe, frozenset())
    assert len(found.sightings) == 8


def test_a_retransmission_at_one_place_is_one_sighting_and_the_first_stamp_counts() -> None:
    told = story().leaves_pod()
    again = [replace(taken, t_ns=taken.t_ns + 1_000_000) for taken in told.captures]
    found = recognise([*again, *told.captures], told.probe, PORTS)
    assert [sighting.t_ns for sighting in found.sightings] == sorted(taken.t_ns for taken in told.captures)


def test_a_loop_shows_every_round_because_its_ttl_falls() -> None:
    told = story().leaves_pod()
    for _ in range(3):
        told.wraps()
    assert [netns for netns, outgoing, _ in seen(told) if outgoing and netns == NODE1] == [NODE1] * 3


def test_a_device_without_ethernet_headers_shows_the_bare_packet() -> None:
    bare = capture(echo_packet(PROBE), link_layer=False)
    (sighting,) = recognise([bare], PROBE, PORTS).sightings
    assert sighting.layers.frame.source == ""
    assert sighting.direction == "request"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(bytes(13), id="shorter than a header"),
        pytest.param(bytes(64), id="zeros"),
        pytest.param(story().leaves_pod().frame()[:30], id="cut inside the IP header"),
    ],
)
def test_a_frame_that_does_not_decode_is_left_out(data: bytes) -> None:
    found = recognise([capture(data)], PROBE, PORTS)
    assert (found.sightings, found.questions) == ((), ())


def test_a_frame_cut_by_the_snap_length_is_still_the_probe() -> None:
    told = story()
    cut = told.frame()[:64]
    (sighting,) = recognise([capture(cut, length=98)], told.probe, PORTS).sightings
    assert sighting.capture.length == 98


def test_questions_keep_who_asked_for_what_and_who_answered() -> None:
    machine = two_nodes()
    told = story(machine).asks(NODE2, "cbr0", machine.target.pod_ip, machine.target.pod_mac)
    asked, answered = recognise(told.captures, told.probe, PORTS).questions
    assert (asked.type, asked.ip, asked.asker, asked.answer) == (
        "arp",
        machine.target.pod_ip,
        machine.target.gateway,
        None,
    )
    assert (answered.ip, answered.asker, answered.answer) == (asked.ip, asked.asker, machine.target.pod_mac)


def test_neighbour_discovery_is_a_question_too() -> None:
    machine = two_nodes(6)
    told = story(machine).asks(NODE2, "cbr0", machine.target.pod_ip, machine.target.pod_mac)
    asked, answered = recognise(told.captures, told.probe, PORTS).questions
    assert (asked.type, asked.ip, asked.answer) == ("nd", machine.target.pod_ip, None)
    assert (answered.ip, answered.answer) == (machine.target.pod_ip, machine.target.pod_mac)
    assert answered.asker == asked.asker


def test_sightings_and_questions_stand_in_time_order_whatever_order_the_taps_were_read_in() -> None:
    told = story().walks().asks(NODE1, "cbr0", two_nodes().source.pod_ip).turns_round().walks()
    straight = recognise(told.captures, told.probe, PORTS)
    assert recognise(list(reversed(told.captures)), told.probe, PORTS).questions == straight.questions
    assert {s.device.netns for s in straight.sightings if s.direction == "reply"} == {POD1, NODE1, 50, NODE2, POD4}
