"""A walk that ended early: what was reached, where it ended and the kernel's word on it, what was not reached."""

from collections.abc import Iterable, Sequence
from typing import Final

from tulle.render.walk_beneath import answers, beneath, is_told
from tulle.render.walk_look import STEP, Columns, Look, measure, place_of
from tulle.render.walk_sentences import what_happened
from tulle.render.walk_table import boxes, node_title
from tulle.render.walk_text import Line, fit, right, width, wrap
from tulle.render.walk_words import say
from tulle.trace.journey import Hop, Journey

_STEPS: Final = ("1", "2", "3a", "3b", "3c", "4", "5", "6a", "6b", "6c", "7", "8")
_SAME_NODE: Final = ("1", "2", "7", "8")
_BELOW: Final = "   ┊ "


def broken_walk(journey: Journey, look: Look) -> Iterable[Line]:
    """The direction that failed."""
    hops = journey.walk(journey.verdict.direction)
    columns = measure(hops, look)
    for node, part in boxes(hops):
        yield Line(f" {node_title(node, look)}", "bold")
        for hop in part:
            yield from _row(journey, hop, hop is hops[-1], columns, look)
    drop = journey.verdict.drop
    if drop is not None:
        dropped = say("dropped", look.lang, place=drop.place or "?", reason=drop.reason)
        yield from (Line(f"{_BELOW}{piece}", "bad") for piece in wrap(dropped, look.limit - width(_BELOW)))
    rest = _unreached(journey, hops)
    if rest:
        steps = ", ".join(rest) if len(rest) < 3 else f"{rest[0]} … {rest[-1]}"
        yield Line(_BELOW + say("unreached", look.lang, steps=steps), "dim")


def _row(journey: Journey, hop: Hop, ended: bool, columns: Columns, look: Look) -> Iterable[Line]:
    """``✔`` for a place that the packet left again, ``✘`` for the last one; without room only what decides is told."""
    left = _left(hop, ended, columns, look)
    is_worth_telling = look.roomy or ended or hop.kind == "decision"
    sentence = what_happened(journey, hop, look.lang) if is_worth_telling else ""
    style = "bad" if ended else "plain" if hop.observed else "dim"
    for at, piece in enumerate(wrap(sentence, look.limit - width(left))):
        yield Line((left if at == 0 else " " * width(left)) + piece, style)
    if ended:
        yield from answers([reason for reason in hop.why if not is_told(hop, reason) and reason.kind != "lookup"], look)
    elif look.headers or look.article:
        yield from beneath(hop, look)


def _left(hop: Hop, ended: bool, columns: Columns, look: Look) -> str:
    netns, device = place_of(hop, look.lang)
    headers = hop.outer or hop.inner
    figures = "" if hop.len is None or headers is None else f"{right(str(hop.len), 5)}  ttl {headers.ttl}"
    mark = "✘" if ended else "✔" if hop.observed else "?"
    place = f"{fit(netns, columns.netns)} {fit(device, columns.device)} "
    return f" {mark} {fit(hop.step, STEP)}{place}{fit(figures, 14)} "


def _unreached(journey: Journey, hops: Sequence[Hop]) -> list[str]:
    """The steps that this walk would still have had."""
    known = _steps(journey)
    reached = max((known.index(hop.step) for hop in hops if hop.step in known), default=-1)
    return list(known[reached + 1 :]) if hops else []


def _steps(journey: Journey) -> Sequence[str]:
    """Those of the whole way between two such ends."""
    is_local = journey.source.node == journey.target.node
    far = journey.target if journey.verdict.direction == "request" else journey.source
    skipped = {"3b", "6b"} if journey.overlay is None else set[str]()
    if far.role == "node":
        skipped |= {"7", "8"} if is_local else {"6c", "7", "8"}
    return [step for step in (_SAME_NODE if is_local else _STEPS) if step not in skipped]
