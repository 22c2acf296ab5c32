"""Many probes of one path (``--count``): median, p95 and loss for each leg.  Never a mean: one outlier would own it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tulle.render.walk_text import Line, fit, right, width
from tulle.render.walk_times import legs, microseconds
from tulle.render.walk_words import say
from tulle.trace.journey import Direction, Hop, Journey

_NUMBER = 9
_LONGEST_PLACE = 32


@dataclass(slots=True)
class _Leg:
    """One place over all probes.  ``bound``: of some the time was only an upper bound."""

    hop: Hop
    seen: int = 0
    times_ns: list[int] = field(default_factory=list[int])
    bound: bool = False

    @property
    def place(self) -> str:
        return f"{self.hop.netns} {self.hop.dev}"


def render_series(journeys: Sequence[Journey], lang: str) -> list[Line]:
    """One row per place in the order of the first whole walk; a place that some probes never reached shows it."""
    lost = sum(journey.verdict.status != "delivered" for journey in journeys)
    share = f"{100 * lost / len(journeys):.1f} %"
    found = _legs(journeys)
    place = min(_LONGEST_PLACE, max((width(leg.place) for leg in found), default=0)) + 1
    return [
        Line(say("series", lang, n=len(journeys), lost=lost, share=share), "bad" if lost else "good"),
        Line(say("series.head", lang, n=len(journeys))),
        _head(place, lang),
        *(_row(leg, len(journeys), place) for leg in found),
        *_round_trips(journeys, place, lang),
    ]


def _head(place: int, lang: str) -> Line:
    numbers = (say("median", lang), say("p95", lang), say("seen", lang), say("series.loss", lang))
    return Line(_cells("", say("step", lang), say("at", lang), numbers, place), "dim")


def _row(leg: _Leg, probes: int, place: int) -> Line:
    mark = "→" if leg.hop.direction == "request" else "←"
    missing = probes - leg.seen
    bound = "≤" if leg.bound and leg.times_ns else ""
    times = (bound + _quantile(leg.times_ns, share) for share in (0.5, 0.95))
    numbers = (*times, str(leg.seen), str(missing) if missing else "")
    return Line(_cells(mark, leg.hop.step, leg.place, numbers, place), "bad" if missing else "plain")


def _round_trips(journeys: Sequence[Journey], place: int, lang: str) -> Iterable[Line]:
    """What the looking cost stands beside what was seen."""
    traced = [ns for journey in journeys if (ns := journey.overhead.rtt_traced_ns) is not None]
    plain = [ns for journey in journeys if (ns := journey.overhead.rtt_plain_ns) is not None]
    if traced:
        numbers = (_quantile(traced, 0.5), _quantile(traced, 0.95), str(len(traced)), "")
        yield Line(_cells("", "", say("series.rtt", lang), numbers, place))
    if plain:
        yield Line(_cells("", "", say("series.plain", lang), (_quantile(plain, 0.5), "", "", ""), place))


def _cells(mark: str, step: str, place: str, numbers: Iterable[str], columns: int) -> str:
    return fit(mark, 2) + fit(step, 5) + fit(place, columns) + "".join(right(number, _NUMBER) for number in numbers)


def _legs(journeys: Sequence[Journey]) -> list[_Leg]:
    """All places, in the order of the longest walk, request before reply."""
    found: dict[tuple[str, ...], _Leg] = {}
    directions: tuple[Direction, ...] = ("request", "reply")
    longest_first = sorted(journeys, key=lambda journey: -sum(hop.n is not None for hop in journey.hops))
    for direction in directions:
        for journey in longest_first:
            for leg in legs(journey.walk(direction)):
                place = found.setdefault(_key(leg.hop), _Leg(leg.hop))
                place.seen += 1
                place.bound = place.bound or leg.bound
                place.times_ns += [leg.ns] if leg.ns is not None else []
    return list(found.values())


def _key(hop: Hop) -> tuple[str, ...]:
    return hop.direction, hop.step, hop.node, hop.netns, hop.dev, hop.dir


def _quantile(values: Sequence[int], share: float) -> str:
    """The nearest-rank quantile as microseconds; "" without values."""
    if not values:
        return ""
    ranked = sorted(values)
    return microseconds(ranked[min(len(ranked) - 1, max(0, round(share * len(ranked) + 0.5) - 1))])
