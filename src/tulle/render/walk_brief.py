"""A journey in few lines: the verdict, the arrow line (``-1``), the one-line answer (``-q``)."""

from collections.abc import Iterable

from tulle.render.walk_text import Line, wrap
from tulle.render.walk_times import duration, legs, microseconds
from tulle.render.walk_words import say
from tulle.trace.journey import Direction, Hop, Journey


def same_way(journey: Journey) -> bool:
    """Did the reply come back over the same devices?"""
    there, back = journey.sightings("request"), journey.sightings("reply")
    return bool(back) and [_place(hop) for hop in there] == [_place(hop) for hop in reversed(back)]


def _place(hop: Hop) -> tuple[str, str, str]:
    return hop.node, hop.netns, hop.dev


def arrow_lines(journey: Journey, direction: Direction, lang: str, columns: int) -> list[Line]:
    """``reply: pod4 eth0 → vethp4 → 2 cbr0 → … (6.9 µs)``, wrapped; a double arrow is the tunnel."""
    hops = journey.walk(direction)
    if not hops:
        return []
    text = f"{say('reply', lang)}: " if direction == "reply" else ""
    text += "".join(_arrow(hops, at) for at in range(len(hops)))
    total = legs(hops)[-1].total_ns if legs(hops) else 0
    return [
        Line(("" if at == 0 else "   ") + piece)
        for at, piece in enumerate(wrap(f"{text} ({duration(total)})", columns - 3))
    ]


def _arrow(hops: tuple[Hop, ...], at: int) -> str:
    hop, before = hops[at], hops[at - 1] if at else None
    name = f"{hop.step} " if hop.step else ""
    where = f"{hop.netns} " if before is None or before.netns != hop.netns or before.node != hop.node else ""
    link = "" if before is None else " ⇒ " if hop.outer is not None and before.outer is not None else " → "
    if hop.kind == "wire":
        return f"{link}{name}(?)"
    if hop.kind == "decision":
        return f"{link}{name}[{where}{hop.dev or '✘'}]"
    return f"{link}{name}{where}{hop.dev}"


def verdict_lines(journey: Journey, lang: str, columns: int) -> list[Line]:
    """How it ended, in one sentence or two."""
    good = journey.verdict.status == "delivered"
    sentence = f"✔ {_delivered(journey, lang)}" if good else f"✘ {_failed(journey, lang)}"
    lines = [*wrap(sentence, columns), *(wrap(f"  {_slowest(journey, lang)}", columns) if good else [])]
    return [Line(line, "good" if good else "bad") for line in lines if line.strip()]


def one_line(journey: Journey, lang: str) -> list[Line]:
    """``-q``: who to whom, and how it ended."""
    good = journey.verdict.status == "delivered"
    ends = f"{journey.source.pod} → {journey.target.pod}"
    text = f"✔ {ends}: {_delivered(journey, lang)}" if good else f"✘ {ends}: {_failed(journey, lang)}"
    return [Line(text, "good" if good else "bad")]


def _delivered(journey: Journey, lang: str) -> str:
    request, reply = journey.sightings("request"), journey.sightings("reply")
    text = say("arrived", lang, time=duration(one_way_ns(request)), n=len(request))
    stop = "。" if lang == "zh" else "."
    if journey.verdict.icmp:
        text += "; " + say("reply.icmp", lang, icmp=journey.verdict.icmp)
    elif reply:
        text += ("；" if lang == "zh" else "; ") + say(
            "reply.same" if same_way(journey) else "reply.other", lang, n=len(reply)
        )
    traced, plain = journey.overhead.rtt_traced_ns, journey.overhead.rtt_plain_ns
    if traced is not None and plain is not None:
        text += stop + " " + say("rtt", lang, traced=duration(traced), plain=duration(plain))
    elif traced is not None:
        text += stop + " " + say("rtt.traced", lang, traced=duration(traced))
    return text + stop


def one_way_ns(hops: tuple[Hop, ...]) -> int | None:
    """First to last sighting."""
    return (hops[-1].t_ns or 0) - (hops[0].t_ns or 0) if hops else None


def _slowest(journey: Journey, lang: str) -> str:
    timed = [leg for leg in legs(journey.walk("request")) if leg.ns is not None and not leg.bound]
    worst = sorted(timed, key=lambda leg: -(leg.ns or 0))[:2]
    parts = [f"{leg.hop.step or leg.hop.netns} {leg.hop.dev} {microseconds(leg.ns or 0)} µs" for leg in worst]
    return f"{say('slowest', lang)}: {', '.join(parts)}" if parts else ""


def _failed(journey: Journey, lang: str) -> str:
    return "; ".join(_failed_parts(journey, lang))


def _failed_parts(journey: Journey, lang: str) -> Iterable[str]:
    verdict = journey.verdict
    reached = {"step": verdict.stopped_at or "-", "place": verdict.stopped_on}
    if verdict.status == "no-reply":
        start = not journey.walk("reply")
        yield say("noreply.start", lang, pod=journey.target.pod) if start else say("noreply", lang, **reached)
    else:
        start = not journey.sightings("request")
        yield say("lost.start", lang, pod=journey.source.pod) if start else say("lost", lang, **reached)
    if verdict.drop is not None:
        yield say("dropped", lang, place=verdict.drop.place or "?", reason=verdict.drop.reason)
    if verdict.note:
        yield say("sent.error", lang, error=verdict.note)
    if verdict.icmp:
        yield say("icmp.from", lang, icmp=verdict.icmp)
