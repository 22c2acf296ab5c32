"""Where things are in etcd, what tulle keeps there of its own, and how both are read together.

    <prefix>/config                     flannel's configuration
    <prefix>/subnets/<key>              flannel's lease value, attached to an etcd lease (its TTL)
    <prefix>/tulle/subnets/<subnet>     tulle's record of a lease: whose it is, and until when; no TTL
    <prefix>/tulle/nodes/<node id>      tulle's version on that node; no TTL

A record is written in the same transaction as its lease, once for each family's subnet.  It
speaks for the lease only while both carry the same revision: whoever rewrites a lease without
its record (a flanneld, an operator) makes it ownerless.  A record whose lease is gone by itself
is the memory of who had the subnet last.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from typing import Final, TypeAlias

from tulle.errors import DecodeError
from tulle.model.lease import Lease, LeaseKey, NodeId, Undecodable
from tulle.wire.etcd import KeyValue
from tulle.wire.leases import decode_lease, lease_key
from tulle.wire.strict_json import decode_object

RECORD_LIMIT: Final = 4096
EXPIRED_KEPT_NS: Final = 24 * 3_600 * 1_000_000_000
FOREIGN_TTL_NS: Final = 24 * 3_600 * 1_000_000_000
"""How long a lease without a record can last at most: flannel's TTL."""


NO_SUBNET: Final = "0.0.0.0-0"
"""How flannel's key says that a lease has no IPv4 subnet."""


@dataclass(frozen=True, slots=True)
class Record:
    """What tulle knows of a lease.  ``ends_ns`` is on the writer's wall clock; None: without an end."""

    lease: LeaseKey
    owner: NodeId | None
    ends_ns: int | None

    @property
    def value(self) -> bytes:
        fields = {"lease": self.lease, "node": self.owner, "ends_ns": self.ends_ns}
        return json.dumps(fields, separators=(",", ":")).encode()


@dataclass(frozen=True, slots=True)
class Lent:
    """A key lasts as long as this etcd lease does, of which only etcd knows how long that is."""

    lease: int


End: TypeAlias = int | Lent | None
"""How a lease ends by itself: at a time on record (wall clock, ns), with its etcd lease, or not at all."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The keys below one prefix."""

    prefix: str

    @property
    def config(self) -> bytes:
        return f"{self.prefix}/config".encode()

    @property
    def subnets(self) -> bytes:
        return f"{self.prefix}/subnets/".encode()

    @property
    def records(self) -> bytes:
        return f"{self.prefix}/tulle/subnets/".encode()

    def lease(self, key: LeaseKey) -> bytes:
        return self.subnets + key.encode()

    def record(self, subnet: IPv4Network | IPv6Network) -> bytes:
        return self.records + f"{subnet.network_address}-{subnet.prefixlen}".encode()

    def node(self, node: NodeId) -> bytes:
        return f"{self.prefix}/tulle/nodes/{node}".encode()

    def records_of(self, key: LeaseKey) -> list[bytes]:
        """The records of a lease, IPv4's first: one for each subnet that its key claims, whatever the key is."""
        return [self.records + part.encode() for part in key.split("&") if part != NO_SUBNET]

    def claims_of(self, lease: Lease) -> tuple[tuple[bytes, bytes], ...]:
        """The ranges of keys that claim the IPv4 subnet of ``lease``, alone or paired; else its key alone.

        Not everything that begins with the subnet's name is such a key: rubbish must not lock anybody out.
        """
        if lease.subnet is None:
            return ((self.lease(lease.key), b""),)
        alone = self.lease(lease_key(lease.subnet, None))
        paired = alone + b"&"
        return (alone, b""), (paired, after(paired))

    def lease_key(self, key: bytes) -> LeaseKey | None:
        """The tail of a key below ``subnets``, printable whatever it is; None for other keys."""
        if not key.startswith(self.subnets):
            return None
        return LeaseKey(key[len(self.subnets) :].decode("utf-8", errors="backslashreplace"))


def after(prefix: bytes) -> bytes:
    """The end of the range of keys that begin with ``prefix``, which does not end in 0xff."""
    return prefix[:-1] + bytes([prefix[-1] + 1])


def decode_record(value: bytes) -> Record:
    """Raises DecodeError."""
    fields = decode_object("tulle's record", value, RECORD_LIMIT)
    lease, owner, ends_ns = fields.get("lease"), fields.get("node"), fields.get("ends_ns")
    if not isinstance(lease, str) or not isinstance(owner, str | None) or not isinstance(ends_ns, int | None):
        raise DecodeError("tulle's record", fields=sorted(fields))
    return Record(LeaseKey(lease), None if owner is None else NodeId(owner), ends_ns)


class Judge:
    """Leases from keys and records.  What it reads must come whole: a lease with its records."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._first_seen: dict[int, int] = {}

    def lease(self, kv: KeyValue, records: Mapping[bytes, KeyValue], wall_ns: int) -> Lease:
        """The lease in ``kv``.  Raises DecodeError: it is none.

        Of a lease that tulle did not write nobody tells the end; an upper bound stands in, which
        stays the same for as long as the lease is not renewed.
        """
        key = self._layout.lease_key(kv.key) or LeaseKey("")
        record = self._record(key, kv.modified, records)
        ends_ns = None
        if kv.lease:
            known = record.ends_ns if record is not None else None
            ends_ns = known if known is not None else self._bound(kv.lease, wall_ns)
        owner = record.owner if record is not None else None
        return decode_lease(key, kv.value, created=kv.created, expires_at_ns=ends_ns, owner=owner)

    def end(self, lease: Lease | Undecodable, kv: KeyValue) -> End:
        """How what ``kv`` holds ends, which has just been judged to be ``lease``."""
        if not kv.lease:
            return None
        if isinstance(lease, Undecodable) or kv.lease in self._first_seen:
            return Lent(kv.lease)
        return lease.expires_at_ns

    def forget(self, lease: int) -> None:
        """The etcd lease holds no key any more."""
        self._first_seen.pop(lease, None)

    def forget_all_but(self, leases: Iterable[int]) -> None:
        """Forget when other etcd leases than these were first seen."""
        known = set(leases)
        self._first_seen = {lease: seen for lease, seen in self._first_seen.items() if lease in known}

    def _record(self, key: LeaseKey, revision: int, records: Mapping[bytes, KeyValue]) -> Record | None:
        """The record that speaks for ``key`` as it stands at ``revision``."""
        kv = next((kv for name in self._layout.records_of(key) if (kv := records.get(name)) is not None), None)
        if kv is None or kv.modified != revision:
            return None
        try:
            record = decode_record(kv.value)
        except DecodeError:
            return None
        return record if record.lease == key else None

    def _bound(self, lease: int, wall_ns: int) -> int:
        return self._first_seen.setdefault(lease, wall_ns) + FOREIGN_TTL_NS


def expired_lately(records: Iterable[KeyValue], wall_ns: int) -> frozenset[LeaseKey]:
    """The keys of ``records`` whose lease is not there, if they went without being given back within the last 24 h.

    Whoever gives a lease back, or deletes it through tulle, takes its records along; so these
    expired, or were deleted by other hands, and their pods may still be running.
    """
    found = set[LeaseKey]()
    for kv in records:
        with suppress(DecodeError):
            record = decode_record(kv.value)
            if record.ends_ns is not None and wall_ns < record.ends_ns + EXPIRED_KEPT_NS:
                found.add(record.lease)
    return frozenset(found)
