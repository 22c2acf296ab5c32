"""The live view as rows of a screen: the nodes in a table, then one of them in full.

Pure: the same views, size and language give the same rows.  At 80 columns sections lie one below
another; from ``WIDE`` on what happened and what is wrong stand beside the rest.  In a low or narrow place
tables lose columns by rank, and sections rows, down to what each needs least.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tulle.render.status import TEXT, facts, span, wrongs
from tulle.render.walk_text import Line, Style, clean, fit, width, wrap
from tulle.render.watch_links import Rates, WatchedLink, total
from tulle.render.watch_table import Cells, Column, Row, Section, beside, clipped, line, stacked, table
from tulle.render.watch_view import NodeView, WatchEvent, merged_events
from tulle.render.watch_words import DASH, HELP, WORDS, per_second, state, took

JsonObject = dict[str, Any]

WIDE: Final = 150
"""Columns from which there are two panes."""
LEFT: Final = 84
"""As wide as the left one of two panes ever needs to be."""
NAME: Final = 11
RATE: Final = 9
"""Columns of a rate, so that figures may change without moving their neighbours."""
NS: Final = 1_000_000_000
DAY_S: Final = 86_400
FULL: Final = 14
"""Rows that a node in full is left before the table of nodes grows beyond a third of the screen."""
LATEST: Final = 100

GOOD: Final = frozenset(("repaired", "over", "answers"))
CALM: Final = frozenset(("joined", "left", "foreign", "store", "lease"))
"""All other kinds of events are bad news."""
RENAMED: Final = {"store": "store_news", "lease": "lease_news", "silent": "kind_silent"}
"""Words that also mean something else here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What is watched.  ``nobody`` says why there is no node."""

    title: str
    views: tuple[NodeView, ...]
    wall_ns: int
    interval_s: float
    nobody: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How it is looked at.  ``rows`` None: on paper, where there is no end and no key: every node is told in full."""

    columns: int
    rows: int | None = None
    chosen: str = ""
    paused: bool = False
    help: bool = False
    lang: str = "en"
    utc_offset_s: int = 0


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


def chosen_view(board: Board, look: Look) -> NodeView:
    """The node that is shown in full: the chosen one, or the first while there is none of that name."""
    return next((view for view in board.views if view.name == look.chosen), board.views[0])


def _header(board: Board, look: Look, words: dict[str, str]) -> Row:
    count = words["nodes_one"] if len(board.views) == 1 else words["nodes"].format(n=len(board.views))
    every = words["every"].format(s=f"{board.interval_s:g}")
    left = " · ".join(("tulle watch", board.title, count, every))
    clock = _clock(board.wall_ns, look)
    right = f"{words['paused']}  {clock}" if look.paused else clock
    room = max(0, look.columns - width(right) - 1)
    return (Line(fit(left, room) + " ", "bold"), Line(right, "bad" if look.paused else "plain"))


def _body(board: Board, look: Look, words: dict[str, str], room: int | None) -> list[Row]:
    cluster = _cluster(board, look, words, room)
    more = words["more"]
    if room is None or look.columns < WIDE:
        views = board.views if room is None else (chosen_view(board, look),)
        nodes = [part for view in views for part in _one_below_another(view, look)]
        return stacked((cluster, *nodes, _events(board, look, look.columns)), room, more)
    view = chosen_view(board, look)
    top = stacked((cluster,), room, more)
    left_wide, right_wide = _panes(look.columns)
    below = max(0, room - len(top))
    left = stacked(_node(view, look, left_wide), below, more)
    right = stacked((*_wrong(view, look, right_wide), _events(board, look, right_wide)), below, more)
    return [*top, *beside(left, right, left_wide)]


def _one_below_another(view: NodeView, look: Look) -> tuple[Section, ...]:
    return (*_wrong(view, look, look.columns), *_node(view, look, look.columns))


