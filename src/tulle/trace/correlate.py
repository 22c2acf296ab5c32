"""From sightings, the kernel's answers and its events to one journey.

Pure, and the only place where evidence becomes a walk.  A hop exists because a tap saw the
frame, a decision because the kernel answered; what ought to be there and left no evidence is
a hop with ``observed`` False.  Nothing is interpolated: a stamp that two hops share is shown
as shared, unless a tracepoint tells them apart.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from tulle.trace.changes import changes, inner_of, outer_of
from tulle.trace.decided import Answers, Decision, NodeFacts
from tulle.trace.journey import (
    ClockDomain,
    ClockFact,
    Direction,
    End,
    Hop,
    Journey,
    Overhead,
    Overlay,
    PacketFact,
    Side,
)
from tulle.trace.ordering import in_order, without_copies
from tulle.trace.places import Places
from tulle.trace.probe_packet import Probe
from tulle.trace.reasons import Context, place_decisions
from tulle.trace.sightings import Question, Seen, Sighting
from tulle.trace.steps import Numbered, number
from tulle.trace.topology import NetnsId, Topology
from tulle.trace.trail import NO_EVENTS, Events, SkbEvent, drop_in, receipt, trail_along
from tulle.trace.verdict import Walk, judge
from tulle.trace.waits import first_askers, with_waits


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All the evidence about one probe.  ``send_error`` is the kernel's refusal to send at all."""

    topology: Topology
    places: Places
    probe: Probe
    seen: Seen
    answers: Answers = field(default_factory=dict[tuple[Direction, NetnsId], tuple[Decision, ...]])
    facts: Mapping[NetnsId, NodeFacts] = field(default_factory=dict[NetnsId, NodeFacts])
    events: Events = NO_EVENTS
    send_error: str = ""
    received: bool = False
    """The prober's socket got the reply."""
    overhead: Overhead = Overhead(rtt_traced_ns=None, rtt_plain_ns=None)
    notes: tuple[str, ...] = ()


def walk_of(topology: Topology, places: Places, seen: Seen, direction: Direction) -> tuple[Numbered, ...]:
    """The sightings of one direction in order, with their steps: what ``decided.queries`` asks about."""
    kept, _ = _sorted_out(topology, seen, direction)
    return number(kept, topology, places.seen_from(direction))


def _sorted_out(
    topology: Topology, seen: Seen, direction: Direction
) -> tuple[tuple[Sighting, ...], tuple[Sighting, ...]]:
    """The walk of one direction in order, and the copies beside it."""
    mine = [sighting for sighting in seen.sightings if sighting.direction == direction]
    return without_copies(in_order(mine, topology), topology)


def trail_of_walk(walk: Sequence[Numbered], events: Events) -> tuple[SkbEvent, ...]:
    """What the tracepoints told of the packet of ``walk``; a device that is gone has no name to join by."""
    names = [place.device.name if place.device else "" for place in walk]
    return trail_along([place.sighting for place in walk], names, events)


def correlate(found: Findings) -> Journey:
    """The journey that the evidence tells."""
    start = min((sighting.t_ns for sighting in found.seen.sightings), default=0)
    request = _walk(found, "request", start, 1)
    reply = _walk(found, "reply", start, 1 + len(request.places))
    verdict = judge(found.topology, found.probe, request, reply, found.facts, found.seen.questions, found.send_error)
    first = request.places[0] if request.places else None
    return Journey(
        source=_end(found, found.places.source),
        target=_end(found, found.places.target),
        overlay=_overlay(found, request.places + reply.places),
        clock=_clock(found),
        packet=_packet(found.probe, first.sighting if first else None),
        hops=request.hops + reply.hops,
        side=tuple(_sides(found, start)),
        verdict=verdict,
        overhead=found.overhead,
        notes=(*found.notes, *_floods(found)),
    )


def _floods(found: Findings) -> Iterable[str]:
    """A bridge that did not know the port sent copies elsewhere: not hops, but not to be passed over either."""
    directions: tuple[Direction, ...] = ("request", "reply")
    copies = [copy for way in directions for copy in _sorted_out(found.topology, found.seen, way)[1] if copy.outgoing]
    devices = [device.name for copy in copies if (device := found.topology.device(copy.device)) is not None]
    if devices:
        yield f"flood:devices={' '.join(dict.fromkeys(devices))}"


def _walk(found: Findings, direction: Direction, start_ns: int, first_n: int) -> Walk:
    places = walk_of(found.topology, found.places, found.seen, direction)
    trail = trail_of_walk(places, found.events)
    cast = found.places.seen_from(direction)
    hops = _hops(places, cast, direction, trail, start_ns, first_n)
    decided = {netns: answers for (way, netns), answers in found.answers.items() if way == direction}
    placed = place_decisions(hops, places, cast, decided, Context(found.topology, found.events, start_ns))
    received = direction == "reply" and found.received
    drop = None if received else drop_in(trail, start_ns)
    waited = with_waits(placed, places, found.seen.questions, start_ns)
    return Walk(direction, places, _with_wire(waited, places, cast), decided, drop, cast, received)


def _hops(
    walk: Sequence[Numbered], cast: Places, direction: Direction, trail: Sequence[SkbEvent], start_ns: int, first_n: int
) -> tuple[Hop, ...]:
    hops: list[Hop] = []
    for at, place in enumerate(walk):
        before = walk[at - 1] if at else None
        hop = _hop(place, before, cast, direction, start_ns, first_n + at)
        if hops and hop.t_ns is not None and hop.t_ns <= (hops[-1].t_ns or 0):
            after = next((p.sighting.t_ns for p in walk[at + 1 :] if p.sighting.t_ns > place.sighting.t_ns), None)
            hop = _told_apart(hop, hops[-1], trail, start_ns, after)
        hops.append(hop)
    return tuple(hops)


