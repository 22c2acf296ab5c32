"""The packet's own order, though stamps tie (fact 1: a received frame keeps one stamp while it climbs)."""

from dataclasses import replace
from itertools import permutations

import pytest

from tests.kit.journeys import PORTS, Story, story
from tests.kit.machines import NODE1, POD1, POD4, Machine, same_node, two_nodes
from tulle.trace.ordering import in_order, without_copies
from tulle.trace.sightings import Capture, PacketType, Sighting, recognise
from tulle.trace.topology import Device, DeviceKey, Namespace, NetnsId, Topology


def sightings(told: Story, captures: list[Capture] | None = None) -> list[Sighting]:
    found = recognise(told.captures if captures is None else captures, told.probe, PORTS)
    return list(found.sightings)


def places(told: Story, found: tuple[Sighting, ...]) -> list[str]:
    devices = (told.machine.topology.device(sighting.device) for sighting in found)
    return [f"{told.machine.places.label(device.netns)} {device.name}" for device in devices if device]


WAY = [
    "pod1 eth0",
    "root vethp1",
    "root cbr0",
    "root flannel.1",
    "root eth0",
    "switch port1",
    "switch port2",
    "root eth0",
    "root flannel.1",
    "root cbr0",
    "root vethp4",
    "pod4 eth0",
]


def test_taps_read_in_any_order_give_the_packets_order() -> None:
    told = story().walks()
    for start in range(len(told.captures)):
        turned = told.captures[start:] + told.captures[:start]
        assert places(told, in_order(sightings(told, turned), told.machine.topology)) == WAY


def test_a_clock_that_stands_still_does_not_change_the_order_of_a_walk() -> None:
    told = story().walks()
    frozen = [replace(capture, t_ns=told.t_ns) for capture in told.captures]
    for captures in (frozen, frozen[::-1], frozen[6:] + frozen[:6]):
        assert places(told, in_order(sightings(told, captures), told.machine.topology)) == WAY


def test_a_receive_stamp_that_survives_the_pair_does_not_put_the_far_end_first() -> None:
    told = story(same_node()).is_switched()
    *_, leaving, arriving = told.captures
    early = replace(arriving, t_ns=leaving.t_ns - 300)
    for captures in permutations([*told.captures[:-1], early]):
        found = in_order(sightings(told, list(captures)), told.machine.topology)
        assert places(told, found)[-2:] == ["root vethp2", "pod2 eth0"]


def with_flood(*, far_end: DeviceKey, seen_there: PacketType | None = None) -> tuple[Story, Machine]:
    """pod1 → pod2 on a bridge that did not know the MAC: a third port, whose cable ends at ``far_end``, got a copy."""
    machine = same_node()
    space = machine.topology.namespaces[NODE1]
    third = Device(netns=NODE1, ifindex=77, name="vethp9", kind="veth", master=3, peer=far_end)
    spaces = dict(machine.topology.namespaces)
    spaces[NODE1] = Namespace(id=NODE1, name=space.name, devices=(*space.devices, third))
    machine = replace(machine, topology=Topology(spaces))
    told = story(machine).is_switched()
    copy = replace(told.captures[2], device=third.key, t_ns=told.captures[2].t_ns + 10)
    told.captures.append(copy)
    if seen_there is not None:
        told.captures.append(replace(copy, device=far_end, pkttype=seen_there))
    return told, machine


OUT_OF_SIGHT, POD4_END = DeviceKey(NetnsId(999), 2), DeviceKey(POD4, 2)
SWITCHED = ["pod1 eth0", "root vethp1", "root vethp2", "pod2 eth0"]


@pytest.mark.parametrize(
    ("far_end", "seen_there", "copies"),
    [
        pytest.param(OUT_OF_SIGHT, None, ["root vethp9"], id="out of sight"),
        pytest.param(POD4_END, None, ["root vethp9"], id="to a pod that is known and not tapped"),
        pytest.param(POD4_END, "otherhost", ["root vethp9", "pod4 eth0"], id="to a tapped pod that it was not for"),
    ],
)
def test_a_copy_that_a_bridge_flooded_elsewhere_is_not_the_walk(
    far_end: DeviceKey, seen_there: PacketType | None, copies: list[str]
) -> None:
    told, machine = with_flood(far_end=far_end, seen_there=seen_there)
    walk, beside = without_copies(in_order(sightings(told), machine.topology), machine.topology)
    assert places(told, walk) == SWITCHED
    assert sorted(places(told, beside)) == sorted(copies)
    assert told.journey().notes == ("flood:devices=vethp9",)


def test_a_copy_that_another_pod_accepted_stays_for_nobody_can_tell_which_is_the_walk() -> None:
    told, machine = with_flood(far_end=POD4_END, seen_there="host")
    _, copies = without_copies(in_order(sightings(told), machine.topology), machine.topology)
    assert copies == ()


def test_a_copy_that_a_hairpin_port_sends_back_is_never_the_walk() -> None:
    told = story(same_node())
    told.macs = told.machine.source.pod_mac, told.machine.target.pod_mac
    told.seen(POD1, "eth0", "tx").seen(NODE1, "vethp1", "rx")
    told.seen(NODE1, "vethp1", "tx").seen(POD1, "eth0", "rx", pkttype="otherhost")
    walk, copies = without_copies(in_order(sightings(told), told.machine.topology), told.machine.topology)
    assert places(told, walk) == ["pod1 eth0", "root vethp1"]
    assert places(told, copies) == ["root vethp1", "pod1 eth0"]


def test_without_the_right_ports_far_end_every_port_that_leads_on_stays() -> None:
    told, machine = with_flood(far_end=POD4_END)
    del told.captures[3]
    _, copies = without_copies(in_order(sightings(told), machine.topology), machine.topology)
    assert copies == ()


@pytest.mark.parametrize("family", [4, 6])
def test_request_and_reply_are_each_in_their_own_order(family: int) -> None:
    told = story(two_nodes(family)).walks().turns_round().walks()
    back = [sighting for sighting in sightings(told) if sighting.direction == "reply"]
    assert [place.split()[0] for place in places(told, in_order(back, told.machine.topology))] == [
        "pod4", "root", "root", "root", "root", "switch", "switch", "root", "root", "root", "root", "pod1",
    ]  # fmt: skip
