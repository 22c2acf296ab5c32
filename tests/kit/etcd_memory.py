"""An etcd cluster in memory, behind the messages of the real one: what the simulation's nodes talk to.

``MemoryEtcd`` is the cluster: keys with their history, leases, transactions, watches, compaction.
``MemoryClient`` is one node's way to it, with a ``Wire`` between them that may delay and lose what
it carries.  Everything above, from the transactions to the watch that resumes, is tulle's own
code.  It passes the contract suites of the stores, as the real etcd does.

Left out: several members, authentication, and ranges in transactions other than those that
tulle sends.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Protocol

from tulle.errors import StoreUnavailable
from tulle.store.etcd_client import HistoryGone, Unanswered
from tulle.wire import etcd
from tulle.wire.etcd import Event, KeyValue
from tulle.wire.protobuf import bytes_field, message_field, number_field, walk

PUT_OP, DELETE_OP, RANGE_OP = 2, 3, 1


@dataclass(frozen=True, slots=True)
class TtlLease:
    """An etcd lease: how long it was granted for, and when it ends on the cluster's clock (seconds)."""

    ttl_s: int
    ends_s: float


@dataclass(frozen=True, slots=True)
class Change:
    """An event as watches are told it, and what the key held until then."""

    event: Event
    before: KeyValue | None = None


@dataclass(slots=True)
class Watching:
    """One watch: the range it was asked for, and the messages that were sent and not fetched yet."""

    key: bytes
    end: bytes
    messages: "asyncio.Queue[bytes | None]" = field(default_factory=asyncio.Queue["bytes | None"])

    def wants(self, key: bytes) -> bool:
        return self.key <= key < self.end if self.end else key == self.key


