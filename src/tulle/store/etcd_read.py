"""Everything that the leases' keys hold, at one revision: pages of them, and the snapshot that they make."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tulle.errors import DecodeError
from tulle.model.lease import Lease, LeaseKey, Snapshot, Undecodable
from tulle.seams import Clock
from tulle.store.etcd_client import EtcdCalls, HistoryGone, understood
from tulle.store.etcd_layout import End, Judge, Layout, after, expired_lately
from tulle.wire.etcd import RANGE, Found, Header, KeyValue, decode_found, range_request

PAGE: Final = 500
"""Keys in one answer: decoding them holds the loop for a few milliseconds."""
SLICE: Final = 100
"""Leases that are judged in one go, for the same reason."""
TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Mark:
    """One event by which a store's history is recognised."""

    key: bytes
    revision: int
    deleted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """Everything up to ``revision`` has been told; ``mark`` is the newest event of it that the history still has.

    ``connection`` is the one that a snapshot was read from.
    """

    connection: int
    cluster_id: int
    revision: int
    mark: Mark | None


class LeaseReader:
    """Reads the leases below one prefix."""

    def __init__(self, client: EtcdCalls, layout: Layout, clock: Clock) -> None:
        self._client, self._layout, self._clock = client, layout, clock
        self._judge = Judge(layout)

    async def get(self, *keys: bytes) -> list[KeyValue | None]:
        """What single keys hold.  Raises StoreUnavailable."""
        answers = [await self._range(range_request(key)) for key in keys]
        return [answer.kvs[0] if answer.kvs else None for answer in answers]

    async def value(self, key: bytes) -> tuple[int, bytes | None]:
        """What a key holds, and at which revision of the store.  Raises StoreUnavailable."""
        found = await self._range(range_request(key))
        return found.header.revision, found.kvs[0].value if found.kvs else None

    async def read(self) -> tuple[Snapshot, Position, dict[LeaseKey, End]]:
        """All leases at one revision, and how each of them ends that does, in O(pages) requests.

        Raises StoreUnavailable.
        """
        for left in reversed(range(TRIES)):
            try:
                return await self._read()
            except HistoryGone:  # compacted between two pages
                if not left:
                    raise
        raise AssertionError("the last failure was raised")

    def judged(self, kv: KeyValue, records: Mapping[bytes, KeyValue]) -> Lease | Undecodable:
        """What a lease's key holds; ``records`` are those written with it."""
        try:
            return self._judge.lease(kv, records, self._clock.wall_ns())
        except DecodeError as error:
            return Undecodable(self._layout.lease_key(kv.key) or LeaseKey(""), str(error))

    def end(self, lease: Lease | Undecodable, kv: KeyValue) -> End:
        """How what ``kv`` holds ends, which has just been judged to be ``lease``."""
        return self._judge.end(lease, kv)

    def forget(self, lease: int) -> None:
        """This etcd lease holds no key any more."""
        self._judge.forget(lease)

    async def _read(self) -> tuple[Snapshot, Position, dict[LeaseKey, End]]:
        header, kvs = await self._pages(self._layout.subnets, 0)
        connection = self._client.connections
        _, found = await self._pages(self._layout.records, header.revision)
        records = {kv.key: kv for kv in found}
        judged, ends, orphans = await self._all_judged(kvs, records)
        await asyncio.sleep(0)
        snapshot = Snapshot(
            cluster_id=f"{header.cluster_id:016x}",
            revision=header.revision,
            leases=tuple(each for each in judged if isinstance(each, Lease)),
            undecodable=tuple(each for each in judged if isinstance(each, Undecodable)),
            expired=expired_lately(orphans, self._clock.wall_ns()),
        )
        newest = max((*kvs, *found), key=lambda kv: kv.modified, default=None)
        position = Position(
            connection=connection,
            cluster_id=header.cluster_id,
            revision=header.revision,
            mark=None if newest is None else Mark(newest.key, newest.modified),
        )
        return snapshot, position, ends

    async def _all_judged(
        self, kvs: Sequence[KeyValue], records: Mapping[bytes, KeyValue]
    ) -> tuple[list[Lease | Undecodable], dict[LeaseKey, End], Iterable[KeyValue]]:
        """What each key holds, how it ends, and the records left over; in slices, so that the loop is not held."""
        self._judge.forget_all_but(kv.lease for kv in kvs)
        judged, ends, orphans = list[Lease | Undecodable](), dict[LeaseKey, End](), dict(records)
        for start in range(0, len(kvs), SLICE):
            for kv in kvs[start : start + SLICE]:
                lease = self.judged(kv, records)
                judged.append(lease)
                if (end := self.end(lease, kv)) is not None:
                    ends[lease.key] = end
                for name in self._layout.records_of(lease.key):
                    orphans.pop(name, None)
            await asyncio.sleep(0)
        return judged, ends, orphans.values()

    async def _pages(self, prefix: bytes, revision: int) -> tuple[Header, list[KeyValue]]:
        """Every key that begins with ``prefix``, at ``revision`` (0: now); whose it is and of which revision."""
        kvs = list[KeyValue]()
        start = prefix
        while True:
            page = await self._range(range_request(start, after(prefix), limit=PAGE, revision=revision))
            revision = revision or page.header.revision
            kvs += page.kvs
            if not page.more or not page.kvs:
                return Header(page.header.cluster_id, revision), kvs
            start = page.kvs[-1].key + b"\0"

    async def _range(self, request: bytes) -> Found:
        answer = await self._client.call(RANGE, request, repeatable=True)
        return understood(decode_found, answer)
