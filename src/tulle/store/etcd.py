"""The etcd v3 store: flannel's keys and values, shared with flanneld, and tulle's own records beside them.

Every change of a lease is one transaction that compares first (``etcd_changes``).  The end of a
lease is an etcd lease of its own, as flanneld makes it; what a renewal leaves behind is revoked
when it is ours.  Reading and following are ``etcd_read``'s and ``etcd_watch``'s.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from math import ceil
from typing import Final

from tulle.errors import ConfigError, LeaseConflict, LeaseLost, StoreUnavailable
from tulle.model.lease import Lease, LeaseEvent, LeaseKey, Snapshot, Undecodable
from tulle.model.network import NetworkConfig
from tulle.seams import Clock, Random
from tulle.store import etcd_changes as changes
from tulle.store.etcd_changes import Writing
from tulle.store.etcd_client import EtcdCalls, understood
from tulle.store.etcd_layout import Layout
from tulle.store.etcd_read import LeaseReader
from tulle.store.etcd_watch import Follower
from tulle.store.ports import Grant
from tulle.wire.etcd import (
    GRANT,
    PUT,
    REVOKE,
    TXN,
    KeyValue,
    Settled,
    decode_granted,
    decode_settled,
    grant_request,
    lease_request,
    put_request,
)
from tulle.wire.leases import decode_lease, encode_lease
from tulle.wire.network_config import decode_network_config, judge_network_config

NS: Final = 1_000_000_000
TRIES: Final = 8
"""How often a change that somebody else came before is tried on what there is now."""


@dataclass(frozen=True, slots=True)
class _Granted:
    """An etcd lease for the keys of one of ours, and when the request for it was sent, on both clocks."""

    id: int
    ttl_s: int
    sent_at_ns: int
    ends_ns: int


class EtcdStore:
    """Directory, Claims, Registration and Administration over etcd.  Made without I/O; ``close`` when done.

    Every method raises StoreUnavailable beside what its port says, within ``etcd_client.CALL_S``
    for each request: etcd is away, has no leader, refuses us, or answers nonsense.
    """

    def __init__(self, client: EtcdCalls, prefix: str, clock: Clock, random: Random) -> None:
        self._client, self._clock, self._random = client, clock, random
        self._layout = Layout(prefix)
        self._reader = LeaseReader(self._client, self._layout, clock)
        self._granted: dict[LeaseKey, int] = {}

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

    # -- Directory --------------------------------------------------------------------

    async def network_config(self) -> NetworkConfig | None:
        (kv,) = await self._reader.get(self._layout.config)
        return None if kv is None else decode_network_config(kv.value)

    async def watch_config(self) -> AsyncIterator[NetworkConfig | ConfigError | None]:
        follower = Follower(self._client, self._reader, self._layout, self._clock, self._random)
        async with aclosing(follower.watch_config()) as values:
            async for value in values:
                yield judge_network_config(value)

    async def snapshot(self) -> Snapshot:
        snapshot, *_ = await self._reader.read()
        return snapshot

    def watch(self) -> AsyncIterator[LeaseEvent]:
        return Follower(self._client, self._reader, self._layout, self._clock, self._random).watch()

    # -- Claims -----------------------------------------------------------------------

    async def create(self, lease: Lease, ttl_s: float) -> Grant:
        guard = None
        if lease.subnet6 is not None:
            (guard,) = await self._reader.get(self._layout.record(lease.subnet6))
        granted = await self._grant(ttl_s)
        settled = await self._settle(changes.create(self._layout, _writing(lease, granted), guard), granted)
        if not settled.succeeded:
            raise LeaseConflict(lease.key, "is taken, or one of its subnets is")
        return await self._adopt(lease, settled, granted, ttl_s)

    async def take_over(self, lease: Lease, revision: int, ttl_s: float) -> Grant:
        granted = await self._grant(ttl_s)
        request = changes.replace(self._layout, _writing(lease, granted), revision, announce=True)
        settled = await self._settle(request, granted)
        if not settled.succeeded:
            raise LeaseConflict(lease.key, "has changed meanwhile" if _found(settled) else "is gone from the store")
        return await self._adopt(lease, settled, granted, ttl_s)

    async def renew(self, grant: Grant, lease: Lease, ttl_s: float) -> Grant:
        if lease.key != grant.lease.key:
            raise LeaseConflict(lease.key, f"cannot be renewed as {grant.lease.key}")
        granted = await self._grant(ttl_s)
        request = changes.replace(self._layout, _writing(lease, granted), grant.revision, announce=False)
        settled = await self._settle(request, granted)
        if not settled.succeeded:
            raise _lost(grant, settled)
        return await self._adopt(lease, settled, granted, ttl_s)

    async def release(self, grant: Grant) -> None:
        settled = await self._txn(changes.release(self._layout, grant.lease.key, grant.revision))
        if not settled.succeeded:
            raise _lost(grant, settled)
        await self._revoke(self._granted.pop(grant.lease.key, 0))

    # -- Registration -----------------------------------------------------------------

    async def publish(self, lease: Lease) -> None:
        for _ in range(TRIES):
            kv, held = await self._held(lease.key)
            if kv is None:
                if (await self._txn(changes.reserve(self._layout, [lease]))).succeeded:
                    return
            elif held is not None and held.owner not in {None, lease.owner}:
                raise LeaseConflict(lease.key, "is another node's")
            elif await self._republished(lease, kv, held):
                return
        raise LeaseConflict(lease.key, "changes all the time")

    async def _republished(self, lease: Lease, kv: KeyValue, held: Lease | None) -> bool:
        """Make ``kv`` show ``lease``; False when somebody else came first."""
        ends_ns = held.expires_at_ns if held is not None else None
        writing = Writing(lease=lease, ttl_lease=0, ends_ns=ends_ns)
        if held is not None and held.owner == lease.owner and kv.value == encode_lease(lease):
            return True
        return (await self._txn(changes.republish(self._layout, writing, kv))).succeeded

    # -- Administration ---------------------------------------------------------------

    async def write_network_config(self, value: bytes) -> None:
        decode_network_config(value)
        await self._client.call(PUT, put_request(self._layout.config, value))

    async def reserve(self, reservations: Sequence[Lease]) -> None:
        """All or none, up to ``etcd_changes.BATCH`` at once.  A key that the same address has already is left."""
        wanted = [lease for lease in reservations if not await self._is_reserved(lease)]
        for start in range(0, len(wanted), changes.BATCH):
            batch = wanted[start : start + changes.BATCH]
            if not (await self._txn(changes.reserve(self._layout, batch))).succeeded:
                raise LeaseConflict(batch[0].key, "or one of those beside it was taken meanwhile")

    async def delete(self, key: LeaseKey) -> None:
        """That it is not there is success."""
        for _ in range(TRIES):
            names = self._layout.records_of(key)
            records = dict(zip(names, await self._reader.get(*names), strict=True))
            if (await self._txn(changes.remove(self._layout, key, records))).succeeded:
                return
        raise LeaseConflict(key, "changes all the time")

    # -- requests -----------------------------------------------------------------------

    async def _held(self, key: LeaseKey) -> tuple[KeyValue | None, Lease | None]:
        """What stands under a key; as a lease, if it is one."""
        names = self._layout.records_of(key)
        kv, *records = await self._reader.get(self._layout.lease(key), *names)
        if kv is None:
            return None, None
        found = {name: record for name, record in zip(names, records, strict=True) if record is not None}
        held = self._reader.judged(kv, found)
        return kv, None if isinstance(held, Undecodable) else held

    async def _is_reserved(self, lease: Lease) -> bool:
        """For the same node already?  Raises LeaseConflict: for another."""
        kv, held = await self._held(lease.key)
        if kv is None:
            return False
        if held is None or (held.public_ip, held.public_ip6) != (lease.public_ip, lease.public_ip6):
            raise LeaseConflict(lease.key, "is held by another node")
        return True

    async def _grant(self, ttl_s: float) -> _Granted:
        sent_at_ns, wall_ns = self._clock.boottime_ns(), self._clock.wall_ns()
        answer = await self._client.call(GRANT, grant_request(ceil(ttl_s)))
        number, granted_s = understood(decode_granted, answer)
        return _Granted(number, granted_s, sent_at_ns, wall_ns + granted_s * NS)

    async def _settle(self, request: bytes, granted: _Granted) -> Settled:
        """Run a transaction that needs ``granted``; when it did not come to pass, give that back."""
        settled = await self._txn(request)
        if not settled.succeeded:
            await self._revoke(granted.id)
        return settled

    async def _adopt(self, lease: Lease, settled: Settled, granted: _Granted, ttl_s: float) -> Grant:
        """The grant that a transaction made; the etcd lease of the one before it is given back."""
        kv = _found(settled)
        if kv is None:
            raise StoreUnavailable(f"{self._client.member}: a transaction without its answer")
        before, self._granted[lease.key] = self._granted.get(lease.key, 0), granted.id
        await self._revoke(before)
        held = decode_lease(lease.key, kv.value, created=kv.created, expires_at_ns=granted.ends_ns, owner=lease.owner)
        lasts_s = min(ttl_s, granted.ttl_s)
        return Grant(lease=held, revision=kv.modified, sent_at_ns=granted.sent_at_ns, ttl_s=lasts_s)

    async def _txn(self, request: bytes) -> Settled:
        return understood(decode_settled, await self._client.call(TXN, request))

    async def _revoke(self, number: int) -> None:
        """Give an etcd lease back that holds no key any more; if that fails it ends by itself."""
        if number:
            with suppress(StoreUnavailable):
                await self._client.call(REVOKE, lease_request(number))


def _writing(lease: Lease, granted: _Granted) -> Writing:
    return Writing(lease=lease, ttl_lease=granted.id, ends_ns=granted.ends_ns)


def _found(settled: Settled) -> KeyValue | None:
    """What the transaction's read found."""
    return next((kv for found in settled.found for kv in found.kvs), None)


def _lost(grant: Grant, settled: Settled) -> LeaseLost:
    gone = _found(settled) is None
    return LeaseLost(grant.lease.key, "is gone from the store" if gone else "was rewritten by somebody else")
