"""One node in full: what is wrong with it, its facts, its devices, its peers."""

from collections.abc import Iterator
from typing import Any, Final

from tulle.render.states import state
from tulle.render.status import TEXT, facts, span, wrongs
from tulle.render.walk_text import Line, Style, clean, fit, width, wrap
from tulle.render.watch_board import NS, RATE, Look
from tulle.render.watch_links import Rates, WatchedLink
from tulle.render.watch_table import Cells, Column, Row, Section, line, table
from tulle.render.watch_view import NodeView
from tulle.render.watch_words import DASH, WORDS, per_second, took

JsonObject = dict[str, Any]

NAME: Final = 11
"""Columns of a fact's name."""


def wrong(view: NodeView, look: Look, columns: int) -> Iterator[Section]:
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
        yield Section(head=(rule(f"{words['wrong']}: {view.name}", columns),), rows=tuple(rows), least=2)


def node_in_full(view: NodeView, look: Look, columns: int) -> tuple[Section, ...]:
    """Its facts, devices and peers."""
    return (_facts(view, look, columns), _links(view, look, columns), _peers(view, look, columns))


def _facts(view: NodeView, look: Look, columns: int) -> Section:
    words, texts, status = WORDS[look.lang], TEXT[look.lang], view.sample.status
    found = list(facts(status, texts)) if status is not None and "lease" in status else []
    elsewhere = {texts["peers"]} if _runs_low(status) else {texts["peers"], texts["addresses"]}
    found = [(name, value) for name, value in found if name not in elsewhere]
    if status is not None and status.get("last_pass_at_ns") is not None:
        found.insert(1, (words["pass"], _last_pass(status, look)))
    if view.sample.ip is not None:
        ip = view.sample.ip
        told = words["drops_line"].format(dropped=view.dropped, no_route=ip.no_route, discarded=ip.discarded)
        found.append((words["dropped"].lower(), told))
    rows = tuple(line(f"{fit(f' {name}', NAME)}{fit(value, columns - NAME)}") for name, value in found)
    return Section(head=(rule(view.name, columns),), rows=rows, least=3)


def _runs_low(status: JsonObject | None) -> bool:
    """Are addresses short?  Only then do they take a row from a screen that has few."""
    return status is not None and any(use["low"] for use in status.get("addresses", ()))


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
        Section(head=(head,), rows=(*found, *note), least=1, beyond=max(0, hidden))
        if rows
        else Section(head=(), rows=(line(f" {words['no_peers']}", "dim"),), least=1)
    )


def _peer_cells(peer: JsonObject, look: Look) -> tuple[str, ...]:
    subnets, publics, macs = (
        " ".join(str(peer[name]) for name in names if peer.get(name))
        for names in (("subnet", "subnet6"), ("public_ip", "public_ip6"), ("vtep_mac", "vtep_mac6"))
    )
    return f" {subnets}", publics, macs or DASH, state(str(peer["state"]), look.lang)


def _wrapped(name: str, value: str, columns: int, style: Style) -> list[Row]:
    first, *rest = wrap(clean(value), columns - NAME)
    return [line(f"{fit(f' {name}', NAME)}{first}", style), *(line(" " * NAME + text, style) for text in rest)]


def rule(title: str, columns: int) -> Row:
    """A section's title, drawn across."""
    return (Line("── ", "dim"), Line(f"{title} ", "bold"), Line("─" * max(0, columns - width(title) - 4), "dim"))
