"""Why a packet stopped: from the place of its last sighting and the kernel's answers there, one finding.

Pure.  The rules stand in the order in which a packet meets them; the first whose evidence is
complete wins, and without complete evidence there is no finding.  Ids are those of the fault
catalogue.  A finding names its sentence by ``rule``; the words are the rendering's.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from tulle.model.network import IPAddress
from tulle.trace.decided import Decision, NodeFacts
from tulle.trace.downlinks import first_device_down, not_in_the_bridge, port_down, routes_down
from tulle.trace.journey import Drop, Finding
from tulle.trace.places import Places
from tulle.trace.probe_packet import Probe
from tulle.trace.sightings import Question, Sighting
from tulle.trace.steps import Numbered
from tulle.trace.topology import Device, NetnsId, Topology
from tulle.wire.frames import Udp


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that is known about a walk that failed."""

    topology: Topology
    probe: Probe
    walk: Sequence[Numbered]
    decided: Mapping[NetnsId, Sequence[Decision]]
    drop: Drop | None
    cast: Places
    facts: Mapping[NetnsId, NodeFacts]
    questions: Sequence[Question]
    send_error: str

    @property
    def last(self) -> Sighting | None:
        return self.walk[-1].sighting if self.walk else None

    @property
    def netns(self) -> NetnsId:
        """Where it stopped; the source when nothing was seen."""
        return self.last.device.netns if self.last else self.cast.source

    @property
    def device(self) -> Device | None:
        return self.walk[-1].device if self.walk else None

    def decision(self, kind: str) -> Decision | None:
        return next((answer for answer in self.decided.get(self.netns, ()) if answer.kind == kind), None)

    def unanswered(self, netns: NetnsId, ip: IPAddress | None = None) -> Question | None:
        """A question asked in ``netns`` (about ``ip``) that no tap saw an answer to."""
        mine = [q for q in self.questions if q.device.netns == netns and (ip is None or q.ip == ip)]
        answered = {q.ip for q in self.questions if q.answer}
        return next((q for q in mine if q.answer is None and q.outgoing and q.ip not in answered), None)

    def finding(
        self, fault: str, rule: str, decision: Decision | None = None, *, repair: str = "", **facts: object
    ) -> Finding:
        asked = (decision.reason.ask, decision.reason.text) if decision else ("", "")
        return self.shown(fault, rule, *asked, repair=repair, **facts)

    def shown(self, fault: str, rule: str, evidence: str, answer: str, *, repair: str, **facts: object) -> Finding:
        """A finding whose ``evidence`` is a command and ``answer`` what it says."""
        named = {"node": self.cast.name(self.netns), **{name: str(value) for name, value in facts.items()}}
        return Finding(
            id=fault,
            rule=rule,
            node=named["node"],
            facts=named,
            evidence=evidence,
            answer=answer,
            repair=repair,
        )

    @property
    def netfilter(self) -> bool:
        return self.drop is not None and self.drop.reason == "NETFILTER_DROP"


def diagnose(scene: Scene) -> Finding | None:
    """The first rule whose evidence is complete."""
    return next((finding for rule in _rules(scene) if (finding := rule(scene)) is not None), None)


Rule = Callable[[Scene], Finding | None]


def _rules(scene: Scene) -> Sequence[Rule]:
    if not scene.walk:
        return _AT_THE_START
    match scene.cast.region(scene.netns):
        case "source pod":
            return _AT_THE_START
        case "source node":
            return _ON_THE_UNDERLAY if scene.walk[-1].step == "3c" else _ON_THE_SOURCE_NODE
        case "underlay":
            return _ON_THE_UNDERLAY
        case "target node":
            return _ON_THE_TARGET_NODE
        case "target pod":
            return (_not_for_this_pod, _filtered_in_pod)


def _no_route_at_source(scene: Scene) -> Finding | None:
    route = scene.decision("route")
    if route is None or route.found:
        return None
    if scene.cast.source == scene.cast.source_node:
        return _no_route(scene)
    return scene.finding("D25", "source-no-route", route, target=scene.probe.target)


