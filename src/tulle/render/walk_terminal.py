"""A journey as terminal text: the boxes of the two nodes, the envelope between them, the verdict.

Pure: the same journey, language and width give the same bytes.  80 columns hold everything;
from 100 on the kernel's answers stand below each hop as well.  Brief forms are in
``walk_brief``, figures over many probes in ``walk_series``.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tulle.render.walk_brief import arrow_lines, same_way, verdict_lines
from tulle.render.walk_findings import finding_text
from tulle.render.walk_sentences import what_happened
from tulle.render.walk_text import Line, Style, fit, right, width, wrap
from tulle.render.walk_times import Leg, leg_text, legs, total_text
from tulle.render.walk_words import say
from tulle.trace.journey import End, Hop, Journey

NARROWEST: Final = 60
WIDEST: Final = 132
ROOMY: Final = 100
_STEPS: Final = ("1", "2", "3a", "3b", "3c", "4", "5", "6a", "6b", "6c", "7", "8")
_SAME_NODE: Final = ("1", "2", "7", "8")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How to draw.  ``columns`` is the terminal's width; ``boxes`` False: plain lines, for a pipe."""

    lang: str = "en"
    columns: int = 80
    boxes: bool = True
    headers: bool = False

    @property
    def inside(self) -> int:
        """Columns for a row."""
        limit = min(max(self.columns, NARROWEST), WIDEST)
        return limit - 4 if self.boxes else limit

    @property
    def roomy(self) -> bool:
        return self.columns >= ROOMY

    @property
    def place(self) -> int:
        """Columns for "where"."""
        return 22 if self.roomy else 17

    @property
    def words(self) -> int:
        """Columns for "what happened"."""
        return self.inside - (4 + self.place + 4 + 6 + 4 + 2 + 7 + 8)


def render_journey(journey: Journey, look: Look) -> list[Line]:
    """The whole journey: header, request, reply when it has something to say of its own, findings, verdict."""
    lines = [*_header(journey, look), Line("")]
    failed = journey.verdict.direction if journey.verdict.status != "delivered" else None
    lines += _walk(journey, "request", look) if failed != "request" else broken_walk(journey, look)
    reply = journey.walk("reply")
    if failed == "reply":
        lines += [Line(f"{say('reply', look.lang)}:"), *broken_walk(journey, look)]
    elif reply and not same_way(journey):
        lines += [Line(f"{say('reply', look.lang)}:"), *_walk(journey, "reply", look)]
    elif reply:
        lines += arrow_lines(journey, "reply", look.lang, look.columns)
    return [*lines, *_notes(journey, look), *verdict_lines(journey, look.lang, look.columns), *_finding(journey, look)]


def _header(journey: Journey, look: Look) -> Iterable[Line]:
    lang = look.lang
    packet = say("header.packet", lang, proto=_protocol(journey), id=journey.packet.id, len=journey.packet.len)
    yield from _joined([f"{_end(journey.source, lang)}  →  {_end(journey.target, lang)}", packet], look)
    facts = [_tunnel(journey, lang)]
    if journey.overlay and journey.overlay.nodes:
        source, target = journey.overlay.nodes
        facts.append(f"{journey.source.node} {source} ↔ {journey.target.node} {target}")
    yield from _joined([*facts, say("header.clock", lang)], look)


def _joined(parts: Sequence[str], look: Look) -> Iterable[Line]:
    """On one line when they fit, else one line each."""
    limit = min(max(look.columns, NARROWEST), WIDEST)
    whole = "     ".join(parts)
    yield from [Line(whole)] if width(whole) <= limit else [Line(part) for part in parts]


def _end(end: End, lang: str) -> str:
    return say("header.node" if end.role == "node" else "header.end", lang, pod=end.pod, ip=end.ip, node=end.node)


