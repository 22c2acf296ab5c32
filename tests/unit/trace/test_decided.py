"""Which questions a walk raises: one per namespace, asked from where its own stack met the packet."""

from ipaddress import ip_address

from tests.kit.journeys import PORTS, Story, story
from tests.kit.machines import NODE1, NODE2, POD1, POD4, SWITCH, same_node, two_nodes
from tulle.trace.correlate import walk_of
from tulle.trace.decided import Query, queries
from tulle.trace.sightings import recognise
from tulle.trace.topology import DeviceKey, NetnsId


def asked(told: Story) -> dict[NetnsId, Query]:
    seen = recognise(told.captures, told.probe, PORTS)
    walk = walk_of(told.machine.topology, told.machine.places, seen, "request")
    return {query.netns: query for query in queries(walk, told.machine.topology)}


def test_each_namespace_is_asked_once_with_the_device_highest_up() -> None:
    arrived = {netns: query.arrived_by for netns, query in asked(story().walks()).items()}
    assert arrived == {POD1: None, NODE1: "cbr0", SWITCH: "port1", NODE2: "flannel.1", POD4: "eth0"}


def test_the_underlay_is_asked_about_the_outer_packet_and_the_nodes_about_the_inner_one() -> None:
    found = asked(story().walks())
    assert found[SWITCH].target == ip_address("192.168.64.12")
    assert found[NODE1].target == found[NODE2].target == ip_address("10.244.2.5")


def test_a_node_where_the_tunnel_was_not_reached_is_asked_about_the_outer_packet() -> None:
    found = asked(story().leaves_pod().wraps().goes_out().crosses().comes_in())
    assert (found[NODE2].arrived_by, str(found[NODE2].target)) == ("eth0", "192.168.64.12")


def test_a_frame_that_its_bridge_switched_raises_the_question_to_the_bridges_fdb() -> None:
    machine = same_node()
    query = asked(story(machine).is_switched())[NODE1]
    assert (query.arrived_by, query.bridge, query.bridge_mac) == ("vethp1", "cbr0", machine.target.pod_mac)


def test_a_routed_packet_asks_no_bridge() -> None:
    assert asked(story(two_nodes()).walks())[NODE1].bridge is None


def test_a_device_that_is_not_in_the_list_raises_no_question() -> None:
    told = story().leaves_pod()
    seen = recognise(told.captures, told.probe, PORTS)
    topology = told.machine.without(NODE1).topology
    walk = walk_of(topology, told.machine.places, seen, "request")
    assert {query.netns for query in queries(walk, topology)} == {POD1}
    assert topology.device(DeviceKey(NODE1, 2)) is None
