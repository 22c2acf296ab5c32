"""The embedded store: one SQLite file that answers all four ports, for several agents on one machine.

Writers wake watchers through the file itself (inotify on it and its write-ahead log), so nothing
polls and no process has to serve the others.  Everything that touches the file runs in the
store's one thread; events and values are decoded there too, so that a large snapshot does not
hold the loop.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from tulle.errors import ConfigError, DecodeError, LeaseConflict
from tulle.model.lease import (
    Departure,
    Garbled,
    Gone,
    Lease,
    LeaseEvent,
    LeaseKey,
    NodeId,
    Put,
    Snapshot,
    Undecodable,
)
from tulle.model.network import NetworkConfig
from tulle.seams import Clock
from tulle.store import sqlite_rows as rows
from tulle.store.inotify import FileChanges
from tulle.store.ports import Grant
from tulle.store.sqlite_file import SqliteFile
from tulle.wire.leases import decode_lease, encode_lease
from tulle.wire.network_config import decode_network_config, judge_network_config

SAFETY_S: Final = 5.0
"""How long a watcher waits at most before it looks by itself."""
SETTLE_S: Final = 0.005
"""A watcher looks at most this often, so that a burst of writes is read in one go."""
LATE_S: Final = 0.05
"""A wake-up that shows nothing new is followed by another look: a hand with plain SQLite writes before it commits."""
NS: Final = 1_000_000_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class _News:
    """Events, where they lead to, and after how long to look again at the latest."""

    events: Sequence[LeaseEvent]
    cluster_id: str
    revision: int
    pause_s: float


class SqliteStore:
    """Directory, Claims, Registration and Administration over ``path``.  Made without I/O; ``close`` when done.

    Every method raises StoreUnavailable beside what its port says: the file is gone, locked for
    longer than 5 s, on a full disk, or no database.
    """

    def __init__(self, path: Path, clock: Clock, boot_id: str | None = None) -> None:
        self._clock = clock
        self._file = SqliteFile(path, clock, boot_id)
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sqlite")

    async def close(self) -> None:
        """Close the file and end the thread."""
        await self._run(self._file.close)
        self._thread.shutdown()

    # -- Directory --------------------------------------------------------------------

    async def network_config(self) -> NetworkConfig | None:
        value = await self._run(self._config)
        return None if value is None else decode_network_config(value)

    async def watch_config(self) -> AsyncIterator[NetworkConfig | ConfigError | None]:
        value = await self._run(self._config)
        yield judge_network_config(value)
        with FileChanges(self._file.path) as changes:
            woken = True
            while True:
                before, value = value, await self._run(self._config)
                if value != before:
                    yield judge_network_config(value)
                # A wake-up that shows nothing yet is followed by one more look.
                woken = await changes.wait(LATE_S if woken and value == before else SAFETY_S)

    async def snapshot(self) -> Snapshot:
        return await self._run(self._snapshot)

    async def watch(self) -> AsyncIterator[LeaseEvent]:
        seen = await self.snapshot()
        yield seen
        cluster_id, revision, woken = seen.cluster_id, seen.revision, False
        with FileChanges(self._file.path) as changes:
            while True:  # look first, then wait: whatever was written before the watch stood is not missed
                news = await self._run(partial(self._news, cluster_id, revision))
                for event in news.events:
                    yield event
                cluster_id, revision = news.cluster_id, news.revision
                if news.events:
                    await asyncio.sleep(SETTLE_S)
                too_early = woken and not news.events
                woken = await changes.wait(min(LATE_S, news.pause_s) if too_early else news.pause_s)

    # -- Claims -----------------------------------------------------------------------

    async def create(self, lease: Lease, ttl_s: float) -> Grant:
        return await self._grant(lease, ttl_s, rows.insert)

    async def take_over(self, lease: Lease, revision: int, ttl_s: float) -> Grant:
        def replaced(db: rows.Connection, claim: rows.Claim, now: rows.Now) -> rows.Row:
            row = rows.find(db, claim.key)
            if row is None:
                raise LeaseConflict(claim.key, "is gone from the store")
            if row.modified > revision:
                raise LeaseConflict(claim.key, "has changed meanwhile")
            return rows.update(db, claim, row, now)

        return await self._grant(lease, ttl_s, replaced)

    async def renew(self, grant: Grant, lease: Lease, ttl_s: float) -> Grant:
        def renewed(db: rows.Connection, claim: rows.Claim, now: rows.Now) -> rows.Row:
            row = rows.find_own(db, grant.lease.key, grant.lease.owner, grant.revision)
            return rows.update(db, claim, row, now)

        if lease.key != grant.lease.key:
            raise LeaseConflict(lease.key, f"cannot be renewed as {grant.lease.key}")
        return await self._grant(lease, ttl_s, renewed)

    async def release(self, grant: Grant) -> None:
        def released() -> None:
            with self._file.writing() as db:
                row = rows.find_own(db, grant.lease.key, grant.lease.owner, grant.revision)
                rows.remove(db, row.key)

        await self._run(released)

    # -- Registration -----------------------------------------------------------------

    async def publish(self, lease: Lease) -> None:
        claim = _claim(lease, None)

        def published() -> None:
            with self._file.writing() as db:
                row = rows.find(db, claim.key)
                if row is None:
                    rows.insert(db, claim, self._file.now())
                elif row.owner not in {None, claim.owner}:
                    raise LeaseConflict(claim.key, "is another node's")
                elif (row.value, row.owner) != (claim.value, claim.owner):
                    rows.republish(db, claim, row)

        await self._run(published)

    # -- Administration ---------------------------------------------------------------

    async def write_network_config(self, value: bytes) -> None:
        decode_network_config(value)

        def written() -> None:
            with self._file.writing() as db:
                rows.write_config(db, value)

        await self._run(written)

    async def reserve(self, reservations: Sequence[Lease]) -> None:
        """All or none.  A key that the same public address has already is left as it is."""

        def reserved() -> None:
            with self._file.writing() as db:
                for lease in reservations:
                    row = rows.find(db, lease.key)
                    if row is None:
                        rows.insert(db, _claim(lease, None), self._file.now())
                    elif not _is_for(row, lease):
                        raise LeaseConflict(lease.key, "is held by another node")

        await self._run(reserved)

    async def delete(self, key: LeaseKey) -> None:
        """That it is not there is success."""

        def deleted() -> None:
            with self._file.writing() as db:
                if rows.find(db, key) is not None:
                    rows.remove(db, key)

        await self._run(deleted)

    # -- in the thread ----------------------------------------------------------------

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _grant(
        self,
        lease: Lease,
        ttl_s: float,
        write: Callable[[rows.Connection, rows.Claim, rows.Now], rows.Row],
    ) -> Grant:
        sent_at_ns = self._clock.boottime_ns()
        claim = _claim(lease, int(ttl_s * NS))

        def written() -> rows.Row:
            with self._file.writing() as db:
                return write(db, claim, self._file.now())

        row = await self._run(written)
        return Grant(lease=_lease(row), revision=row.modified, sent_at_ns=sent_at_ns, ttl_s=ttl_s)

    def _config(self) -> bytes | None:
        with self._file.reading() as db:
            return rows.config(db)

    def _snapshot(self) -> Snapshot:
        with self._file.reading() as db:
            found = rows.contents(db, self._file.now())
        return _decoded(found)

    def _news(self, cluster_id: str, revision: int) -> _News:
        with self._file.reading() as db:
            news = rows.news(db, self._file.now(), cluster_id, revision)
        pause_s = SAFETY_S
        if news.next_end_ns is not None:
            pause_s = min(SAFETY_S, max(0.0, (news.next_end_ns - self._clock.boottime_ns()) / NS))
        if news.contents is not None:
            snapshot = _decoded(news.contents)
            return _News(events=[snapshot], cluster_id=snapshot.cluster_id, revision=snapshot.revision, pause_s=pause_s)
        events = [_event(event) for event in news.events]
        return _News(events=events, cluster_id=cluster_id, revision=news.revision, pause_s=pause_s)


def _claim(lease: Lease, ttl_ns: int | None) -> rows.Claim:
    return rows.Claim(
        key=lease.key,
        subnet=None if lease.subnet is None else str(lease.subnet),
        subnet6=None if lease.subnet6 is None else str(lease.subnet6),
        value=encode_lease(lease),
        owner=lease.owner,
        ttl_ns=ttl_ns,
    )


def _is_for(row: rows.Row, reservation: Lease) -> bool:
    try:
        held = _lease(row)
    except DecodeError:
        return False
    return (held.public_ip, held.public_ip6) == (reservation.public_ip, reservation.public_ip6)


def _lease(row: rows.Row | rows.Event) -> Lease:
    owner = None if row.owner is None else NodeId(row.owner)
    return decode_lease(row.key, row.value or b"", created=row.created or 0, expires_at_ns=row.ends_ns, owner=owner)


def _decoded(found: rows.Contents) -> Snapshot:
    leases: list[Lease] = []
    undecodable: list[Undecodable] = []
    for row in found.rows:
        try:
            leases.append(_lease(row))
        except DecodeError as error:
            undecodable.append(Undecodable(LeaseKey(row.key), str(error)))
    return Snapshot(
        cluster_id=found.cluster_id,
        revision=found.revision,
        leases=tuple(leases),
        undecodable=tuple(undecodable),
        expired=frozenset(LeaseKey(key) for key in found.expired),
    )


def _event(event: rows.Event) -> LeaseEvent:
    key = LeaseKey(event.key)
    if event.value is None:
        return Gone(key, event.revision, Departure.EXPIRED if event.expired else Departure.DELETED)
    try:
        return Put(_lease(event), event.revision)
    except DecodeError as error:
        return Garbled(Undecodable(key, str(error)), event.revision)
