"""JSON as a hostile writer meets it: bounded in size and depth, no duplicate keys, no NaN, nothing infinite.

Keys are matched as Go's decoder matches them, without regard to case, because flannel's files
and values are read that way.  What the values mean is for the callers.
"""

import json
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Final, NoReturn, TypeAlias

from tulle.errors import DecodeError

JsonValue: TypeAlias = "bool | int | float | str | list[JsonValue] | dict[str, JsonValue] | None"

DEPTH_LIMIT: Final = 32


def decode_json(what: str, data: bytes, limit: int) -> JsonValue:
    """The value in ``data``, of at most ``limit`` bytes and 32 levels.

    Keys come back in lower case, and two that differ only in case count as duplicates.
    ``what`` names the structure in the error.  Raises DecodeError.
    """
    if len(data) > limit:
        raise DecodeError(what, bytes=len(data), limit=limit)
    try:
        text = data.decode("utf-8")
        if text.startswith("\ufeff"):
            raise DecodeError(what, reason="begins with a BOM")
        value: JsonValue = _DECODER.decode(text)
    except RecursionError:
        raise DecodeError(what, depth=f"more than {DEPTH_LIMIT}") from None
    except (ValueError, UnicodeDecodeError) as error:
        raise DecodeError(what, reason=_printable(str(error))) from None
    # Few brackets nest few levels, which nearly all values show without a walk.
    if data.count(b"[") + data.count(b"{") > DEPTH_LIMIT and not _is_shallow(value):
        raise DecodeError(what, depth=f"more than {DEPTH_LIMIT}")
    return value


def decode_object(what: str, data: bytes, limit: int) -> Mapping[str, JsonValue]:
    """Like ``decode_json``, for data that must be an object."""
    value = decode_json(what, data, limit)
    if not isinstance(value, dict):
        raise DecodeError(what, reason="not a JSON object")
    return value


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    folded = {key.lower(): value for key, value in pairs}
    if len(folded) != len(pairs):
        raise ValueError("duplicate key")
    return folded


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite(digits: str) -> float:
    value = float(digits)
    if not isfinite(value):
        raise ValueError(f"{digits[:20]} is out of range")
    return value


_DECODER: Final = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_refuse, parse_float=_finite)
"""Made once: ``json.loads`` makes one for each value."""


def _is_shallow(value: JsonValue) -> bool:
    level = _containers([value])
    for _ in range(DEPTH_LIMIT):
        level = _containers(
            inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)
        )
        if not level:
            return True
    return False


def _containers(values: Iterable[JsonValue]) -> list[list[JsonValue] | dict[str, JsonValue]]:
    return [value for value in values if isinstance(value, list | dict)]


def _printable(text: str) -> str:
    return "".join(char if " " <= char <= "~" else "?" for char in text)[:200]
