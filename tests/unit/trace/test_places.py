"""The cast of a walk: which namespace is a pod, a node, the underlay; and the address that stands for it."""

from ipaddress import ip_address

import pytest

from tests.kit.machines import NAMES, NODE1, NODE2, POD1, POD2, POD4, SWITCH, Machine, same_node, two_nodes
from tulle.trace.places import cast, own_address
from tulle.trace.topology import NetnsId

FAR = NetnsId(777)


@pytest.mark.parametrize(
    ("source", "target", "nodes"),
    [
        pytest.param(POD1, POD4, (NODE1, NODE2), id="two pods"),
        pytest.param(POD1, POD2, (NODE1, NODE1), id="two pods of one node"),
        pytest.param(POD1, NODE2, (NODE1, NODE2), id="a node is itself: it has a tunnel"),
        pytest.param(FAR, POD4, (FAR, NODE2), id="a namespace nobody looked into stands for itself"),
    ],
)
def test_a_pods_node_is_at_the_other_end_of_its_pair(source: NetnsId, target: NetnsId, nodes: tuple[int, int]) -> None:
    places = cast(two_nodes().topology, source, target, NAMES)
    assert (places.source_node, places.target_node) == nodes


def test_a_node_without_a_tunnel_and_with_one_cable_is_told_by_its_role() -> None:
    topology = two_nodes(overlay=False).without(POD1, POD2).topology
    looks = cast(topology, NODE1, NODE2, NAMES)
    told = cast(topology, NODE1, NODE2, NAMES, {NODE1: "node", NODE2: "node"})
    assert looks.source_node == SWITCH
    assert told.source_node == NODE1


@pytest.mark.parametrize(
    ("netns", "region", "label", "node"),
    [
        pytest.param(POD1, "source pod", "pod1", "node1", id="source"),
        pytest.param(NODE1, "source node", "root", "node1", id="its node"),
        pytest.param(SWITCH, "underlay", "switch", "underlay", id="between"),
        pytest.param(NODE2, "target node", "root", "node2", id="the other node"),
        pytest.param(POD4, "target pod", "pod4", "node2", id="target"),
        pytest.param(FAR, "underlay", "net:[777]", "underlay", id="a namespace without a name"),
    ],
)
def test_regions(netns: NetnsId, region: str, label: str, node: str) -> None:
    places = two_nodes().places
    assert (places.region(netns), places.label(netns), places.node(netns)) == (region, label, node)


def test_the_reply_sees_the_same_cast_from_the_other_side() -> None:
    places = two_nodes().places
    back = places.seen_from("reply")
    assert (back.region(POD4), back.region(NODE1)) == ("source pod", "target node")
    assert back.seen_from("reply") == places
    assert places.seen_from("request") is places


def test_pods_of_one_node_share_it() -> None:
    assert same_node().places.same_node
    assert same_node().places.region(NODE1) == "source node"
    assert not two_nodes().places.same_node


@pytest.mark.parametrize(
    ("machine", "netns", "family", "node", "address"),
    [
        pytest.param(two_nodes(), POD1, 4, False, "10.244.1.2", id="a pod's own"),
        pytest.param(two_nodes(), NODE1, 4, True, "192.168.64.11", id="a node's outer address, not its bridge's"),
        pytest.param(two_nodes(overlay=False), NODE1, 4, True, "192.168.64.11", id="without a tunnel its NIC's"),
        pytest.param(two_nodes(6), POD1, 6, False, "fd10:244:0:1::2", id="IPv6"),
        pytest.param(two_nodes(), POD1, 6, False, None, id="none of this family"),
    ],
)
def test_own_address(machine: Machine, netns: NetnsId, family: int, node: bool, address: str | None) -> None:
    found = own_address(machine.topology.namespaces[netns], family, node=node)
    assert found == (ip_address(address) if address else None)


def test_a_tunnel_address_that_the_node_lost_does_not_stand_for_it() -> None:
    machine = two_nodes().with_device(NODE1, "eth0", addresses=(ip_address("192.168.64.99"),))
    assert own_address(machine.topology.namespaces[NODE1], 4, node=True) == ip_address("192.168.64.99")
