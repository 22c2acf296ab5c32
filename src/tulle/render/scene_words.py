"""What the picture says, in both languages at once: captions, numbers, the deciding entries, the verdict.

The sentences are those of the terminal (``walk_words``); here they are paired and kept short.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from tulle.render.scene import Entry, Said
from tulle.render.walk_brief import same_node, verdict_lines
from tulle.render.walk_findings import finding_text
from tulle.render.walk_sentences import what_happened
from tulle.render.walk_times import Leg, leg_text, total_text
from tulle.render.walk_words import say
from tulle.trace.journey import Direction, Hop, Journey, Reason, ReasonKind

_ONE_LINE: Final = 10_000
ENTRY_KINDS: Final[tuple[ReasonKind, ...]] = (
    "route",
    "neigh",
    "fdb",
    "bridge-fdb",
    "underlay-route",
    "underlay-neigh",
)
MOST_ENTRIES: Final = 3


def both(words: Callable[[str], str]) -> Said:
    """``words`` in each language."""
    return Said(words("en"), words("zh"))


def plain(text: str) -> Said:
    """Names and numbers, which are the same in every language."""
    return Said(text, text)


def title(journey: Journey) -> str:
    return f"{journey.source.pod} → {journey.target.pod}"


def subtitle(journey: Journey) -> Said:
    """Addresses, the probe, the tunnel."""
    return both(lambda lang: " · ".join(_facts(journey, lang)))


def _facts(journey: Journey, lang: str) -> Iterable[str]:
    packet, overlay = journey.packet, journey.overlay
    yield f"{journey.source.ip} → {journey.target.ip}"
    yield say("header.packet", lang, proto=protocol(journey), id=packet.id, len=packet.len)
    if journey.source.node == journey.target.node:
        yield say(same_node(journey), lang)
    elif overlay is not None and any(hop.outer for hop in journey.hops):
        yield say("header.tunnel", lang, backend=overlay.backend, vni=overlay.vni, port=overlay.port)
    elif journey.verdict.status != "lost":
        yield say("header.plain", lang)


def protocol(journey: Journey) -> str:
    """The probe in the field's words: ``ICMP echo``, ``TCP 40001→80 SYN``."""
    packet = journey.packet
    if packet.proto == "icmp":
        return "ICMP echo" if packet.family == 4 else "ICMPv6 echo"
    return f"{packet.proto.upper()} {packet.source_port}→{packet.port}" + (" SYN" if packet.proto == "tcp" else "")


def tunnel(journey: Journey) -> str:
    """What is written on the envelope; "" when no hop was in one."""
    outer = next((hop.outer for hop in journey.hops if hop.outer is not None), None)
    if outer is None:
        return ""
    return f"{journey.source.node} → {journey.target.node} · UDP {outer.udp[1]} · VNI {outer.vni}"


def where(hop: Hop) -> Said:
    """The place of a beat: node, namespace, device."""
    if hop.kind == "wire":
        return both(lambda lang: say("underlay", lang))
    if hop.node == "underlay":
        return both(lambda lang: f"{say('underlay', lang)} · {hop.dev}")
    place = hop.node if hop.netns == "root" else f"{hop.node} · {hop.netns}"
    if hop.kind == "decision":
        return plain(f"{place} → {hop.dev}" if hop.dev else place)
    return plain(f"{place} · {hop.dev}")


def caption(journey: Journey, hop: Hop) -> Said:
    return both(lambda lang: what_happened(journey, hop, lang))


def numbers(hop: Hop, leg: Leg | None) -> str:
    """``148 B · ttl 64 · +0.9 µs · Σ 2.9 µs``: the same in every language."""
    headers = hop.outer or hop.inner
    told = [] if hop.len is None else [f"{hop.len} B"]
    told += [] if headers is None else [f"ttl {headers.ttl}"]
    if leg is not None:
        own = leg_text(leg)
        told += [f"+{own} µs".replace("+≤", "≤")] if own and own != "=" else []
        told += [f"Σ {total_text(leg)} µs"]
    return " · ".join(told)


def entries(hops: Sequence[Hop]) -> tuple[Entry, ...]:
    """The node's entries that decided at ``hops``, and any missing one, in the order in which the packet met them."""
    found: dict[tuple[str, str], Entry] = {}
    for hop in hops:
        for reason in hop.why:
            if (
                (hop.netns == "root" or not reason.found)
                and reason.kind in ENTRY_KINDS
                and (entry := _entry(reason)) is not None
            ):
                found.setdefault((entry.kind, entry.key), entry)
    missing = [entry for entry in found.values() if not entry.found]
    kept = [entry for entry in found.values() if entry.found][: MOST_ENTRIES - len(missing)]
    return tuple(entry for entry in found.values() if entry in kept or entry in missing)[:MOST_ENTRIES]


def _entry(reason: Reason) -> Entry | None:
    facts = reason.facts
    match reason.kind:
        case "route" | "underlay-route":
            key, value = facts.get("dst") or reason.text.partition(" ")[0], facts.get("dev", "")
        case "neigh" | "underlay-neigh":
            key, value = facts.get("ip", ""), facts.get("mac", "")
        case _:
            key, value = facts.get("mac", ""), facts.get("dst") or facts.get("port", "")
    if not reason.found:
        return Entry(kind=reason.kind, key=key or "?", value="", found=False)
    return Entry(kind=reason.kind, key=key, value=value, found=True) if key and value else None


def verdict(journey: Journey) -> tuple[Said, ...]:
    """How it ended; then, when there is one, the diagnosis."""
    told = [both(lambda lang: _ending(journey, lang))]
    finding = journey.verdict.finding
    if finding is not None:
        told.append(both(lambda lang: f"{finding.id} {finding_text(finding, lang)[0]}".strip()))
    return tuple(told)


def _ending(journey: Journey, lang: str) -> str:
    lines = verdict_lines(journey, lang, _ONE_LINE)
    return lines[0].text.lstrip("✔✘ ") if lines else journey.verdict.status


def heading(direction: Direction) -> Said:
    return Said("request", "请求") if direction == "request" else Said("reply", "应答")
