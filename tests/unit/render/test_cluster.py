"""A cluster is read off kernels as it is, and off a topology as it will be."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_interface

import pytest

from tulle.lab.topology import Wishes, design
from tulle.model.network import MacAddress, Vni
from tulle.model.objects import (
    Address,
    BridgeKind,
    FdbEntry,
    KernelObject,
    Link,
    Neighbor,
    OtherKind,
    Route,
    VethKind,
    VxlanKind,
)
from tulle.model.state import KernelState
from tulle.render.cluster import Cluster, ClusterPod, ClusterTunnel, ClusterWay, named, observed, planned, with_peers

VTEP = MacAddress("02:00:0a:f4:02:00")
FAR, GATEWAY, SUBNET = IPv4Address("192.168.64.12"), IPv4Address("10.244.2.0"), IPv4Network("10.244.2.0/24")
TUNNEL = VxlanKind(vni=Vni(1), port=8472, local=IPv4Address("192.168.64.11"), underlay="eth0")
NODE: tuple[KernelObject, ...] = (
    Link(name="lo", kind=OtherKind()),
    Link(name="eth0", kind=OtherKind()),
    Link(name="cbr0", kind=BridgeKind()),
    Link(name="vetha", kind=VethKind(), master="cbr0"),
    Link(name="vethb", kind=VethKind(), master="cbr0"),
    Link(name="flannel.1", kind=TUNNEL),
    Address(device="eth0", interface=ip_interface("192.168.64.11/24")),
    Address(device="eth0", interface=ip_interface("fe80::1/64")),
    Address(device="cbr0", interface=ip_interface("10.244.1.1/24")),
    Address(device="flannel.1", interface=ip_interface("10.244.1.0/32")),
    Route(dst=SUBNET, device="flannel.1", via=GATEWAY, onlink=True),
    Neighbor(device="flannel.1", ip=GATEWAY, mac=VTEP),
    FdbEntry(device="flannel.1", mac=VTEP, dst=FAR),
)


def node_without(*kinds: type) -> KernelState:
    return KernelState.of(obj for obj in NODE if not isinstance(obj, kinds))


def test_a_node_is_what_its_kernel_holds() -> None:
    node = observed("node1", KernelState.of(NODE))
    assert (node.nic, node.addresses, node.bridge) == ("eth0", ("192.168.64.11",), "cbr0")
    assert node.subnets == ("10.244.1.0/24",)
    assert node.tunnels == (ClusterTunnel(name="flannel.1", vni=1, port=8472),)
    assert node.pods == (ClusterPod(name="vetha"), ClusterPod(name="vethb"))
    assert node.ways == (ClusterWay(subnet="10.244.2.0/24", device="flannel.1", via="192.168.64.12"),)


@pytest.mark.parametrize(
    ("gone", "missing"),
    [
        pytest.param(Neighbor, ("neighbour",), id="nothing says whose MAC the gateway is"),
        pytest.param(FdbEntry, ("FDB entry",), id="nothing says where that MAC lives"),
    ],
)
def test_a_way_with_a_hole_says_which(gone: type, missing: tuple[str, ...]) -> None:
    (way,) = observed("node1", node_without(gone)).ways
    assert way.missing == missing


def test_a_plain_route_over_the_underlay_is_a_way_too() -> None:
    state = KernelState.of(
        [*NODE, Route(dst=IPv4Network("10.244.3.0/24"), device="eth0", via=IPv4Address("192.168.64.13"))]
    )
    assert ClusterWay(subnet="10.244.3.0/24", device="eth0", via="192.168.64.13") in observed("node1", state).ways


def test_without_a_tunnel_and_a_default_route_the_underlay_is_where_a_gateway_is() -> None:
    eth0 = (
        Link(name="eth0", kind=OtherKind()),
        Address(device="eth0", interface=ip_interface("192.168.64.11/24")),
        Route(dst=IPv4Network("10.244.2.0/24"), device="eth0", via=IPv4Address("192.168.64.12")),
    )
    node = observed("node1", KernelState.of(eth0))
    assert (node.nic, node.addresses, node.tunnels) == ("eth0", ("192.168.64.11",), ())
    assert [way.via for way in node.ways] == ["192.168.64.12"]


def test_a_default_route_is_no_way_to_a_peer() -> None:
    state = KernelState.of([*NODE, Route(dst=IPv4Network("0.0.0.0/0"), device="eth0", via=IPv4Address("192.168.64.1"))])
    assert len(observed("node1", state).ways) == 1


def test_the_pods_bridge_is_the_one_with_the_pods() -> None:
    other = [
        Link(name="docker0", kind=BridgeKind()),
        Address(device="docker0", interface=ip_interface("172.17.0.1/16")),
    ]
    assert observed("node1", KernelState.of([*other, *NODE])).bridge == "cbr0"


def test_an_empty_machine_is_an_empty_node() -> None:
    node = observed("host", KernelState.of())
    assert (node.nic, node.bridge, node.pods, node.ways) == ("", "", (), ())


def test_peers_get_their_names_from_the_nodes_that_have_their_addresses() -> None:
    one = observed("node1", KernelState.of(NODE))
    two = replace(one, name="node2", addresses=(str(FAR),), ways=())
    assert named(Cluster(name="lab", nodes=(one, two))).nodes[0].ways[0].peer == "node2"


def test_who_is_known_by_a_lease_only_is_drawn_as_that() -> None:
    cluster = with_peers(Cluster(name="here", nodes=(observed("node1", KernelState.of(NODE)),)))
    assert [(node.name, node.source, node.subnets) for node in cluster.nodes[1:]] == [
        ("192.168.64.12", "peer", ("10.244.2.0/24",))
    ]


def test_a_planned_lab_without_a_tunnel_has_plain_ways() -> None:
    node = planned(design(Wishes(nodes=2, backend="host-gw"))).nodes[0]
    assert node.tunnels == ()
    assert [(way.device, way.peer) for way in node.ways] == [("eth0", "node2")]


@pytest.mark.parametrize("ipv6", [False, True])
def test_a_planned_lab_has_every_way_to_every_other_node(ipv6: bool) -> None:
    cluster = planned(design(Wishes(nodes=3, pods=2, ipv6=ipv6)))
    for node in cluster.nodes:
        assert len(node.ways) == 2 * (1 + ipv6)
        assert {way.peer for way in node.ways} == {other.name for other in cluster.nodes} - {node.name}
        assert node.source == "topology"


def test_addresses_of_both_families_are_told_in_order() -> None:
    state = KernelState.of([*NODE, Address(device="eth0", interface=ip_interface("fd64::11/64"))])
    assert observed("node1", state).addresses == ("192.168.64.11", str(IPv6Address("fd64::11")))
