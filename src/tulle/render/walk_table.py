"""One direction of a walk as a table: a box for each node, a row for each hop, the envelope where the tunnel begins."""

from collections.abc import Iterable, Mapping, Sequence

from tulle.render.walk_beneath import beneath, by
from tulle.render.walk_envelope import envelope
from tulle.render.walk_look import ARROW, BYTES, OWN_TIME, STEP, SUM, TTL, Columns, Look, measure, place_of
from tulle.render.walk_sentences import what_happened
from tulle.render.walk_text import Line, Style, fit, right, width, wrap
from tulle.render.walk_times import Leg, leg_text, legs, total_text
from tulle.render.walk_words import say
from tulle.trace.journey import Direction, Hop, Journey


def walk_table(journey: Journey, direction: Direction, look: Look) -> Iterable[Line]:
    """The hops of one direction with their times, what happened at each, and what decided."""
    hops = journey.walk(direction)
    columns, times = measure(hops, look), {id(leg.hop): leg for leg in legs(hops)}
    yield _head(columns, look)
    drawn = False
    for node, part in boxes(hops):
        rows = [line for hop in part for line in _row(journey, hop, times, columns, look)]
        yield from _boxed(node, rows, look)
        if not drawn and part[-1].outer is not None:
            drawn = True
            yield from envelope(part[-1], hops, look)


def boxes(hops: Iterable[Hop]) -> Iterable[tuple[str, Sequence[Hop]]]:
    """Runs of hops on one node."""
    part: list[Hop] = []
    for hop in hops:
        if part and part[-1].node != hop.node:
            yield part[-1].node, part
            part = []
        part.append(hop)
    if part:
        yield part[-1].node, part


def _boxed(node: str, rows: Iterable[Line], look: Look) -> Iterable[Line]:
    name = node_title(node, look)
    if not look.boxes:
        yield Line(name, "bold")
        yield from rows
        return
    yield Line(f"┌─ {name} " + "─" * (look.inside - width(name) - 1) + "┐")
    for row in rows:
        yield Line(f"│ {fit(row.text, look.inside)} │", row.style)
    yield Line("└" + "─" * (look.inside + 2) + "┘")


def node_title(node: str, look: Look) -> str:
    """A box's name, cut when it alone would fill the line."""
    name = say("underlay", look.lang) if node == "underlay" else node
    return fit(name, min(width(name), look.inside // 2))


def _head(columns: Columns, look: Look) -> Line:
    lang = look.lang
    left = (
        fit(say("step", lang), STEP)
        + fit(" " + say("at", lang), columns.place + ARROW)
        + right(say("bytes", lang), BYTES)
        + right("ttl", TTL)
        + "  "
    )
    words = fit(say("what", lang), columns.words) if look.roomy else ""
    times = right("µs", OWN_TIME) + right("Σ µs", SUM)
    return Line(("  " if look.boxes else "") + _ends(left + words, times, look), "dim")


def _row(journey: Journey, hop: Hop, times: Mapping[int, Leg], columns: Columns, look: Look) -> Iterable[Line]:
    style = _style(hop)
    left, sentence, figures = _figures(hop, columns, look), _told(journey, hop, look), _end(hop, times.get(id(hop)))
    if look.roomy:
        room = columns.words if hop.n is not None else look.inside - width(left) - width(figures) - 1
        for at, piece in enumerate(wrap(sentence, room)):
            start, end = (left, figures) if at == 0 else (" " * width(left), "")
            yield Line(_ends(start + piece, end, look), style)
    else:
        yield Line(_ends(left, figures, look), style)
        for piece in wrap(sentence, columns.words):
            yield Line(" " * STEP + piece, style)
    yield from beneath(hop, look)


def _style(hop: Hop) -> Style:
    if not hop.observed:
        return "dim"
    return "tunnel" if hop.outer is not None else "plain"


def _figures(hop: Hop, columns: Columns, look: Look) -> str:
    """The columns left of "what happened": step, place, direction, length, TTL."""
    netns, device = place_of(hop, look.lang)
    place = f"{fit(netns, columns.netns)} {fit(device, columns.device)} "
    headers = hop.outer or hop.inner
    length = "·" if hop.len is None else str(hop.len)
    ttl = "" if headers is None else str(headers.ttl)
    return fit(hop.step, STEP) + place + _arrow(hop) + _cell(length, BYTES) + _cell(ttl, TTL) + "  "


def _cell(number: str, columns: int) -> str:
    """A number at the right end of its column; one that no packet has is cut."""
    return fit(right(number, columns), columns)


def _arrow(hop: Hop) -> str:
    if hop.n is None:
        return " " * ARROW
    return " ══▶" if hop.outer is not None or hop.step == "3b" else " ──▶"


def _told(journey: Journey, hop: Hop, look: Look) -> str:
    """The sentence, with the writer of the entry that it tells."""
    route = hop.reason("route") if hop.kind == "decision" or hop.step == "6c" else None
    owner = f"  {by(route, look.lang)}" if route is not None and route.owner else ""
    return what_happened(journey, hop, look.lang) + owner


def _end(hop: Hop, leg: Leg | None) -> str:
    """The times; of a decision what it did to the TTL."""
    if leg is None:
        return next((change for change in hop.diff if change.startswith("ttl ")), "")
    return _cell(leg_text(leg), OWN_TIME) + _cell(total_text(leg), SUM)


def _ends(left: str, end: str, look: Look) -> str:
    """``left`` at the left, ``end`` at the right of a row."""
    return left + right(end, look.inside - width(left)) if end else left
