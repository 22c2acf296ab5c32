"""Tables and panes for a screen of any width: columns go by rank, rows by what each section needs least."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from tulle.render.walk_text import Line, Style, fit, right, width

Row: TypeAlias = tuple[Line, ...]
"""One line of the screen: parts in different styles, one after another."""

Cells: TypeAlias = tuple[tuple[str, ...], Style]
"""One row of a table, before it is known which of its columns there is room for."""

GAP: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a table.  In a narrow place those of the highest ``rank`` go first, all of one rank together.

    Rank 0 stays, cut if need be.
    """

    title: str
    rank: int = 0
    number: bool = False
    """Stands at the right."""
    least: int = 0
    """So many columns, whatever stands in it now: what comes and goes shall not move the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Rows that belong together.  ``head`` is shown while any other row is, ``least`` what it never has less than.

    ``beyond``: so many more did not even become rows; the last row says so.
    """

    head: tuple[Row, ...]
    rows: tuple[Row, ...]
    least: int = 0
    beyond: int = 0


def line(text: str, style: Style = "plain") -> Row:
    """A row of one part."""
    return (Line(text, style),)


def table(columns: Sequence[Column], rows: Sequence[Cells], columns_wide: int) -> list[Row]:
    """The titles, then the rows, none wider than ``columns_wide``."""
    cells = [tuple(column.title for column in columns), *(row for row, _ in rows)]
    widths = [max(column.least, *(width(row[at]) for row in cells)) for at, column in enumerate(columns)]
    ranks = sorted({column.rank for column in columns})
    while len(ranks) > 1 and _together(columns, widths, ranks[-1]) > columns_wide:
        ranks.pop()
    shown = [at for at, column in enumerate(columns) if column.rank <= ranks[-1]]
    widths[shown[0]] -= max(0, _together(columns, widths, ranks[-1]) - columns_wide)

    def told(row: Sequence[str]) -> str:
        texts = (right(row[at], widths[at]) if columns[at].number else fit(row[at], widths[at]) for at in shown)
        return (" " * GAP).join(texts)

    styles: list[Style] = ["dim", *(style for _, style in rows)]
    return [line(told(row), style) for row, style in zip(cells, styles, strict=True)]


def _together(columns: Sequence[Column], widths: Sequence[int], rank: int) -> int:
    """How wide the columns up to ``rank`` are side by side."""
    return sum(wide + GAP for column, wide in zip(columns, widths, strict=True) if column.rank <= rank) - GAP


def stacked(sections: Sequence[Section], rows: int | None, more: str) -> list[Row]:
    """The sections one below another in at most ``rows`` (None: as many as it takes).

    Every section gets what it needs least, then the first ones what they have; ``more`` says how many rows of one
    had no room.
    """
    if rows is None:
        return [row for section in sections for row in (*section.head, *section.rows)]
    shares = [min(len(section.rows), section.least) for section in sections]
    left = rows - sum(shares) - sum(len(section.head) for section in sections)
    for at, section in enumerate(sections):
        extra = max(0, min(len(section.rows) - shares[at], left))
        shares[at] += extra
        left -= extra
    found = [row for section, share in zip(sections, shares, strict=True) for row in _cut(section, share, more)]
    return found[:rows]


def _cut(section: Section, share: int, more: str) -> list[Row]:
    hidden = len(section.rows) - share
    if hidden <= 0:
        return [*section.head, *section.rows]
    kept = max(0, share - 1)
    left = len(section.rows) - kept + (section.beyond - 1 if section.beyond else 0)
    return [*section.head, *section.rows[:kept], line(more.format(n=left), "dim")][: len(section.head) + share]


def beside(left: Sequence[Row], other: Sequence[Row], columns: int, gap: str = " │ ") -> list[Row]:
    """Two panes side by side, the left one ``columns`` wide."""
    height = max(len(left), len(other))
    rows: list[Row] = []
    for at in range(height):
        here = clipped(left[at], columns) if at < len(left) else line(" " * columns)
        rows.append((*here, Line(gap, "dim"), *(other[at] if at < len(other) else ())))
    return rows


def clipped(row: Row, columns: int) -> Row:
    """The row in exactly ``columns``: padded, or cut with an ellipsis."""
    parts: list[Line] = []
    left = columns
    for part in row:
        if width(part.text) > left:
            parts.append(Line(fit(part.text, left), part.style))
            return tuple(parts)
        parts.append(part)
        left -= width(part.text)
    return (*parts, Line(" " * left))
