"""States and scopes: what a pass looks at, never less than what is dirty."""

from ipaddress import IPv4Address, IPv4Network, ip_interface

import pytest

from tulle.model.network import MacAddress
from tulle.model.objects import (
    Address,
    BridgeKind,
    FdbEntry,
    KernelObject,
    Link,
    LinkKey,
    Neighbor,
    NftTable,
    NftTableKey,
    ObjectKey,
    Route,
    RouteKey,
    Sysctl,
)
from tulle.model.state import KernelState, Scope, object_device

LINK = Link(name="br0", kind=BridgeKind())
OTHER = Link(name="br1", kind=BridgeKind())
ADDRESS = Address(device="br0", interface=ip_interface("10.0.0.1/24"))
ROUTE = Route(dst=IPv4Network("10.1.0.0/16"), device="br0", via=IPv4Address("10.0.0.2"))
BLACKHOLE = Route(dst=IPv4Network("10.2.0.0/16"), device=None, kind="blackhole")
NEIGHBOR = Neighbor(device="br1", ip=IPv4Address("10.0.0.2"), mac=MacAddress("02:00:00:00:00:02"))
FDB = FdbEntry(device="br1", mac=MacAddress("02:00:00:00:00:02"), dst=IPv4Address("192.168.64.12"))
SYSCTL = Sysctl("net/ipv6/conf/br0/accept_ra", "0")
TABLE = NftTable(family="inet", name="tulle", digest="d")
ALL = (LINK, OTHER, ADDRESS, ROUTE, BLACKHOLE, NEIGHBOR, FDB, SYSCTL, TABLE)
STATE = KernelState.of(ALL)


@pytest.mark.parametrize(
    ("obj", "device"),
    [
        pytest.param(LINK, None, id="a link lives on itself"),
        pytest.param(ADDRESS, "br0", id="an address"),
        pytest.param(ROUTE, "br0", id="a route"),
        pytest.param(BLACKHOLE, None, id="a route without a device"),
        pytest.param(FDB, "br1", id="an FDB entry"),
        pytest.param(SYSCTL, "br0", id="a device's sysctl"),
        pytest.param(Sysctl("net/ipv6/conf/all/forwarding", "1"), None, id="everybody's sysctl"),
        pytest.param(Sysctl("net/ipv4/ip_forward", "1"), None, id="a namespace's sysctl"),
        pytest.param(TABLE, None, id="a table"),
    ],
)
def test_what_an_object_vanishes_with(obj: KernelObject, device: str | None) -> None:
    assert object_device(obj) == device


def test_a_later_object_of_the_same_key_wins() -> None:
    newer = Link(name="br0", kind=BridgeKind(), mtu=9000)
    assert list(KernelState.of([LINK, newer])) == [newer]
    assert STATE.merged(KernelState.of([newer])).link("br0") == newer


def test_a_state_is_asked_by_key_name_and_type() -> None:
    assert (STATE.get(ROUTE.key), STATE.link("br1"), STATE.link("eth0")) == (ROUTE, OTHER, None)
    assert list(STATE.each(Route)) == [ROUTE, BLACKHOLE]
    assert (ROUTE.key in STATE, LinkKey("eth0") in STATE, len(STATE)) == (True, False, len(ALL))
    assert list(STATE.without([LINK.key, LinkKey("eth0")])) == list(ALL[1:])


@pytest.mark.parametrize(
    ("scope", "covered"),
    [
        pytest.param(Scope(), (), id="nothing"),
        pytest.param(Scope.of([ROUTE.key]), (ROUTE,), id="one key"),
        pytest.param(Scope.of([LinkKey("eth0")]), (), id="a key that nobody has"),
        pytest.param(Scope.of(devices=["br0"]), (LINK, ADDRESS, ROUTE, SYSCTL), id="a device and all on it"),
        pytest.param(Scope.of([TABLE.key], ["br1"]), (OTHER, NEIGHBOR, FDB, TABLE), id="a device and a key besides"),
        pytest.param(Scope.all(), ALL, id="everything"),
    ],
)
def test_a_scope_restricts_a_state(scope: Scope, covered: tuple[KernelObject, ...]) -> None:
    assert set(scope.restrict(STATE)) == set(covered)
    assert {obj for obj in ALL if scope.covers(obj)} == set(covered)
    assert bool(scope) == (scope != Scope())


def test_scopes_add_up() -> None:
    both = Scope.of([ROUTE.key]) | Scope.of([TABLE.key], ["br0"])
    assert both == Scope.of([ROUTE.key, TABLE.key], ["br0"])
    assert (both | Scope.all()).everything


def test_a_scope_names_the_wanted_keys_that_it_covers() -> None:
    scope = Scope.of(devices=["br0"]).including(STATE)
    keys: set[ObjectKey] = {ADDRESS.key, ROUTE.key, LINK.key}
    assert keys <= scope.keys
    assert NEIGHBOR.key not in scope.keys


def test_everything_names_what_has_no_number() -> None:
    assert NftTableKey("inet", "tulle") in Scope.all().including(STATE).keys


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param(
            Route(dst=IPv4Network("10.0.0.0/8"), device="a"),
            Route(dst=IPv4Network("10.0.0.0/8"), device="b"),
            True,
            id="two routes to one place through two devices",
        ),
        pytest.param(
            Route(dst=IPv4Network("10.0.0.0/8"), device="a"),
            Route(dst=IPv4Network("10.0.0.0/8"), device="a", metric=5),
            False,
            id="another metric",
        ),
        pytest.param(
            FdbEntry(device="a", mac=MacAddress("02:00:00:00:00:01"), dst=IPv4Address("1.1.1.1")),
            FdbEntry(device="a", mac=MacAddress("02:00:00:00:00:01"), dst=IPv4Address("2.2.2.2")),
            True,
            id="a unicast MAC leads to one place",
        ),
        pytest.param(
            FdbEntry(device="a", mac=MacAddress("00:00:00:00:00:00"), dst=IPv4Address("1.1.1.1")),
            FdbEntry(device="a", mac=MacAddress("00:00:00:00:00:00"), dst=IPv4Address("2.2.2.2")),
            False,
            id="the default entry may lead to several",
        ),
        pytest.param(
            Neighbor(device="a", ip=IPv4Address("1.1.1.1"), mac=None),
            Neighbor(device="a", ip=IPv4Address("1.1.1.1"), mac=None, proxy=True),
            False,
            id="a proxy entry is another object",
        ),
    ],
)
def test_what_the_kernel_tells_apart(one: KernelObject, other: KernelObject, same: bool) -> None:
    assert (one.key == other.key) is same


def test_an_ipv6_route_without_a_metric_has_the_kernels() -> None:
    six = Route(dst=ip_interface("fd10::/64").network, device="a")
    assert six.key == RouteKey(six.dst, 254, 1024)
    assert Route(dst=IPv4Network("10.0.0.0/8"), device="a").key.metric == 0
