"""A journey as terminal text: who to whom, the boxes of the two nodes, the envelope between them, the verdict.

Pure: the same journey, language and width give the same bytes.  80 columns hold everything;
from 100 on the kernel's answers stand below each hop as well.  Brief forms are in
``walk_brief``, figures over many probes in ``walk_series``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tulle.render.walk_article import ASIDE
from tulle.render.walk_brief import arrow_lines, same_node, same_way, verdict_lines
from tulle.render.walk_broken import broken_walk
from tulle.render.walk_findings import finding_text
from tulle.render.walk_look import Look
from tulle.render.walk_table import walk_table
from tulle.render.walk_text import NO_BREAK, Line, fit, flow, width, wrap
from tulle.render.walk_times import duration, legs
from tulle.render.walk_words import WORDS, say
from tulle.trace.journey import ClockFact, Direction, End, Finding, Journey, Side

__all__ = ["Look", "render_journey"]


def render_journey(journey: Journey, look: Look) -> list[Line]:
    """The whole journey: header, request, reply when it has something to say of its own, verdict, finding."""
    failed = journey.verdict.direction if journey.verdict.status != "delivered" else None
    look = replace(look, article=look.article and journey.overlay is not None)
    return [
        *_header(journey, look),
        Line(""),
        *(_walk(journey, "request", failed, look)),
        *_reply(journey, failed, look),
        *_notes(journey, look),
        *verdict_lines(journey, look.lang, look.limit, with_drop=not journey.walk(journey.verdict.direction)),
        *_finding(journey.verdict.finding, look),
    ]


def _walk(journey: Journey, direction: Direction, failed: Direction | None, look: Look) -> Iterable[Line]:
    if direction == failed:
        return broken_walk(journey, look)
    return walk_table(journey, direction, look)


def _reply(journey: Journey, failed: Direction | None, look: Look) -> Iterable[Line]:
    """One line when it came back the same way, or is only an error about what was lost; else its own table."""
    if not journey.walk("reply"):
        return
    if failed == "request" or (failed is None and same_way(journey)):
        yield from arrow_lines(journey, "reply", look.lang, look.limit)
        return
    yield Line("")
    yield Line(f"{say('reply', look.lang)}{say('colon', look.lang).rstrip()}", "bold")
    yield from _walk(journey, "reply", failed, look)


def _header(journey: Journey, look: Look) -> Iterable[Line]:
    lang = look.lang
    name = "header.packet" if journey.packet.len else "header.unseen"
    packet = say(name, lang, proto=_protocol(journey), id=journey.packet.id, len=journey.packet.len)
    ends = f"{_end(journey.source, lang)}  →  {_end(journey.target, lang)}"
    facts = [_tunnel(journey, lang), *_nodes(journey), _clock(journey.clock, lang)]
    if look.roomy:
        yield from _joined([ends, packet], look)
        yield from _joined(facts, look)
    else:
        yield from _joined([ends, packet, *facts], look)


def _nodes(journey: Journey) -> Iterable[str]:
    if journey.overlay and len(journey.overlay.nodes) == 2:
        source, target = journey.overlay.nodes
        yield f"{journey.source.node} {source} ↔ {journey.target.node} {target}"


def _clock(clock: ClockFact, lang: str) -> str:
    if clock.method == "shared":
        return say("header.clock", lang)
    return say("header.clocks", lang, offset=duration(clock.offset_ns), method=clock.method)


def _joined(parts: Sequence[str], look: Look) -> Iterable[Line]:
    """As many on a line as fit."""
    gap = " " * 5
    whole = [part if at == len(parts) - 1 else part + gap for at, part in enumerate(parts)]
    yield from (Line(line) for line in flow(whole, look.limit))


def _end(end: End, lang: str) -> str:
    if end.pod == end.ip:
        return say("header.address", lang, ip=end.ip)
    return say("header.node" if end.role == "node" else "header.end", lang, pod=end.pod, ip=end.ip, node=end.node)


def _protocol(journey: Journey) -> str:
    packet = journey.packet
    if packet.proto == "icmp":
        return "ICMP echo" if packet.family == 4 else "ICMPv6 echo"
    return f"{packet.proto.upper()} {packet.source_port}→{packet.port}" + (" SYN" if packet.proto == "tcp" else "")


def _tunnel(journey: Journey, lang: str) -> str:
    overlay = journey.overlay
    if overlay is not None and overlay.vni is not None:
        return say("header.tunnel", lang, backend=overlay.backend, vni=overlay.vni, port=overlay.port)
    is_switched = journey.source.node == journey.target.node and journey.target.role == journey.source.role == "pod"
    return say(same_node(journey) if is_switched else "header.plain", lang)


def _notes(journey: Journey, look: Look) -> Iterable[Line]:
    """What is not a hop: questions beside the walk, how to read a tie, what could not be looked at."""
    beside = [*_sides(journey, look), *_checksums(journey, look), *(_note(note, look.lang) for note in journey.notes)]
    asides = [("✎", texts[look.lang == "zh"]) for texts in ASIDE] if look.article else []
    for mark, text in [*(("·", text) for text in beside), *_ties(journey, look.lang), *asides]:
        for at, piece in enumerate(wrap(text, look.limit - 4)):
            yield Line((f"  {mark} " if at == 0 else "    ") + piece, "dim")


def _sides(journey: Journey, look: Look) -> Iterable[str]:
    """Questions that nobody answered, and with room those that no hop shows."""
    shown = {reason.facts.get("ip") for hop in journey.hops for reason in hop.why if reason.kind in {"arp", "nd"}}
    for side in journey.side:
        if side.answered_by is None or (look.roomy and side.q not in shown):
            yield _side(side, look.lang)


def _side(side: Side, lang: str) -> str:
    words = "nd" if side.type == "nd" else "arp"
    facts = {"type": side.type.upper(), "q": side.q, "dev": side.dev}
    if side.answered_by is None:
        return say(f"{words}.silent", lang, **facts)
    return say(f"{words}.answered", lang, mac=side.answered_by, **facts)


def _ties(journey: Journey, lang: str) -> Iterable[tuple[str, str]]:
    """The signs of a tie, explained where a table shows them."""
    ties = [leg for direction in _tables(journey) for leg in legs(journey.walk(direction)) if leg.bound]
    if any(leg.ns is not None for leg in ties):
        yield "≤", say("note.bound", lang)
    if any(leg.ns is None for leg in ties):
        yield "=", say("note.equal", lang)


def _tables(journey: Journey) -> Iterable[Direction]:
    """The directions that are drawn with times."""
    if journey.verdict.status != "lost":
        yield "request"
    if journey.verdict.status == "delivered" and not same_way(journey):
        yield "reply"


def _checksums(journey: Journey, look: Look) -> Iterable[str]:
    """Where a checksum was seen unfinished, as far as these places have a step."""
    if not look.roomy:
        return
    partial = [
        hop.step for hop in journey.hops if any(h is not None and h.csum == "partial" for h in (hop.inner, hop.outer))
    ]
    if steps := [step for step in dict.fromkeys(partial) if step]:
        yield say("note.csum", look.lang, places=say("list", look.lang).join(steps))


def _note(note: str, lang: str) -> str:
    """``name:fact=value;fact=value`` as a sentence; one of a later version is shown as it is."""
    name, _, rest = note.partition(":")
    facts = dict(pair.split("=", 1) for pair in rest.split(";") if "=" in pair)
    return _filled(f"note.{name}", facts, lang) or note


def _filled(name: str, facts: Mapping[str, str], lang: str) -> str:
    try:
        return say(name, lang, **facts) if name in WORDS else ""
    except KeyError:
        return ""


def _finding(finding: Finding | None, look: Look) -> Iterable[Line]:
    if finding is None:
        return
    lang = look.lang
    text, why = finding_text(finding, lang)
    head = f"✘ {finding.id} {text}" if finding.id else f"✘ {text}"
    for at, piece in enumerate(wrap(head, look.limit - 2)):
        yield Line(piece if at == 0 else "  " + piece, "bad")
    answer = (finding.answer or say("nothing", lang)).replace(" ", NO_BREAK)
    evidence = f"{finding.evidence}   →{NO_BREAK}{answer}" if finding.evidence else ""
    for name, body in (("evidence", evidence), ("repair", finding.repair), ("why", why)):
        label = fit(say(name, lang), 10)
        for at, piece in enumerate(wrap(body, look.limit - 12) if body else []):
            yield Line("  " + (label if at == 0 else " " * width(label)) + piece)