def _next_hop_silent(scene: Scene) -> Finding | None:
    """The source asks for its gateway, or for a target on its own subnet, and nobody answers."""
    route, neigh = scene.decision("route"), scene.decision("neigh")
    if route is not None and route.via is not None:
        silent = scene.unanswered(scene.netns, route.via)
        return scene.finding("D27", "gateway-silent", neigh, ip=silent.ip) if silent else None
    silent = scene.unanswered(scene.netns, scene.probe.target)
    node = scene.cast.name(scene.cast.source_node)
    return scene.finding("D33", "target-silent", neigh, ip=silent.ip, node=node) if silent else None


def _filtered_at_source(scene: Scene) -> Finding | None:
    return scene.finding("", "source-filter") if scene.send_error == "EPERM" else None


def _veth_down(scene: Scene) -> Finding | None:
    """The pair's other end was never reached."""
    peer = scene.topology.peer(scene.device) if scene.device else None
    if peer is None or peer.up or scene.last is None or not scene.last.outgoing:
        return None
    repair = f"ip link set {peer.name} up"
    return scene.finding("D30", "veth-down", repair=repair, device=peer.name, where=scene.cast.name(peer.netns))


def _no_forwarding(scene: Scene) -> Finding | None:
    facts = scene.facts.get(scene.netns)
    if facts is None or facts.forwarding is not False or _delivered_locally(scene):
        return None
    key = "net.ipv4.ip_forward" if scene.probe.family == 4 else "net.ipv6.conf.all.forwarding"
    return scene.finding("D41", "no-forwarding", scene.decision("route"), repair=f"sysctl -w {key}=1", key=key)


def _delivered_locally(scene: Scene) -> bool:
    route = scene.decision("route")
    return route is not None and route.route_kind == "local"


def _no_route(scene: Scene) -> Finding | None:
    route = scene.decision("route")
    if route is None or (route.found and route.route_kind not in _REFUSING):
        return None
    if route.route_kind in _REFUSING:
        return scene.finding("D21", "refusing-route", route, target=_target(scene), kind=route.route_kind)
    if _refused_the_source(scene, route):
        return _reverse_path(scene)
    return scene.finding("D17", "no-route", route, target=_target(scene))


def _refused_the_source(scene: Scene, route: Decision) -> bool:
    """The look-up failed for where the packet came from: EXDEV, since Linux 6.13 EINVAL with rp_filter on."""
    facts = scene.facts.get(scene.netns)
    return route.error == "EXDEV" or (route.error == "EINVAL" and facts is not None and bool(facts.rp_filter))


_REFUSING: Final = frozenset({"blackhole", "unreachable", "prohibit", "throw"})


def _target(scene: Scene) -> IPAddress:
    return scene.last.layers.packet.destination if scene.last else scene.probe.target


def _no_neighbour(scene: Scene) -> Finding | None:
    """On the tunnel nobody answers ARP: the entry has to be there."""
    neigh, device = scene.decision("neigh"), _tunnel(scene)
    if neigh is None or neigh.found or device is None:
        return None
    vtep = _target_tunnel(scene, device)
    repair = f"ip neigh replace {neigh.subject} lladdr {vtep.mac} dev {device.name} nud permanent" if vtep else ""
    return scene.finding("D03", "no-neighbour", neigh, repair=repair, ip=neigh.subject, device=device.name)


def _no_fdb_entry(scene: Scene) -> Finding | None:
    fdb, neigh, device = scene.decision("fdb"), scene.decision("neigh"), _tunnel(scene)
    if fdb is None or fdb.found or device is None:
        return None
    vtep = _target_tunnel(scene, device)
    repair = f"bridge fdb append {fdb.subject} dev {device.name} dst {vtep.local}" if vtep and vtep.local else ""
    via = neigh.subject if neigh else ""
    return scene.finding("D01", "no-fdb-entry", fdb, repair=repair, mac=fdb.subject, ip=via, device=device.name)


def _tunnel(scene: Scene) -> Device | None:
    route = scene.decision("route")
    device = scene.topology.named(scene.netns, route.device) if route else None
    return device if device is not None and device.kind == "vxlan" else None


