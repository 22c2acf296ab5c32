"""Where addresses come from: a subnet of the node, or the parts of it that a network asks for.  Pure."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from itertools import chain, islice
from typing import Final, TypeAlias

from tulle.cni.attach import gateway_of
from tulle.model.network import IPAddress
from tulle.wire.cni_error import ADDRESS_OUTSIDE, UNSUPPORTED_FIELD, CniError
from tulle.wire.cni_ranges import AddressRange

SCAN_LIMIT: Final = 1 << 16
"""So many addresses of a subnet are tried: more than any node has pods, also in an IPv6 subnet."""

Subnet: TypeAlias = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Pool:
    """Addresses of ``subnet`` for pods: ``parts`` are first and behind last, as numbers, in order and apart."""

    subnet: Subnet
    parts: tuple[tuple[int, int], ...]

    @property
    def capacity(self) -> int:
        """How many pods fit."""
        return sum(end - first for first, end in self.parts)

    def __contains__(self, ip: object) -> bool:
        if not isinstance(ip, IPv4Address | IPv6Address) or ip.version != self.subnet.version:
            return False
        return any(first <= int(ip) < end for first, end in self.parts)

    def in_turn(self, last: IPAddress | None) -> Iterator[IPAddress]:
        """Every address, beginning after ``last``."""
        begin = int(last) + 1 if last is not None and last in self.subnet else 0
        later = (range(max(first, begin), end) for first, end in self.parts)
        earlier = (range(first, min(end, begin)) for first, end in self.parts)
        numbers = islice(chain(chain.from_iterable(later), chain.from_iterable(earlier)), SCAN_LIMIT)
        return map(IPv4Address if self.subnet.version == 4 else IPv6Address, numbers)

    def __str__(self) -> str:
        if self == whole(self.subnet):
            return f"subnet {self.subnet}"
        make = IPv4Address if self.subnet.version == 4 else IPv6Address
        parts = ", ".join(f"{make(first)}-{make(end - 1)}" for first, end in self.parts)
        return f"ranges {parts} of subnet {self.subnet}"


def whole(subnet: Subnet) -> Pool:
    """All of it but the base, the gateway and, of IPv4, the broadcast address."""
    end = int(subnet[-1]) + (0 if subnet.version == 4 else 1)
    return Pool(subnet, ((int(gateway_of(subnet)) + 1, end),))


@lru_cache(maxsize=64)
def choose_pools(subnets: tuple[Subnet, ...], ranges: tuple[AddressRange, ...]) -> tuple[Pool, ...]:
    """One for each of ``subnets``; remembered, since every ADD of a network asks for the same.

    Raises CniError naming the field: (105) a range is no part of the node's subnet; (2) it has another gateway.
    """
    for each in ranges:
        _check(each, subnets)
    return tuple(_pool(subnet, [each for each in ranges if each.first in subnet]) for subnet in subnets)


def _check(asked: AddressRange, subnets: tuple[Subnet, ...]) -> None:
    subnet = next((net for net in subnets if asked.first in net and asked.last in net), None)
    if subnet is None:
        ours = " and ".join(map(str, subnets))
        raise CniError(ADDRESS_OUTSIDE, asked.field, f"{asked.first}-{asked.last} is no part of this node's {ours}")
    if asked.gateway not in {None, gateway_of(subnet)}:
        raise CniError(UNSUPPORTED_FIELD, f"{asked.field}.gateway", f"the pods' gateway is {gateway_of(subnet)}")


def _pool(subnet: Subnet, ranges: list[AddressRange]) -> Pool:
    full = whole(subnet)
    if not ranges:
        return full
    ((lowest, end),) = full.parts
    parts: list[tuple[int, int]] = []
    for first, behind in sorted((max(int(each.first), lowest), min(int(each.last) + 1, end)) for each in ranges):
        if parts and first <= parts[-1][1]:
            parts[-1] = (parts[-1][0], max(parts[-1][1], behind))
        elif first < behind:
            parts.append((first, behind))
    return Pool(subnet, tuple(parts))
