"""From a peer's lease to the one route that reaches it, and what host-gw asks of a node."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from tests.kit.cluster import CONFIG, DUAL, DUAL_HOST, HOST, dual_lease, lease
from tulle.errors import ConfigError
from tulle.model.book import fold
from tulle.model.lease import Lease, LeaseBook, Snapshot
from tulle.model.network import Host, HostGw, IPAddress, NetworkConfig
from tulle.model.objects import Link, OtherKind, Route
from tulle.plan.admission import admit
from tulle.plan.desired import (
    Inputs,
    Settings,
    check_public,
    check_room,
    desired,
    node_objects,
    node_ownership,
    peer_objects,
    pod_mtu,
    tunnels,
)
from tulle.plan.hostgw import device, peer

PLAIN = replace(CONFIG, backend=HostGw())
PLAIN_DUAL = replace(DUAL, backend=HostGw())


def bare(made: Lease) -> Lease:
    """A lease as host-gw's nodes publish it."""
    return replace(made, backend_type="host-gw", vni=None, vtep_mac=None, vtep_mac6=None)


OWN, PEER = bare(lease(1)), bare(lease(2))
ROUTE = Route(dst=IPv4Network("10.244.2.0/24"), device="eth0", via=IPv4Address("192.168.64.12"))
ROUTE6 = Route(dst=IPv6Network("fd10:244:0:2::/64"), device="eth0", via=IPv6Address("fd64::12"))


def inputs(config: NetworkConfig = PLAIN, host: Host = HOST, own: Lease = OWN) -> Inputs:
    return Inputs(config=config, host=host, own=own, settings=Settings(forward_rules=False))


@pytest.mark.parametrize(
    ("host", "own", "other", "expected"),
    [
        pytest.param(HOST, OWN, PEER, (ROUTE,), id="one route"),
        pytest.param(DUAL_HOST, bare(dual_lease(1)), bare(dual_lease(2)), (ROUTE, ROUTE6), id="one for each family"),
        pytest.param(DUAL_HOST, bare(dual_lease(1)), PEER, (ROUTE,), id="a peer without IPv6"),
        pytest.param(DUAL_HOST, OWN, bare(dual_lease(2)), (ROUTE,), id="we have no IPv6"),
        pytest.param(HOST, bare(dual_lease(1)), bare(dual_lease(2)), (ROUTE,), id="the underlay has no IPv6"),
        pytest.param(HOST, OWN, replace(PEER, public_ip=None), (), id="a peer without an address"),
    ],
)
def test_a_peer_costs_a_route_through_its_own_address(
    host: Host, own: Lease, other: Lease, expected: tuple[Route, ...]
) -> None:
    assert peer(host, own, other) == expected


def test_a_node_needs_no_device_of_its_own_and_pods_get_the_whole_mtu() -> None:
    assert device(HOST, OWN) == ()
    assert tunnels(PLAIN) == {}
    assert not any(isinstance(made, Link) for made in node_objects(inputs()))
    assert pod_mtu(inputs()) == 1500
    assert pod_mtu(inputs(PLAIN_DUAL, DUAL_HOST, bare(dual_lease(1)))) == 1500
    assert peer_objects(inputs(), PEER) == (ROUTE,)


def test_its_routes_are_recognised_as_ours_and_no_other_thing_of_the_underlay_is() -> None:
    judge = node_ownership(PLAIN, [])
    assert judge(ROUTE).value == "ours"
    assert judge(replace(ROUTE, protocol=3)).value == "foreign"
    assert judge(Link(name="eth0", kind=OtherKind("dummy"), mtu=1500)).value == "foreign"


@pytest.mark.parametrize(
    ("mtu", "config", "enough"), [(576, PLAIN, True), (575, PLAIN, False), (1279, PLAIN_DUAL, False)]
)
def test_an_underlay_must_have_room_for_a_pods_packets(mtu: int, config: NetworkConfig, enough: bool) -> None:
    host = replace(DUAL_HOST, underlay=replace(DUAL_HOST.underlay, mtu=mtu))
    if enough:
        check_room(config, host)
        return
    with pytest.raises(ConfigError, match="device eth0: MTU"):
        check_room(config, host)


@pytest.mark.parametrize(
    ("config", "public", "rule"),
    [
        pytest.param(PLAIN, IPv4Address("192.168.64.11"), None, id="the underlay's own"),
        pytest.param(PLAIN, None, None, id="none given"),
        pytest.param(PLAIN, IPv4Address("203.0.113.1"), "--public-ip 203.0.113.1", id="elsewhere"),
        pytest.param(PLAIN, IPv6Address("fd64::99"), "--public-ipv6 fd64::99", id="elsewhere, IPv6"),
        pytest.param(CONFIG, IPv4Address("203.0.113.1"), None, id="a tunnel may go through NAT"),
    ],
)
def test_neighbours_must_be_able_to_route_to_the_public_address(
    config: NetworkConfig, public: IPAddress | None, rule: str | None
) -> None:
    if rule is None:
        check_public(config, DUAL_HOST, public)
        return
    with pytest.raises(ConfigError, match=rule):
        check_public(config, DUAL_HOST, public)


@pytest.mark.parametrize(
    ("other", "rule"),
    [
        pytest.param(PEER, None, id="as host-gw's nodes publish it"),
        pytest.param(lease(2), "backend vxlan is not host-gw", id="another backend"),
        pytest.param(bare(lease(2, public_ip=IPv4Address("127.0.0.1"))), "public address 127.0.0.1", id="loopback"),
        pytest.param(bare(lease(2, subnet=IPv4Network("0.0.0.0/0"))), "is not a /24", id="the default route"),
        pytest.param(bare(lease(2, subnet=IPv4Network("192.168.64.0/24"))), "is not between", id="the underlay"),
    ],
)
def test_leases_are_admitted_by_the_same_rules_without_a_vtep(other: Lease, rule: str | None) -> None:
    snapshot = Snapshot(cluster_id="c", revision=9, leases=(OWN, other))
    book, _ = fold(LeaseBook(), snapshot, 0, OWN.key)
    admission = admit(book, PLAIN, HOST, OWN)
    assert [refusal.rule for refusal in admission.refusals if rule is None or rule not in refusal.rule] == []
    assert (other.key in admission.peers) is (rule is None)


def test_the_whole_desired_state_of_a_plain_network() -> None:
    wanted = desired(replace(inputs(), peers={PEER.key: PEER}))
    assert wanted.keys_of(PEER.key) == {ROUTE.key}
    assert wanted.state.get(ROUTE.key) == ROUTE
