"""Leases and the lease book: who holds which pod subnet, and what became of those that vanished.

A ``Lease`` is one node's time-limited claim on pod subnets, as it stands in the store.  The
book is keyed by the store's key, never by node name or address, so that two claims of one
subnet are both seen.  Judging a lease is ``plan.admission``'s work, not this module's.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from types import MappingProxyType
from typing import NewType, TypeAlias

from tulle.model.network import IPNetwork, MacAddress, Vni

LeaseKey = NewType("LeaseKey", str)
"""The tail of the store's key, e.g. ``10.244.1.0-24`` or ``10.244.1.0-24&fd10:244:0:1::-64``."""
NodeId = NewType("NodeId", str)
"""A node's random key, made once and kept in its state folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """One claim.  ``subnet`` and ``public_ip`` are None where the lease has no IPv4, likewise for IPv6.

    ``vtep_mac`` is None for backends without a VXLAN device.  ``created`` is the store's
    revision of the key's creation: of two claims to one subnet the lower one is older.
    ``expires_at_ns`` is on the store's clock; None: a reservation, which never expires.
    """

    key: LeaseKey
    subnet: IPv4Network | None
    subnet6: IPv6Network | None = None
    public_ip: IPv4Address | None
    public_ip6: IPv6Address | None = None
    backend_type: str = ""
    vni: Vni | None = None
    vtep_mac: MacAddress | None = None
    vtep_mac6: MacAddress | None = None
    created: int = 0
    expires_at_ns: int | None = None
    owner: NodeId | None = None

    @property
    def subnets(self) -> tuple[IPNetwork, ...]:
        """The claimed subnets, IPv4 first."""
        return tuple(net for net in (self.subnet, self.subnet6) if net is not None)

    def __str__(self) -> str:
        return self.key


class Departure(Enum):
    """How a lease went: an explicit delete acts at once, an expiry too; an absence is judged by ``fold``."""

    DELETED = "deleted"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Undecodable:
    """A value under the leases' prefix that is no lease.  ``reason`` is one line, safe to print."""

    key: LeaseKey
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that the store holds at ``revision``; yielded first, and again whenever a watch cannot resume.

    ``expired``: keys whose lease expired within the last 24 h and that nobody holds since.  They
    are given out last, since the node that lost one may still be serving pods there.
    """

    cluster_id: str
    revision: int
    leases: tuple[Lease, ...]
    undecodable: tuple[Undecodable, ...] = ()
    expired: frozenset[LeaseKey] = frozenset()


@dataclass(frozen=True, slots=True)
class Put:
    """A lease is new or changed at ``revision``."""

    lease: Lease
    revision: int


@dataclass(frozen=True, slots=True)
class Gone:
    """A lease was deleted or expired at ``revision``."""

    key: LeaseKey
    revision: int
    departure: Departure = Departure.DELETED


@dataclass(frozen=True, slots=True)
class Garbled:
    """A key now holds something that cannot be read; the last good value of that key stays."""

    entry: Undecodable
    revision: int


LeaseEvent: TypeAlias = Snapshot | Put | Gone | Garbled


@dataclass(frozen=True, slots=True)
class HeldLease:
    """A lease that vanished without being deleted: still programmed until ``until_ns`` (the caller's clock)."""

    lease: Lease
    until_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseBook:
    """All claims at ``revision``.  ``synced`` is False before the first snapshot: no planning, no deletes.

    ``recalled_ns``: when the agent's last run wrote this down (wall clock), while nothing newer is known.
    """

    synced: bool = False
    recalled_ns: int | None = None
    cluster_id: str = ""
    revision: int = 0
    leases: Mapping[LeaseKey, Lease] = field(default_factory=lambda: MappingProxyType({}))
    held: Mapping[LeaseKey, HeldLease] = field(default_factory=lambda: MappingProxyType({}))
    undecodable: Mapping[LeaseKey, Undecodable] = field(default_factory=lambda: MappingProxyType({}))
