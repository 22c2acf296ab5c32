"""Which device carries the outer packets."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_interface
from typing import Any, Final

import pytest

from tulle.errors import ConfigError
from tulle.model.network import Vni
from tulle.model.objects import Address, Link, OtherKind, Route, VxlanKind
from tulle.model.state import KernelState
from tulle.plan.underlay import UnderlayWish, choose_underlay, connected_prefixes, sent_from

TWO_NICS = KernelState.of(
    [
        Link(name="eth0", kind=OtherKind(), mtu=1500),
        Link(name="eth1", kind=OtherKind(), mtu=9000),
        Address(device="eth0", interface=ip_interface("192.168.64.11/24")),
        Address(device="eth0", interface=ip_interface("fd64::11/64")),
        Address(device="eth0", interface=ip_interface("fe80::1/64"), scope=253),
        Address(device="eth1", interface=ip_interface("10.0.2.15/24")),
        Route(dst=IPv4Network("10.0.2.0/24"), device="eth1", source=IPv4Address("10.0.2.15"), protocol=2),
        Route(dst=IPv4Network("0.0.0.0/0"), device="eth1", via=IPv4Address("10.0.2.2"), metric=100, protocol=3),
        Route(dst=IPv4Network("0.0.0.0/0"), device="eth0", via=IPv4Address("192.168.64.1"), metric=10, protocol=3),
    ]
)


@pytest.mark.parametrize(
    ("wish", "device", "address"),
    [
        pytest.param(UnderlayWish(), "eth0", "192.168.64.11", id="the default route of the lowest metric decides"),
        pytest.param(UnderlayWish(iface=("eth1",)), "eth1", "10.0.2.15", id="a name"),
        pytest.param(UnderlayWish(iface=("10.0.2.15",)), "eth1", "10.0.2.15", id="an address"),
        pytest.param(
            UnderlayWish(iface=("eth9", "10.0.2.15")), "eth1", "10.0.2.15", id="of several the first that fits"
        ),
        pytest.param(UnderlayWish(iface_regex=("^eth1$",)), "eth1", "10.0.2.15", id="a name's pattern"),
        pytest.param(UnderlayWish(iface_regex=(r"10\.0",)), "eth1", "10.0.2.15", id="an address's pattern"),
        pytest.param(UnderlayWish(iface_regex=("^wl", "^eth")), "eth0", "192.168.64.11", id="the second pattern"),
        pytest.param(
            UnderlayWish(iface=("eth1",), iface_regex=("eth0",)), "eth1", "10.0.2.15", id="names before patterns"
        ),
        pytest.param(
            UnderlayWish(iface_regex=(r"10\.|192",), overlay=(IPv4Network("10.0.2.0/24"),)),
            "eth0",
            "192.168.64.11",
            id="a pattern never means a device of the overlay",
        ),
        pytest.param(
            UnderlayWish(can_reach=IPv4Address("10.0.2.99")), "eth1", "10.0.2.15", id="the device towards an address"
        ),
        pytest.param(UnderlayWish(public_ip=IPv4Address("10.0.2.15")), "eth1", "10.0.2.15", id="the public address"),
        pytest.param(
            UnderlayWish(public_ip=IPv4Address("203.0.113.9")), "eth0", "192.168.64.11", id="a NATed public address"
        ),
    ],
)
def test_choice(wish: UnderlayWish, device: str, address: str) -> None:
    underlay = choose_underlay(TWO_NICS, wish)
    assert (underlay.device, str(underlay.address)) == (device, address)


def test_dual_stack_takes_the_global_address_of_each_family() -> None:
    underlay = choose_underlay(TWO_NICS, UnderlayWish(iface=("eth0",), need6=True))
    assert (underlay.address, underlay.address6) == (IPv4Address("192.168.64.11"), IPv6Address("fd64::11"))


SEVERAL: Final = (
    Address(device="eth0", interface=ip_interface("192.168.64.20/24"), permanent=False),
    Address(device="eth0", interface=ip_interface("192.168.64.21/24"), secondary=True),
    Address(device="eth0", interface=ip_interface("192.168.64.22/24"), deprecated=True),
    Address(device="eth0", interface=ip_interface("169.254.0.9/16"), scope=253),
    Address(device="eth0", interface=ip_interface("192.168.64.31/24")),
    Address(device="eth0", interface=ip_interface("192.168.64.5/32")),
)
"""A leased one, a second one, an outdated one, a link's own, then the node's, and a virtual one that came later."""


def choice(addresses: Iterable[Address], **wish: Any) -> str:
    observed = KernelState.of([Link(name="eth0", kind=OtherKind(), mtu=1500), *addresses])
    return str(choose_underlay(observed, UnderlayWish(iface=("eth0",), **wish)).address)


def test_of_several_addresses_the_first_permanent_and_primary_one_is_the_nodes() -> None:
    assert choice(SEVERAL) == "192.168.64.31"
    assert choice(SEVERAL[:2]) == "192.168.64.21", "a permanent one, rather than one that expires"
    assert choice(SEVERAL[:1]) == "192.168.64.20", "what there is"


def test_an_address_that_peers_know_is_kept_as_long_as_it_can_be_used() -> None:
    virtual = frozenset({IPv4Address("192.168.64.5")})
    assert choice(SEVERAL, keep=virtual) == "192.168.64.5"
    assert choice(SEVERAL[:-1], keep=virtual) == "192.168.64.31", "it has left"
    assert choice(SEVERAL, keep=frozenset({IPv4Address("192.168.64.22")})) == "192.168.64.31", "it is outdated"


def test_an_address_that_is_named_is_taken_whatever_was_known() -> None:
    observed = TWO_NICS.merged(KernelState.of(SEVERAL))
    wish = UnderlayWish(iface=("192.168.64.5",), keep=frozenset({IPv4Address("192.168.64.31")}))
    assert choose_underlay(observed, wish).address == IPv4Address("192.168.64.5")


def test_what_the_overlays_devices_send_from_is_read_from_them_alone() -> None:
    def tunnel(name: str, local: str | None) -> Link:
        ip = None if local is None else ip_address(local)
        return Link(name=name, kind=VxlanKind(vni=Vni(1), port=8472, local=ip, underlay="eth0"), mtu=1450)

    state = KernelState.of(
        [tunnel("flannel.1", "192.0.2.1"), tunnel("flannel-v6.1", None), tunnel("vx9", "192.0.2.9"), *TWO_NICS]
    )
    assert sent_from(state, ("flannel.1", "flannel-v6.1", "eth0")) == {IPv4Address("192.0.2.1")}


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        pytest.param(UnderlayWish(iface=("eth7",)), "no such device", id="unknown name"),
        pytest.param(UnderlayWish(iface=("eth7", "eth8")), "iface eth7: no such device", id="unknown names: the first"),
        pytest.param(UnderlayWish(iface_regex=("^wl",)), "iface-regex .wl: matches no device", id="pattern"),
        pytest.param(UnderlayWish(can_reach=IPv6Address("fd99::1")), "there is no route to it", id="unreachable"),
        pytest.param(UnderlayWish(iface=("1.2.3.4",)), "no device has this address", id="unknown address"),
        pytest.param(UnderlayWish(iface=("eth1",), need6=True), "has no IPv6 address", id="family missing"),
    ],
)
def test_what_does_not_fit_is_named(wish: UnderlayWish, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        choose_underlay(TWO_NICS, wish)


def test_without_a_default_route_a_device_must_be_named() -> None:
    with pytest.raises(ConfigError, match="no default route"):
        choose_underlay(KernelState.of([Link(name="eth0", kind=OtherKind(), mtu=1500)]), UnderlayWish())


def test_connected_prefixes_leave_out_our_own_devices_and_link_local() -> None:
    assert {str(net) for net in connected_prefixes(TWO_NICS, frozenset({"eth1"}))} == {"192.168.64.0/24", "fd64::/64"}
