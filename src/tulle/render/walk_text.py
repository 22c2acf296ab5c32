"""Text that keeps its columns: width of CJK, wrapping, escaping, plain ASCII, colour.

Nothing here knows of packets.  Names come from kernels and stores and may be hostile: every
line passes ``clean`` before it is printed, widths are those of the cleaned text, and colour is
put on afterwards.  A no-break space holds a number and its unit together; it prints as a space.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Literal, TypeAlias
from unicodedata import category, east_asian_width

Style: TypeAlias = Literal["plain", "bold", "good", "bad", "dim", "tunnel"]
_CODES: Final[dict[Style, str]] = {"plain": "", "bold": "1", "good": "32", "bad": "31", "dim": "2", "tunnel": "36"}
_ASCII: Final = str.maketrans(
    "─│┌┐└┘├═║╔╗╚╝┊▶→←↑↓⇒↔≤✔✘✎µΣΔ·…−–≈×",
    "-|+++++=|++++:>><^v>-<+x*uSd.~--~x",
)
"""One character for one, so that columns stay."""
NO_BREAK: Final = "\u00a0"
_WIDE: Final = frozenset("WF")
_CLOSES: Final = frozenset("，。：；、）！？」』】")
"""Punctuation that never begins a line."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output and how it is meant; colour is only ever a second signal."""

    text: str
    style: Style = "plain"


def clean(text: str) -> str:
    """``text`` with whatever could drive a terminal written out: control, format and bidirectional characters."""
    return "".join(_printable(char) for char in text)


def _printable(char: str) -> str:
    if char == NO_BREAK:
        return " "
    return char if char.isprintable() else ascii(char)[1:-1]


def width(text: str) -> int:
    """Columns that the cleaned text takes: a CJK character two, a combining one none."""
    return len(text) if text.isascii() and text.isprintable() else sum(_width(char) for char in text)


@lru_cache(maxsize=1024)
def _width(char: str) -> int:
    if char == NO_BREAK:
        return 1
    if not char.isprintable():
        return len(ascii(char)) - 2
    if category(char) in ("Mn", "Me"):
        return 0
    return 2 if east_asian_width(char) in _WIDE else 1


def fit(text: str, columns: int) -> str:
    """``text`` in exactly ``columns``: padded, or cut with an ellipsis."""
    if width(text) <= columns:
        return text + " " * (columns - width(text))
    if columns < 1:
        return ""
    kept = _head(text, columns - 1)
    return kept + "…" + " " * (columns - 1 - width(kept))


def right(text: str, columns: int) -> str:
    """``text`` at the right end of ``columns``."""
    return " " * max(0, columns - width(text)) + text


def wrap(text: str, columns: int) -> list[str]:
    """Lines of at most ``columns``: broken at spaces and between CJK characters, inside a word that is too long."""
    return flow(list(_pieces(text)), columns)


def flow(pieces: Sequence[str], columns: int) -> list[str]:
    """Lines of at most ``columns`` (one, without room), broken between ``pieces`` unless one alone is too long.

    A character that is wider than that, an escape in a narrow place, becomes an ellipsis.
    """
    columns = max(1, columns)
    lines: list[str] = []
    line = ""
    for piece in pieces:
        if width((line + piece).rstrip(" ")) <= columns:
            line += piece
            continue
        if line.strip(" "):
            lines.append(line.rstrip(" "))
        line = piece.lstrip(" ")
        while width(line.rstrip(" ")) > columns:
            head = _head(line, columns)
            lines.append(head or "…")
            line = line[len(head) or 1 :]
    return [*lines, line.rstrip(" ")] if line.strip(" ") or not lines else lines


def printed(lines: Iterable[Line], *, color: bool = False, ascii_only: bool = False) -> str:
    """The lines as they go to the terminal, each with its newline."""
    return "".join(painted((line,), color=color, ascii_only=ascii_only) + "\n" for line in lines)


def painted(parts: Sequence[Line], *, color: bool = False, ascii_only: bool = False) -> str:
    """One line of the terminal, of parts in different styles, without the blanks at its end."""
    texts = [clean(part.text) for part in parts]
    while texts and not texts[-1].strip(" "):
        texts.pop()
    if texts:
        texts[-1] = texts[-1].rstrip(" ")
    return "".join(_paint(text, part.style, color, ascii_only) for text, part in zip(texts, parts, strict=False))


def _paint(text: str, style: Style, color: bool, ascii_only: bool) -> str:
    text = text.translate(_ASCII) if ascii_only else text
    code = _CODES[style]
    return f"\x1b[{code}m{text}\x1b[0m" if color and code and text else text


def _pieces(text: str) -> Iterable[str]:
    """Where a line may break: after a space, and before a wide character."""
    piece = ""
    for char in text:
        wide = east_asian_width(char) in _WIDE
        if wide and piece and char not in _CLOSES:
            yield piece
            piece = ""
        piece += char
        if char == " ":
            yield piece
            piece = ""
    if piece:
        yield piece


def _head(text: str, columns: int) -> str:
    """The most characters of ``text`` that fit into ``columns``."""
    taken = 0
    for at, char in enumerate(text):
        taken += _width(char)
        if taken > columns:
            return text[:at]
    return text
