"""From a peer's lease to the three entries that reach it."""

from contextlib import nullcontext
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_interface

import pytest

from tulle.errors import ConfigError
from tulle.model.lease import Lease, LeaseKey
from tulle.model.network import Host, MacAddress, Underlay, Vni, Vxlan
from tulle.model.objects import Address, FdbEntry, Link, Neighbor, OtherKind, Route, Sysctl, VxlanKind
from tulle.model.state import object_device
from tulle.plan.vxlan import check_mtu, choose_mac, device, mtu4, mtu6, peer

HOST = Host(underlay=Underlay(device="eth0", mtu=1500, address=IPv4Address("192.168.64.11"), address6=None))
DUAL_HOST = Host(underlay=replace(HOST.underlay, address6=IPv6Address("fd64::11")))
OWN = Lease(
    key=LeaseKey("10.244.1.0-24"),
    subnet=IPv4Network("10.244.1.0/24"),
    public_ip=IPv4Address("192.168.64.11"),
    vtep_mac=MacAddress("02:00:00:00:00:01"),
)
PEER = Lease(
    key=LeaseKey("10.244.2.0-24"),
    subnet=IPv4Network("10.244.2.0/24"),
    public_ip=IPv4Address("192.168.64.12"),
    vtep_mac=MacAddress("02:00:00:00:00:02"),
)


def dual(lease: Lease, n: int) -> Lease:
    return replace(
        lease,
        subnet6=IPv6Network(f"fd10:244:0:{n}::/64"),
        public_ip6=IPv6Address(f"fd64::1{n}"),
        vtep_mac6=MacAddress(f"06:00:00:00:00:0{n}"),
    )


def test_a_peer_costs_one_neighbour_one_fdb_entry_and_one_route() -> None:
    gateway = IPv4Address("10.244.2.0")
    assert peer(Vxlan(), HOST, OWN, PEER) == (
        Neighbor(device="flannel.1", ip=gateway, mac=MacAddress("02:00:00:00:00:02")),
        FdbEntry(device="flannel.1", mac=MacAddress("02:00:00:00:00:02"), dst=IPv4Address("192.168.64.12")),
        Route(dst=IPv4Network("10.244.2.0/24"), device="flannel.1", via=gateway, onlink=True),
    )


def test_a_dual_stack_peer_has_three_entries_in_each_family() -> None:
    objects = peer(Vxlan(), DUAL_HOST, dual(OWN, 1), dual(PEER, 2))
    assert [object_device(obj) for obj in objects] == ["flannel.1"] * 3 + ["flannel-v6.1"] * 3


@pytest.mark.parametrize(
    ("own", "other"),
    [
        pytest.param(OWN, dual(PEER, 2), id="we lack IPv6"),
        pytest.param(dual(OWN, 1), PEER, id="the peer lacks IPv6"),
        pytest.param(dual(OWN, 1), replace(dual(PEER, 2), vtep_mac6=None), id="the peer's IPv6 VTEP is unknown"),
    ],
)
def test_the_families_are_independent(own: Lease, other: Lease) -> None:
    assert peer(Vxlan(), DUAL_HOST, own, other) == peer(Vxlan(), DUAL_HOST, OWN, PEER)


def test_the_device_is_flannels() -> None:
    link, address, sysctl = device(Vxlan(), HOST, OWN)
    kind = VxlanKind(vni=Vni(1), port=8472, local=IPv4Address("192.168.64.11"), underlay="eth0")
    assert link == Link(name="flannel.1", kind=kind, mtu=1450, mac=MacAddress("02:00:00:00:00:01"))
    assert address == Address(device="flannel.1", interface=ip_interface("10.244.1.0/32"))
    assert sysctl == Sysctl("net/ipv6/conf/flannel.1/accept_ra", "0")


def test_the_ipv6_device_leaves_room_for_its_larger_outer_header() -> None:
    assert (mtu4(Vxlan(), HOST), mtu6(Vxlan(), HOST)) == (1450, 1430)
    assert mtu4(Vxlan(mtu=1400), HOST) == 1350


def test_an_existing_vtep_keeps_its_mac() -> None:
    kind = VxlanKind(vni=Vni(1), port=8472, local=None, underlay=None)
    there = Link(name="flannel.1", kind=kind, mac=MacAddress("0e:31:f5:3c:27:d3"))
    assert choose_mac(there, bytes(6)) == "0e:31:f5:3c:27:d3"


def test_a_new_mac_is_unicast_and_locally_administered() -> None:
    assert choose_mac(None, b"\xff\x01\x02\x03\x04\x05") == "fe:01:02:03:04:05"
    stranger = Link(name="flannel.1", kind=OtherKind("dummy"), mac=MacAddress("0e:31:f5:3c:27:d3"))
    assert choose_mac(stranger, bytes(6)) == "02:00:00:00:00:00"


@pytest.mark.parametrize(
    ("mtu", "ipv6", "fits"),
    [
        pytest.param(1500, False, True, id="Ethernet"),
        pytest.param(626, False, True, id="just enough for IPv4"),
        pytest.param(625, False, False, id="one byte less"),
        pytest.param(1350, True, True, id="just enough for IPv6"),
        pytest.param(1349, True, False, id="one byte less than IPv6 needs"),
    ],
)
def test_an_underlay_without_room_for_pods_is_refused(mtu: int, ipv6: bool, fits: bool) -> None:
    backend = Vxlan(mtu=mtu)
    with nullcontext() if fits else pytest.raises(ConfigError, match="leaves pods"):
        check_mtu(backend, HOST, ipv6)
