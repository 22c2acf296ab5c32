"""The transactions that change leases, as pure functions from what is wanted to a request.

Every change is a compare-and-swap.  The lease, tulle's records of it and the node's own entry
are written at one revision, or not at all.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tulle import __version__
from tulle.errors import DecodeError
from tulle.model.lease import Lease, LeaseKey
from tulle.store.etcd_layout import Layout, Record, decode_record
from tulle.wire.etcd import KeyValue, absent, delete, get, last_changed_at, present, put, txn_request, unchanged_since
from tulle.wire.leases import encode_lease

NODE: Final = json.dumps({"version": __version__, "features": []}, separators=(",", ":")).encode()
BATCH: Final = 30
"""Leases in one transaction: etcd takes 128 operations, and a lease needs up to three."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """A lease to be written, with the etcd lease that ends it (0: none) and when that will be."""

    lease: Lease
    ttl_lease: int
    ends_ns: int | None

    def puts(self, layout: Layout) -> list[bytes]:
        """The lease and its records."""
        record = Record(self.lease.key, self.lease.owner, self.ends_ns).value
        value = encode_lease(self.lease)
        key = layout.lease(self.lease.key)
        return [
            put(key, value, lease=self.ttl_lease),
            *(put(name, record) for name in layout.records_of(self.lease.key)),
        ]


def create(layout: Layout, writing: Writing, guard: KeyValue | None) -> bytes:
    """Claim what nobody holds; ``guard`` is the record of the IPv6 subnet as it stands.  Answers with the lease."""
    key = layout.lease(writing.lease.key)
    conditions = [*_nobody_claims(layout, writing.lease), *six_is_free(layout, writing.lease, guard)]
    return txn_request(conditions, [*writing.puts(layout), *_node(layout, writing.lease), get(key)])


def six_is_free(layout: Layout, lease: Lease, guard: KeyValue | None) -> list[bytes]:
    """The conditions that nobody holds the IPv6 subnet with another IPv4 subnet.

    The keys don't show it, since they begin with IPv4; the subnet's record does, and the lease
    that it names must be gone.
    """
    if lease.subnet6 is None:
        return []
    conditions = [last_changed_at(layout.record(lease.subnet6), guard.modified if guard is not None else 0)]
    if guard is not None and (holder := _holder(guard)) is not None:
        conditions.append(absent(layout.lease(holder)))
    return conditions


def replace(layout: Layout, writing: Writing, revision: int, *, announce: bool) -> bytes:
    """Rewrite what was last changed at ``revision`` or before.  Answers with the lease."""
    key = layout.lease(writing.lease.key)
    node = _node(layout, writing.lease) if announce else []
    return txn_request(
        [present(key), unchanged_since(key, revision)], [*writing.puts(layout), *node, get(key)], [get(key)]
    )


def republish(layout: Layout, writing: Writing, before: KeyValue) -> bytes:
    """Rewrite exactly ``before``; its end stays."""
    key = layout.lease(writing.lease.key)
    record = Record(writing.lease.key, writing.lease.owner, writing.ends_ns).value
    records = [put(name, record) for name in layout.records_of(writing.lease.key)]
    value = put(key, encode_lease(writing.lease), keep_lease=True)
    return txn_request([last_changed_at(key, before.modified)], [value, *records])


def release(layout: Layout, key: LeaseKey, revision: int) -> bytes:
    """Delete what was last changed at ``revision`` or before, with its records."""
    name = layout.lease(key)
    gone = [delete(each) for each in (name, *layout.records_of(key))]
    return txn_request([present(name), unchanged_since(name, revision)], gone, [get(name)])


def remove(layout: Layout, key: LeaseKey, records: Mapping[bytes, KeyValue | None]) -> bytes:
    """Delete a key, whoever holds it, and those of its subnets' ``records`` that speak of it and not of another."""
    conditions = [last_changed_at(name, 0 if kv is None else kv.modified) for name, kv in records.items()]
    gone = [delete(name) for name, kv in records.items() if kv is not None and _holder(kv) == key]
    return txn_request(conditions, [delete(layout.lease(key)), *gone])


def reserve(layout: Layout, reservations: Sequence[Lease]) -> bytes:
    """Write leases without an end where nobody holds any, all or none."""
    writings = [Writing(lease=lease, ttl_lease=0, ends_ns=None) for lease in reservations]
    conditions = [condition for lease in reservations for condition in _nobody_claims(layout, lease)]
    return txn_request(conditions, [part for writing in writings for part in writing.puts(layout)])


def _nobody_claims(layout: Layout, lease: Lease) -> list[bytes]:
    """The conditions that nobody holds its IPv4 subnet."""
    return [absent(*keys) for keys in layout.claims_of(lease)]


def _node(layout: Layout, lease: Lease) -> list[bytes]:
    return [] if lease.owner is None else [put(layout.node(lease.owner), NODE)]


def _holder(guard: KeyValue) -> LeaseKey | None:
    try:
        return decode_record(guard.value).lease
    except DecodeError:
        return None
