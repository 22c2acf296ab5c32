"""A store in memory, with switches for what goes wrong.  It passes the contract suites, as every store does.

``Shelf`` is what is stored, ``MemoryStore`` one client of it.  Switches: ``away`` (the store does
not answer), ``lose_reply`` (the next change is made and its answer lost), ``restart`` (every watch
ends as if the connection had broken).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace

from tulle.errors import ConfigError, LeaseConflict, LeaseLost, StoreUnavailable
from tulle.model.lease import Departure, Gone, Lease, LeaseEvent, LeaseKey, Put, Snapshot, Undecodable
from tulle.model.network import NetworkConfig
from tulle.seams import Clock
from tulle.store.ports import Grant
from tulle.wire.network_config import decode_network_config, judge_network_config

NS = 1_000_000_000
LOOK_S = 0.01
"""How often a watch of the configuration looks."""


@dataclass
class Shelf:
    """What a store keeps: one per cluster, shared by its clients."""

    clock: Clock
    cluster_id: str = "memory"
    revision: int = 0
    config: bytes | None = None
    leases: dict[LeaseKey, tuple[Lease, int]] = field(default_factory=dict[LeaseKey, tuple[Lease, int]])
    undecodable: dict[LeaseKey, Undecodable] = field(default_factory=dict[LeaseKey, Undecodable])
    expired: set[LeaseKey] = field(default_factory=set[LeaseKey])
    watches: list["asyncio.Queue[LeaseEvent | None]"] = field(default_factory=list["asyncio.Queue[LeaseEvent | None]"])
    away: bool = False
    lose_reply: bool = False
    writes: int = 0

    def check(self) -> None:
        """Let what is over be over.  Raises StoreUnavailable."""
        if self.away:
            raise StoreUnavailable("memory: away")
        now_ns = self.clock.boottime_ns()
        for key, (lease, _) in sorted(self.leases.items(), key=lambda entry: entry[1][0].expires_at_ns or 0):
            if lease.expires_at_ns is not None and lease.expires_at_ns <= now_ns:
                self.remove(key, Departure.EXPIRED)

    def put(self, lease: Lease, created: int | None, ttl_s: float | None) -> tuple[Lease, int]:
        """Store ``lease``; ``ttl_s`` None: without an end."""
        self.revision += 1
        self.writes += 1
        ends_ns = None if ttl_s is None else self.clock.boottime_ns() + int(ttl_s * NS)
        stored = replace(lease, created=created or self.revision, expires_at_ns=ends_ns)
        self.leases[lease.key] = stored, self.revision
        self.expired.discard(lease.key)
        self.undecodable.pop(lease.key, None)
        self.tell(Put(stored, self.revision))
        return stored, self.revision

    def remove(self, key: LeaseKey, departure: Departure = Departure.DELETED) -> None:
        """Delete ``key``, which is there."""
        self.revision += 1
        self.writes += 1
        del self.leases[key]
        if departure is Departure.EXPIRED:
            self.expired.add(key)
        self.tell(Gone(key, self.revision, departure))

    def tell(self, event: LeaseEvent | None) -> None:
        for watch in self.watches:
            watch.put_nowait(event)

    def restart(self) -> None:
        """Every watch ends."""
        self.tell(None)

    def snapshot(self) -> Snapshot:
        return Snapshot(
            cluster_id=self.cluster_id,
            revision=self.revision,
            leases=tuple(lease for _, (lease, _) in sorted(self.leases.items())),
            undecodable=tuple(self.undecodable.values()),
            expired=frozenset(self.expired),
        )


class MemoryStore:
    """One client: Directory, Claims, Registration and Administration."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def close(self) -> None:
        await asyncio.sleep(0)

    # -- Directory --------------------------------------------------------------------

    async def network_config(self) -> NetworkConfig | None:
        await self._ask()
        return None if self._shelf.config is None else decode_network_config(self._shelf.config)

    async def watch_config(self) -> AsyncIterator[NetworkConfig | ConfigError | None]:
        seen: bytes | None = b"nothing yet"
        while True:
            await self._ask()
            before, seen = seen, self._shelf.config
            if seen != before:
                yield judge_network_config(seen)
            await self._shelf.clock.sleep(LOOK_S)

    async def snapshot(self) -> Snapshot:
        await self._ask()
        return self._shelf.snapshot()

    async def watch(self) -> AsyncIterator[LeaseEvent]:
        await self._ask()
        events: asyncio.Queue[LeaseEvent | None] = asyncio.Queue()
        self._shelf.watches.append(events)
        try:
            yield self._shelf.snapshot()
            while True:
                event = await self._next(events)
                if event is None:
                    raise StoreUnavailable("memory: the watch has ended")
                yield event
        finally:
            self._shelf.watches.remove(events)

    async def _next(self, events: "asyncio.Queue[LeaseEvent | None]") -> LeaseEvent | None:
        """What comes next, the ends of leases in their time."""
        while events.empty():
            ends = [lease.expires_at_ns for lease, _ in self._shelf.leases.values() if lease.expires_at_ns is not None]
            pause_s = max(0.0, (min(ends) - self._shelf.clock.boottime_ns()) / NS) if ends else None
            try:
                async with asyncio.timeout(pause_s):
                    return await events.get()
            except TimeoutError:
                if not self._shelf.away:
                    self._shelf.check()
        return events.get_nowait()

    # -- Claims -----------------------------------------------------------------------

    async def create(self, lease: Lease, ttl_s: float) -> Grant:
        sent_at_ns = await self._ask()
        self._check_free(lease)
        return self._granted(lease, None, sent_at_ns, ttl_s)

    async def take_over(self, lease: Lease, revision: int, ttl_s: float) -> Grant:
        sent_at_ns = await self._ask()
        held = self._shelf.leases.get(lease.key)
        if held is None or held[1] > revision:
            raise LeaseConflict(lease.key, "is gone or has changed meanwhile")
        return self._granted(lease, held[0].created, sent_at_ns, ttl_s)

    async def renew(self, grant: Grant, lease: Lease, ttl_s: float) -> Grant:
        sent_at_ns = await self._ask()
        return self._granted(lease, self._own(grant).created, sent_at_ns, ttl_s)

    async def release(self, grant: Grant) -> None:
        await self._ask()
        self._own(grant)
        self._shelf.remove(grant.lease.key)
        self._answer()

    # -- Registration and Administration ----------------------------------------------

    async def publish(self, lease: Lease) -> None:
        await self._ask()
        held = self._shelf.leases.get(lease.key)
        if held is None:
            self._shelf.put(lease, None, None)
        elif held[0].owner not in {None, lease.owner}:
            raise LeaseConflict(lease.key, "is another node's")
        elif replace(held[0], created=lease.created, expires_at_ns=lease.expires_at_ns) != lease:
            self._shelf.put(lease, held[0].created, None)

    async def write_network_config(self, value: bytes) -> None:
        await self._ask()
        decode_network_config(value)
        self._shelf.config = value

    async def reserve(self, reservations: Sequence[Lease]) -> None:
        await self._ask()
        missing = [lease for lease in reservations if lease.key not in self._shelf.leases]
        for lease in reservations:
            held = self._shelf.leases.get(lease.key)
            if held is not None and held[0].public_ip != lease.public_ip:
                raise LeaseConflict(lease.key, "is held by another node")
        for lease in missing:
            self._shelf.put(replace(lease, owner=None), None, None)

    async def delete(self, key: LeaseKey) -> None:
        await self._ask()
        if key in self._shelf.leases:
            self._shelf.remove(key)

    # -- inside -----------------------------------------------------------------------

    async def _ask(self) -> int:
        """Reach the store; when that was sent."""
        sent_at_ns = self._shelf.clock.boottime_ns()
        await asyncio.sleep(0)
        self._shelf.check()
        return sent_at_ns

    def _answer(self) -> None:
        if self._shelf.lose_reply:
            self._shelf.lose_reply = False
            raise StoreUnavailable("memory: the answer was lost")

    def _granted(self, lease: Lease, created: int | None, sent_at_ns: int, ttl_s: float) -> Grant:
        stored, revision = self._shelf.put(lease, created, ttl_s)
        self._answer()
        return Grant(lease=stored, revision=revision, sent_at_ns=sent_at_ns, ttl_s=ttl_s)

    def _check_free(self, lease: Lease) -> None:
        for held, _ in self._shelf.leases.values():
            if held.key == lease.key or not set(held.subnets).isdisjoint(lease.subnets):
                raise LeaseConflict(lease.key, f"{held.key} is taken")

    def _own(self, grant: Grant) -> Lease:
        held = self._shelf.leases.get(grant.lease.key)
        if held is None or held[0].owner != grant.lease.owner or held[1] > grant.revision:
            raise LeaseLost(grant.lease.key, "is gone or somebody else's")
        return held[0]
