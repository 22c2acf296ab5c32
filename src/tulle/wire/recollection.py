r"""An agent's memory as a file: lines of JSON, the first about the whole, each other one about a lease.

    {"schema":"tulle.recollection/1","taken_ns":…,"leases":2,"own":{…},"config":"{\"Network\":…}",…}
    {"key":"10.244.2.0-24","value":"{\"PublicIP\":\"192.168.64.12\",…}","created":7,"owner":"…"}
    {"key":"10.244.3.0-24","value":"…","created":9,"until_ns":…}

Leases and configuration are texts in flannel's own JSON, and meet the same checks as a store's.  Both directions go
by pieces, since ten thousand lines take a quarter of a second.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain, islice
from typing import Final

from tulle.errors import ConfigError, DecodeError
from tulle.model.lease import HeldLease, Lease, LeaseKey, NodeId
from tulle.model.network import MacAddress
from tulle.model.recollection import Recollection
from tulle.wire.leases import VALUE_LIMIT, decode_lease, encode_lease
from tulle.wire.network_config import decode_network_config, encode_network_config
from tulle.wire.strict_json import JsonValue, decode_object

SCHEMA: Final = "tulle.recollection/1"
FILE_LIMIT: Final = 32 << 20
"""Bytes: room for a hundred thousand leases."""
HEAD_LIMIT: Final = 2 << 20
MOST_MACS: Final = 50_000
PIECE: Final = 50
"""So many leases are read in 1 to 2 ms."""
LONGEST_TTL_S: Final = 366 * 86_400.0

_MAC: Final = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_WHAT: Final = "memory"


def encode_recollection(memory: Recollection) -> Iterator[bytes]:
    """The file, in pieces of ``PIECE`` lines.  Of the MACs at most ``MOST_MACS`` are kept."""
    yield _line(
        schema=SCHEMA,
        taken_ns=memory.taken_ns,
        store=memory.store,
        node=memory.node_id,
        cluster_id=memory.cluster_id,
        revision=memory.revision,
        config=encode_network_config(memory.config).decode(),
        own=_fields(memory.own),
        own_sent_ns=memory.own_sent_ns,
        own_ttl_s=memory.own_ttl_s,
        macs=sorted(memory.macs)[:MOST_MACS],
        held=len(memory.held),
        leases=len(memory.leases) + len(memory.held),
    )
    held = (_line(**_fields(entry.lease), until_ns=entry.until_ns) for entry in memory.held.values())
    lines = chain((_line(**_fields(lease)) for lease in memory.leases.values()), held)
    while piece := b"".join(line for line in islice(lines, PIECE)):
        yield piece


def decode_head(data: bytes) -> Recollection:
    """What the first line says, without any peer.  Raises DecodeError: that line breaks a rule."""
    return _head(decode_object(_WHAT, data[: HEAD_LIMIT + 1].partition(b"\n")[0], HEAD_LIMIT))[0]


def decode_recollection(data: bytes) -> Recollection:
    """What ``unfold_recollection`` yields last.  Raises DecodeError."""
    *_, memory = unfold_recollection(data)
    return memory


def unfold_recollection(data: bytes) -> Iterator[Recollection]:
    """The memory in ``data``, which is whole only when the last one has been yielded.

    Raises DecodeError: larger than ``FILE_LIMIT``, another schema, cut short, or a field that breaks a rule.
    """
    if len(data) > FILE_LIMIT:
        raise DecodeError(_WHAT, bytes=len(data), limit=FILE_LIMIT)
    head, *lines = data.split(b"\n")
    memory, count = _head(decode_object(_WHAT, head, HEAD_LIMIT))
    if not lines or lines.pop() or len(lines) != count:
        raise DecodeError(_WHAT, leases=len(lines), announced=count)
    leases, held = dict[LeaseKey, Lease](), dict[LeaseKey, HeldLease]()
    for number, line in enumerate(lines):
        if number % PIECE == PIECE - 1:
            yield memory
        fields = decode_object(_WHAT, line, 2 * VALUE_LIMIT)
        lease = _lease(fields)
        if lease.key in leases or lease.key in held:
            raise DecodeError(_WHAT, twice=lease.key)
        if "until_ns" in fields:
            held[lease.key] = HeldLease(lease, _whole(fields, "until_ns"))
        else:
            leases[lease.key] = lease
    yield replace(memory, leases=leases, held=held)


def _head(fields: Mapping[str, JsonValue]) -> tuple[Recollection, int]:
    if fields.get("schema") != SCHEMA:
        raise DecodeError(_WHAT, schema=ascii(fields.get("schema"))[:60])
    own, macs, ttl_s = fields.get("own"), fields.get("macs"), fields.get("own_ttl_s")
    if not isinstance(own, dict) or not isinstance(macs, list) or len(macs) > MOST_MACS:
        raise DecodeError(_WHAT, field="own, macs", reason="not of their type")
    if not isinstance(ttl_s, int | float) or isinstance(ttl_s, bool) or not 0 < ttl_s <= LONGEST_TTL_S:
        raise DecodeError(_WHAT, field="own_ttl_s", reason="not a time to live in seconds")
    try:
        config = decode_network_config(_text(fields, "config").encode())
    except ConfigError as error:
        raise DecodeError(_WHAT, reason=str(error)) from None
    memory = Recollection(
        taken_ns=_whole(fields, "taken_ns"),
        store=_text(fields, "store"),
        node_id=NodeId(_text(fields, "node")),
        config=config,
        own=_lease(own),
        own_sent_ns=_whole(fields, "own_sent_ns"),
        own_ttl_s=float(ttl_s),
        cluster_id=_text(fields, "cluster_id"),
        revision=_whole(fields, "revision"),
        macs=frozenset(_mac(mac) for mac in macs),
        holds=_whole(fields, "held") > 0,
    )
    return memory, _whole(fields, "leases")


def _fields(lease: Lease) -> dict[str, object]:
    fields: dict[str, object] = {"key": lease.key, "value": encode_lease(lease).decode(), "created": lease.created}
    return fields if lease.owner is None else fields | {"owner": lease.owner}


def _lease(fields: Mapping[str, JsonValue]) -> Lease:
    owner = NodeId(_text(fields, "owner")) if "owner" in fields else None
    value = _text(fields, "value").encode()
    return decode_lease(_text(fields, "key"), value, created=_whole(fields, "created"), owner=owner)


def _line(**fields: object) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def _text(fields: Mapping[str, JsonValue], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise DecodeError(_WHAT, field=name, reason="not a text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DecodeError(_WHAT, field=name, reason="half a character") from None
    return value


def _whole(fields: Mapping[str, JsonValue], name: str) -> int:
    value = fields.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 63:
        raise DecodeError(_WHAT, field=name, reason="not a whole number")
    return value


def _mac(value: JsonValue) -> MacAddress:
    if not isinstance(value, str) or not _MAC.fullmatch(value):
        raise DecodeError(_WHAT, field="macs", reason="not a MAC")
    return MacAddress(value)