def _protocol(journey: Journey) -> str:
    packet = journey.packet
    if packet.proto == "icmp":
        return "ICMP echo" if packet.family == 4 else "ICMPv6 echo"
    return f"{packet.proto.upper()} {packet.source_port}→{packet.port}" + (" SYN" if packet.proto == "tcp" else "")


def _tunnel(journey: Journey, lang: str) -> str:
    if journey.overlay is not None and journey.overlay.vni is not None:
        overlay = journey.overlay
        return say("header.tunnel", lang, backend=overlay.backend, vni=overlay.vni, port=overlay.port)
    return say("header.same" if journey.source.node == journey.target.node else "header.plain", lang)


def _walk(journey: Journey, direction: str, look: Look) -> Iterable[Line]:
    hops = [hop for hop in journey.hops if hop.direction == direction]
    times = {id(leg.hop): leg for leg in legs(hops)}
    yield _table_head(look)
    drawn = False
    for node, part in _boxes(hops):
        wraps = [hop for hop in part if hop.outer is not None]
        if look.boxes:
            yield Line(f"┌─ {_title(node, look)}")
        for hop in part:
            yield from _framed(_row(journey, hop, times.get(id(hop)), look), look)
        if look.boxes:
            yield Line("└" + "─" * (look.inside + 2) + "┘")
        if wraps and not drawn and part[-1].outer is not None:
            drawn = True
            yield from _envelope(journey, wraps[-1], hops, look)


def _title(node: str, look: Look) -> str:
    name = say("underlay", look.lang) if node == "underlay" else node
    return f"{name} " + "─" * max(0, look.inside - width(name) - 1) + "┐"


def _boxes(hops: Sequence[Hop]) -> Iterable[tuple[str, list[Hop]]]:
    part: list[Hop] = []
    for hop in hops:
        if part and part[-1].node != hop.node:
            yield part[-1].node, part
            part = []
        part.append(hop)
    if part:
        yield part[-1].node, part


def _framed(lines: Iterable[Line], look: Look) -> Iterable[Line]:
    for line in lines:
        yield Line(f"│ {fit(line.text, look.inside)} │", line.style) if look.boxes else line


def _table_head(look: Look) -> Line:
    lang = look.lang
    cells = (
        fit(say("step", lang), 4),
        fit(" " + say("at", lang), look.place + 4),
        right(say("bytes", lang), 6),
        right("ttl", 4),
        "  ",
        fit(say("what", lang), look.words),
        right("µs", 7),
        right("Σ µs", 8),
    )
    return Line(("  " if look.boxes else "") + "".join(cells))


def _row(journey: Journey, hop: Hop, leg: Leg | None, look: Look) -> Iterable[Line]:
    text = wrap(what_happened(journey, hop, look.lang), look.words)
    style: Style = "plain" if hop.observed else "dim"
    for at, piece in enumerate(text):
        cells = _cells(hop, leg, look) if at == 0 else (" " * (4 + look.place + 4 + 6 + 4 + 2), "", "")
        yield Line(cells[0] + fit(piece, look.words) + right(cells[1], 7) + right(cells[2], 8), style)
    yield from _beneath(hop, look)


def _cells(hop: Hop, leg: Leg | None, look: Look) -> tuple[str, str, str]:
    """The columns left of "what happened", the leg's time, the sum."""
    ttl = (hop.outer or hop.inner).ttl if hop.outer or hop.inner else None  # type: ignore[union-attr]
    left = (
        fit(hop.step, 4)
        + fit(place_of(hop, look.lang), look.place)
        + _arrow(hop)
        + right("·" if hop.len is None else str(hop.len), 6)
        + right("" if ttl is None else str(ttl), 4)
        + "  "
    )
    return left, leg_text(leg) if leg else "", total_text(leg) if leg else ""


def place_of(hop: Hop, lang: str) -> str:
    """Where: the namespace and the device; of a routing decision the device that it chose."""
    if hop.kind == "wire":
        return say("underlay", lang)
    if hop.kind == "decision":
        return f"{hop.netns:<5} → {hop.dev}" if hop.dev else hop.netns
    return f"{hop.netns:<5} {hop.dev}"


