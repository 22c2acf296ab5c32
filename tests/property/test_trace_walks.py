"""Laws of a walk: evidence in any order gives one journey, strangers give none, and nothing is filled in."""

from dataclasses import replace
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.journeys import PORTS, Story, ethernet, packet, story
from tests.kit.machines import POD1, Machine, mac, same_node, two_nodes
from tulle.trace.correlate import correlate
from tulle.trace.journey import Hop, Journey
from tulle.trace.probe_packet import direction_of
from tulle.trace.sightings import Capture, recognise
from tulle.trace.topology import DeviceKey
from tulle.wire.frames import Echo, Tcp, Udp
from tulle.wire.frames_encode import encode_frame


def round_trip(machine: Machine) -> Story:
    told = story(machine)
    if machine.places.same_node:
        return told.is_switched().turns_round().is_switched()
    if machine.topology.vxlan_ports():
        return told.walks().turns_round().walks()
    return told.walks_plain().turns_round().walks_plain()


WALKS = {
    "tunnel": round_trip(two_nodes()),
    "IPv6": round_trip(two_nodes(6)),
    "wire unseen": round_trip(two_nodes(wire=False)),
    "host routes": round_trip(two_nodes(overlay=False)),
    "same node": round_trip(same_node()),
}
PICTURE = WALKS["tunnel"]
names = st.sampled_from(sorted(WALKS))
u16, u32 = st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1)
foreign_ids = st.binary(min_size=16, max_size=16).filter(lambda own: own != PICTURE.probe.id)


def told_by(walk: Story, captures: list[Capture]) -> Journey:
    return Story(walk.machine, walk.probe, captures).journey()


@given(names, st.randoms(use_true_random=False))
def test_the_order_in_which_taps_are_read_does_not_matter(name: str, random: Random) -> None:
    walk = WALKS[name]
    captures = list(walk.captures)
    random.shuffle(captures)
    assert told_by(walk, captures) == told_by(walk, walk.captures)


@given(names, st.data())
def test_what_no_tap_saw_is_in_no_hop(name: str, data: st.DataObject) -> None:
    walk = WALKS[name]
    kept = data.draw(st.lists(st.sampled_from(range(len(walk.captures))), unique=True, min_size=1).map(sorted))
    journey = told_by(walk, [walk.captures[at] for at in kept])
    sightings = [hop for hop in journey.hops if hop.n is not None]
    assert len(sightings) == len(kept)
    for hop in journey.hops:
        assert_has_evidence(hop)


def assert_has_evidence(hop: Hop) -> None:
    """A sighting cites its frame, a decision its answer; whatever else is drawn says that it was not observed."""
    if hop.n is not None:
        assert hop.observed
        assert hop.frame
        assert hop.t_ns is not None
    elif hop.kind == "decision":
        assert hop.why
    else:
        assert not hop.observed
        assert (hop.frame, hop.t_ns, hop.len) == ("", None, None)


@given(names, st.data())
def test_stamps_never_run_backwards_whatever_the_taps_say(name: str, data: st.DataObject) -> None:
    walk = WALKS[name]
    shifts = data.draw(st.lists(st.integers(-2000, 2000), min_size=len(walk.captures), max_size=len(walk.captures)))
    shifted = [replace(capture, t_ns=capture.t_ns + by) for capture, by in zip(walk.captures, shifts, strict=True)]
    journey = told_by(walk, shifted)
    for direction in ("request", "reply"):
        times = [hop.t_ns for hop in journey.walk(direction) if hop.t_ns is not None]
        assert times == sorted(times)


@given(names, st.integers(0, 30), st.integers(2, 40))
def test_a_tie_is_never_shown_as_a_time_of_its_own(name: str, at: int, ties: int) -> None:
    walk = WALKS[name]
    at %= len(walk.captures)
    frozen = walk.captures[at].t_ns
    tied = [
        replace(capture, t_ns=frozen) if at <= number < at + ties else capture
        for number, capture in enumerate(walk.captures)
    ]
    for direction in ("request", "reply"):
        seen = told_by(walk, tied).sightings(direction)
        for before, after in pairwise(seen):
            assert after.t_ns != before.t_ns or after.t_shared_with is not None


@given(foreign_ids, u16, u32, u16, st.booleans())
def test_a_strangers_packet_between_the_same_two_pods_is_never_a_sighting(
    own: bytes, ident: int, sequence: int, port: int, forth: bool
) -> None:
    for walk in (PICTURE, story(two_nodes(), "udp", 53), story(two_nodes(), "tcp", 80)):
        probe = walk.probe
        ends = (probe.source, probe.target) if forth else (probe.target, probe.source)
        source, target = (ident, port) if forth else (port, ident)
        if {source, target} & {probe.ident, probe.port}:
            continue
        loads = (
            Echo(request=forth, ident=ident, sequence=sequence & 0xFFFF, payload=own),
            Udp(source_port=source, destination_port=target, payload=own),
            Tcp(
                source_port=source,
                destination_port=target,
                sequence=sequence,
                acknowledgement=0,
                flags=2,
                window=1,
                payload=own,
            ),
        )
        for load, number in zip(loads, (1, 17, 6), strict=True):
            foreign = packet(*ends, number, load)
            assert direction_of(foreign, probe) is None
            data = encode_frame(ethernet((mac(1), mac(2)), foreign))
            assert recognise([_at_the_pod(data)], probe, PORTS).sightings == ()


@given(st.binary(max_size=200), u16)
def test_any_bytes_at_a_tap_are_recognised_or_left_out(data: bytes, length: int) -> None:
    found = recognise([replace(_at_the_pod(data), length=length)], PICTURE.probe, PORTS)
    assert found.sightings == ()


@given(names, st.lists(st.binary(min_size=60, max_size=120), max_size=5))
def test_noise_beside_the_probe_changes_nothing(name: str, noise: list[bytes]) -> None:
    walk = WALKS[name]
    captures = [*walk.captures, *(_at_the_pod(data) for data in noise)]
    assert correlate(Story(walk.machine, walk.probe, captures).findings()).hops == walk.journey().hops


def _at_the_pod(data: bytes) -> Capture:
    return Capture(
        device=DeviceKey(POD1, 2), t_ns=PICTURE.captures[0].t_ns, pkttype="host", length=len(data), data=data
    )
