"""DirectRouting: a neighbour is reached past the tunnel, decided anew whenever the host's routes change."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_network

import pytest

from tests.kit.cluster import DUAL, DUAL_HOST, HOST, OWN, OWN_DUAL, bare_host, dual_lease, intent, lease, snapshot
from tulle.model.network import Host, PacketFilters, Vxlan, Way
from tulle.model.objects import FdbEntry, Neighbor, Route
from tulle.model.state import KernelState
from tulle.plan.underlay import UnderlayWish, host_facts, host_ways
from tulle.plan.vxlan import peer

DIRECT = Vxlan(direct_routing=True)
SEGMENT = Way(ip_network("192.168.64.0/24"), "eth0")
DEFAULT = Way(ip_network("0.0.0.0/0"), None)
PLAIN = Route(dst=ip_network("10.244.2.0/24"), device="eth0", via=IPv4Address("192.168.64.12"))


def host(*ways: Way) -> Host:
    return replace(HOST, ways=ways)


@pytest.mark.parametrize(
    ("backend", "here", "plain"),
    [
        pytest.param(DIRECT, host(SEGMENT, DEFAULT), True, id="a neighbour"),
        pytest.param(DIRECT, host(DEFAULT), False, id="behind a gateway"),
        pytest.param(DIRECT, host(), False, id="no way at all"),
        pytest.param(
            DIRECT,
            host(Way(ip_network("192.168.64.12/32"), None), SEGMENT),
            False,
            id="on the segment, but by a gateway",
        ),
        pytest.param(Vxlan(), host(SEGMENT, DEFAULT), False, id="not asked for"),
    ],
)
def test_a_neighbour_costs_one_plain_route(backend: Vxlan, here: Host, plain: bool) -> None:
    objects = peer(backend, here, OWN, lease(2))
    assert (objects == (PLAIN,)) is plain
    assert [type(obj) for obj in objects] == [Route] if plain else [Neighbor, FdbEntry, Route]


def test_each_family_is_decided_by_itself() -> None:
    here = replace(DUAL_HOST, ways=(Way(ip_network("fd64::/64"), "eth0"), DEFAULT))
    objects = peer(DIRECT, here, OWN_DUAL, dual_lease(2))
    assert [type(obj) for obj in objects] == [Neighbor, FdbEntry, Route, Route]
    assert objects[-1] == Route(dst=ip_network("fd10:244:0:2::/64"), device="eth0", via=IPv6Address("fd64::12"))


def test_ways_are_the_hosts_own_the_one_that_counts_first() -> None:
    gateway = IPv4Address("192.168.64.1")
    seen = KernelState.of(
        [
            Route(dst=ip_network("0.0.0.0/0"), device="eth0", via=gateway, protocol=3),
            Route(dst=ip_network("192.168.64.0/24"), device="eth0", metric=100, protocol=2),
            Route(dst=ip_network("192.168.64.0/24"), device="eth1", metric=50, protocol=2),
            Route(dst=ip_network("192.168.64.9/32"), device=None, kind="unreachable", protocol=4),
            Route(dst=ip_network("10.244.2.0/24"), device="eth0", via=IPv4Address("192.168.64.12")),
            Route(dst=ip_network("172.30.0.0/16"), device="flannel.1", protocol=2),
            Route(dst=ip_network("10.9.0.0/16"), device="eth0", table=7, protocol=4),
        ]
    )
    ways = host_ways(seen, frozenset({"flannel.1"}), (ip_network("10.244.0.0/16"),))
    assert ways == (
        Way(ip_network("192.168.64.9/32"), None),
        Way(ip_network("192.168.64.0/24"), "eth1"),
        Way(ip_network("192.168.64.0/24"), "eth0"),
        DEFAULT,
    )


def test_ways_are_told_only_to_who_asks() -> None:
    seen = KernelState.of([*bare_host(), Route(dst=ip_network("192.168.64.0/24"), device="eth0", protocol=2)])
    for direct in (True, False):
        found = host_facts(seen, UnderlayWish(iface=("eth0",), direct=direct), frozenset(), (), (), PacketFilters())
        assert bool(found.ways) is direct


def test_a_host_that_loses_the_way_goes_back_to_the_tunnel() -> None:
    config = replace(DUAL, pool6=None, backend=DIRECT)
    near = intent(snapshot(OWN, lease(2)), config=config, host=host(SEGMENT, DEFAULT))
    assert near.desired.state.get(PLAIN.key) == PLAIN
    far, scope = near.after_host(host(DEFAULT))
    assert scope.everything
    assert [entry.dst for entry in far.desired.state.each(FdbEntry)] == [IPv4Address("192.168.64.12")]
