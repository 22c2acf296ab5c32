"""etcd's v3 API, the part of it that a lease store uses: messages ⇄ values.

Requests are functions that return the message's bytes; answers are frozen values.  Fields that
nobody here reads are skipped, as protobuf wants it.  Sending is ``store.etcd_client``'s work,
and what the keys mean ``store.etcd_layout``'s.

Source: etcd's api/etcdserverpb/rpc.proto and api/mvccpb/kv.proto (3.4).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tulle.errors import DecodeError
from tulle.wire.protobuf import bytes_field, message_field, number_field, walk

RANGE: Final = "/etcdserverpb.KV/Range"
PUT: Final = "/etcdserverpb.KV/Put"
TXN: Final = "/etcdserverpb.KV/Txn"
GRANT: Final = "/etcdserverpb.Lease/LeaseGrant"
REVOKE: Final = "/etcdserverpb.Lease/LeaseRevoke"
TIME_TO_LIVE: Final = "/etcdserverpb.Lease/LeaseTimeToLive"
WATCH: Final = "/etcdserverpb.Watch/Watch"
AUTHENTICATE: Final = "/etcdserverpb.Auth/Authenticate"

_EQUAL, _GREATER, _LESS = 0, 1, 2
_VERSION, _MOD = 0, 2


@dataclass(frozen=True, slots=True)
class Header:
    """Who answered: the cluster, and its newest revision."""

    cluster_id: int = 0
    revision: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyValue:
    """A key at one revision.  ``lease`` 0: it has no end.  Of a deletion only key and ``modified`` are told."""

    key: bytes = b""
    value: bytes = b""
    created: int = 0
    modified: int = 0
    lease: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a range request; ``more``: the limit cut it."""

    header: Header
    kvs: tuple[KeyValue, ...]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Settled:
    """The answer to a transaction: which branch ran, and what its reads found, in their order."""

    header: Header
    succeeded: bool
    found: tuple[Found, ...] = ()


@dataclass(frozen=True, slots=True)
class Event:
    """One change."""

    deleted: bool
    kv: KeyValue


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A message of a watch.  All events of one revision come in one message."""

    header: Header = field(default_factory=Header)
    created: bool = False
    canceled: bool = False
    compacted: int = 0
    reason: str = ""
    events: tuple[Event, ...] = ()


# -- requests ---------------------------------------------------------------------------


def range_request(key: bytes, end: bytes = b"", *, limit: int = 0, revision: int = 0) -> bytes:
    """``key``, or [``key``, ``end``), at ``revision`` (0: now), in the keys' order."""
    return b"".join((bytes_field(1, key), bytes_field(2, end), number_field(3, limit), number_field(4, revision)))


def put_request(key: bytes, value: bytes, *, lease: int = 0, keep_lease: bool = False) -> bytes:
    """``keep_lease``: whatever lease the key has stays."""
    return b"".join((bytes_field(1, key), bytes_field(2, value), number_field(3, lease), number_field(6, keep_lease)))


def put(key: bytes, value: bytes, *, lease: int = 0, keep_lease: bool = False) -> bytes:
    """A put inside a transaction."""
    return message_field(2, put_request(key, value, lease=lease, keep_lease=keep_lease))


def get(key: bytes) -> bytes:
    """A read inside a transaction."""
    return message_field(1, range_request(key))


def delete(key: bytes) -> bytes:
    """A deletion inside a transaction; a key that is not there is no change."""
    return message_field(3, bytes_field(1, key))


def absent(key: bytes, end: bytes = b"") -> bytes:
    """The condition that ``key``, or any key of [``key``, ``end``), does not exist."""
    return b"".join((number_field(1, _EQUAL), number_field(2, _VERSION), bytes_field(3, key), bytes_field(64, end)))


def present(key: bytes) -> bytes:
    """The condition that ``key`` exists."""
    return number_field(1, _GREATER) + number_field(2, _VERSION) + bytes_field(3, key)


def unchanged_since(key: bytes, revision: int) -> bytes:
    """The condition that ``key`` was last changed at ``revision`` or before; also when it is not there."""
    return b"".join((number_field(1, _LESS), number_field(2, _MOD), bytes_field(3, key), number_field(6, revision + 1)))


def last_changed_at(key: bytes, revision: int) -> bytes:
    """The condition that ``key`` was last changed at exactly ``revision``; 0: is not there."""
    return b"".join((number_field(1, _EQUAL), number_field(2, _MOD), bytes_field(3, key), number_field(6, revision)))


def txn_request(conditions: Sequence[bytes], then: Sequence[bytes], otherwise: Sequence[bytes] = ()) -> bytes:
    """``then`` if all conditions hold, else ``otherwise``: as one change, at one revision."""
    return b"".join(
        message_field(number, part) for number, parts in ((1, conditions), (2, then), (3, otherwise)) for part in parts
    )


