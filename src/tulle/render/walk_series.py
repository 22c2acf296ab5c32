"""Many probes of one path (``--count``): median, p95 and loss for each leg.  Never a mean: one outlier would own it."""

from collections.abc import Sequence

from tulle.render.walk_text import Line, fit, right
from tulle.render.walk_times import legs, microseconds
from tulle.render.walk_words import say
from tulle.trace.journey import Hop, Journey

_Key = tuple[str, str, str, str, str, str]


def render_series(journeys: Sequence[Journey], lang: str) -> list[Line]:
    """One row per place in the order of the first whole walk; a place that some probes never reached shows it."""
    lost = sum(journey.verdict.status != "delivered" for journey in journeys)
    share = f"{100 * lost / len(journeys):.1f} %"
    head = say("series", lang, n=len(journeys), lost=lost, share=share)
    lines = [Line(head, "bad" if lost else "good"), Line(say("series.head", lang, n=len(journeys)))]
    times = _times(journeys)
    lines.append(_row("", say("step", lang), say("at", lang), say("median", lang), say("p95", lang), say("seen", lang)))
    for key in _order(journeys):
        direction, step, _, netns, dev, _ = key
        own = times[key]
        median, p95 = _quantile(own[1], 0.5), _quantile(own[1], 0.95)
        mark = "→" if direction == "request" else "←"
        lines.append(_row(mark, step, f"{netns} {dev}", ("≤" if own[2] else "") + median, p95, str(own[0])))
    return lines


def _row(mark: str, step: str, place: str, median: str, p95: str, seen: str) -> Line:
    return Line(f"{fit(mark, 2)}{fit(step, 5)}{fit(place, 26)}{right(median, 9)}{right(p95, 9)}{right(seen, 8)}")


def _key(hop: Hop) -> _Key:
    return hop.direction, hop.step, hop.node, hop.netns, hop.dev, hop.dir


def _order(journeys: Sequence[Journey]) -> list[_Key]:
    longest = max(journeys, key=lambda journey: sum(hop.n is not None for hop in journey.hops))
    keys = [_key(hop) for hop in longest.hops if hop.n is not None]
    rest = (_key(hop) for journey in journeys for hop in journey.hops if hop.n is not None)
    return list(dict.fromkeys([*keys, *rest]))


def _times(journeys: Sequence[Journey]) -> dict[_Key, tuple[int, list[int], bool]]:
    """Per place: how many probes were seen, the legs' times, and whether they are upper bounds."""
    found: dict[_Key, tuple[int, list[int], bool]] = {}
    for journey in journeys:
        for direction in ("request", "reply"):
            for leg in legs(journey.walk(direction)):
                seen, times, bound = found.get(_key(leg.hop), (0, [], False))
                more = [leg.ns] if leg.ns is not None else []
                found[_key(leg.hop)] = seen + 1, times + more, bound or leg.bound
    return found


def _quantile(values: Sequence[int], share: float) -> str:
    """The nearest-rank quantile as microseconds; "" without values."""
    if not values:
        return ""
    ranked = sorted(values)
    return microseconds(ranked[min(len(ranked) - 1, max(0, round(share * len(ranked) + 0.5) - 1))])