def _arrow(hop: Hop) -> str:
    if hop.n is None:
        return "    "
    return " ══▶" if hop.outer is not None or hop.step == "3b" else " ──▶"


def _beneath(hop: Hop, look: Look) -> Iterable[Line]:
    """The kernel's answers, and with ``--headers`` the fields that changed."""
    indent = " " * 7
    if look.roomy:
        for reason in hop.why:
            if reason.kind in ("neigh", "fdb", "bridge-fdb", "underlay-route", "underlay-neigh", "lookup", "arp") or (
                reason.kind == "route" and hop.kind != "decision" and hop.step != "6c"
            ):
                owner = f"  ({say('by', look.lang, owner=reason.owner)})" if reason.owner else ""
                for piece in wrap(f"{reason.kind}: {reason.text}{owner}", look.inside - 9):
                    yield Line(f"{indent}· {piece}", "dim")
        for reason in hop.why:
            if reason.kind == "route" and (hop.kind == "decision" or hop.step == "6c") and reason.owner:
                yield Line(f"{indent}· {say('by', look.lang, owner=reason.owner)}", "dim")
    if look.headers:
        for piece in wrap("  ".join(hop.diff), look.inside - 9) if hop.diff else []:
            yield Line(f"{indent}Δ {piece}", "dim")


def _envelope(journey: Journey, hop: Hop, hops: Sequence[Hop], look: Look) -> Iterable[Line]:
    """The packet in the packet, drawn between the sender's box and the underlay's."""
    outer, inner = hop.outer, hop.inner
    if outer is None or inner is None or not look.boxes:
        return
    plain = next((h.len for h in hops if h.n is not None and h.outer is None and h.len), 0)
    ip = 40 if ":" in outer.src else 20
    space = look.inside - 4
    title = f"═ outer {(hop.len or 0) - plain} bytes: ETH 14 · IP {ip} · UDP 8 · VXLAN 8 "
    yield Line("    ╔" + title + "═" * (space - width(title)) + "╗", "tunnel")
    text = f"IP {outer.src}→{outer.dst} ttl {outer.ttl} │ UDP {outer.udp[0]}→{outer.udp[1]} │ VXLAN VNI {outer.vni}"
    for piece in wrap(text, space - 2):
        yield Line(f"    ║ {fit(piece, space - 2)} ║", "tunnel")
    name = f"─ inner {plain} bytes "
    yield Line(f"    ║   ┌{name}" + "─" * (space - 8 - width(name)) + "┐  ║", "tunnel")
    short = (inner.smac[-5:], inner.dmac[-5:])
    text = f"ETH …{short[0]}→…{short[1]} │ IP {inner.src}→{inner.dst} ttl {inner.ttl} │ {inner.text}"
    for piece in wrap(text, space - 10):
        yield Line(f"    ║   │ {fit(piece, space - 10)} │  ║", "tunnel")
    yield Line("    ║   └" + "─" * (space - 8) + "┘  ║", "tunnel")
    yield Line("    ╚" + "═" * space + "╝", "tunnel")


def broken_walk(journey: Journey, look: Look) -> Iterable[Line]:
    """A walk that ended early: what was reached, where it ended and the kernel's word on it, what was not reached."""
    hops = journey.walk(journey.verdict.direction)
    if not hops:
        return
    times = {id(leg.hop): leg for leg in legs(hops)}
    for at, hop in enumerate(hops):
        ended = at == len(hops) - 1
        yield from _broken_row(journey, hop, times.get(id(hop)), ended, look)
    if journey.verdict.drop is not None:
        drop = journey.verdict.drop
        yield Line("   ┊ " + say("dropped", look.lang, place=drop.place or "?", reason=drop.reason), "bad")
    rest = _unreached(journey, hops)
    if rest:
        first, last = rest[0], rest[-1]
        text = (
            say("unreached", look.lang, first=first, last=last)
            if first != last
            else f"{first}  {say('unreached', look.lang, first='', last='').strip(' …')}"
        )
        yield Line("   ┊ " + text, "dim")


