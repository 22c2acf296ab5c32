"""Which subnets a node asks for: flannel's order, and a slow obvious search as oracle."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.cluster import CONFIG, DUAL, ONLY6, dual_lease, lease
from tulle.errors import ConfigError, LeaseConflict
from tulle.model.lease import Lease, LeaseKey, NodeId
from tulle.model.network import IPNetwork, NetworkConfig, SubnetPool
from tulle.plan.addressing import Claimant, Subnets, choose_own, choose_subnets, fits, leases_of

NONE = Subnets(None, None)
ME = Claimant(node_id=NodeId("me"), public_ip=IPv4Address("192.168.64.12"), public_ip6=IPv6Address("fd64::12"))


def small(first: str = "10.244.1.0/24", last: str = "10.244.4.0/24") -> NetworkConfig:
    """A network of four subnets, unless told otherwise."""
    pool = SubnetPool(
        network=IPv4Network("10.244.0.0/16"), subnet_len=24, first=IPv4Network(first), last=IPv4Network(last)
    )
    return replace(CONFIG, pool4=pool)


def nets(*texts: str) -> list[IPNetwork]:
    return [IPv4Network(text) for text in texts]


def chosen(
    config: NetworkConfig = CONFIG,
    taken: Sequence[IPNetwork] = (),
    expired: Sequence[IPNetwork] = (),
    previous: Subnets = NONE,
    below: Callable[[int], int] = lambda _: 0,
) -> str:
    return str(choose_subnets(config, taken, expired, previous, below).four)


# -- whose lease is it ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "ours"),
    [
        pytest.param(lease(9, owner=NodeId("me")), True, id="our key at another address"),
        pytest.param(lease(2, owner=NodeId("me")), True, id="our key at our address"),
        pytest.param(lease(2), True, id="our address without a key: a reservation, or a flanneld's"),
        pytest.param(lease(3), False, id="another address"),
        pytest.param(lease(3, owner=NodeId("other")), False, id="another node"),
    ],
)
def test_a_lease_is_ours_by_key_or_by_public_address(found: Lease, ours: bool) -> None:
    assert leases_of(ME, [found]) == ([found] if ours else [])


def test_f09_another_node_at_our_address_is_refused_by_name() -> None:
    with pytest.raises(LeaseConflict, match=r"10\.244\.2\.0-24.*192\.168\.64\.12"):
        leases_of(ME, [lease(2, owner=NodeId("other"))])


def test_who_holds_a_lease_by_key_is_not_put_out_by_another_node_at_its_address() -> None:
    by_key = lease(9, owner=NodeId("me"))
    assert leases_of(ME, [lease(2, owner=NodeId("other")), by_key]) == [by_key]


def before(number: int) -> Subnets:
    return Subnets(IPv4Network(f"10.244.{number}.0/24"), None)


RESERVED = replace(lease(2), subnet=IPv4Network("10.244.7.0/24"), key=LeaseKey("10.244.7.0-24"))
"""Ours by address, at other subnets than our lease's."""


@pytest.mark.parametrize(
    ("ours", "previous", "taken", "expected"),
    [
        pytest.param([RESERVED, lease(2, owner=NodeId("me"))], before(7), (), "10.244.2.0-24", id="our key wins"),
        pytest.param([lease(2), RESERVED], before(7), (), "10.244.7.0-24", id="then the subnets of the last run"),
        pytest.param([lease(2)], before(5), (), None, id="also when they are free and another is written for us"),
        pytest.param([lease(2)], before(5), nets("10.244.5.0/24"), "10.244.2.0-24", id="unless another node has them"),
        pytest.param([lease(2)], Subnets(IPv4Network("10.9.5.0/24"), None), (), "10.244.2.0-24", id="or do not fit"),
        pytest.param([lease(2)], NONE, (), "10.244.2.0-24", id="a first start takes what is written for its address"),
        pytest.param([], NONE, (), None, id="else a new one"),
    ],
)
def test_which_lease_a_node_takes_over(
    ours: list[Lease], previous: Subnets, taken: Sequence[IPNetwork], expected: str | None
) -> None:
    own = choose_own(ME, ours, CONFIG, previous, taken)
    assert (None if own is None else own.key) == expected


