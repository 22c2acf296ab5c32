"""Which route a packet would take."""

from ipaddress import IPv4Address, ip_address, ip_network

import pytest

from tulle.model.objects import LinkKey, Route, RouteKey
from tulle.plan.ways import is_about_ways, is_direct, way_to

GATEWAY = IPv4Address("192.168.64.1")
ROUTES = (
    Route(dst=ip_network("0.0.0.0/0"), device="eth0", via=GATEWAY, metric=100),
    Route(dst=ip_network("0.0.0.0/0"), device="eth1", via=GATEWAY, metric=50),
    Route(dst=ip_network("192.168.64.0/24"), device="eth0"),
    Route(dst=ip_network("192.168.64.9/32"), device="eth0", via=GATEWAY),
    Route(dst=ip_network("192.168.64.8/32"), device=None, kind="blackhole"),
    Route(dst=ip_network("192.168.64.7/32"), device="eth2", table=99),
)


@pytest.mark.parametrize(
    ("target", "dst", "device", "direct"),
    [
        pytest.param("8.8.8.8", "0.0.0.0/0", "eth1", False, id="the default of the lower metric"),
        pytest.param("192.168.64.12", "192.168.64.0/24", "eth0", True, id="a neighbour"),
        pytest.param("192.168.64.9", "192.168.64.9/32", "eth0", False, id="a neighbour by a gateway"),
        pytest.param("192.168.64.8", "192.168.64.8/32", None, False, id="nowhere"),
        pytest.param("192.168.64.7", "192.168.64.0/24", "eth0", True, id="another table says otherwise"),
    ],
)
def test_the_longest_prefix_wins(target: str, dst: str, device: str | None, direct: bool) -> None:
    route = way_to(ROUTES, ip_address(target))
    assert route is not None
    assert (str(route.dst), route.device, is_direct(route)) == (dst, device, direct)


def test_there_may_be_none() -> None:
    assert way_to(ROUTES, ip_address("fd00::1")) is None
    assert not is_direct(None)


@pytest.mark.parametrize(
    ("dst", "table", "expected"),
    [
        pytest.param("192.168.64.0/24", 254, True, id="a segment"),
        pytest.param("0.0.0.0/0", 254, True, id="the default"),
        pytest.param("fd64::/64", 254, True, id="another IP version"),
        pytest.param("10.244.2.0/24", 254, False, id="a peer's subnet"),
        pytest.param("192.168.64.0/24", 7, False, id="another table"),
    ],
)
def test_a_change_of_the_hosts_own_ways_is_told_from_the_overlays(dst: str, table: int, expected: bool) -> None:
    keys = [RouteKey(ip_network(dst), table, 0), LinkKey("eth0")]
    assert is_about_ways(keys, [ip_network("10.244.0.0/16")]) is expected