def _broken_row(journey: Journey, hop: Hop, leg: Leg | None, ended: bool, look: Look) -> Iterable[Line]:
    ttl = (hop.outer or hop.inner).ttl if hop.outer or hop.inner else None  # type: ignore[union-attr]
    numbers = f"{hop.len:>5}  ttl {ttl:<3}" if hop.len is not None else " " * 12
    sum_text = right(total_text(leg), 7) if leg else " " * 7
    left = f" {'✘' if ended else '✔'} {fit(hop.step, 4)}{fit(place_of(hop, look.lang), look.place + 1)}{numbers} {sum_text}  "
    limit = min(max(look.columns, NARROWEST), WIDEST) - width(left)
    for at, piece in enumerate(wrap(what_happened(journey, hop, look.lang), limit)):
        yield Line((left if at == 0 else " " * width(left)) + piece, "bad" if ended else "plain")
    for reason in hop.why:
        if ended and reason.kind not in ("link", "lookup"):
            for piece in wrap(f"{reason.kind}: {reason.text}", limit + 20):
                yield Line(f"       · {piece}", "dim")


def _unreached(journey: Journey, hops: Sequence[Hop]) -> list[str]:
    """The steps that this walk would still have had."""
    known = _SAME_NODE if journey.source.node == journey.target.node else _STEPS
    if journey.source.node != journey.target.node and journey.overlay is None:
        known = tuple(step for step in known if step not in ("3b", "6b"))
    reached = max((known.index(hop.step) for hop in hops if hop.step in known), default=-1)
    return list(known[reached + 1 :])


def _notes(journey: Journey, look: Look) -> Iterable[Line]:
    lang = look.lang
    waited_for = {reason.facts.get("ip") for hop in journey.hops for reason in hop.why if reason.kind == "arp"}
    for side in journey.side:
        kind = side.type.upper()
        text = (
            say("arp.answered", lang, type=kind, q=side.q, mac=side.answered_by, dev=side.dev)
            if side.answered_by
            else say("arp.silent", lang, type=kind, q=side.q, dev=side.dev)
        )
        if not side.answered_by or (look.roomy and side.q not in waited_for):
            yield Line(f"  · {text}", "dim")
    if look.roomy and any(hop.inner is not None and hop.inner.csum == "partial" for hop in journey.hops):
        yield Line(f"  · {say('note.csum', lang)}", "dim")
    for note in journey.notes:
        name, _, rest = note.partition(":")
        facts = dict(pair.split("=", 1) for pair in rest.split(";") if "=" in pair)
        for piece in wrap(_note(name, facts, lang), look.columns - 4):
            yield Line(f"  · {piece}", "dim")


def _note(name: str, facts: dict[str, str], lang: str) -> str:
    try:
        return say(f"note.{name}", lang, **facts)
    except KeyError:
        return name


def _finding(journey: Journey, look: Look) -> Iterable[Line]:
    finding, lang = journey.verdict.finding, look.lang
    if finding is None:
        return
    text, why = finding_text(finding, lang)
    limit = min(max(look.columns, NARROWEST), WIDEST)
    head = f"✘ {finding.id} {text}" if finding.id else f"✘ {text}"
    for at, piece in enumerate(wrap(head, limit - 2)):
        yield Line(piece if at == 0 else "  " + piece, "bad")
    evidence = f"{finding.evidence}   → {finding.answer or say('nothing', lang)}" if finding.evidence else ""
    for name, body in (("evidence", evidence), ("repair", finding.repair), ("why", why)):
        label = fit(say(name, lang), 10)
        for at, piece in enumerate(wrap(body, limit - 12) if body else []):
            yield Line("  " + (label if at == 0 else " " * 10) + piece)