def test_with_two_families_the_last_run_counts_whole_or_not_at_all() -> None:
    taken = [IPv6Network("fd10:244:0:5::/64")]
    previous = Subnets(IPv4Network("10.244.5.0/24"), IPv6Network("fd10:244:0:5::/64"))
    assert choose_own(ME, [dual_lease(2)], DUAL, previous, []) is None
    assert choose_own(ME, [dual_lease(2)], DUAL, previous, taken) == dual_lease(2)


def test_our_own_key_comes_before_our_address_and_the_older_before_the_younger() -> None:
    by_key, by_address = lease(9, owner=NodeId("me"), created=9), lease(2, created=1)
    younger = replace(lease(5, owner=NodeId("me")), created=10)
    assert leases_of(ME, [by_address, younger, by_key]) == [by_key, younger, by_address]


def test_with_ipv4_its_address_decides_and_without_it_ipv6s() -> None:
    only6 = replace(ME, public_ip=None)
    other4_same6 = dual_lease(5, public_ip6=IPv6Address("fd64::12"))
    assert leases_of(ME, [other4_same6]) == []
    assert leases_of(only6, [other4_same6]) == [other4_same6]
    assert leases_of(replace(only6, public_ip6=None), [dual_lease(2, public_ip6=None, public_ip=None)]) == []


@pytest.mark.parametrize(
    ("found", "config", "answer"),
    [
        pytest.param(lease(2), CONFIG, True, id="as configured"),
        pytest.param(lease(2), DUAL, False, id="IPv6 is missing"),
        pytest.param(dual_lease(2), CONFIG, False, id="IPv6 is too much"),
        pytest.param(dual_lease(2), DUAL, True, id="both"),
        pytest.param(dual_lease(2, subnet=None), ONLY6, True, id="IPv6 only"),
        pytest.param(lease(2, subnet=IPv4Network("10.9.2.0/24")), CONFIG, False, id="another network"),
        pytest.param(lease(2, subnet=IPv4Network("10.244.2.0/25")), CONFIG, False, id="another length"),
        pytest.param(lease(2, subnet=IPv4Network("10.244.0.0/24")), CONFIG, False, id="before SubnetMin"),
        pytest.param(lease(9), small(), False, id="behind SubnetMax"),
    ],
)
def test_a_lease_fits_when_a_node_can_use_all_of_it(found: Lease, config: NetworkConfig, answer: bool) -> None:
    assert fits(found, config) is answer


# -- choosing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "taken", "expired", "previous", "expected"),
    [
        pytest.param(small(), (), (), "10.244.3.0/24", "10.244.3.0/24", id="the last run's, when it is free"),
        pytest.param(
            small(), (), nets("10.244.3.0/24"), "10.244.3.0/24", "10.244.3.0/24", id="even if it expired meanwhile"
        ),
        pytest.param(
            small(), nets("10.244.3.0/24"), (), "10.244.3.0/24", "10.244.1.0/24", id="not when somebody has it"
        ),
        pytest.param(small(), nets("10.244.3.128/25"), (), "10.244.3.0/24", "10.244.1.0/24", id="nor a part of it"),
        pytest.param(small(), (), (), "10.9.3.0/24", "10.244.1.0/24", id="nor when the network is another one"),
        pytest.param(small(), nets("10.244.1.0/24", "10.244.2.0/24"), (), None, "10.244.3.0/24", id="the first free"),
        pytest.param(
            small(), (), nets("10.244.1.0/24", "10.244.2.0/24"), None, "10.244.3.0/24", id="expired ones come last"
        ),
        pytest.param(
            small(),
            nets("10.244.3.0/24", "10.244.4.0/24"),
            nets("10.244.1.0/24", "10.244.2.0/24"),
            None,
            "10.244.1.0/24",
            id="but they come",
        ),
        pytest.param(
            small(), nets("10.244.0.0/23"), (), None, "10.244.2.0/24", id="a wide claim takes all that it covers"
        ),
        pytest.param(
            small(),
            nets("10.244.0.0/16", "10.0.0.0/8", "0.0.0.0/0"),
            (),
            None,
            "10.244.1.0/24",
            id="a claim of the whole network takes nothing",
        ),
        pytest.param(small(), nets("192.168.0.0/24"), (), None, "10.244.1.0/24", id="claims elsewhere do not count"),
    ],
)
def test_the_order_of_choice(
    config: NetworkConfig, taken: Sequence[IPNetwork], expired: Sequence[IPNetwork], previous: str | None, expected: str
) -> None:
    before = Subnets(IPv4Network(previous), None) if previous else NONE
    assert chosen(config, taken, expired, before) == expected


