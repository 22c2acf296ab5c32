"""JSON in which whatever stands there more than once is written once: for pages of very long walks.

    {"schema":"tulle.shared/1","parts":["a long text"],
     "value":{"hops":{"$keys":["n","frame"],"$rows":[[1,{"$":0}],[2,{"$":0}]]}}}

``{"$": n}`` stands for part n; parts refer to none.  ``{"$keys": [..], "$rows": [[..], ..]}`` is a list of
objects that all have these keys.  Reading is bounded: a page may be a stranger's,
and a small text could stand for an endless one.
"""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Final, TypeAlias

from tulle.errors import DecodeError

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | None"

SCHEMA: Final = "tulle.shared/1"
WORTH: Final = 24
"""Bytes from which a reference is shorter than a second copy."""
LARGEST: Final = 64 << 20
"""Bytes that a text may stand for."""


def shared(text: bytes) -> bytes:
    """``text``, which is JSON, with its repetitions shared; the same text gives the same bytes.

    A text in which a key begins as references do is left as it is.
    """
    if b'"$' in text:
        return text
    value: Json = json.loads(text)
    seen: Counter[str] = Counter()
    _count(value, seen)
    parts: dict[str, int] = {}
    short = _with_references(value, seen, parts)
    return _told({"schema": SCHEMA, "parts": [json.loads(part) for part in parts], "value": short}).encode()


def unshared(text: bytes) -> bytes:
    """What ``shared`` was given, as compact JSON; ``text`` itself when nothing is shared in it.

    Raises DecodeError: not JSON, a reference leads nowhere, or the whole would be larger than ``LARGEST``.
    """
    try:
        found: Json = json.loads(text)
        match found:
            case {"schema": "tulle.shared/1", "parts": list(parts), "value": value}:
                return _Reader([_told(part) for part in parts]).text(value).encode("utf-8", "surrogatepass")
            case _:
                return text
    except (ValueError, RecursionError) as error:
        raise DecodeError(SCHEMA, reason=str(error)) from None


class _Reader:
    """Puts the parts back; ``room`` is what is left of the allowed size."""

    def __init__(self, parts: list[str]) -> None:
        self._parts = parts
        self._room = LARGEST

    def text(self, value: Json) -> str:
        """``value`` as JSON.  Raises ValueError: it is not what ``shared`` writes."""
        match value:
            case {"$": int(at), **rest} if not rest:
                return self._part(at)
            case {"$keys": list(keys), "$rows": list(rows)}:
                names = [_told(key) for key in keys if isinstance(key, str)]
                return "[" + ",".join(self._object(names, row) for row in rows if isinstance(row, list)) + "]"
            case dict():
                return self._object([_told(name) for name in value], list(value.values()))
            case list():
                return "[" + ",".join(map(self.text, value)) + "]"
            case _:
                return _told(value)

    def _object(self, names: Sequence[str], values: Sequence[Json]) -> str:
        self._take(sum(map(len, names)))
        pairs = zip(names, values, strict=True)
        return "{" + ",".join(f"{name}:{self.text(inner)}" for name, inner in pairs) + "}"

    def _part(self, at: int) -> str:
        if not 0 <= at < len(self._parts):
            raise ValueError(f"no part {at}")
        self._take(len(self._parts[at]))
        return self._parts[at]

    def _take(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise ValueError(f"stands for more than {LARGEST} bytes")


def _inside(value: Json) -> list[Json]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _count(value: Json, seen: "Counter[str]") -> None:
    text = _told(value)
    if len(text) >= WORTH:
        seen[text] += 1
    if seen[text] <= 1:  # what is in a repetition is shared with it
        for inner in _inside(value):
            _count(inner, seen)


def _with_references(value: Json, seen: "Counter[str]", parts: dict[str, int]) -> Json:
    text = _told(value)
    if seen[text] > 1:
        return {"$": parts.setdefault(text, len(parts))}
    if isinstance(value, dict):
        return {name: _with_references(inner, seen, parts) for name, inner in value.items()}
    if isinstance(value, list):
        return _in_columns([_with_references(inner, seen, parts) for inner in value])
    return value


def _in_columns(rows: list[Json]) -> Json:
    """The list with its keys told once, when all in it are objects with the same ones."""
    objects = [row for row in rows if isinstance(row, dict)]
    keys = {tuple(row) for row in objects}
    if len(objects) < max(2, len(rows)) or len(keys) > 1 or keys <= {(), ("$",)}:
        return rows
    return {"$keys": list(*keys), "$rows": [list(row.values()) for row in objects]}


def _told(value: Json) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
