"""Times of a walk as text: microseconds, ties as "≤", never a made-up zero."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tulle.render.walk_text import NO_BREAK
from tulle.trace.journey import Hop

_LONG_NS: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Leg:
    """From the sighting before to this one.  ``bound``: the time is an upper bound, because the stamp is shared."""

    hop: Hop
    ns: int | None
    total_ns: int
    bound: bool = False


def legs(hops: Sequence[Hop]) -> tuple[Leg, ...]:
    """One leg per sighting, in order.  The first has no time; a shared stamp is bounded by the next that is not."""
    seen = [hop for hop in hops if hop.t_ns is not None]
    start = seen[0].t_ns or 0 if seen else 0
    found: list[Leg] = []
    for at, hop in enumerate(seen):
        now = hop.t_ns or 0
        if at == 0:
            found.append(Leg(hop, None, 0))
        elif hop.t_shared_with is not None:
            later = next((h.t_ns for h in seen[at + 1 :] if h.t_shared_with is None and h.t_ns is not None), None)
            found.append(Leg(hop, None if later is None else later - now, now - start, bound=True))
        else:
            found.append(Leg(hop, now - (seen[at - 1].t_ns or 0), now - start))
    return tuple(found)


def microseconds(ns: int) -> str:
    """``1.9``; below the last digit ``<0.1``; whole ones from a tenth of a second on: ``1000023``."""
    if 0 <= ns < 50:
        return "<0.1"
    return f"{ns / 1000:.1f}" if abs(ns) < _LONG_NS else f"{ns / 1000:.0f}"


def leg_text(leg: Leg) -> str:
    """The leg's own time: ``1.9``, ``≤1.9``, ``=`` for a shared stamp that no later one bounds; "" for the first."""
    if leg.bound:
        return "=" if leg.ns is None else f"≤{microseconds(leg.ns).lstrip('<')}"
    return "" if leg.ns is None else microseconds(leg.ns)


def total_text(leg: Leg) -> str:
    """Since the first sighting; the first itself is the origin."""
    return "0" if leg.ns is None and not leg.bound else microseconds(leg.total_ns)


def duration(ns: int | None) -> str:
    """A duration in a sentence: ``7.1 µs``, ``1.2 ms``; ``?`` when it was not measured."""
    if ns is None:
        return "?"
    number, unit = (ns / 1_000_000, "ms") if ns >= 1_000_000 else (ns / 1000, "µs")
    return f"{number:.1f}{NO_BREAK}{unit}"