class MemoryEtcd:
    """The cluster.  ``now_s`` is its clock, in seconds; nobody else's has to agree."""

    def __init__(self, now_s: Callable[[], float], cluster_id: int = 0x7) -> None:
        self.now_s = now_s
        self.cluster_id = cluster_id
        self.revision = 1
        self.compacted = 0
        self.requests = 0
        self._held: dict[bytes, KeyValue] = {}
        self._history: list[tuple[int, tuple[Change, ...]]] = []
        self._leases: dict[int, TtlLease] = {}
        self._last_lease = 0
        self._watches: list[Watching] = []
        self.on_change: Callable[[tuple[Event, ...]], None] = lambda _: None

    # -- what happens to a cluster ------------------------------------------------------

    def compact(self) -> None:
        """Forget the history, up to now: of the newest revision only what it put is still told."""
        self.compacted = self.revision
        last = [change for revision, changes in self._history if revision == self.revision for change in changes]
        kept = tuple(Change(change.event) for change in last if not change.event.deleted)
        self._history = [(self.revision, kept)] if kept else []

    def restart(self) -> None:
        """Every stream breaks, and each lease lasts as long again as it was granted for."""
        self.break_streams()
        for number, lease in self._leases.items():
            self._leases[number] = replace(lease, ends_s=self.now_s() + lease.ttl_s)

    def break_streams(self) -> None:
        for watch in self._watches:
            watch.messages.put_nowait(None)
        self._watches.clear()

    def copied(self) -> "MemoryEtcd":
        """A backup: the keys and leases as they are, without their history."""
        copy = MemoryEtcd(self.now_s, self.cluster_id)
        copy.revision = copy.compacted = self.revision
        copy._held, copy._leases, copy._last_lease = dict(self._held), dict(self._leases), self._last_lease
        return copy

    def become(self, other: "MemoryEtcd", *, unseen: bool = False) -> None:
        """Be restored from a backup, or wiped: another cluster with ``other``'s keys.

        ``unseen``: under the same name, as a restored cluster of the same members gets.
        """
        self.cluster_id += not unseen
        self.revision, self.compacted = other.revision, other.revision
        self._held, self._leases, self._history = dict(other._held), dict(other._leases), []
        self.restart()

    @property
    def keys(self) -> dict[bytes, KeyValue]:
        """What is held now, leases that are over left out."""
        self.tick()
        return dict(self._held)

    @property
    def next_end_s(self) -> float | None:
        """When the next lease ends that holds a key."""
        used = {kv.lease for kv in self._held.values()}
        return min((lease.ends_s for number, lease in self._leases.items() if number in used), default=None)

    def tick(self) -> None:
        """End the leases whose time is over."""
        now_s = self.now_s()
        for number in [number for number, lease in self._leases.items() if lease.ends_s <= now_s]:
            self._end(number)

    # -- requests -------------------------------------------------------------------------

    def handle(self, method: str, request: bytes) -> bytes:
        """The answer to one request.  Raises HistoryGone."""
        self.tick()
        self.requests += 1
        match method:
            case etcd.RANGE:
                return self._range(request, self.revision)
            case etcd.PUT:
                self._commit([(PUT_OP, request)])
                return self._header()
            case etcd.TXN:
                return self._txn(request)
            case etcd.GRANT:
                return self._grant(request)
            case etcd.REVOKE:
                self._end(_numbers(request).get(1, 0))
                return self._header()
            case etcd.TIME_TO_LIVE:
                return self._time_to_live(request)
            case _:
                raise AssertionError(f"{method} is not simulated")

    def watch(self, request: bytes) -> Watching:
        """Begin a watch; what happened since its first revision is in its messages already."""
        self.tick()
        create = _parts(_parts(request)[1])
        numbers = _numbers(_parts(request)[1])
        watch = Watching(create.get(1, b""), create.get(2, b""))
        start = numbers.get(3, 0)
        watch.messages.put_nowait(self._header() + number_field(3, True))
        if start and start < self.compacted:
            watch.messages.put_nowait(self._header() + number_field(4, True) + number_field(5, self.compacted))
            return watch
        if start:  # a catch-up comes in one message, whose header shows the newest revision
            since = [changes for revision, changes in self._history if revision >= start]
            self._tell(watch, [change.event for changes in since for change in changes])
        self._watches.append(watch)
        return watch

    def progress(self, watch: Watching) -> None:
        """Show a sign of life on a watch."""
        watch.messages.put_nowait(self._header())

    def unwatch(self, watch: Watching) -> None:
        if watch in self._watches:
            self._watches.remove(watch)

    # -- inside ---------------------------------------------------------------------------

    def _header(self) -> bytes:
        return message_field(1, number_field(1, self.cluster_id) + number_field(3, self.revision))

    def _range(self, request: bytes, revision: int) -> bytes:
        parts, numbers = _parts(request), _numbers(request)
        wanted = numbers.get(4, 0) or revision
        if wanted < self.compacted:
            raise HistoryGone(f"memory: compacted at {self.compacted}")
        reach = Watching(parts.get(1, b""), parts.get(2, b""))
        found = [kv for key, kv in sorted(self._at(wanted).items()) if reach.wants(key)]
        limit = numbers.get(3, 0) or len(found)
        shown = b"".join(message_field(2, _encoded(kv)) for kv in found[:limit])
        return self._header() + shown + number_field(3, limit < len(found)) + number_field(4, len(found))

    def _at(self, revision: int) -> dict[bytes, KeyValue]:
        """The keys as they were: the newest state with later events undone."""
        held = dict(self._held)
        for made, changes in reversed(self._history):
            if made <= revision:
                break
            for change in changes:
                held.pop(change.event.kv.key, None)
                if change.before is not None:
                    held[change.before.key] = change.before
        return held

    def _txn(self, request: bytes) -> bytes:
        branches: dict[int, list[bytes]] = {1: [], 2: [], 3: []}
        for number, value in walk("TxnRequest", request):
            branches[number].append(_as_bytes(value))
        succeeded = all(self._holds(condition) for condition in branches[1])
        operations = [_operation(part) for part in branches[2 if succeeded else 3]]
        self._commit(operations)
        answers = b"".join(
            message_field(3, message_field(kind, self._range(body, self.revision) if kind == RANGE_OP else b""))
            for kind, body in operations
        )
        return self._header() + number_field(2, succeeded) + answers

    def _holds(self, condition: bytes) -> bool:
        parts, numbers = _parts(condition), _numbers(condition)
        result, target = numbers.get(1, 0), numbers.get(2, 0)
        reach = Watching(parts.get(3, b""), parts.get(64, b""))
        found = [kv for key, kv in self._held.items() if reach.wants(key)]
        versions = [kv.modified if target == 2 else 1 for kv in found]
        if not found and not reach.end:
            versions = [0]
        wanted = numbers.get(6, 0)
        compare = {0: wanted.__eq__, 1: wanted.__lt__, 2: wanted.__gt__}[result]
        return all(compare(version) for version in versions)

    def _commit(self, operations: Iterable[tuple[int, bytes]]) -> None:
        """Carry out puts and deletions at one revision, if there are any."""
        changes = [change for operation in operations if (change := self._change(*operation)) is not None]
        self._publish(changes)

    def _change(self, kind: int, body: bytes) -> Change | None:
        parts, numbers = _parts(body), _numbers(body)
        key, revision = parts.get(1, b""), self.revision + 1
        before = self._held.get(key)
        if kind == PUT_OP:
            kept = before.lease if before is not None and numbers.get(6) else 0
            kv = KeyValue(
                key=key,
                value=parts.get(2, b""),
                created=before.created if before is not None else revision,
                modified=revision,
                lease=kept or numbers.get(3, 0),
            )
            self._held[key] = kv
            return Change(Event(False, kv), before)
        if kind == DELETE_OP and before is not None:
            del self._held[key]
            return Change(Event(True, KeyValue(key=key, modified=revision)), before)
        return None

    def _publish(self, changes: Sequence[Change]) -> None:
        if not changes:
            return
        self.revision += 1
        self._history.append((self.revision, tuple(changes)))
        told = tuple(change.event for change in changes)
        for watch in self._watches:
            self._tell(watch, told)
        self.on_change(told)

    def _tell(self, watch: Watching, events: Iterable[Event]) -> None:
        wanted = b"".join(message_field(11, _encoded_event(event)) for event in events if watch.wants(event.kv.key))
        if wanted:
            watch.messages.put_nowait(self._header() + wanted)

    def _grant(self, request: bytes) -> bytes:
        ttl_s = _numbers(request)[1]
        self._last_lease += 1
        self._leases[self._last_lease] = TtlLease(ttl_s, self.now_s() + ttl_s)
        return self._header() + number_field(2, self._last_lease) + number_field(3, ttl_s)

    def _end(self, number: int) -> None:
        """Delete the keys of a lease, and the lease."""
        if self._leases.pop(number, None) is None:
            return
        keys = [kv.key for kv in self._held.values() if kv.lease == number]
        self._commit((DELETE_OP, bytes_field(1, key)) for key in keys)

    def _time_to_live(self, request: bytes) -> bytes:
        number = _numbers(request)[1]
        lease = self._leases.get(number)
        left_s = -1 if lease is None else int(lease.ends_s - self.now_s())
        return self._header() + number_field(2, number) + number_field(3, left_s)