def _panes(columns: int) -> tuple[int, int]:
    left = min((columns - 3) // 2, LEFT)
    return left, columns - 3 - left


# -- the nodes ------------------------------------------------------------------------------


def _cluster(board: Board, look: Look, words: dict[str, str], room: int | None) -> Section:
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


# -- one node in full -----------------------------------------------------------------------


def _wrong(view: NodeView, look: Look, columns: int) -> Iterator[Section]:
    """What is not as it should be, each with the next step; no section when nothing is."""
    words, status = WORDS[look.lang], view.sample.status
    if status is None:
        found = [(words["silent"], view.sample.silence)]
    elif "lease" in status:
        found = list(wrongs(status, TEXT[look.lang]))
    else:
        found = [(TEXT[look.lang]["problem"], str(problem)) for problem in status["problems"]]
    if view.sample.unseen:
        found.append((words["kernel"], view.sample.unseen))
    rows = [row for name, value in found for row in _wrapped(name, value, columns, "bad")]
    if rows:
        yield Section(head=(_rule(f"{words['wrong']}: {view.name}", columns),), rows=tuple(rows), least=2)


def _node(view: NodeView, look: Look, columns: int) -> tuple[Section, ...]:
    return (_facts(view, look, columns), _links(view, look, columns), _peers(view, look, columns))


def _facts(view: NodeView, look: Look, columns: int) -> Section:
    words, texts, status = WORDS[look.lang], TEXT[look.lang], view.sample.status
    found = list(facts(status, texts)) if status is not None and "lease" in status else []
    found = [(name, value) for name, value in found if name != texts["peers"]]
    if status is not None and status.get("last_pass_at_ns") is not None:
        found.insert(1, (words["pass"], _last_pass(status, look)))
    if view.sample.ip is not None:
        ip = view.sample.ip
        told = words["drops_line"].format(dropped=view.dropped, no_route=ip.no_route, discarded=ip.discarded)
        found.append((words["dropped"].lower(), told))
    rows = tuple(line(f"{fit(f' {name}', NAME)}{fit(value, columns - NAME)}") for name, value in found)
    return Section(head=(_rule(view.name, columns),), rows=rows, least=3)


def _last_pass(status: JsonObject, look: Look) -> str:
    words, texts, now_ns = WORDS[look.lang], TEXT[look.lang], int(status["now_ns"])
    ago = span(max(0, now_ns - int(status["last_pass_at_ns"])) // NS, texts)
    if status.get("last_audit_at_ns") is None:
        return words["no_audit"].format(ago=ago)
    audit = span(max(0, now_ns - int(status["last_audit_at_ns"])) // NS, texts)
    return words["pass_line"].format(took=took(int(status["last_pass_ns"])), ago=ago, audit=audit)


def _links(view: NodeView, look: Look, columns: int) -> Section:
    words = WORDS[look.lang]
    titles = (
        Column(title=f" {words['link']}"),
        Column(title=words["role"], rank=4),
        Column(title=words["rx"], rank=1, number=True, least=RATE),
        Column(title=words["rx_packets"], rank=3, number=True, least=RATE - 2),
        Column(title=words["tx"], rank=1, number=True, least=RATE),
        Column(title=words["tx_packets"], rank=3, number=True, least=RATE - 2),
        Column(title=words["dropped"], rank=2, number=True),
        Column(title=words["errors"], rank=5, number=True),
    )
    rows: list[Cells] = [
        (_link_cells(link, view.rates.get(link.name), words), _link_style(link)) for link in view.sample.links
    ]
    head, *found = table(titles, rows, columns)
    return Section(head=(head,) if found else (), rows=tuple(found), least=2)


def _link_cells(link: WatchedLink, rates: Rates | None, words: dict[str, str]) -> tuple[str, ...]:
    role = words[link.role] if link.role != "pod" or not link.pod else link.pod
    trouble = words["down"] if not link.up else words["no_carrier"] if not link.carrier else ""
    counters = link.counters
    return (
        f" {link.name}",
        trouble or role,
        per_second(rates.rx_bytes if rates else None, "B"),
        per_second(rates.rx_packets if rates else None, "p"),
        per_second(rates.tx_bytes if rates else None, "B"),
        per_second(rates.tx_packets if rates else None, "p"),
        str(counters.rx_dropped + counters.tx_dropped),
        str(counters.rx_errors + counters.tx_errors),
    )


def _link_style(link: WatchedLink) -> Style:
    if not link.up or not link.carrier:
        return "bad"
    return "tunnel" if link.role == "tunnel" else "plain"


def _peers(view: NodeView, look: Look, columns: int) -> Section:
    words, status = WORDS[look.lang], view.sample.status
    if status is None or "lease" not in status:
        return Section(head=(), rows=())
    titles = (
        Column(title=f" {words['subnet']}"),
        Column(title=words["public"], rank=1),
        Column(title=words["mac"], rank=3),
        Column(title=words["state"], rank=2),
    )
    rows: list[Cells] = [
        (_peer_cells(peer, look), "plain" if peer["state"] == "ok" else "bad") for peer in view.sample.peers
    ]
    head, *found = table(titles, rows, columns)
    hidden = int(status["peers"]) - len(rows)
    note = [line(words["more"].format(n=hidden), "dim")] if hidden > 0 else []
    return (
        Section(head=(head,), rows=(*found, *note), least=1)
        if rows
        else Section(head=(), rows=(line(f" {words['no_peers']}", "dim"),), least=1)
    )


def _peer_cells(peer: JsonObject, look: Look) -> tuple[str, ...]:
    subnets, publics, macs = (
        " ".join(str(peer[name]) for name in names if peer.get(name))
        for names in (("subnet", "subnet6"), ("public_ip", "public_ip6"), ("vtep_mac", "vtep_mac6"))
    )
    return f" {subnets}", publics, macs or DASH, state(str(peer["state"]), look.lang)


# -- what happened --------------------------------------------------------------------------


def _events(board: Board, look: Look, columns: int) -> Section:
    """Of all nodes, the latest first."""
    words = WORDS[look.lang]
    names = max((width(view.name) for view in board.views), default=0) if len(board.views) > 1 else 0
    rows = tuple(_event(event, names, look, columns) for event in merged_events(board.views)[:LATEST])
    return Section(head=(_rule(words["events"], columns),), rows=rows or (line(f" {words['quiet']}", "dim"),), least=4)


def _event(event: WatchEvent, names: int, look: Look, columns: int) -> Row:
    words = WORDS[look.lang]
    kind = words.get(RENAMED.get(event.kind, event.kind), event.kind)
    node = f"{fit(event.node, names)} " if names else ""
    length = f"({took(event.took_ns)}) " if event.took_ns is not None else ""
    style: Style = "good" if event.kind in GOOD else "plain" if event.kind in CALM else "bad"
    head, label = f" {_clock(event.at_ns, look)} {node}", f"{fit(kind, 9)} "
    return (
        Line(head, "dim"),
        Line(label, style),
        Line(fit(length + event.text, max(0, columns - width(head + label)))),
    )


def _clock(wall_ns: int, look: Look) -> str:
    second = (wall_ns // NS + look.utc_offset_s) % DAY_S
    return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"


def _rule(title: str, columns: int) -> Row:
    return (Line("── ", "dim"), Line(f"{title} ", "bold"), Line("─" * max(0, columns - width(title) - 4), "dim"))


def _wrapped(name: str, value: str, columns: int, style: Style) -> list[Row]:
    first, *rest = wrap(clean(value), columns - NAME)
    return [line(f"{fit(f' {name}', NAME)}{first}", style), *(line(" " * NAME + text, style) for text in rest)]
