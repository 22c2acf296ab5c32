"""A journey in few lines: the verdict, the arrow line (``-1``), the one-line answer (``-q``)."""

from collections.abc import Iterable, Sequence

from tulle.render.walk_findings import finding_text
from tulle.render.walk_text import Line, flow, wrap
from tulle.render.walk_times import duration, legs
from tulle.render.walk_words import say
from tulle.trace.journey import Direction, Hop, Journey


def same_node(journey: Journey) -> str:
    """Which words say how a node carries a packet between its own pods."""
    is_routed = any(hop.kind == "decision" and hop.reason("route") is not None for hop in journey.hops)
    return "header.same.routed" if is_routed else "header.same"


def same_way(journey: Journey) -> bool:
    """Did the reply come back over the same devices?"""
    there, back = journey.sightings("request"), journey.sightings("reply")
    return bool(back) and [_place(hop) for hop in there] == [_place(hop) for hop in reversed(back)]


def _place(hop: Hop) -> tuple[str, str, str]:
    return hop.node, hop.netns, hop.dev


def arrow_lines(journey: Journey, direction: Direction, lang: str, columns: int) -> list[Line]:
    """``reply: 1 pod4 eth0 → root vethp4 → 2 cbr0 → … (6.9 µs)``, wrapped at arrows; a double arrow is the tunnel."""
    hops = journey.walk(direction)
    if not hops:
        return []
    known = legs(hops)
    pieces = [_place_in_line(hops, at) + _link(hops, at) for at in range(len(hops))]
    if direction == "reply":
        pieces[0] = f"{say('reply', lang)}{say('colon', lang)}{pieces[0]}"
    pieces[-1] += f"({duration(known[-1].total_ns if known else None)})"
    return [Line(("" if at == 0 else "   ") + piece) for at, piece in enumerate(flow(pieces, columns - 3))]


def _place_in_line(hops: Sequence[Hop], at: int) -> str:
    """Step, device, and the namespace when it is another than before; what only decided is in brackets."""
    hop, before = hops[at], hops[at - 1] if at else None
    step = f"{hop.step} " if hop.step else ""
    is_new = before is None or (before.netns, before.node) != (hop.netns, hop.node)
    where = f"{hop.netns} " if is_new and hop.netns else ""
    match hop.kind:
        case "wire":
            return f"{step}(?)"
        case "decision":
            return f"{step}[{where}{hop.dev or '✘'}]"
        case _:
            return f"{step}{where}{hop.dev}"


def _link(hops: Sequence[Hop], at: int) -> str:
    """The arrow to the next hop."""
    if at + 1 == len(hops):
        return " "
    return " ⇒ " if hops[at].outer is not None and hops[at + 1].outer is not None else " → "


def verdict_lines(journey: Journey, lang: str, columns: int, *, with_drop: bool = True) -> list[Line]:
    """How it ended, in one sentence or two."""
    if journey.verdict.status == "delivered":
        slowest = _slowest(journey, lang)
        rest = [f"  {piece}" for piece in wrap(slowest, columns - 2)] if slowest else []
        lines = [*_hanging(f"✔ {_delivered(journey, lang)}", columns), *rest]
        return [Line(line, "good") for line in lines]
    return [Line(line, "bad") for line in _hanging(f"✘ {_failed(journey, lang, with_drop=with_drop)}", columns)]


def _hanging(text: str, columns: int) -> list[str]:
    first, *rest = wrap(text, columns - 2)
    return [first, *(f"  {piece}" for piece in rest)]


def one_line(journey: Journey, lang: str) -> list[Line]:
    """``-q``: who to whom, how it ended, and why as far as it is known."""
    ends, colon = f"{journey.source.pod} → {journey.target.pod}", say("colon", lang)
    if journey.verdict.status == "delivered":
        return [Line(f"✔ {ends}{colon}{_delivered(journey, lang)}", "good")]
    parts = [_failed(journey, lang, with_drop=True)]
    if journey.verdict.finding is not None:
        parts.append(f"{journey.verdict.finding.id} {finding_text(journey.verdict.finding, lang)[0]}".strip())
    return [Line(f"✘ {ends}{colon}{say('semicolon', lang).join(parts)}", "bad")]


def _delivered(journey: Journey, lang: str) -> str:
    request, reply = journey.sightings("request"), journey.sightings("reply")
    parts = [say("arrived", lang, time=duration(one_way_ns(request)), n=len(request))]
    if journey.verdict.icmp:
        parts.append(say("reply.icmp", lang, icmp=journey.verdict.icmp))
    elif reply:
        parts.append(say("reply.same" if same_way(journey) else "reply.other", lang, n=len(reply)))
    sentences = [say("semicolon", lang).join(parts), *_round_trip(journey, lang)]
    gap = "" if lang == "zh" else " "
    return gap.join(sentence + say("stop", lang) for sentence in sentences)


def _round_trip(journey: Journey, lang: str) -> Iterable[str]:
    traced, plain = journey.overhead.rtt_traced_ns, journey.overhead.rtt_plain_ns
    if traced is not None and plain is not None:
        yield say("rtt", lang, traced=duration(traced), plain=duration(plain))
    elif traced is not None:
        yield say("rtt.traced", lang, traced=duration(traced))


def one_way_ns(hops: tuple[Hop, ...]) -> int | None:
    """First to last sighting."""
    return (hops[-1].t_ns or 0) - (hops[0].t_ns or 0) if hops else None


def _slowest(journey: Journey, lang: str) -> str:
    """The two longest legs that were measured; an upper bound is not a measurement."""
    timed = [leg for leg in legs(journey.walk("request")) if leg.ns is not None and not leg.bound]
    worst = sorted(timed, key=lambda leg: -(leg.ns or 0))[:2]
    parts = [f"{leg.hop.step or leg.hop.netns} {leg.hop.dev} {duration(leg.ns)}" for leg in worst]
    return f"{say('slowest', lang)}{say('colon', lang)}{say('list', lang).join(parts)}" if parts else ""


def _failed(journey: Journey, lang: str, *, with_drop: bool) -> str:
    return say("semicolon", lang).join(_failed_parts(journey, lang, with_drop=with_drop))


def _failed_parts(journey: Journey, lang: str, *, with_drop: bool) -> Iterable[str]:
    verdict = journey.verdict
    reached = {"step": verdict.stopped_at or "-", "place": verdict.stopped_on}
    if verdict.status == "no-reply":
        start = not journey.walk("reply")
        yield say("noreply.start", lang, pod=journey.target.pod) if start else say("noreply", lang, **reached)
    else:
        start = not journey.sightings("request")
        yield say("lost.start", lang, pod=journey.source.pod) if start else say("lost", lang, **reached)
    if verdict.drop is not None and with_drop:
        yield say("dropped", lang, place=verdict.drop.place or "?", reason=verdict.drop.reason)
    if verdict.note:
        yield say("sent.error", lang, error=verdict.note)
    if verdict.icmp:
        yield say("icmp.from", lang, icmp=verdict.icmp)
