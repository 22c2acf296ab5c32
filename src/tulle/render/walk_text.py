"""Text that keeps its columns: width of CJK, wrapping, escaping, plain ASCII, colour.

Nothing here knows of packets.  Names come from kernels and stores and may be hostile: every
line passes ``clean`` before it is printed, and colour is put on afterwards.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias
from unicodedata import combining, east_asian_width

Style: TypeAlias = Literal["plain", "good", "bad", "dim", "tunnel"]
_CODES: Final[dict[Style, str]] = {"plain": "", "good": "32", "bad": "31", "dim": "2", "tunnel": "36"}
_ASCII: Final = str.maketrans(
    "─│┌┐└┘═║╔╗╚╝┊▶→↔≤✔✘µΣ·…−–≈×",
    "-|++++=|++++:>>=<+x" + "uS.~--~x",
)
"""One character for one, so that columns stay."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of output and how it is meant; colour is only ever a second signal."""

    text: str
    style: Style = "plain"


def clean(text: str) -> str:
    """``text`` with everything that could drive a terminal written out: control, format and bidirectional characters."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def width(text: str) -> int:
    """Columns on a terminal: a CJK character takes two, a combining one none."""
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def fit(text: str, columns: int) -> str:
    """``text`` in exactly ``columns``: padded, or cut with an ellipsis."""
    if width(text) <= columns:
        return text + " " * (columns - width(text))
    kept = ""
    for char in text:
        if width(kept + char) > columns - 1:
            break
        kept += char
    return kept + "…" + " " * (columns - 1 - width(kept))


def right(text: str, columns: int) -> str:
    """``text`` at the right end of ``columns``."""
    return " " * max(0, columns - width(text)) + text


def wrap(text: str, columns: int) -> list[str]:
    """Lines of at most ``columns``: broken at spaces, between CJK characters, and inside a word only when it alone is too long."""
    lines, line = [], ""
    for piece in _pieces(text):
        if width((line + piece).rstrip()) <= columns:
            line += piece
            continue
        if line.strip():
            lines.append(line.rstrip())
        line = piece.lstrip()
        while width(line) > columns:
            head = _head(line, columns)
            lines.append(head)
            line = line[len(head) :]
    return [*lines, line.rstrip()] if line.strip() or not lines else lines


def printed(lines: Iterable[Line], *, color: bool = False, ascii_only: bool = False) -> str:
    """The lines as they go to the terminal, each with its newline."""
    return "".join(_print(line, color, ascii_only) + "\n" for line in lines)


def _print(line: Line, color: bool, ascii_only: bool) -> str:
    text = clean(line.text).rstrip()
    text = text.translate(_ASCII) if ascii_only else text
    code = _CODES[line.style]
    return f"\x1b[{code}m{text}\x1b[0m" if color and code else text


def _pieces(text: str) -> Iterable[str]:
    """Where a line may break: after a space, and after a wide character."""
    piece = ""
    for char in text:
        wide = east_asian_width(char) in "WF"
        if wide and piece and char not in "，。：；、）":
            yield piece
            piece = ""
        piece += char
        if char == " ":
            yield piece
            piece = ""
    if piece:
        yield piece


def _head(text: str, columns: int) -> str:
    kept = ""
    for char in text:
        if width(kept + char) > columns:
            break
        kept += char
    return kept or text[0]
