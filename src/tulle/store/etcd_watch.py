"""Following the leases in etcd: a snapshot, then its changes, through whatever happens to the connection.

A broken watch is resumed *at* the last event that was told, not behind it: the store must show
that very event again, or it is not the history that we knew (wiped, restored, compacted), and a
snapshot is taken anew.  ``header.revision`` never says where to go on: in the middle of a
catch-up it is already the newest.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Final

from tulle.errors import StoreUnavailable
from tulle.model.lease import Departure, Garbled, Gone, LeaseEvent, LeaseKey, Put, Undecodable
from tulle.seams import Clock, Random
from tulle.store.etcd_channel import ANSWER_S
from tulle.store.etcd_client import EtcdCalls, HistoryGone, Messages, understood, within
from tulle.store.etcd_layout import End, Layout, Lent, after
from tulle.store.etcd_read import LeaseReader, Mark, Position
from tulle.wire.etcd import (
    TIME_TO_LIVE,
    WATCH,
    Event,
    KeyValue,
    Told,
    decode_time_to_live,
    decode_told,
    lease_request,
    progress_request,
    watch_request,
)

QUIET_S: Final = 10.0
"""After so much silence a watch is asked for a sign of life, and given as long again to show it."""
RESUME_S: Final = 5.0
"""For so long a broken watch is tried to be resumed before the store counts as away."""
PAUSE_FIRST_S: Final = 0.1
PAUSE_LIMIT_S: Final = 1.0
FRUITLESS: Final = 3
"""So many snapshots in a row from which no watch could go on, and the store counts as away."""
SKEW_NS: Final = 1_000_000_000
"""An expiry that is seen so much before the end on record is still one."""
NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Step:
    """Events as they were told, and where they lead to."""

    position: Position
    events: Sequence[Event]


class Follower:
    """Follows the leases below one prefix."""

    def __init__(self, client: EtcdCalls, reader: LeaseReader, layout: Layout, clock: Clock, random: Random) -> None:
        self._client, self._reader, self._layout = client, reader, layout
        self._clock, self._random = clock, random
        self._fruitless = 0

    async def watch(self) -> AsyncGenerator[LeaseEvent]:
        """A snapshot, then changes; a snapshot again when history does not go on from where we were."""
        while True:
            snapshot, position, ends = await self._reader.read()
            yield snapshot
            self._fruitless += 1
            try:
                async with aclosing(self._changes(position, ends)) as changes:
                    async for event in changes:
                        yield event
            except HistoryGone:
                if self._fruitless >= FRUITLESS:
                    raise
            await self._pause(PAUSE_FIRST_S)

    async def watch_config(self) -> AsyncGenerator[bytes | None]:
        """What the configuration's key holds, then again after each change of it.

        Nothing has to be resumed here, as it has with leases: a broken watch is StoreUnavailable, and
        whoever calls again reads what there is then.
        """
        key = self._layout.config
        revision, value = await self._reader.value(key)
        yield value
        async with aclosing(self._told(revision, key, key + b"\0")) as messages:
            async for told in messages:
                for event in told.events:
                    if event.kv.modified > revision:
                        yield None if event.deleted else event.kv.value

    async def _changes(self, position: Position, ends: dict[LeaseKey, End]) -> AsyncGenerator[LeaseEvent]:
        """Changes after ``position``, over as many streams as it takes.

        Raises HistoryGone: only a snapshot helps; StoreUnavailable: no stream for ``RESUME_S``.
        """
        resuming, pause_s, give_up_ns = False, PAUSE_FIRST_S, None
        while True:
            try:
                async with aclosing(self._steps(position, resuming)) as steps:
                    async for step in steps:
                        for event in await self._events(step.events, ends):
                            yield event
                        position, give_up_ns, self._fruitless = step.position, None, 0
                        pause_s = PAUSE_FIRST_S if step.events else pause_s
            except HistoryGone:
                raise
            except StoreUnavailable:
                now_ns = self._clock.boottime_ns()
                give_up_ns = give_up_ns or now_ns + int(RESUME_S * NS)
                if now_ns >= give_up_ns:
                    raise
            resuming = True
            await self._pause(pause_s)
            pause_s = min(PAUSE_LIMIT_S, pause_s * 2)

    async def _pause(self, seconds: float) -> None:
        """Nodes must not come in step."""
        await self._clock.sleep(seconds * (0.5 + self._random.below(1000) / 1000))

    # -- one stream ---------------------------------------------------------------------

    async def _steps(self, position: Position, resuming: bool) -> AsyncGenerator[Step]:
        """What one stream tells after ``position``; an empty step first, once it is known to be that history.

        A stream begins at a revision that has been, whose events are told again and passed over: one
        that waits for a revision to come gets no sign of life from newer servers (3.5).
        """
        start = position.revision
        if resuming:
            if position.mark is None:
                raise HistoryGone("etcd: nothing to recognise the history by")
            start = position.mark.revision
        async with aclosing(self._told(start)) as messages:
            self._check_history(await anext(messages), position, resuming)
            shown = await _shown_again(messages, position.mark) if resuming else ()
            step = _advanced(position, shown)
            yield step
            async for told in messages:
                if told.events:
                    step = _advanced(step.position, told.events)
                    yield step

    async def _told(self, revision: int, first: bytes = b"", end: bytes = b"") -> AsyncGenerator[Told]:
        """The messages of one watch from ``revision`` on, as long as it lives; the first says that it stands.

        It is on the keys of [``first``, ``end``), else on those of the leases.
        """
        request = watch_request(first or self._layout.subnets, end or after(self._layout.records), revision)
        async with self._client.stream(WATCH) as stream:
            await within(ANSWER_S, stream.send_message(request))
            while True:
                told = understood(decode_told, await self._next(stream))
                if told.compacted:
                    raise HistoryGone(f"{self._client.member}: compacted at {told.compacted}")
                if told.canceled:
                    self._client.forget_token()
                    raise StoreUnavailable(f"{self._client.member}: watch refused: {ascii(told.reason)[1:-1]}")
                yield told

    async def _next(self, stream: Messages) -> bytes:
        """The next message; a long silence is broken by a question, and a second one is the end."""
        receiving = asyncio.ensure_future(stream.recv_message())
        try:
            done, _ = await asyncio.wait({receiving}, timeout=QUIET_S)
            if not done:
                await within(ANSWER_S, stream.send_message(progress_request()))
                done, _ = await asyncio.wait({receiving}, timeout=QUIET_S)
            if not done:
                raise TimeoutError("the watch is silent")
            message = receiving.result()
        finally:
            if not receiving.done():  # also to wait for what is done takes a turn of the loop
                receiving.cancel()
                await asyncio.wait({receiving})
            if not receiving.cancelled():
                receiving.exception()  # seen, also when it came together with our own cancellation
        if message is None:
            raise StoreUnavailable(f"{self._client.member}: the watch ended")
        return message

    def _check_history(self, told: Told, position: Position, resuming: bool) -> None:
        """Raises HistoryGone: it is another cluster, or one that forgot, or may be one.

        Only a resumed watch is shown the mark, which may long be compacted when a snapshot is
        taken; so a snapshot's own watch must be on the connection that the snapshot came from.
        """
        known = told.header.cluster_id == position.cluster_id and told.header.revision >= position.revision
        if not known or not (resuming or self._client.connections == position.connection):
            raise HistoryGone(f"etcd: cluster {told.header.cluster_id:016x} is at revision {told.header.revision}")

    # -- what the events mean -----------------------------------------------------------

    async def _events(self, events: Sequence[Event], ends: dict[LeaseKey, End]) -> list[LeaseEvent]:
        """The changes of leases among ``events``; a record counts only with the lease that it was written with.

        ``ends`` changes when all of them are known: should one fail, they come again, to be judged as now.
        """
        told, changed = list[LeaseEvent](), dict[LeaseKey, End]()
        for _, group in groupby(events, key=lambda event: event.kv.modified):
            together = list(group)
            records = {event.kv.key: event.kv for event in together if not event.deleted}
            for event in together:
                key = self._layout.lease_key(event.kv.key)
                if key is not None:
                    end = changed.get(key, ends.get(key))
                    news, changed[key] = await self._event(key, event, records, end)
                    told.append(news)
        for key, end in changed.items():
            if end is None:
                ends.pop(key, None)
            else:
                ends[key] = end
        return told

    async def _event(
        self, key: LeaseKey, event: Event, records: dict[bytes, KeyValue], end: End
    ) -> tuple[LeaseEvent, End]:
        """What happened to a lease that would have ended by ``end``, and how what is there now does."""
        kv = event.kv
        if isinstance(end, Lent) and end.lease != kv.lease:
            self._reader.forget(end.lease)
        if event.deleted:
            return Gone(key, kv.modified, await self._departure(end)), None
        lease = self._reader.judged(kv, records)
        told = Garbled(lease, kv.modified) if isinstance(lease, Undecodable) else Put(lease, kv.modified)
        return told, self._reader.end(lease, kv)

    async def _departure(self, end: End) -> Departure:
        """Did the lease end by itself?  While the etcd lease that held a key is alive, somebody deleted the key."""
        if end is None:
            return Departure.DELETED
        if isinstance(end, Lent):
            answer = await self._client.call(TIME_TO_LIVE, lease_request(end.lease), repeatable=True)
            over = understood(decode_time_to_live, answer) <= 0
        else:
            over = self._clock.wall_ns() >= end - SKEW_NS
        return Departure.EXPIRED if over else Departure.DELETED


def _advanced(position: Position, events: Sequence[Event]) -> Step:
    """The step from ``position`` over those of ``events`` that are news."""
    fresh = [event for event in events if event.kv.modified > position.revision]
    if not fresh:
        return Step(position, fresh)
    last = fresh[-1]
    mark = Mark(last.kv.key, last.kv.modified, last.deleted)
    return Step(replace(position, revision=last.kv.modified, mark=mark), fresh)


async def _shown_again(messages: AsyncIterator[Told], mark: Mark | None) -> Sequence[Event]:
    """The first events of a watch that is resumed at ``mark``.  Raises HistoryGone: the mark is not among them."""

    async def first() -> Told:
        return await anext(messages)

    try:
        told = await within(ANSWER_S, first())
    except TimeoutError:
        raise HistoryGone("etcd: a resumed watch did not begin") from None
    _check_mark(told, mark)
    return told.events


def _check_mark(told: Told, mark: Mark | None) -> None:
    """Raises HistoryGone: the first revision told is not the one that we remember."""
    first = told.events[0].kv.modified if told.events else 0
    together = [event for event in told.events if event.kv.modified == first]
    if mark not in [Mark(event.kv.key, event.kv.modified, event.deleted) for event in together]:
        raise HistoryGone("etcd: its history is not the one that was followed")