class Wire(Protocol):
    """What is between a node and the cluster."""

    async def there(self) -> None:
        """Carry a request.  Raises StoreUnavailable: it did not arrive."""
        ...

    async def back(self) -> None:
        """Carry an answer.  Raises Unanswered: it was lost."""
        ...

    async def told(self) -> bool:
        """Carry a message of a stream; False when it was lost, and with it the stream."""
        ...


class Direct:
    """A wire that carries everything at once."""

    async def there(self) -> None:
        await asyncio.sleep(0)

    async def back(self) -> None:
        await asyncio.sleep(0)

    async def told(self) -> bool:
        await asyncio.sleep(0)
        return True


class MemoryClient:
    """``etcd_client.EtcdCalls`` on a ``MemoryEtcd``."""

    def __init__(self, server: MemoryEtcd, wire: Wire | None = None) -> None:
        self._server, self._wire = server, wire or Direct()
        self._connections = 1
        self.calls = 0

    @property
    def member(self) -> str:
        return "etcd memory"

    @property
    def connections(self) -> int:
        return self._connections

    async def call(self, method: str, request: bytes, *, repeatable: bool = False) -> bytes:  # noqa: ARG002
        self.calls += 1
        try:
            await self._wire.there()
            answer = self._server.handle(method, request)
            await self._wire.back()
        except HistoryGone:
            raise
        except StoreUnavailable:
            self._connections += 1
            raise
        return answer

    @asynccontextmanager
    async def stream(self, method: str) -> AsyncGenerator["MemoryStream"]:
        assert method == etcd.WATCH
        stream = MemoryStream(self._server, self._wire)
        try:
            yield stream
        except TimeoutError as error:
            self._connections += 1
            raise Unanswered(f"{self.member}: {error}") from error
        finally:
            stream.close()

    def forget_token(self) -> None:
        """Nobody logs in here."""

    async def close(self) -> None:
        await asyncio.sleep(0)


class MemoryStream:
    """``etcd_client.Messages`` of one watch."""

    def __init__(self, server: MemoryEtcd, wire: Wire) -> None:
        self._server, self._wire = server, wire
        self._watch: Watching | None = None

    async def send_message(self, message: bytes) -> None:
        await self._wire.there()
        if 1 in _parts(message):
            self._watch = self._server.watch(message)
        elif self._watch is not None:
            self._server.progress(self._watch)

    async def recv_message(self) -> bytes | None:
        assert self._watch is not None, "nothing was asked for"
        message = await self._next(self._watch)
        if message is not None and not await self._wire.told():
            await asyncio.Event().wait()  # a stream that lost a message is silent from then on
        return message

    def close(self) -> None:
        if self._watch is not None:
            self._server.unwatch(self._watch)

    async def _next(self, watch: Watching) -> bytes | None:
        """The next message, leases ended in their time."""
        while watch.messages.empty():
            end_s = self._server.next_end_s
            pause_s = None if end_s is None else max(0.001, end_s - self._server.now_s())
            try:
                async with asyncio.timeout(pause_s):
                    return await watch.messages.get()
            except TimeoutError:
                self._server.tick()
        return watch.messages.get_nowait()


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    return walk("request", data)


def _parts(data: bytes) -> dict[int, bytes]:
    return {number: value for number, value in _fields(data) if isinstance(value, bytes)}


def _numbers(data: bytes) -> dict[int, int]:
    return {number: value for number, value in _fields(data) if isinstance(value, int)}


def _as_bytes(value: int | bytes) -> bytes:
    assert isinstance(value, bytes)
    return value


def _operation(part: bytes) -> tuple[int, bytes]:
    ((kind, body),) = _fields(part)
    return kind, _as_bytes(body)


def _encoded(kv: KeyValue) -> bytes:
    numbers = number_field(2, kv.created) + number_field(3, kv.modified) + number_field(6, kv.lease)
    return bytes_field(1, kv.key) + numbers + bytes_field(5, kv.value)


def _encoded_event(event: Event) -> bytes:
    return number_field(1, event.deleted) + message_field(2, _encoded(event.kv))