def _hop(place: Numbered, before: Numbered | None, cast: Places, direction: Direction, start_ns: int, n: int) -> Hop:
    sighting, capture = place.sighting, place.sighting.capture
    netns = sighting.device.netns
    return Hop(
        n=n,
        step=place.step,
        direction=direction,
        node=cast.node(netns),
        netns=cast.label(netns),
        kind=place.kind,
        dev=place.device.name if place.device else f"if{sighting.device.ifindex}",
        dir="tx" if sighting.outgoing else "rx",
        ifindex=sighting.device.ifindex,
        t_ns=sighting.t_ns - start_ns,
        t_source="tap",
        len=capture.length,
        pkttype=capture.pkttype,
        outer=outer_of(sighting),
        inner=inner_of(sighting),
        diff=changes(before.sighting, sighting) if before else (),
        frame=b64encode(capture.data).decode(),
    )


def _told_apart(hop: Hop, before: Hop, trail: Sequence[SkbEvent], start_ns: int, after_ns: int | None) -> Hop:
    """A hop with a borrowed stamp: with its own from a tracepoint, or marked as shared."""
    since = before.t_ns or 0
    own = receipt(trail, hop.dev, start_ns + since, after_ns)
    if own is not None:
        return replace(hop, t_ns=own - start_ns, t_source="tracepoint")
    return replace(hop, t_ns=max(since, hop.t_ns or 0), t_shared_with=before.t_shared_with or before.n)


def _with_wire(hops: tuple[Hop, ...], walk: Sequence[Numbered], cast: Places) -> tuple[Hop, ...]:
    """4 and 5 as "not seen" when the packet got from node to node with no tap between them."""
    regions = [place.region for place in walk]
    if cast.same_node or "underlay" in regions or not {"source node", "target node"} <= set(regions):
        return hops
    at = next(at for at, hop in enumerate(hops) if hop.node == cast.name(cast.target_node) and hop.n is not None)
    while at and hops[at - 1].n is None:
        at -= 1
    unseen = [
        Hop(n=None, step=step, direction=hops[at].direction, node="underlay", netns="", kind="wire", observed=False)
        for step in ("4", "5")
    ]
    return hops[:at] + tuple(unseen) + hops[at:]


def _end(found: Findings, netns: NetnsId) -> End:
    """``netns`` as one of the two ends."""
    node = found.places.source_node if netns == found.places.source else found.places.target_node
    address = found.probe.source if netns == found.places.source else found.probe.target
    role = "node" if netns == node else "pod"
    return End(pod=found.places.name(netns), ip=str(address), node=found.places.name(node), role=role)


def _overlay(found: Findings, walk: Iterable[Numbered]) -> Overlay | None:
    """The tunnel that the packet was seen in; else the one that its node would use; None: there is none."""
    tunnel = next((place for place in walk if place.sighting.encapsulated), None)
    node = found.topology.namespaces.get(found.places.source_node)
    family = found.probe.family
    own = [device for device in (node.vxlans if node else ()) if device.vni is not None]
    if found.places.same_node or (tunnel is None and (not own or _is_past_the_tunnel(found))):
        return None
    wrapped = tunnel.sighting.layers.vxlan if tunnel else None
    device = next((d for d in own if wrapped is not None and d.vni == wrapped.vni), None)
    device = device or min(own, key=lambda d: d.local is not None and d.local.version != family, default=None)
    outer = tunnel.sighting.layers.outer_packet if tunnel else None
    return Overlay(
        backend="vxlan",
        vni=wrapped.vni if wrapped else device.vni if device else None,
        port=device.port if device else None,
        mtu=device.mtu if device else 0,
        device=device.name if device else "",
        nodes=(str(outer.source), str(outer.destination)) if outer else (),
    )


def _is_past_the_tunnel(found: Findings) -> bool:
    """Is the target nowhere to be seen, or does the sender's node route the probe to a device that is no tunnel?"""
    if found.places.target_node not in found.topology.namespaces:
        return True
    node = found.places.source_node
    route = next((answer for answer in found.answers.get(("request", node), ()) if answer.kind == "route"), None)
    device = found.topology.named(node, route.device) if route and route.found else None
    return device is not None and device.kind != "vxlan"


def _clock(found: Findings) -> ClockFact:
    nodes = dict.fromkeys([found.places.name(found.places.source_node), found.places.name(found.places.target_node)])
    return ClockFact(domains=(ClockDomain(id="k0", nodes=tuple(nodes)),))


def _packet(probe: Probe, first: Sighting | None) -> PacketFact:
    return PacketFact(
        id=probe.id.hex()[:8],
        proto=probe.protocol,
        digest=probe.digest,
        len=first.capture.length if first else 0,
        family=probe.family,
        port=probe.port if probe.protocol != "icmp" else None,
        source_port=probe.ident if probe.protocol != "icmp" else None,
    )


def _sides(found: Findings, start_ns: int) -> Iterable[Side]:
    """Each question once, at the device that asked it, with the answer that came."""
    for question in first_askers(found.seen.questions):
        yield _side(question, found, start_ns)


def _side(question: Question, found: Findings, start_ns: int) -> Side:
    netns = question.device.netns
    device = found.topology.device(question.device)
    answer = next((q.answer for q in found.seen.questions if q.ip == question.ip and q.answer), None)
    name = device.name if device else f"if{question.device.ifindex}"
    return Side(
        type=question.type,
        dev=f"{found.places.name(netns)}/{name}",
        q=str(question.ip),
        node=found.places.node(netns),
        t_ns=question.t_ns - start_ns,
        answered_by=answer,
    )