def grant_request(ttl_s: int) -> bytes:
    """A new etcd lease of at least ``ttl_s`` seconds."""
    return number_field(1, ttl_s)


def lease_request(lease: int) -> bytes:
    """Revoke this lease, or tell its time to live."""
    return number_field(1, lease)


def watch_request(key: bytes, end: bytes, revision: int) -> bytes:
    """Watch [``key``, ``end``) from ``revision`` on.

    What each key held before is not asked for: etcd would read it from its database, behind whoever writes
    there, and send it along with the new value.  What comes behind a large value would wait for both.
    """
    return message_field(1, bytes_field(1, key) + bytes_field(2, end) + number_field(3, revision))


def progress_request() -> bytes:
    """Ask a watch for a sign of life."""
    return message_field(3, b"")


def authenticate_request(user: str, password: str) -> bytes:
    """Ask for a token."""
    return bytes_field(1, user.encode()) + bytes_field(2, password.encode())


# -- answers ----------------------------------------------------------------------------


def decode_found(data: bytes) -> Found:
    """Raises DecodeError, as every function below."""
    header, kvs, more = Header(), list[KeyValue](), False
    for number, value in walk("RangeResponse", data):
        if number == 1:
            header = _header(value)
        elif number == 2:
            kvs.append(_key_value(value))
        elif number == 3:
            more = bool(value)
    return Found(header, tuple(kvs), more)


def decode_settled(data: bytes) -> Settled:
    """Only what reads found is kept of the branch that ran."""
    header, succeeded, found = Header(), False, list[Found]()
    for number, value in walk("TxnResponse", data):
        if number == 1:
            header = _header(value)
        elif number == 2:
            succeeded = bool(value)
        elif number == 3:
            found += [decode_found(_bytes(part)) for kind, part in walk("ResponseOp", _bytes(value)) if kind == 1]
    return Settled(header, succeeded, tuple(found))


def decode_granted(data: bytes) -> tuple[int, int]:
    """The lease's id and its TTL in seconds, which may be longer than asked."""
    numbers = _numbers("LeaseGrantResponse", data)
    if numbers.get(2, 0) == 0:
        raise DecodeError("LeaseGrantResponse", ID=0)
    return numbers[2], numbers.get(3, 0)


def decode_time_to_live(data: bytes) -> int:
    """The seconds that a lease has left; zero or less: it is over."""
    return _numbers("LeaseTimeToLiveResponse", data).get(3, 0)


def decode_token(data: bytes) -> str:
    """What proves who we are in the metadata of later requests."""
    for number, value in walk("AuthenticateResponse", data):
        if number == 2:
            return _text(value)
    raise DecodeError("AuthenticateResponse", token=None)


def decode_told(data: bytes) -> Told:
    """One message of a watch, with whatever it carries."""
    header, events, reason = Header(), list[Event](), ""
    numbers: dict[int, int] = {}
    for number, value in walk("WatchResponse", data):
        if number == 1:
            header = _header(value)
        elif number == 11:
            events.append(_event(value))
        elif number == 6:
            reason = _text(value)
        elif isinstance(value, int):
            numbers[number] = value
    return Told(
        header=header,
        created=bool(numbers.get(3)),
        canceled=bool(numbers.get(4)),
        compacted=numbers.get(5, 0),
        reason=reason,
        events=tuple(events),
    )


def _event(data: int | bytes) -> Event:
    deleted, kv = False, KeyValue()
    for number, value in walk("Event", _bytes(data)):
        if number == 1:
            deleted = value == 1
        elif number == 2:
            kv = _key_value(value)
    return Event(deleted, kv)


def _key_value(data: int | bytes) -> KeyValue:
    texts: dict[int, bytes] = {}
    numbers: dict[int, int] = {}
    for number, value in walk("KeyValue", _bytes(data)):
        if isinstance(value, int):
            numbers[number] = value
        else:
            texts[number] = value
    return KeyValue(
        key=texts.get(1, b""),
        value=texts.get(5, b""),
        created=numbers.get(2, 0),
        modified=numbers.get(3, 0),
        lease=numbers.get(6, 0),
    )


def _header(data: int | bytes) -> Header:
    numbers = _numbers("ResponseHeader", _bytes(data))
    return Header(numbers.get(1, 0) % (1 << 64), numbers.get(3, 0))


def _numbers(what: str, data: bytes) -> dict[int, int]:
    return {number: value for number, value in walk(what, data) if isinstance(value, int)}


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise DecodeError("protobuf field", wire_type="varint", wanted="bytes")
    return value


def _text(value: int | bytes) -> str:
    return _bytes(value).decode("utf-8", errors="replace")
