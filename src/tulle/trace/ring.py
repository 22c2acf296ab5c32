"""The kernel's trace ring buffer: pages of raw events, and the format files that explain them.

Pure.  A page begins with a time and the number of bytes in it; each event carries the time since
the one before.  Little-endian, as all machines that tulle runs on.  Source: the kernel's own
``events/header_page`` and ``events/header_event``, Documentation/trace/ring-buffer-map.rst,
include/linux/ring_buffer.h.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from tulle.errors import DecodeError

_PADDING, _TIME_EXTEND, _TIME_STAMP = 29, 30, 31
_DELTA_BITS: Final = 27
_HIGH_BITS: Final = 0x1F << 59
"""Of an absolute time only 59 bits are stored; the page's own time has the rest."""
_COMMITTED: Final = (1 << 20) - 1
"""The low bits of the page's second word; above them it is told that events were lost."""
_LONG: Final = struct.calcsize("@l")
_WORD: Final = struct.Struct("<I")
_FIELD: Final = re.compile(
    r"\sfield:(?P<type>[^;]*?)\s*(?P<name>\w+)(?:\[\w*\])?;\s*offset:(?P<offset>\d+);\s*size:(?P<size>\d+);"
)
_SYMBOL: Final = re.compile(r'\{\s*(0x[0-9a-fA-F]+|\d+)[UL]*,\s*"([^"]*)"\s*\}')


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of event: its number, where its fields are, and the names of the values that it prints by name."""

    id: int
    fields: Mapping[str, tuple[int, int]]
    symbols: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class Record:
    """One event as it lay in the ring.  ``t_ns`` is of the ring's own clock."""

    t_ns: int
    data: bytes

    @property
    def id(self) -> int:
        return int.from_bytes(self.data[:2], "little")

    def number(self, form: Format, name: str, default: int = 0) -> int:
        """A field as an unsigned number; ``default`` when this kernel has no such field.  Raises DecodeError."""
        return int.from_bytes(raw, "little") if (raw := self.bytes(form, name)) else default

    def bytes(self, form: Format, name: str) -> bytes:
        """A field as it is; empty when this kernel has no such field.  Raises DecodeError."""
        if name not in form.fields:
            return b""
        offset, size = form.fields[name]
        if offset + size > len(self.data):
            raise DecodeError("trace event", field=name, need=offset + size, got=len(self.data))
        return self.data[offset : offset + size]

    def text(self, form: Format, name: str) -> str:
        """A string, be it in place or pointed to (``__data_loc``); "" without one.  Raises DecodeError."""
        raw = self.bytes(form, name)
        if len(raw) == _WORD.size:
            where = _WORD.unpack(raw)[0]
            raw = self.data[where & 0xFFFF : (where & 0xFFFF) + (where >> 16)]
        return raw.split(b"\0", 1)[0].decode(errors="backslashreplace")


def parse_format(text: str) -> Format:
    """A ``format`` file.  Raises DecodeError: it names no number or no fields."""
    number = re.search(r"^ID: (\d+)$", text, re.MULTILINE)
    fields = {found["name"]: (int(found["offset"]), int(found["size"])) for found in _FIELD.finditer(text)}
    if number is None or not fields:
        raise DecodeError("trace event format", text=text[:80])
    symbols = {int(value, 0): name for value, name in _SYMBOL.findall(text)}
    return Format(int(number[1]), fields, symbols)


def decode_page(page: bytes) -> Iterator[Record]:
    """The events of one page, in time order.  Raises DecodeError: an event that leaves the page."""
    start = 8 + _LONG
    if len(page) < start:
        raise DecodeError("trace page", length=len(page))
    now, commit = struct.unpack_from("<Q", page)[0], int.from_bytes(page[8:start], "little") & _COMMITTED
    page_ns, at, end = now, start, start + commit
    if end > len(page):
        raise DecodeError("trace page", committed=commit, length=len(page))
    while at + 4 <= end:
        kind, delta = _header(page, at)
        if kind == _PADDING and not delta:
            return
        extra = _WORD.unpack_from(page, at + 4)[0] if _has_extra(kind) and at + 8 <= end else 0
        match kind:
            case _ if kind == _TIME_EXTEND:
                now, at = now + (extra << _DELTA_BITS) + delta, at + 8
            case _ if kind == _TIME_STAMP:
                now, at = (extra << _DELTA_BITS) + delta | page_ns & _HIGH_BITS, at + 8
            case _:
                now += delta
                first, after = _extent(kind, extra, at)
                if after > end:
                    raise DecodeError("trace event", end=after, page=end)
                if kind != _PADDING:
                    yield Record(now, page[first:after])
                at = after


def _header(page: bytes, at: int) -> tuple[int, int]:
    word = _WORD.unpack_from(page, at)[0]
    return word & 0x1F, word >> 5


def _has_extra(kind: int) -> bool:
    return kind in (0, _PADDING, _TIME_EXTEND, _TIME_STAMP)


def _extent(kind: int, extra: int, at: int) -> tuple[int, int]:
    """Where the event's data begins and ends: short ones tell it in the header, others in a word of their own."""
    if 0 < kind < _PADDING:
        return at + 4, at + 4 + 4 * kind
    return at + 8, at + 4 + max(extra, 4)
