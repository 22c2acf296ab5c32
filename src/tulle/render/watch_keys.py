"""From what a keyboard sends to what is looked at."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, Literal, TypeAlias

from tulle.render.watch_board import Look

Key: TypeAlias = Literal["quit", "help", "pause", "next", "back", "other"]

_KEY: Final = re.compile(rb"\x1b[\[O][0-9;]*[A-Za-z~]|[\x00-\xff]", re.DOTALL)
"""A key with a sequence of its own, or one byte.  Source: ECMA-48 §5.4, xterm's control sequences."""
_MEANING: Final[dict[bytes, Key]] = {
    **dict.fromkeys((b"q", b"Q", b"\x03"), "quit"),
    **dict.fromkeys((b"?", b"h", b"H"), "help"),
    **dict.fromkeys((b"p", b"P", b" "), "pause"),
    **dict.fromkeys((b"\t", b"j", b"\x1b[B", b"\x1bOB", b"\x1b[C", b"\x1bOC"), "next"),
    **dict.fromkeys((b"\x1b[Z", b"k", b"\x1b[A", b"\x1bOA", b"\x1b[D", b"\x1bOD"), "back"),
}


def decode_keys(typed: bytes) -> Iterator[Key]:
    """The keys in what was read at once."""
    return (_MEANING.get(found[0], "other") for found in _KEY.finditer(typed))


def pressed(look: Look, key: Key, names: Sequence[str]) -> Look:
    """The look after ``key``; ``names`` are those of the nodes, in order.  To quit is the caller's business."""
    if look.help or key == "help":
        return replace(look, help=not look.help)
    match key:
        case "pause":
            return replace(look, paused=not look.paused)
        case "next" | "back" if names:
            here = names.index(look.chosen) if look.chosen in names else 0
            return replace(look, chosen=names[(here + (1 if key == "next" else -1)) % len(names)])
        case _:
            return look
