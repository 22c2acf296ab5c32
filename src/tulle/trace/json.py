"""A journey as JSON ``tulle.trace/1`` and back: stable, additive, lossless.

Keys are the fields of ``journey`` except ``from`` and ``to``, which are no names in Python.
Unknown keys are left out when reading, so that an older tulle reads a newer file.
"""

from typing import Any, Final

import msgspec

from tulle.errors import DecodeError
from tulle.trace.journey import SCHEMA, Journey

_RENAMED: Final = {"source": "from", "target": "to"}
_LARGEST: Final = 64 << 20
"""10,000 packets of 256 bytes in base64, and what is said of each."""


def encode_journey(journey: Journey) -> bytes:
    """One line of UTF-8 JSON without a newline; the same journey gives the same bytes."""
    fields: dict[str, Any] = msgspec.to_builtins(journey)
    ordered = {"schema": SCHEMA}
    for name in ("mode", "created", "tool", "source", "target", "overlay", "clock", "packet"):
        ordered[_RENAMED.get(name, name)] = fields.pop(name)
    return msgspec.json.encode(ordered | fields)


def decode_journey(data: bytes) -> Journey:
    """The journey in ``data``.  Raises DecodeError: not JSON, not this schema, or a field of the wrong type."""
    if len(data) > _LARGEST:
        raise DecodeError(SCHEMA, size=len(data), limit=_LARGEST)
    try:
        fields = msgspec.json.decode(data, type=dict[str, Any])
        if fields.get("schema") != SCHEMA:
            raise DecodeError(SCHEMA, schema=fields.get("schema"))
        for name, key in _RENAMED.items():
            fields[name] = fields.pop(key, None)
        return msgspec.convert(fields, Journey)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(SCHEMA, reason=str(error)) from None
