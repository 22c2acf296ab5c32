"""The live view's table of nodes, with the chosen one always in it."""

from collections.abc import Sequence
from typing import Any, Final

from tulle.render.states import state
from tulle.render.status import TEXT, span
from tulle.render.walk_text import Style
from tulle.render.watch_board import NS, RATE, Board, Look, chosen_view
from tulle.render.watch_links import Rates, total
from tulle.render.watch_table import Cells, Column, Section, line, table
from tulle.render.watch_view import NodeView
from tulle.render.watch_words import DASH, WORDS, per_second

JsonObject = dict[str, Any]

FULL: Final = 14
"""Rows that a node in full is left before the table of nodes grows beyond a third of the screen."""


def cluster(board: Board, look: Look, room: int | None) -> Section:
    """All nodes, or as many round the chosen one as ``room`` rows are good for; their sum when there are several."""
    words = WORDS[look.lang]
    views, chosen = board.views, chosen_view(board, look)
    most = len(views) if room is None else max(1, room - FULL, room // 3)
    first = max(0, min(views.index(chosen) - most // 2, len(views) - most))
    shown = views[first : first + most]
    columns = (
        Column(title=f"  {words['node']}"),
        Column(title=words["state"], rank=1, least=9),
        Column(title=words["peers"], rank=4, number=True),
        Column(title=words["lease"], rank=5, number=True),
        Column(title=words["overlay_rx"], rank=2, number=True, least=RATE),
        Column(title=words["overlay_tx"], rank=2, number=True, least=RATE),
        Column(title=words["underlay_rx"], rank=8, number=True, least=RATE),
        Column(title=words["underlay_tx"], rank=8, number=True, least=RATE),
        Column(title=words["drops"], rank=3, number=True),
        Column(title=words["repairs"], rank=6, number=True),
        Column(title=words["store"], rank=7),
    )
    rows: list[Cells] = [
        (_node_cells(view, view is chosen and len(views) > 1 and room is not None, look), _node_style(view))
        for view in shown
    ]
    if len(views) > 1:
        rows.append((_all_cells(views, words), "dim"))
    titles, *found = table(columns, rows, look.columns)
    hidden = len(views) - len(shown)
    note = [line(words["more"].format(n=hidden), "dim")] if hidden else []
    return Section(head=(titles,), rows=(*found, *note), least=len(found) + len(note))


def _node_style(view: NodeView) -> Style:
    status = view.sample.status
    return "plain" if status is not None and status["state"] == "ready" and not view.dropping else "bad"


def _node_cells(view: NodeView, chosen: bool, look: Look) -> tuple[str, ...]:
    words, status = WORDS[look.lang], view.sample.status
    name = f"{'▶' if chosen else ' '} {view.name}"
    told = words["silent"] if status is None else state(str(status["state"]), look.lang)
    known = status if status is not None and "lease" in status else None
    return (
        name,
        told,
        str(known["peers"]) if known else DASH,
        _lease(known, look) if known else DASH,
        *_passing(view.passing("tunnel")),
        *_passing(view.passing("underlay")),
        str(view.dropped),
        str(known["repairs"]) if known else DASH,
        (words["reachable"] if known["store"]["reachable"] else words["away"]) if known else DASH,
    )


def _all_cells(views: Sequence[NodeView], words: dict[str, str]) -> tuple[str, ...]:
    known = [view.sample.status for view in views if view.sample.status and "repairs" in view.sample.status]
    return (
        f"  {words['all']}",
        "",
        "",
        "",
        *_passing(total(view.passing("tunnel") for view in views)),
        *_passing(total(view.passing("underlay") for view in views)),
        str(sum(view.dropped for view in views)),
        str(sum(int(status["repairs"]) for status in known)),
        "",
    )


def _passing(rates: Rates | None) -> tuple[str, str]:
    if rates is None:
        return DASH, DASH
    return per_second(rates.rx_bytes, "B"), per_second(rates.tx_bytes, "B")


def _lease(status: JsonObject, look: Look) -> str:
    """How long our own lease is good for."""
    deadline_ns, now_ns = status["lease"]["deadline_ns"], status.get("now_ns")
    if deadline_ns is None or now_ns is None:
        return DASH
    left_s = (int(deadline_ns) - int(now_ns)) // NS
    return span(left_s, TEXT[look.lang]) if left_s > 0 else WORDS[look.lang]["past"]
