"""Which step each sighting is: on the picture's machine, and on those that nobody drew."""

from dataclasses import replace

import pytest

from tests.kit.journeys import Story, story
from tests.kit.machines import ETH0, NODE1, NODE2, POD1, POD4, SWITCH, Machine, same_node, two_nodes
from tulle.trace.correlate import walk_of
from tulle.trace.journey import Direction
from tulle.trace.sightings import recognise
from tulle.trace.steps import Numbered
from tulle.trace.topology import Device, DeviceKey, Namespace, NetnsId, Topology


def walk(told: Story, direction: Direction = "request") -> tuple[Numbered, ...]:
    seen = recognise(told.captures, told.probe, frozenset({told.machine.port}))
    return walk_of(told.machine.topology, told.machine.places, seen, direction)


def steps(told: Story, direction: Direction = "request") -> str:
    """The steps in order, ``-`` for what has none."""
    return " ".join(place.step or "-" for place in walk(told, direction))


OVERLAY = "1 - 2 3b 3c 4 5 6a 6b 6c 7 8"


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        pytest.param(two_nodes(), OVERLAY, id="the picture"),
        pytest.param(two_nodes(6), OVERLAY, id="IPv6"),
        pytest.param(two_nodes(vni=7, port=4789, bridge="cni0"), OVERLAY, id="VNI 7 on 4789, bridge cni0"),
        pytest.param(two_nodes(wire=False), "1 - 2 3b 3c 6a 6b 6c 7 8", id="no tap between the nodes"),
    ],
)
def test_a_tunnelled_walk(machine: Machine, expected: str) -> None:
    told = story(machine).walks().turns_round().walks()
    assert steps(told) == expected
    assert steps(told, "reply") == expected


def test_host_routes_have_no_3b_and_no_6b() -> None:
    told = story(two_nodes(overlay=False)).walks_plain().turns_round().walks_plain()
    assert steps(told) == "1 - 2 3c 4 5 6a 6c 7 8"
    assert steps(told, "reply") == "1 - 2 3c 4 5 6a 6c 7 8"


def test_one_nodes_walk_is_the_bridge_alone() -> None:
    told = story(same_node()).is_switched().turns_round().is_switched()
    assert steps(told) == "1 - 7 8"
    assert steps(told, "reply") == "1 - 7 8"


def test_a_switched_frame_that_the_bridges_own_device_sees_is_at_step_2() -> None:
    told = story(same_node())
    told.macs = told.near.pod_mac, told.far.pod_mac
    told.seen(POD1, "eth0", "tx").seen(NODE1, "vethp1", "rx").seen(NODE1, "cbr0", "rx", 0)
    assert steps(told) == "1 - 2"


def test_a_pod_to_another_node_ends_where_the_node_receives_it() -> None:
    told = story(two_nodes(pods=(POD1, NODE2)))
    told.leaves_pod()
    told.ttl -= 1
    told.seen(NODE1, "eth0", "tx").crosses().comes_in()
    assert steps(told) == "1 - 2 3c 4 5 6a"


def test_a_pod_to_its_own_node_ends_at_its_bridge() -> None:
    told = story(two_nodes(pods=(POD1, NODE1))).leaves_pod()
    assert steps(told) == "1 - 2"


def routed_pods() -> Machine:
    """A node without a bridge: its pod's pair is routed, as several CNIs do it."""
    machine = two_nodes().with_device(NODE1, "vethp1", master=None).with_device(NODE2, "vethp4", master=None)
    spaces = dict(machine.topology.namespaces)
    for node in (NODE1, NODE2):
        kept = tuple(device for device in spaces[node].devices if device.kind != "bridge")
        spaces[node] = replace(spaces[node], devices=kept)
    return replace(machine, topology=Topology(spaces))


def test_a_routed_pair_has_no_bridge_and_gets_no_step_for_one() -> None:
    told = story(routed_pods())
    told.seen(POD1, "eth0", "tx").seen(NODE1, "vethp1", "rx")
    told.wraps().goes_out().crosses().comes_in().unwraps()
    told.ttl -= 1
    told.seen(NODE2, "vethp4", "tx").seen(POD4, "eth0", "rx", 0)
    assert steps(told) == "1 - 3b 3c 4 5 6a 6b 7 8"


def test_an_extra_device_below_the_tunnel_is_shown_and_3c_is_the_one_that_leaves_the_node() -> None:
    machine = two_nodes()
    bond = Device(netns=NODE1, ifindex=88, name="bond0", kind="bond")
    spaces = dict(machine.topology.namespaces)
    spaces[NODE1] = replace(spaces[NODE1], devices=(*spaces[NODE1].devices, bond))
    told = story(replace(machine, topology=Topology(spaces))).leaves_pod().wraps()
    told.wrapped = True
    told.seen(NODE1, "bond0", "tx").seen(NODE1, "eth0", "tx").crosses()
    assert steps(told) == "1 - 2 3b - 3c 4 5"


def test_an_extra_hop_in_the_underlay_lies_between_4_and_5() -> None:
    router = NetnsId(60)
    machine = two_nodes()
    ports = tuple(
        Device(netns=router, ifindex=at, name=f"r{at}", kind="veth", peer=DeviceKey(SWITCH, 40 + at)) for at in (1, 2)
    )
    spaces = {**machine.topology.namespaces, router: Namespace(id=router, name="router", devices=ports)}
    told = story(replace(machine, topology=Topology(spaces))).leaves_pod().wraps().goes_out()
    told.seen(SWITCH, "port1", "rx").seen(router, "r1", "rx").seen(router, "r2", "tx").seen(SWITCH, "port2", "tx")
    assert steps(told) == "1 - 2 3b 3c 4 - - 5"


def test_one_sighting_on_the_underlay_is_4_and_nothing_is_made_up_for_5() -> None:
    told = story().leaves_pod().wraps().goes_out().seen(SWITCH, "port1", "rx")
    assert steps(told) == "1 - 2 3b 3c 4"


def test_a_loop_keeps_the_number_where_it_was_first_reached() -> None:
    told = story().leaves_pod().wraps().wraps().wraps()
    assert steps(told) == "1 - 2 3b - -"


def test_a_device_that_came_after_the_list_was_read_has_no_step_and_its_index_for_a_name() -> None:
    told = story().leaves_pod()
    stranger = replace(told.captures[-1], device=DeviceKey(NODE1, 4242), t_ns=told.t_ns + 10)
    told.captures.append(stranger)
    last = walk(told)[-1]
    assert (last.step, last.kind, last.device) == ("", "device", None)
    assert told.journey().sightings("request")[-1].dev == "if4242"


def test_the_bridge_that_passes_a_reply_down_is_not_step_2() -> None:
    told = story().walks()
    kinds = {place.step: (place.kind, place.device.name if place.device else "") for place in walk(told)}
    assert kinds["2"] == ("bridge", "cbr0")
    assert kinds["6c"] == ("bridge", "cbr0")
    assert kinds["7"] == ("veth", "vethp4")
    assert ETH0 == 2
