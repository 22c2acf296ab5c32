"""The protobuf wire format, as much of it as a client with a handful of messages needs: varints and bytes.

A message is the concatenation of its fields, so writing one is ``b"".join``; reading one is a
walk over ``(number, value)``.  Which number means what is the business of the messages' module.

Source: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator
from typing import Final

from tulle.errors import DecodeError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
VARINT_LIMIT: Final = 10
"""Bytes of the longest varint."""
FIELD_LAST: Final = (1 << 29) - 1
_INT64_END: Final = 1 << 63
_UINT64_END: Final = 1 << 64


def number_field(field: int, value: int) -> bytes:
    """An integer or bool; nothing when it is zero, which is what its absence means.  Negative: two's complement."""
    if not value:
        return b""
    return _varint(field << 3 | VARINT) + _varint(value % _UINT64_END)


def bytes_field(field: int, value: bytes) -> bytes:
    """Bytes or text; nothing when empty."""
    return message_field(field, value) if value else b""


def message_field(field: int, value: bytes) -> bytes:
    """A message inside a message, present also when it is empty."""
    return _varint(field << 3 | BYTES) + _varint(len(value)) + value


def walk(what: str, data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message in their order: integers as int64, everything else as bytes.

    ``what`` names the message in the error.  Raises DecodeError: cut short, or a wire type that
    no longer exists.
    """
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        if tag < 0x80:  # as nearly all are: a call for each would be half of the work
            at += 1
        else:
            tag, at = _read_varint(what, data, at)
        field, kind = tag >> 3, tag & 7
        if not 0 < field <= FIELD_LAST:
            raise DecodeError(what, field=field)
        if kind == VARINT:
            value, at = _read_varint(what, data, at)
            yield field, value - _UINT64_END if value >= _INT64_END else value
            continue
        if kind == BYTES:
            size, at = _read_varint(what, data, at)
        elif kind in {FIXED64, FIXED32}:
            size = 8 if kind == FIXED64 else 4
        else:
            raise DecodeError(what, field=field, wire_type=kind)
        if size > end - at:
            raise DecodeError(what, field=field, need=size, got=end - at)
        yield field, data[at : at + size]
        at += size


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(what: str, data: bytes, at: int) -> tuple[int, int]:
    """The number that begins at ``at``, and where it ends."""
    if at < len(data) and data[at] < 0x80:  # nearly all
        return data[at], at + 1
    value = 0
    for shift, byte in enumerate(data[at : at + VARINT_LIMIT]):
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            if value >= _UINT64_END:
                break
            return value, at + shift + 1
    raise DecodeError(what, at=at, reason="no varint")
