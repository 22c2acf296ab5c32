"""The kernel's answers beside the hops that they explain.

Pure.  An answer goes to the sighting that it caused: the neighbour and FDB entry to the
transmission on the tunnel, the underlay's route to the outer packet.  When that sighting is
missing, the answers stay with the decision: they are what the diagnosis starts from.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tulle.trace.decided import Decision
from tulle.trace.journey import Hop, Reason
from tulle.trace.places import Places
from tulle.trace.probe_packet import IpPacket
from tulle.trace.steps import Numbered
from tulle.trace.topology import Device, NetnsId, Topology
from tulle.trace.trail import Events, lookups_between
from tulle.wire.frames import Udp


@dataclass(frozen=True, slots=True)
class Context:
    """What is the same for every hop of a journey."""

    topology: Topology
    events: Events
    start_ns: int


@dataclass(slots=True)
class _Stretch:
    """The hops of one namespace, being annotated; ``inserted`` is a decision and the position that it goes before."""

    hops: list[Hop]
    places: Sequence[Numbered]
    inserted: tuple[int, Hop] | None = None

    def give(self, at: int | None, reasons: Iterable[Reason]) -> None:
        if at is not None:
            self.hops[at] = replace(self.hops[at], why=self.hops[at].why + tuple(reasons))

    def index(self, *steps: str, kind: str = "") -> int | None:
        return next((at for at, hop in enumerate(self.hops) if hop.step in steps or (kind and hop.kind == kind)), None)

    def rest(self) -> list[Hop]:
        if self.inserted is None:
            return self.hops
        at, hop = self.inserted
        return [*self.hops[:at], hop, *self.hops[at:]]


def place_decisions(
    hops: Sequence[Hop],
    walk: Sequence[Numbered],
    cast: Places,
    decided: Mapping[NetnsId, Sequence[Decision]],
    context: Context,
) -> tuple[Hop, ...]:
    """``hops`` with the reasons beside them, and with the steps that are decisions only put in."""
    done: list[Hop] = []
    for netns, start, end in _stretches(walk):
        stretch = _Stretch(list(hops[start:end]), walk[start:end])
        after = walk[end].sighting.t_ns if end < len(walk) else None
        _annotate(stretch, netns, cast, decided.get(netns, ()), context, after)
        done += stretch.rest()
    return tuple(done)


def _stretches(walk: Sequence[Numbered]) -> Iterable[tuple[NetnsId, int, int]]:
    """Runs of sightings in one namespace: (namespace, first, past the last)."""
    start = 0
    for at in range(1, len(walk) + 1):
        if at == len(walk) or walk[at].sighting.device.netns != walk[start].sighting.device.netns:
            yield walk[start].sighting.device.netns, start, at
            start = at


def _annotate(
    stretch: _Stretch,
    netns: NetnsId,
    cast: Places,
    decisions: Sequence[Decision],
    context: Context,
    after_ns: int | None,
) -> None:
    of = {decision.kind: decision for decision in decisions}
    _link_reasons(stretch, context.topology)
    if _is_for_another(stretch):
        return
    match cast.region(netns):
        case "source pod":
            stretch.give(0, _reasons(of, "route", "neigh"))
        case "target pod":
            stretch.give(len(stretch.hops) - 1, _reasons(of, "route"))
        case "underlay":
            stretch.give(0, _reasons(of, "bridge-fdb"))
            if "route" in of:
                _decide(stretch, "", of, context, after_ns)
        case "source node":
            _leaving(stretch, cast, of, context, after_ns)
        case "target node":
            _arriving(stretch, cast, of, context, after_ns)


def _is_for_another(stretch: _Stretch) -> bool:
    """Did it end at a device whose MAC the frame was not sent to?  Then the stack never decided about it."""
    last = stretch.places[-1]
    passes_on = last.device is not None and last.device.master is not None  # a bridge's port takes what is another's
    return last.sighting.capture.pkttype == "otherhost" and not passes_on


def _leaving(
    stretch: _Stretch, cast: Places, of: Mapping[str, Decision], context: Context, after_ns: int | None
) -> None:
    if "route" not in of:
        if "bridge-fdb" in of:
            _switch(stretch, of["bridge-fdb"])
        return
    is_target = cast.target == cast.target_node and cast.same_node
    if is_target:
        stretch.give(len(stretch.hops) - 1, _reasons(of, "route"))
        return
    _decide(stretch, "" if cast.same_node else "3a", of, context, after_ns)
    tunnel, leaves = stretch.index("3b"), stretch.index("3c")
    if tunnel is not None:
        stretch.give(tunnel, _reasons(of, "neigh", "fdb"))
        stretch.give(leaves, _reasons(of, "underlay-route", "underlay-neigh"))
        if leaves is None:
            stretch.give(tunnel, _reasons(of, "underlay-route", "underlay-neigh"))
    else:
        out = leaves if leaves is not None else stretch.index("7", "6c")
        _give_or_keep(stretch, out, _reasons(of, "neigh", "fdb", "bridge-fdb", "underlay-route", "underlay-neigh"))


def _arriving(
    stretch: _Stretch, cast: Places, of: Mapping[str, Decision], context: Context, after_ns: int | None
) -> None:
    if "route" not in of:
        return
    if cast.target == cast.target_node or of["route"].route_kind == "local":
        stretch.give(len(stretch.hops) - 1, _reasons(of, "route"))
        return
    bridge, port = stretch.index("6c"), stretch.index("7")
    if bridge is None:
        _decide(stretch, "6c", of, context, after_ns)
    else:
        stretch.give(bridge, [*_reasons(of, "route"), *_lookups(stretch, of["route"], context, bridge, after_ns)])
    _give_or_keep(stretch, port if port is not None else bridge, _reasons(of, "neigh", "bridge-fdb"))


def _give_or_keep(stretch: _Stretch, at: int | None, reasons: Sequence[Reason]) -> None:
    """To the hop that they caused; to the decision when there is none."""
    if at is not None:
        stretch.give(at, reasons)
    elif stretch.inserted is not None:
        position, hop = stretch.inserted
        stretch.inserted = position, replace(hop, why=hop.why + tuple(reasons))


def _decide(stretch: _Stretch, step: str, of: Mapping[str, Decision], context: Context, after_ns: int | None) -> None:
    """The routing decision as a hop of its own: after the packet came in, before it goes out."""
    at = next((at for at, hop in enumerate(stretch.hops) if hop.dir == "tx"), len(stretch.hops))
    near = stretch.hops[min(at, len(stretch.hops) - 1)]
    leaving = stretch.hops[at] if at < len(stretch.hops) else None
    lookups = _lookups(stretch, of["route"], context, at, after_ns)
    hop = Hop(
        n=None,
        step=step,
        direction=near.direction,
        node=near.node,
        netns=near.netns,
        kind="decision",
        dev=of["route"].device,
        diff=tuple(change for change in leaving.diff if change.startswith("ttl ")) if leaving and at else (),
        why=(*_reasons(of, "route"), *lookups),
    )
    stretch.inserted = at, hop


def _switch(stretch: _Stretch, entry: Decision) -> None:
    """Step 2 of a frame that its bridge switched: the FDB decided, the bridge's own device saw nothing."""
    at = next((at for at, hop in enumerate(stretch.hops) if hop.dir == "tx"), len(stretch.hops))
    near = stretch.hops[0]
    hop = Hop(
        n=None,
        step="2",
        direction=near.direction,
        node=near.node,
        netns=near.netns,
        kind="decision",
        dev=entry.device,
        why=(entry.reason,),
    )
    stretch.inserted = at, hop