def _target_tunnel(scene: Scene, like: Device) -> Device | None:
    """The tunnel's device on the target's node."""
    space = scene.topology.namespaces.get(scene.cast.target_node)
    family = like.local.version if like.local else None
    found = [d for d in (space.vxlans if space else ()) if d.local is not None and d.local.version == family]
    return next((d for d in found if d.vni == like.vni), found[0] if found else None)


def _wrong_node(scene: Scene) -> Finding | None:
    """The tunnel's far address is not the target's node's."""
    answers = scene.decided.get(scene.cast.source_node, ())
    fdb = next((answer for answer in answers if answer.kind == "fdb" and answer.dst is not None), None)
    space = scene.topology.namespaces.get(scene.cast.target_node)
    if fdb is None or space is None or any(fdb.dst in device.addresses for device in space.devices):
        return None
    like = scene.topology.named(scene.cast.source_node, fdb.device)
    vtep = _target_tunnel(scene, like) if like else None
    repair = f"bridge fdb replace {fdb.subject} dev {fdb.device} dst {vtep.local}" if vtep else ""
    return scene.finding("D02", "wrong-node", fdb, repair=repair, mac=fdb.subject, ip=fdb.dst)


def _underlay_silent(scene: Scene) -> Finding | None:
    answers = scene.decided.get(scene.cast.source_node, ())
    neigh = next((answer for answer in answers if answer.kind == "underlay-neigh" and not answer.found), None)
    if neigh is None:
        return None
    return scene.finding("D60", "underlay-silent", neigh, ip=neigh.subject)


def _no_underlay_route(scene: Scene) -> Finding | None:
    route = scene.decision("underlay-route")
    if route is None or route.found:
        return None
    return scene.finding("D13", "no-underlay-route", route, ip=route.subject)


def _tunnel_filtered(scene: Scene) -> Finding | None:
    if not scene.netfilter or scene.last is None:
        return None
    on_tunnel = scene.device is not None and scene.device.kind == "vxlan" and scene.last.outgoing
    return (
        scene.finding("D47", "tunnel-filter-out", port=scene.device.port if scene.device else "") if on_tunnel else None
    )


def _filtered(scene: Scene) -> Finding | None:
    if not scene.netfilter:
        return None
    place = scene.drop.place if scene.drop else ""
    if scene.device is not None and scene.device.kind == "bridge" and scene.last is not None and scene.last.outgoing:
        return scene.finding("D36", "bridge-filter", device=scene.device.name, place=place)
    at_source = scene.cast.region(scene.netns) == "source node"
    return scene.finding("D43" if at_source else "D44", "forward-filter", place=place)


def _maybe_filtered(scene: Scene) -> Finding | None:
    """Every table would let it through and it did not get through; without a drop reason that is all that is known."""
    route = scene.decision("route")
    if scene.drop is not None or route is None or not route.found:
        return None
    return scene.finding("", "tables-agree", route, repair="nft list ruleset")


def _cut(scene: Scene) -> Finding | None:
    """It went out on the underlay, and nothing of it was seen on the other node, which was looked into."""
    if scene.last is None or scene.cast.target_node not in scene.topology.namespaces:
        return None
    return scene.finding("D61", "underlay-lost", device=scene.device.name if scene.device else "")


def _wrong_vni(scene: Scene) -> Finding | None:
    if scene.last is None or scene.last.layers.vxlan is None:
        return None
    sent = scene.last.layers.vxlan.vni
    listening = [d for d in scene.topology.namespaces[scene.netns].vxlans if d.port == _outer_port(scene.last) and d.up]
    if not listening or any(device.vni == sent for device in listening):
        return None
    theirs = " ".join(str(device.vni) for device in listening)
    return scene.finding("D09", "wrong-vni", vni=sent, theirs=theirs, sender=scene.cast.name(scene.cast.source_node))


def _wrong_port(scene: Scene) -> Finding | None:
    if scene.last is None or scene.last.layers.vxlan is None:
        return None
    port, tunnels = _outer_port(scene.last), scene.topology.namespaces[scene.netns].vxlans
    if any(device.port == port and device.up for device in tunnels):
        return None
    down = next((device for device in tunnels if device.port == port), None)
    if down is not None:
        return scene.finding("D12", "tunnel-down", repair=f"ip link set {down.name} up", device=down.name)
    theirs = " ".join(f"{device.name} {device.port}" for device in tunnels) or "-"
    return scene.finding("D10", "wrong-port", port=port, theirs=theirs)


