"""The live view as rows of a screen: the nodes in a table, then one of them in full.

Pure: the same views, size and language give the same rows.  At 80 columns sections lie one below
another; from ``WIDE`` on what happened and what is wrong stand beside the rest.  In a low or narrow place
tables lose columns by rank, and sections rows, down to what each needs least.
"""

from typing import Final

from tulle.render.walk_text import Line, Style, fit, width, wrap
from tulle.render.watch_board import Board, Look, chosen_view, clock
from tulle.render.watch_cluster import cluster
from tulle.render.watch_node import node_in_full, rule, wrong
from tulle.render.watch_table import Row, Section, beside, clipped, line, stacked
from tulle.render.watch_view import NodeView, WatchEvent, merged_events
from tulle.render.watch_words import HELP, WORDS, took

WIDE: Final = 150
"""Columns from which there are two panes."""
LEFT: Final = 84
"""As wide as the left one of two panes ever needs to be."""
LATEST: Final = 100

GOOD: Final = frozenset(("repaired", "over", "answers"))
CALM: Final = frozenset(("joined", "left", "foreign", "store", "lease"))
"""All other kinds of events are bad news."""
RENAMED: Final = {"store": "store_news", "lease": "lease_news", "silent": "kind_silent"}
"""Words that also mean something else here."""


def watch_rows(board: Board, look: Look) -> list[Row]:
    """The whole screen: never more rows than there are, none wider than it."""
    words = WORDS[look.lang]
    head = [_header(board, look, words)]
    keys = words["back"] if look.help else words["keys" if len(board.views) > 1 else "keys_alone"]
    foot = [] if look.rows is None else [line(keys, "dim")]
    room = None if look.rows is None else max(0, look.rows - len(head) - len(foot))
    if look.help:
        body = [line(text) for paragraph in ("", *HELP[look.lang]) for text in wrap(paragraph, look.columns)][:room]
    elif not board.views:
        body = [line(text, "bad") for text in wrap(words["nobody"].format(why=board.nobody), look.columns)][:room]
    else:
        body = _body(board, look, words, room)
    blank = [line("")] * (max(0, room - len(body)) if room is not None else 0)
    rows = [*head, *body, *blank, *foot]
    return [clipped(row, look.columns) for row in (rows if look.rows is None else rows[: look.rows])]


def _header(board: Board, look: Look, words: dict[str, str]) -> Row:
    count = words["nodes_one"] if len(board.views) == 1 else words["nodes"].format(n=len(board.views))
    every = words["every"].format(s=f"{board.interval_s:g}")
    left = " · ".join(("tulle watch", board.title, count, every))
    now = clock(board.wall_ns, look)
    right = f"{words['paused']}  {now}" if look.paused else now
    room = max(0, look.columns - width(right) - 1)
    return (Line(fit(left, room) + " ", "bold"), Line(right, "bad" if look.paused else "plain"))


def _body(board: Board, look: Look, words: dict[str, str], room: int | None) -> list[Row]:
    nodes_table = cluster(board, look, room)
    more = words["more"]
    if room is None or look.columns < WIDE:
        views = board.views if room is None else (chosen_view(board, look),)
        nodes = [part for view in views for part in _one_below_another(view, look)]
        return stacked((nodes_table, *nodes, _events(board, look, look.columns)), room, more)
    view = chosen_view(board, look)
    top = stacked((nodes_table,), room, more)
    left_wide, right_wide = _panes(look.columns)
    below = max(0, room - len(top))
    left = stacked(node_in_full(view, look, left_wide), below, more)
    right = stacked((*wrong(view, look, right_wide), _events(board, look, right_wide)), below, more)
    return [*top, *beside(left, right, left_wide)]


def _one_below_another(view: NodeView, look: Look) -> tuple[Section, ...]:
    return (*wrong(view, look, look.columns), *node_in_full(view, look, look.columns))


def _panes(columns: int) -> tuple[int, int]:
    left = min((columns - 3) // 2, LEFT)
    return left, columns - 3 - left


def _events(board: Board, look: Look, columns: int) -> Section:
    """Of all nodes, the latest first."""
    words = WORDS[look.lang]
    names = max((width(view.name) for view in board.views), default=0) if len(board.views) > 1 else 0
    rows = tuple(_event(event, names, look, columns) for event in merged_events(board.views)[:LATEST])
    return Section(head=(rule(words["events"], columns),), rows=rows or (line(f" {words['quiet']}", "dim"),), least=4)


def _event(event: WatchEvent, names: int, look: Look, columns: int) -> Row:
    words = WORDS[look.lang]
    kind = words.get(RENAMED.get(event.kind, event.kind), event.kind)
    node = f"{fit(event.node, names)} " if names else ""
    length = f"({took(event.took_ns)}) " if event.took_ns is not None else ""
    style: Style = "good" if event.kind in GOOD else "plain" if event.kind in CALM else "bad"
    head, label = f" {clock(event.at_ns, look)} {node}", f"{fit(kind, 9)} "
    return (
        Line(head, "dim"),
        Line(label, style),
        Line(fit(length + event.text, max(0, columns - width(head + label)))),
    )