def _reasons(of: Mapping[str, Decision], *kinds: str) -> list[Reason]:
    return [of[kind].reason for kind in kinds if kind in of]


def _lookups(stretch: _Stretch, route: Decision, context: Context, at: int, after_ns: int | None) -> list[Reason]:
    """The routing look-up as the kernel's tracepoint told it, between the packet's stamps before and after."""
    before = stretch.places[at - 1] if at else stretch.places[0]
    until = stretch.places[at].sighting.t_ns if at < len(stretch.places) else after_ns
    since = before.sighting.t_ns if at else before.sighting.t_ns - 1_000_000
    target = before.sighting.layers.packet.destination
    happened = [
        event for event in lookups_between(context.events, target, since, until) if event.device == route.device
    ]
    return [
        Reason(
            kind="lookup",
            text=event.text,
            source="fib:fib_table_lookup" if event.target.version == 4 else "fib6:fib6_table_lookup",
            found=event.error == 0,
            raw=b64encode(event.raw).decode(),
        )
        for event in happened[:1]
    ]


def _link_reasons(stretch: _Stretch, topology: Topology) -> None:
    """What the device list says: whose MAC the frame was sent to, whose port and VNI the outer packet carries."""
    for at, place in enumerate(stretch.places):
        reason = _link_reason(place, topology)
        if reason is not None:
            stretch.give(at, [reason])


def _link_reason(place: Numbered, topology: Topology) -> Reason | None:
    device, sighting = place.device, place.sighting
    if device is None or sighting.outgoing:
        return None
    if place.step == "6a" and sighting.encapsulated:
        return _port_owner(place, device, topology)
    if place.step in ("2", "6b"):
        facts = {"dev": device.name, "mac": device.mac or ""} | ({"vni": str(device.vni)} if device.vni else {})
        return Reason(
            kind="link",
            text=f"{device.name} {device.mac}",
            ask=f"ip -d link show {device.name}",
            found=device.mac == sighting.layers.frame.destination,
            facts=facts,
        )
    master = topology.master(device)
    if master is None:
        return None
    text = f"{device.name} master {master.name}"
    return Reason(kind="link", text=text, ask=f"ip link show {device.name}", facts={"master": master.name})


def _takes(tunnel: Device, packet: IpPacket | None) -> bool:
    """Is the tunnel's socket one for the outer packet's family?  Two tunnels may share a port if they differ in it."""
    return tunnel.local is None or packet is None or tunnel.local.version == packet.destination.version


def _port_owner(place: Numbered, device: Device, topology: Topology) -> Reason:
    packet = place.sighting.layers.outer_packet
    port = packet.payload.destination_port if packet is not None and isinstance(packet.payload, Udp) else 0
    tunnels = topology.namespaces[device.netns].vxlans
    owners = [other for other in tunnels if other.port == port and other.up and _takes(other, packet)]
    return Reason(
        kind="link",
        text=" ".join(f"{other.name} (VNI {other.vni})" for other in owners) or f"no VXLAN device on udp/{port}",
        ask="ip -d link show type vxlan",
        found=bool(owners),
        facts={"port": str(port), "dev": " ".join(other.name for other in owners)},
    )
