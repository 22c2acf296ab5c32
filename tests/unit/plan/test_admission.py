"""Which leases are believed: each rule alone, clashes, and the legitimate but unusual, which must pass whole."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest

from tests.kit.cluster import (
    CONFIG,
    DUAL,
    DUAL_HOST,
    HOST,
    ONLY6,
    OWN,
    OWN_DUAL,
    POOL4,
    book,
    dual_lease,
    lease,
    mac,
)
from tulle.model.lease import HeldLease, Lease, LeaseKey
from tulle.model.network import Host, MacAddress, NetworkConfig, Vni, Vxlan
from tulle.plan.admission import Admission, Refusal, admit

GOOD = lease(2)


def judged(*leases: Lease, config: NetworkConfig = CONFIG, host: Host = HOST, own: Lease = OWN) -> Admission:
    return admit(book(*leases), config, host, own)


def subnet4(text: str) -> dict[str, Any]:
    return {"subnet": IPv4Network(text)}


def public(text: str) -> dict[str, Any]:
    return {"public_ip": IPv4Address(text)}


# -- each rule alone (the rows of failures.md) ---------------------------------------------


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        pytest.param(subnet4("128.0.0.0/1"), "is not a /24", id="half of the internet"),
        pytest.param(subnet4("192.168.77.0/31"), "is not a /24", id="around the store's address"),
        pytest.param(subnet4("192.168.64.0/24"), "is not between", id="the underlay"),
        pytest.param(subnet4("10.96.0.0/12"), "is not a /24", id="the services' network"),
        pytest.param(subnet4("8.8.8.0/24"), "is not between", id="outside the network"),
        pytest.param(subnet4("10.244.17.0/25"), "is not a /24", id="half of a peer's subnet"),
        pytest.param(subnet4("10.244.0.0/24"), "is not between", id="before SubnetMin"),
        pytest.param(subnet4("10.245.0.0/24"), "is not between", id="behind SubnetMax"),
        pytest.param(subnet4("10.244.1.0/24"), "is our own", id="our own subnet"),
        pytest.param({"subnet": None}, "claims no subnet", id="no subnet"),
        pytest.param(public("127.0.0.1"), "is not a host's", id="loopback"),
        pytest.param(public("224.0.0.1"), "is not a host's", id="multicast"),
        pytest.param(public("0.0.0.0"), "is not a host's", id="nobody"),
        pytest.param(public("0.1.2.3"), "is not a host's", id="this network"),
        pytest.param(public("255.255.255.255"), "is not a host's", id="everybody"),
        pytest.param(public("169.254.1.1"), "is not a host's", id="link-local"),
        pytest.param(public("192.168.64.255"), "is a broadcast address", id="everybody on the underlay"),
        pytest.param(public("192.168.64.11"), "is our own", id="our own address"),
        pytest.param(public("10.244.9.9"), "is inside the overlay", id="inside the overlay"),
        pytest.param({"public_ip": None}, "without a public address", id="no address"),
        pytest.param({"vtep_mac": MacAddress("00:00:00:00:00:00")}, "is zero", id="no MAC at all"),
        pytest.param({"vtep_mac": MacAddress("ff:ff:ff:ff:ff:ff")}, "is a group's", id="the broadcast MAC"),
        pytest.param({"vtep_mac": MacAddress("01:00:5e:00:00:01")}, "is a group's", id="a multicast MAC"),
        pytest.param({"vtep_mac": mac(1)}, "is our own", id="our own MAC"),
        pytest.param({"vtep_mac": None}, "without a VTEP MAC", id="no MAC"),
        pytest.param({"vni": Vni(7)}, "VNI 7 is not 1", id="another VNI"),
        pytest.param({"vni": None}, "VNI None is not 1", id="no VNI"),
        pytest.param({"backend_type": "host-gw"}, "backend host-gw is not vxlan", id="another backend"),
        pytest.param({"backend_type": ""}, "backend (none) is not vxlan", id="no backend"),
    ],
)
def test_f49_f50_f51_a_hostile_lease_is_refused_with_its_rule(changes: dict[str, Any], rule: str) -> None:
    hostile = lease(2, **{**changes, "key": LeaseKey("hostile")})
    found = judged(hostile, lease(3))
    assert list(found.peers) == [lease(3).key]
    (refusal,) = found.refusals
    assert refusal.key == "hostile"
    assert rule in refusal.rule


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        pytest.param({"subnet6": IPv6Network("fd10:244:0:1::/64")}, "is our own", id="our own subnet"),
        pytest.param({"subnet6": IPv6Network("2001:db8::/64")}, "is not between", id="outside the network"),
        pytest.param({"subnet6": IPv6Network("fd10:244:0:2::/65")}, "is not a /64", id="half of a subnet"),
        pytest.param({"public_ip6": IPv6Address("::1")}, "is not a host's", id="loopback"),
        pytest.param({"public_ip6": IPv6Address("::")}, "is not a host's", id="nobody"),
        pytest.param({"public_ip6": IPv6Address("ff02::1")}, "is not a host's", id="multicast"),
        pytest.param({"public_ip6": IPv6Address("fe80::1")}, "is not a host's", id="link-local"),
        pytest.param({"public_ip6": IPv6Address("::ffff:192.168.64.12")}, "is not a host's", id="IPv4 in disguise"),
        pytest.param({"public_ip6": IPv6Address("fd64::11")}, "is our own", id="our own address"),
        pytest.param({"public_ip6": IPv6Address("fd10:244::5")}, "is inside the overlay", id="inside the overlay"),
        pytest.param({"public_ip6": None}, "IPv6 subnet without a public address", id="no address"),
        pytest.param({"vtep_mac6": None}, "IPv6 subnet without a VTEP MAC", id="no MAC"),
        pytest.param({"vtep_mac6": OWN_DUAL.vtep_mac6}, "is our own", id="our own MAC"),
    ],
)
def test_the_rules_hold_for_ipv6_as_well(changes: dict[str, Any], rule: str) -> None:
    found = judged(dual_lease(2, **changes), config=DUAL, host=DUAL_HOST, own=OWN_DUAL)
    assert found.peers == {}
    assert [rule in refusal.rule for refusal in found.refusals] == [True]


@pytest.mark.parametrize(
    ("prefix", "refused"),
    [
        pytest.param("10.244.2.0/24", True, id="the same"),
        pytest.param("10.244.2.16/28", True, id="inside the lease"),
        pytest.param("10.244.0.0/20", True, id="around the lease"),
        pytest.param("10.244.3.0/24", False, id="beside it"),
        pytest.param("172.17.0.0/16", False, id="docker0"),
        pytest.param("10.0.0.0/16", False, id="docker0 elsewhere in 10/8"),
    ],
)
def test_a_subnet_that_the_host_is_connected_to_is_refused(prefix: str, refused: bool) -> None:
    found = judged(GOOD, host=replace(HOST, connected=(IPv4Network(prefix),)))
    assert (found.peers == {}) is refused


# -- legitimate, if unusual ----------------------------------------------------------------

SMALL = replace(POOL4, subnet_len=25, first=IPv4Network("10.244.1.0/25"), last=IPv4Network("10.244.255.128/25"))


@pytest.mark.parametrize(
    ("unusual", "config"),
    [
        pytest.param(lease(2, **public("203.0.113.9")), CONFIG, id="an address behind NAT"),
        pytest.param(lease(2, **public("10.9.0.1")), CONFIG, id="a private address near the overlay"),
        pytest.param(lease(2, **public("192.168.64.0")), CONFIG, id="an address that ends in zero"),
        pytest.param(lease(2, vtep_mac=MacAddress("00:1b:21:3c:4d:5e")), CONFIG, id="a vendor's MAC"),
        pytest.param(lease(2, expires_at_ns=None), CONFIG, id="a lease without an end"),
        pytest.param(
            lease(2, key=LeaseKey(""), **subnet4("10.244.9.128/25")),
            replace(CONFIG, pool4=SMALL),
            id="/25 where SubnetLen says so",
        ),
        pytest.param(lease(2, key=LeaseKey(""), **subnet4("10.244.255.0/24")), CONFIG, id="the last subnet"),
        pytest.param(lease(2, vni=Vni(7)), replace(CONFIG, backend=Vxlan(vni=Vni(7))), id="another VNI for all"),
        pytest.param(dual_lease(2), CONFIG, id="a dual-stack peer of an IPv4 network"),
    ],
)
def test_an_unusual_lease_is_admitted(unusual: Lease, config: NetworkConfig) -> None:
    found = judged(unusual, config=config)
    assert (list(found.peers.values()), found.refusals) == ([unusual], ())


def test_ipv6_only_peers_are_admitted_and_their_ipv4_half_is_not_looked_at() -> None:
    only6 = dual_lease(2, subnet=None, public_ip=None, vtep_mac=None)
    own6 = dual_lease(1, subnet=None, public_ip=None, vtep_mac=None)
    host = replace(DUAL_HOST, underlay=replace(DUAL_HOST.underlay, address=None))
    assert judged(only6, config=ONLY6, host=host, own=own6).peers == {only6.key: only6}


def test_many_nodes_behind_one_address_are_admitted() -> None:
    behind = [lease(n, **public("203.0.113.9")) for n in (2, 3)]
    assert len(judged(*behind).peers) == 2


# -- among each other ----------------------------------------------------------------------

SAME_SUBNET = dual_lease(2, vtep_mac=mac(9), created=9)
SAME_MAC = lease(3, vtep_mac=mac(2), created=9)


def test_our_own_lease_is_neither_peer_nor_refused() -> None:
    assert judged(OWN) == Admission()


def test_a_reservation_that_nobody_took_yet_is_neither_peer_nor_refused() -> None:
    waiting = Lease(key=lease(5).key, subnet=lease(5).subnet, public_ip=IPv4Address("192.168.64.15"))
    assert judged(waiting, GOOD).peers == {GOOD.key: GOOD}
    assert judged(waiting).refusals == ()


@pytest.mark.parametrize(
    ("younger", "what"),
    [pytest.param(SAME_SUBNET, "subnet 10.244.2.0/24", id="subnet"), pytest.param(SAME_MAC, "VTEP MAC", id="MAC")],
)
def test_f52_of_two_claims_the_older_stays_and_both_are_named(younger: Lease, what: str) -> None:
    for order in ((GOOD, younger), (younger, GOOD)):
        found = judged(*order)
        assert list(found.peers) == [GOOD.key]
        (refusal,) = found.refusals
        assert refusal.key == younger.key
        assert refusal.rule.startswith(what)
        assert GOOD.key in refusal.rule


def test_of_two_claims_of_one_age_the_lower_key_stays() -> None:
    twin = replace(SAME_SUBNET, created=GOOD.created)
    assert list(judged(twin, GOOD).peers) == [min(GOOD.key, twin.key)]


def test_a_held_lease_yields_to_whoever_is_in_the_store() -> None:
    young = replace(SAME_SUBNET, created=99)
    found = admit(book(young, held={GOOD.key: HeldLease(GOOD, 1)}), CONFIG, HOST, OWN)
    assert list(found.peers) == [young.key]
    assert [refusal.key for refusal in found.refusals] == [GOOD.key]


def test_a_held_lease_is_a_peer_while_nobody_wants_its_place() -> None:
    assert admit(book(held={GOOD.key: HeldLease(GOOD, 1)}), CONFIG, HOST, OWN).peers == {GOOD.key: GOOD}


def test_a_hostile_lease_takes_nobodys_place() -> None:
    older = replace(SAME_SUBNET, created=0, public_ip=IPv4Address("127.0.0.1"))
    assert list(judged(older, GOOD).peers) == [GOOD.key]


def test_the_same_mac_in_two_families_is_no_clash() -> None:
    swapped = dual_lease(3, vtep_mac6=mac(2), vtep_mac=mac(3))
    found = judged(dual_lease(2), swapped, config=DUAL, host=DUAL_HOST, own=OWN_DUAL)
    assert len(found.peers) == 2


# -- step by step --------------------------------------------------------------------------


def test_a_refused_lease_comes_into_its_own_when_the_older_one_leaves() -> None:
    before = judged(GOOD, SAME_MAC)
    after = admit(book(SAME_MAC), CONFIG, HOST, OWN, before, frozenset({GOOD.key}))
    assert after == judged(SAME_MAC)
    assert list(after.peers) == [SAME_MAC.key]


def test_an_older_claim_that_appears_displaces_the_younger() -> None:
    older = replace(SAME_MAC, created=1)
    before = judged(GOOD)
    after = admit(book(GOOD, older), CONFIG, HOST, OWN, before, frozenset({older.key}))
    assert list(after.peers) == [older.key]
    assert [refusal.key for refusal in after.refusals] == [GOOD.key]


def test_a_chain_of_claims_is_followed_to_its_end() -> None:
    """When the first goes the second may come, and when the second comes the third must go."""
    first = lease(2, created=1)
    second = lease(3, created=2, vtep_mac=mac(2))
    third = dual_lease(3, created=3)
    before = judged(first, second, third)
    assert set(before.peers) == {first.key, third.key}
    after = admit(book(second, third), CONFIG, HOST, OWN, before, frozenset({first.key}))
    assert after == judged(second, third)
    assert set(after.peers) == {second.key}


def test_nothing_changed_means_the_same_admission() -> None:
    before = judged(GOOD, SAME_MAC, lease(5, vni=Vni(9)))
    assert admit(book(GOOD, SAME_MAC, lease(5, vni=Vni(9))), CONFIG, HOST, OWN, before, frozenset()) == before


def test_refusals_come_in_the_order_of_their_keys() -> None:
    found = judged(*(lease(n, vni=Vni(9)) for n in (9, 5, 7)))
    assert found.refusals == tuple(Refusal(lease(n).key, "VNI 9 is not 1") for n in (5, 7, 9))


# -- connected prefixes -----------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix",
    [
        *("10.244.2.0/24", "10.244.2.0/25", "10.244.2.128/25", "10.244.2.255/32", "10.244.2.0/32", "10.244.2.0/23"),
        *("10.244.0.0/16", "0.0.0.0/0", "10.244.1.0/24", "10.244.3.0/24", "10.244.3.0/32", "192.168.64.0/24"),
    ],
)
def test_a_subnet_that_shares_an_address_with_a_connected_prefix_is_refused_and_no_other(prefix: str) -> None:
    connected = IPv4Network(prefix)
    found = judged(OWN, GOOD, host=replace(HOST, connected=(connected, IPv6Network("::/0"))))
    assert GOOD.subnet is not None
    assert bool(found.refusals) == GOOD.subnet.overlaps(connected)


def test_a_lease_is_as_small_when_it_was_judged_as_it_was_before() -> None:
    """``ipaddress`` keeps what a network was asked for; a broadcast address for each of ten thousand is 3 MB."""
    peer = lease(2)
    before = set(vars(peer.subnet))
    assert judged(OWN, peer).peers
    assert set(vars(peer.subnet)) == before
