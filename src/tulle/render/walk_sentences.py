"""What happened at a hop, in one sentence: chosen by what the hop is, filled from its facts.

Where a fact is missing, the sentence that does without it is chosen, never one with a hole.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from tulle.render.walk_words import say
from tulle.trace.journey import End, Hop, Journey, Reason


def what_happened(journey: Journey, hop: Hop, lang: str) -> str:
    """One sentence for ``hop``; what NAT changed is added to it."""
    return " · ".join([_sentence(journey, hop, lang), *_rewritten(hop, lang)])


def _rewritten(hop: Hop, lang: str) -> Iterable[str]:
    for change in hop.diff:
        field, _, values = change.partition(" ")
        if field in ("src", "dst"):
            yield say(f"rewritten.{field}", lang, change=values)


def _sentence(journey: Journey, hop: Hop, lang: str) -> str:
    match hop.kind:
        case "wire":
            return say("hop.wire", lang)
        case "decision":
            return _decision(hop, lang)
        case _:
            tell = _TELLERS.get(hop.step, _passing)
            return tell(journey, hop, lang)


def _far_end(journey: Journey, hop: Hop) -> End:
    return journey.target if hop.direction == "request" else journey.source


def _near_end(journey: Journey, hop: Hop) -> End:
    return journey.source if hop.direction == "request" else journey.target


def _leaves(journey: Journey, hop: Hop, lang: str) -> str:
    route, mac = hop.reason("route"), hop.inner.dmac if hop.inner else ""
    pod = _near_end(journey, hop).pod
    if route is not None and route.facts.get("via"):
        return say("hop.1.via", lang, pod=pod, via=route.facts["via"], mac=mac)
    return say("hop.1", lang, pod=pod, dst=hop.inner.dst if hop.inner else "", mac=mac)


def _bridge(_: Journey, hop: Hop, lang: str) -> str:
    link = hop.reason("link")
    return say("hop.2" if link is None or link.found else "hop.2.other", lang, dev=hop.dev)


def _decision(hop: Hop, lang: str) -> str:
    route, entry = hop.reason("route"), hop.reason("bridge-fdb")
    if route is None:
        return _switched(entry, lang)
    if not route.found:
        return say("hop.noroute", lang, text=route.text)
    return route.text


def _switched(entry: Reason | None, lang: str) -> str:
    if entry is None or not entry.found:
        return say("hop.2.flood", lang)
    return say("hop.2.fdb", lang, mac=entry.facts.get("mac", ""), port=entry.facts.get("port", ""))


def _wraps(_: Journey, hop: Hop, lang: str) -> str:
    neigh, fdb = hop.reason("neigh"), hop.reason("fdb")
    if neigh is None:
        return say("hop.3b.bare", lang)
    facts = {"ip": neigh.facts.get("ip", ""), "mac": neigh.facts.get("mac", "")}
    if not neigh.found:
        return say("hop.3b.noneigh", lang, **facts)
    if fdb is None or not fdb.found:
        return say("hop.3b.nofdb", lang, **facts)
    return say("hop.3b", lang, **facts, dst=fdb.facts.get("dst", ""))


def _goes_out(journey: Journey, hop: Hop, lang: str) -> str:
    if hop.outer is None:
        return say("hop.3c.plain", lang)
    inside = next((h.len for h in journey.walk(hop.direction) if h.n and h.outer is None and h.len), 0)
    more = (hop.len or 0) - inside
    return say("hop.3c", lang, sport=hop.outer.udp[0], dport=hop.outer.udp[1], more=more)


def _crosses(_: Journey, hop: Hop, lang: str) -> str:
    if hop.outer is not None or hop.inner is None:
        return say("hop.4", lang)
    return say("hop.4.plain", lang, src=hop.inner.src, dst=hop.inner.dst)


def _carried(journey: Journey, hop: Hop, lang: str) -> str:
    return say("hop.5", lang, node=_far_end(journey, hop).node)


def _arrives(journey: Journey, hop: Hop, lang: str) -> str:
    link = hop.reason("link")
    if link is None or "port" not in link.facts:
        is_end = _far_end(journey, hop).role == "node" and hop.pkttype == "host"
        name = _end_of_walk(journey, hop) if is_end else "hop.6a.plain"
        return say(name, lang, pod=_far_end(journey, hop).pod)
    return say(
        "hop.6a" if link.found else "hop.6a.nobody", lang, port=link.facts["port"], dev=link.facts.get("dev", "")
    )


def _unwraps(journey: Journey, hop: Hop, lang: str) -> str:
    if hop.pkttype == "otherhost":
        return say("hop.6b.other", lang, mac=hop.inner.dmac if hop.inner else "", dev=hop.dev)
    link = hop.reason("link")
    vni = link.facts.get("vni") if link else None
    return say("hop.6b", lang, vni=vni or (journey.overlay.vni if journey.overlay else ""))


def _routes_down(_: Journey, hop: Hop, lang: str) -> str:
    return _decision(hop, lang) if hop.reason("route") else say("hop.tx", lang)


def _delivers(journey: Journey, hop: Hop, lang: str) -> str:
    neigh, entry = hop.reason("neigh"), hop.reason("bridge-fdb")
    if neigh is None or not neigh.found:
        return say("hop.7.bare", lang, pod=_far_end(journey, hop).pod)
    facts = {name: neigh.facts.get(name, "") for name in ("ip", "mac")}
    if entry is not None and entry.found:
        return say("hop.7", lang, **facts, port=entry.facts.get("port", ""))
    return say("hop.7.routed", lang, **facts, dev=hop.dev)


def _accepted(journey: Journey, hop: Hop, lang: str) -> str:
    if hop.pkttype == "otherhost":
        return say("hop.8.other", lang, mac=hop.inner.dmac if hop.inner else "")
    return say(_end_of_walk(journey, hop), lang, pod=_far_end(journey, hop).pod)


def _end_of_walk(journey: Journey, hop: Hop) -> str:
    """Accepted only with proof: an answer that left, or the whole round trip."""
    verdict = journey.verdict
    if verdict.drop is not None and verdict.direction == hop.direction:
        return "hop.8.dropped"
    answered = hop.direction == "request" and bool(journey.sightings("reply"))
    return "hop.8" if answered or verdict.status == "delivered" else "hop.8.reached"


def _passing(_: Journey, hop: Hop, lang: str) -> str:
    link = hop.reason("link")
    if hop.kind == "veth" and hop.dir == "rx":
        master = link.facts.get("master") if link else None
        return say("hop.pair.port", lang, master=master) if master else say("hop.pair", lang)
    if hop.node == "underlay":
        return say("hop.underlay", lang)
    return say("hop.rx" if hop.dir == "rx" else "hop.tx", lang)


_TELLERS: Final[Mapping[str, Callable[[Journey, Hop, str], str]]] = {
    "1": _leaves,
    "2": _bridge,
    "3b": _wraps,
    "3c": _goes_out,
    "4": _crosses,
    "5": _carried,
    "6a": _arrives,
    "6b": _unwraps,
    "6c": _routes_down,
    "7": _delivers,
    "8": _accepted,
}
