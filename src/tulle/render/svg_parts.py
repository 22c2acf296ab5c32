"""The small parts of SVG text: elements, escaping, one text in two languages, words that fit.

A picture may hold what a kernel or a store calls things: every text and attribute passes
``escape``, which also writes out what XML cannot hold.  Fonts differ between viewers, so widths
are estimated on the wide side and what does not fit is cut with an ellipsis.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Final, TypeAlias
from unicodedata import east_asian_width

from tulle.render.scene import Point, Said
from tulle.render.walk_text import clean, wrap

Bilingual: TypeAlias = Callable[[str, str], str]
"""From the English and the Chinese markup to one that shows whichever is wanted."""
_ENTITIES: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})
SANS_EM: Final = 0.58
"""Width of an average Latin letter, in the widest of the usual fonts; of a monospaced one 0.6."""
MONO_EM: Final = 0.605


def escape(text: str) -> str:
    """``text`` safe between tags and inside a quoted attribute."""
    return clean(text).translate(_ENTITIES)


def el(name: str, /, *inside: str, **attributes: object) -> str:
    """One element.  ``class_`` is ``class``, other underscores are hyphens; attributes that are None are left out."""
    told = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return f"<{name}{told}>{''.join(inside)}</{name}>" if inside else f"<{name}{told}/>"


def text(at: Point, words: str, **attributes: object) -> str:
    return el("text", escape(words), x=at.x, y=at.y, **attributes)


def switch(english: str, chinese: str) -> str:
    """By the viewer's language, without a script."""
    if english == chinese:
        return english
    return f'<switch><g systemLanguage="zh">{chinese}</g><g>{english}</g></switch>'


def spoken(said: Said, draw: Callable[[str], str], choose: Bilingual) -> str:
    """``draw`` in both languages; drawn once where they agree."""
    return choose(draw(said.en), draw(said.zh))


def columns(width: int, size: float, *, mono: bool = False) -> int:
    """How many Latin letters of ``size`` fit into ``width``."""
    return int(width / (size * (MONO_EM if mono else SANS_EM)))


def cut(words: str, width: int, size: float, *, mono: bool = False) -> str:
    """``words``, or as much as fits into ``width`` with an ellipsis."""
    words, room = clean(words), columns(width, size, mono=mono)
    if _measure(words) <= room:
        return words
    kept = ""
    for char in words:
        if _measure(kept + char) > room - 1:
            break
        kept += char
    return kept + "…"


def lines(words: str, width: int, size: float, most: int, *, mono: bool = False) -> list[str]:
    """``words`` in at most ``most`` lines that fit into ``width``."""
    room = columns(width, size, mono=mono)
    pieces = wrap(clean(words), room)
    if len(pieces) <= most:
        return pieces
    return [*pieces[: most - 1], cut(" ".join(pieces[most - 1 :]), width, size, mono=mono)]


def _measure(words: str) -> float:
    return sum(1.75 if east_asian_width(char) in "WF" else 1 for char in words)


def _corners(path: tuple[Point, ...]) -> Iterator[Point]:
    """The path without the points that lie between their neighbours on a straight line."""
    for at, point in enumerate(path):
        if 0 < at < len(path) - 1:
            (x, y), (x0, y0), (x1, y1) = point, path[at - 1], path[at + 1]
            if (x0 == x == x1 and (y0 - y) * (y1 - y) < 0) or (y0 == y == y1 and (x0 - x) * (x1 - x) < 0):
                continue
        yield point


def points(path: tuple[Point, ...]) -> str:
    """A path's ``d``: straight lines with the shortest commands."""
    told = f"M{path[0].x} {path[0].y}"
    for before, after in pairwise(_corners(path)):
        told += (
            f"V{after.y}" if before.x == after.x else f"H{after.x}" if before.y == after.y else f"L{after.x} {after.y}"
        )
    return told
