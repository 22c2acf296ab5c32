"""What stands below a hop: the kernel's answers, the fields that changed, what the tutorials tell."""

from collections.abc import Iterable, Sequence
from typing import Final

from tulle.render.walk_article import ARTICLE
from tulle.render.walk_look import STEP, Look
from tulle.render.walk_text import NO_BREAK, Line, fit, width, wrap
from tulle.render.walk_words import WORDS, say
from tulle.trace.journey import Hop, Reason

_TOLD_BY_THE_SENTENCE: Final = frozenset({"link"})


def beneath(hop: Hop, look: Look) -> Iterable[Line]:
    """All that ``look`` wants below ``hop``."""
    if look.roomy:
        yield from answers([reason for reason in hop.why if not is_told(hop, reason)], look)
    if look.headers and hop.diff:
        changes = (change.replace(" ", NO_BREAK) for change in hop.diff)
        yield from _hanging("Δ", "", "  ".join(changes), look)
    if look.article and hop.step in ARTICLE:
        yield from _hanging("✎", say("article", look.lang), ARTICLE[hop.step][look.lang == "zh"], look)


def is_told(hop: Hop, reason: Reason) -> bool:
    """Does the hop's own sentence say it already?"""
    route_is_told = hop.kind == "decision" or hop.step == "6c"
    switch_is_told = hop.kind == "decision" and hop.reason("route") is None and reason.kind == "bridge-fdb"
    return reason.kind in _TOLD_BY_THE_SENTENCE or switch_is_told or (reason.kind == "route" and route_is_told)


def answers(reasons: Sequence[Reason], look: Look) -> Iterable[Line]:
    """One line or more for each answer: the table, what it said, who wrote it; a missing entry has a cross."""
    names = [_table(reason, look.lang) for reason in reasons]
    label = max((width(name) for name in names), default=0)
    for name, reason in zip(names, reasons, strict=True):
        owner = f"  {by(reason, look.lang)}" if reason.owner else ""
        yield from _hanging("·" if reason.found else "✘", fit(name, label) + " ", reason.text + owner, look)


def by(reason: Reason, lang: str) -> str:
    """Who wrote the entry."""
    return say("by", lang, owner=reason.owner).replace(" ", NO_BREAK)


def _table(reason: Reason, lang: str) -> str:
    name = f"table.{reason.kind}"
    return say(name, lang) if name in WORDS else reason.kind


def _hanging(mark: str, label: str, text: str, look: Look) -> Iterable[Line]:
    """``text`` behind ``mark`` and ``label``, below the places; further lines stand below its first word."""
    head = f"{' ' * STEP}{mark} {label}{' ' if label else ''}"
    for at, piece in enumerate(wrap(text, look.inside - width(head))):
        yield Line((head if at == 0 else " " * width(head)) + piece, "dim")
