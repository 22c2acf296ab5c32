"""Where addresses come from: a subnet of the node, or the parts of it that a network asks for."""

from ipaddress import IPv4Network, IPv6Network, ip_address

import pytest

from tulle.cni.pools import choose_pools, whole
from tulle.wire.cni_error import ADDRESS_OUTSIDE, UNSUPPORTED_FIELD, CniError
from tulle.wire.cni_ranges import AddressRange

FOUR, SIX = IPv4Network("10.244.1.0/24"), IPv6Network("fd10:244:0:1::/64")


def between(first: str, last: str, gateway: str | None = None) -> AddressRange:
    given = None if gateway is None else ip_address(gateway)
    return AddressRange(field="ipam.ranges[0][0]", first=ip_address(first), last=ip_address(last), gateway=given)


def test_without_ranges_it_is_the_whole_subnet_but_what_is_no_pods() -> None:
    (pool,) = choose_pools((FOUR,), ())
    assert pool == whole(FOUR)
    assert pool.capacity == 253
    for text, inside in (("10.244.1.1", False), ("10.244.1.2", True), ("10.244.1.254", True), ("10.244.1.255", False)):
        assert (ip_address(text) in pool) == inside
    assert ip_address("fd10:244:0:1::2") not in pool
    assert whole(SIX).capacity == 2**64 - 2


def test_ranges_are_joined_and_lose_what_is_no_pods() -> None:
    ranges = (
        between("10.244.1.20", "10.244.1.29"),
        between("10.244.1.0", "10.244.1.4"),
        between("10.244.1.5", "10.244.1.8"),
    )
    (pool, other) = choose_pools((FOUR, SIX), ranges)
    assert str(pool) == "ranges 10.244.1.2-10.244.1.8, 10.244.1.20-10.244.1.29 of subnet 10.244.1.0/24"
    assert pool.capacity == 17
    assert other == whole(SIX)
    turn = [str(ip) for ip in pool.in_turn(ip_address("10.244.1.7"))]
    assert turn[:3] == ["10.244.1.8", "10.244.1.20", "10.244.1.21"]
    assert turn[-1] == "10.244.1.7"
    assert len(set(turn)) == 17


@pytest.mark.parametrize(
    ("asked", "code", "named"),
    [
        (between("10.244.2.5", "10.244.2.9"), ADDRESS_OUTSIDE, "ipam.ranges[0][0]"),
        (between("10.244.1.5", "10.244.2.9"), ADDRESS_OUTSIDE, "ipam.ranges[0][0]"),
        (between("fd11::1", "fd11::2"), ADDRESS_OUTSIDE, "ipam.ranges[0][0]"),
        (between("10.244.1.5", "10.244.1.9", "10.244.1.254"), UNSUPPORTED_FIELD, "ipam.ranges[0][0].gateway"),
    ],
)
def test_what_is_not_this_nodes_is_refused_by_the_fields_name(asked: AddressRange, code: int, named: str) -> None:
    with pytest.raises(CniError) as refused:
        choose_pools((FOUR, SIX), (asked,))
    assert refused.value.code == code
    assert str(refused.value).startswith(named)


def test_a_range_of_nothing_but_the_gateway_has_no_address() -> None:
    (pool,) = choose_pools((FOUR,), (between("10.244.1.0", "10.244.1.1"),))
    assert pool.capacity == 0
    assert list(pool.in_turn(None)) == []
