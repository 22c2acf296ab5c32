"""Whose is it?  The ownership table of the design, row by row, and what a stranger might plant."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_interface

import pytest

from tulle.model.network import MacAddress, Vni
from tulle.model.objects import (
    RTPROT_BOOT,
    RTPROT_KERNEL,
    RTPROT_TULLE,
    Address,
    BridgeKind,
    FdbEntry,
    KernelObject,
    Link,
    Neighbor,
    OtherKind,
    Route,
    VxlanKind,
)
from tulle.ownership import NodeOwnership, Standing

MAC = MacAddress("02:00:00:00:00:02")
STRANGE_MAC = MacAddress("02:de:ad:be:ef:00")
ZERO_MAC = MacAddress("00:00:00:00:00:00")
JUDGE = NodeOwnership(
    tunnels={"flannel.1": VxlanKind}, pools=((IPv4Network("10.244.0.0/16"), 24),), macs=frozenset({MAC})
)
VTEP = Link(name="flannel.1", kind=VxlanKind(vni=Vni(7), port=4789, local=None, underlay=None))
SUBNET = IPv4Network("10.244.2.0/24")
GATEWAY = IPv4Address("10.244.2.0")
NODE = IPv4Address("192.168.64.12")


@pytest.mark.parametrize(
    ("obj", "standing"),
    [
        pytest.param(VTEP, Standing.KEPT, id="a VXLAN device of our name, whatever its VNI"),
        pytest.param(Link(name="flannel.1", kind=BridgeKind()), Standing.FOREIGN, id="our name, another kind"),
        pytest.param(Link(name="eth0", kind=OtherKind()), Standing.FOREIGN, id="a NIC"),
        pytest.param(Route(dst=SUBNET, device="flannel.1", via=GATEWAY), Standing.OURS, id="a route of our protocol"),
        pytest.param(Route(dst=SUBNET, device="eth0", protocol=3), Standing.FOREIGN, id="a route of another protocol"),
        pytest.param(
            Route(dst=SUBNET, device="flannel.1", protocol=RTPROT_KERNEL), Standing.KERNEL, id="a connected route"
        ),
        pytest.param(
            Address(device="flannel.1", interface=ip_interface("10.244.1.0/32")), Standing.OURS, id="a VTEP address"
        ),
        pytest.param(
            Address(device="flannel.1", interface=ip_interface("10.244.1.7/32")),
            Standing.FOREIGN,
            id="a host's address",
        ),
        pytest.param(
            Address(device="flannel.1", interface=ip_interface("10.9.0.0/32")),
            Standing.FOREIGN,
            id="outside the overlay",
        ),
        pytest.param(
            Address(device="flannel.1", interface=ip_interface("fe80::1/64"), scope=253),
            Standing.KERNEL,
            id="link-local",
        ),
        pytest.param(Neighbor(device="flannel.1", ip=GATEWAY, mac=MAC), Standing.OURS, id="a VTEP's neighbour"),
        pytest.param(
            Neighbor(device="flannel.1", ip=IPv4Address("10.244.2.7"), mac=MAC),
            Standing.FOREIGN,
            id="a host's neighbour",
        ),
        pytest.param(
            Neighbor(device="flannel.1", ip=GATEWAY, mac=None, permanent=False),
            Standing.KEPT,
            id="a resolving neighbour at our key",
        ),
        pytest.param(Neighbor(device="eth0", ip=GATEWAY, mac=MAC), Standing.FOREIGN, id="a neighbour elsewhere"),
        pytest.param(
            Neighbor(device="flannel.1", ip=GATEWAY, mac=None, proxy=True), Standing.FOREIGN, id="a proxy entry"
        ),
        pytest.param(
            FdbEntry(device="flannel.1", mac=ZERO_MAC, dst=NODE, permanent=False),
            Standing.FOREIGN,
            id="a default entry that ages",
        ),
        pytest.param(FdbEntry(device="flannel.1", mac=MAC, dst=NODE), Standing.OURS, id="a peer's FDB entry"),
        pytest.param(FdbEntry(device="flannel.1", mac=STRANGE_MAC, dst=NODE), Standing.FOREIGN, id="a MAC of no lease"),
        pytest.param(
            FdbEntry(device="flannel.1", mac=ZERO_MAC, dst=NODE), Standing.FOREIGN, id="the all-zero default entry"
        ),
        pytest.param(FdbEntry(device="vxlan9", mac=MAC, dst=NODE), Standing.FOREIGN, id="an entry on another device"),
        pytest.param(
            FdbEntry(device="flannel.1", mac=STRANGE_MAC, dst=NODE, permanent=False),
            Standing.KERNEL,
            id="a learnt entry",
        ),
    ],
)
def test_standing(obj: KernelObject, standing: Standing) -> None:
    assert JUDGE(obj) is standing


def test_a_departed_peers_mac_is_recognised_by_its_neighbour() -> None:
    entries = (
        Neighbor(device="flannel.1", ip=GATEWAY, mac=STRANGE_MAC),
        Neighbor(device="eth0", ip=GATEWAY, mac=ZERO_MAC),
    )
    assert JUDGE.recognising(entries).macs - JUDGE.macs == {STRANGE_MAC}


FLANNELS = Route(dst=SUBNET, device="flannel.1", via=GATEWAY, onlink=True, protocol=RTPROT_BOOT)
DIRECT = replace(FLANNELS, device="eth0", via=NODE, onlink=False)
WANTED = replace(FLANNELS, protocol=RTPROT_TULLE)


@pytest.mark.parametrize(
    ("found", "wanted", "standing"),
    [
        pytest.param(FLANNELS, WANTED, Standing.OURS, id="flannel's for a lease"),
        pytest.param(FLANNELS, replace(WANTED, device="eth0", via=NODE), Standing.OURS, id="through the tunnel before"),
        pytest.param(
            DIRECT, replace(DIRECT, protocol=RTPROT_TULLE), Standing.OURS, id="flannel's, direct, for a lease"
        ),
        pytest.param(replace(DIRECT, via=GATEWAY + 9), WANTED, Standing.FOREIGN, id="to another gateway"),
        pytest.param(FLANNELS, None, Standing.UNCLAIMED, id="no lease has it"),
        pytest.param(DIRECT, None, Standing.UNCLAIMED, id="direct, and no lease has it"),
        pytest.param(replace(DIRECT, device="eth1"), None, Standing.FOREIGN, id="by another device"),
        pytest.param(replace(FLANNELS, dst=IPv4Network("10.0.0.0/24")), None, Standing.FOREIGN, id="outside"),
        pytest.param(replace(FLANNELS, dst=IPv4Network("10.244.0.0/20")), None, Standing.FOREIGN, id="another length"),
        pytest.param(replace(FLANNELS, protocol=4), None, Standing.FOREIGN, id="somebody's static route"),
    ],
)
def test_a_route_that_flannel_may_have_written(found: Route, wanted: Route | None, standing: Standing) -> None:
    judge = replace(JUDGE, underlay="eth0", wanted={} if wanted is None else {wanted.key: wanted})
    assert judge(found) is standing


def test_without_plain_routes_the_underlays_routes_are_nobodys_business() -> None:
    assert JUDGE(DIRECT) is Standing.FOREIGN