def test_when_all_are_taken_it_says_so_with_the_range() -> None:
    with pytest.raises(ConfigError, match=r"out of subnets: every /24 from 10\.244\.1\.0/24 to 10\.244\.2\.0/24"):
        chosen(small(last="10.244.2.0/24"), nets("10.244.1.0/24", "10.244.2.0/24"))


def test_the_families_are_chosen_independently() -> None:
    taken = [IPv4Network("10.244.1.0/24"), IPv6Network("fd10:244:0:7::/64")]
    found = choose_subnets(DUAL, taken, (), Subnets(None, IPv6Network("fd10:244:0:9::/64")), lambda _: 0)
    assert found == Subnets(IPv4Network("10.244.2.0/24"), IPv6Network("fd10:244:0:9::/64"))


def test_a_network_of_ipv6_only_has_no_ipv4_subnet() -> None:
    found = choose_subnets(ONLY6, [IPv6Network("fd10:244:0:1::/64")], (), NONE, lambda _: 0)
    assert found == Subnets(None, IPv6Network("fd10:244:0:2::/64"))


def test_a_pool_of_billions_is_chosen_from_without_listing_it() -> None:
    network = IPv6Network("fd00::/8")
    pool = SubnetPool(
        network=network,
        subnet_len=64,
        first=IPv6Network("fd00:0:0:1::/64"),
        last=IPv6Network("fdff:ffff:ffff:ffff::/64"),
    )
    found = choose_subnets(replace(ONLY6, pool6=pool), [pool.last], (), NONE, lambda bound: bound - 1)
    assert str(found.six) == "fdff:ffff:ffff:fffe::/64"


def test_every_free_subnet_is_as_likely_as_any_other() -> None:
    chance = Random(7)
    taken = nets("10.244.3.0/24", "10.244.4.0/24", "10.244.9.0/24")
    config = small(last="10.244.13.0/24")
    counts = Counter(chosen(config, taken, (), NONE, chance.randrange) for _ in range(10_000))
    assert set(counts) == {f"10.244.{number}.0/24" for number in (1, 2, 5, 6, 7, 8, 10, 11, 12, 13)}
    assert max(abs(count - 1000) for count in counts.values()) < 150  # five standard deviations


def slowly_free(taken: Sequence[IPNetwork]) -> list[IPv4Network]:
    """The free ones of 10.244.1.0/24 to 10.244.8.0/24, one by one."""
    inside = [net for net in taken if net.prefixlen > 16]
    every = (IPv4Network(f"10.244.{number}.0/24") for number in range(1, 9))
    return [net for net in every if not any(net.overlaps(other) for other in inside)]


@st.composite
def claimed(draw: st.DrawFn) -> IPv4Network:
    address = f"10.244.{draw(st.integers(0, 9))}.{draw(st.integers(0, 255))}"
    return IPv4Network((address, draw(st.integers(14, 30))), strict=False)


@given(st.lists(claimed(), max_size=6), st.lists(claimed(), max_size=4))
def test_the_choice_is_the_slow_obvious_one(taken: list[IPNetwork], expired: list[IPNetwork]) -> None:
    config = small(last="10.244.8.0/24")
    free = slowly_free([*taken, *expired]) or slowly_free(taken)
    if not free:
        with pytest.raises(ConfigError):
            chosen(config, taken, expired)
    every = [chosen(config, taken, expired, NONE, lambda _, number=number: number) for number in range(len(free))]
    assert every == [str(net) for net in free]