def _outer_port(sighting: Sighting) -> int | None:
    packet = sighting.layers.outer_packet
    return packet.payload.destination_port if packet is not None and isinstance(packet.payload, Udp) else None


def _tunnel_filtered_in(scene: Scene) -> Finding | None:
    if not scene.netfilter or scene.last is None or not scene.last.encapsulated:
        return None
    return scene.finding("D46", "tunnel-filter-in", port=_outer_port(scene.last))


def _wrong_inner_mac(scene: Scene) -> Finding | None:
    device, last = scene.device, scene.last
    if device is None or last is None or device.kind != "vxlan" or last.capture.pkttype != "otherhost":
        return None
    return scene.finding(
        "D04", "wrong-inner-mac", mac=last.layers.frame.destination, own=device.mac, device=device.name
    )


def _reverse_path(scene: Scene) -> Finding | None:
    route, reason = scene.decision("route"), scene.drop.reason if scene.drop else ""
    if reason != "IP_RPFILTER" and (route is None or not _refused_the_source(scene, route)):
        return None
    source = scene.last.layers.packet.source if scene.last else scene.probe.source
    device = scene.device.name if scene.device else ""
    return scene.finding("D19", "reverse-path", route, source=source, device=device)


def _target_silent(scene: Scene) -> Finding | None:
    """The node asks for the pod, and nobody answers."""
    target = _target(scene)
    neigh, asked = scene.decision("neigh"), scene.unanswered(scene.netns, target)
    if asked is None and (neigh is None or neigh.found or neigh.subject != str(target)):
        return None
    port = next((p for p in _ports_to(scene, scene.cast.target) if not p.up), None)
    if port is not None:
        repair = f"ip link set {port.name} up"
        return scene.finding(
            "D30", "veth-down", neigh, repair=repair, device=port.name, where=scene.cast.name(scene.netns)
        )
    return scene.finding("D33", "target-silent", neigh, ip=target)


def _ports_to(scene: Scene, netns: NetnsId) -> list[Device]:
    space = scene.topology.namespaces.get(scene.netns)
    return [device for device in (space.devices if space else ()) if device.peer and device.peer.netns == netns]


def _not_for_this_pod(scene: Scene) -> Finding | None:
    device, last = scene.device, scene.last
    if device is None or last is None or last.capture.pkttype != "otherhost":
        return None
    target = _target(scene)
    answers = scene.decided.get(scene.cast.target_node, ())
    neigh = next((answer for answer in answers if answer.kind == "neigh" and answer.subject == str(target)), None)
    repair = f"ip neigh del {target} dev {neigh.device}" if neigh else ""
    mac = last.layers.frame.destination
    return scene.finding("", "stale-neighbour", neigh, repair=repair, ip=target, mac=mac, own=device.mac)


def _filtered_in_pod(scene: Scene) -> Finding | None:
    return scene.finding("", "target-filter") if scene.netfilter else None


_AT_THE_START: Final[Sequence[Rule]] = (
    _no_route_at_source,
    _filtered_at_source,
    first_device_down,
    _next_hop_silent,
    _veth_down,
)
_ON_THE_UNDERLAY: Final[Sequence[Rule]] = (_wrong_node, port_down, _underlay_silent, _cut)
_ON_THE_SOURCE_NODE: Final[Sequence[Rule]] = (
    _tunnel_filtered,
    _filtered,
    not_in_the_bridge,
    _no_forwarding,
    routes_down,
    _no_route,
    _no_neighbour,
    _no_fdb_entry,
    _no_underlay_route,
    _wrong_node,
    _underlay_silent,
    _target_silent,
    _maybe_filtered,
)
_ON_THE_TARGET_NODE: Final[Sequence[Rule]] = (
    _tunnel_filtered_in,
    _wrong_inner_mac,
    _wrong_port,
    _wrong_vni,
    _filtered,
    _reverse_path,
    _no_forwarding,
    routes_down,
    _no_route,
    _target_silent,
    _maybe_filtered,
)
