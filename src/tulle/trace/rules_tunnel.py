"""Rules of the diagnosis about the tunnel and the underlay: entries that are missing or wrong, ends that do not match.

Pure.
"""

from collections.abc import Iterable

from tulle.trace.journey import Finding
from tulle.trace.scene import Scene
from tulle.trace.sightings import Sighting
from tulle.trace.topology import Device
from tulle.wire.frames import Udp


def no_neighbour(scene: Scene) -> Finding | None:
    """On the tunnel nobody answers ARP: the entry has to be there."""
    neigh, device = scene.decision("neigh"), _tunnel(scene)
    if neigh is None or neigh.found or device is None:
        return None
    vtep = _target_tunnel(scene, device)
    repair = f"ip neigh replace {neigh.subject} lladdr {vtep.mac} dev {device.name} nud permanent" if vtep else ""
    return scene.finding("D03", "no-neighbour", neigh, repair=repair, ip=neigh.subject, device=device.name)


def no_fdb_entry(scene: Scene) -> Finding | None:
    """The VTEP's MAC is known, and nothing says on which node it is."""
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


def wrong_node(scene: Scene) -> Finding | None:
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


def underlay_silent(scene: Scene) -> Finding | None:
    """Nobody on the underlay answers for the other node's address."""
    answers = scene.decided.get(scene.cast.source_node, ())
    neigh = next((answer for answer in answers if answer.kind == "underlay-neigh" and not answer.found), None)
    if neigh is None:
        return None
    return scene.finding("D60", "underlay-silent", neigh, ip=neigh.subject)


def no_underlay_route(scene: Scene) -> Finding | None:
    """The outer packet itself has no way."""
    route = scene.decision("underlay-route")
    if route is None or route.found:
        return None
    return scene.finding("D13", "no-underlay-route", route, ip=route.subject)


def cut(scene: Scene) -> Finding | None:
    """It went out on the underlay, and nothing of it was seen on the other node, which was looked into."""
    if scene.last is None or scene.cast.target_node not in scene.topology.namespaces:
        return None
    return scene.finding("D61", "underlay-lost", device=scene.device.name if scene.device else "")


def wrong_vni(scene: Scene) -> Finding | None:
    """A tunnel listens on the port, for another network."""
    if scene.last is None or scene.last.layers.vxlan is None:
        return None
    sent, tunnels = scene.last.layers.vxlan.vni, scene.topology.namespaces[scene.netns].vxlans
    listening = [device for device in tunnels if device.port == outer_port(scene.last) and device.up]
    if not listening or any(device.vni == sent for device in listening):
        return None
    theirs, sender = " ".join(str(device.vni) for device in listening), scene.cast.name(scene.cast.source_node)
    return scene.shown("D09", "wrong-vni", *_listed(tunnels), vni=sent, theirs=theirs, sender=sender)


def wrong_port(scene: Scene) -> Finding | None:
    """No tunnel listens on the port: another one is configured, or the device is down."""
    if scene.last is None or scene.last.layers.vxlan is None:
        return None
    port, tunnels = outer_port(scene.last), scene.topology.namespaces[scene.netns].vxlans
    if any(device.port == port and device.up for device in tunnels):
        return None
    down = next((device for device in tunnels if device.port == port), None)
    if down is not None:
        repair = f"ip link set {down.name} up"
        return scene.shown("D12", "tunnel-down", *_listed([down]), repair=repair, device=down.name)
    theirs = " ".join(f"{device.name} {device.port}" for device in tunnels) or "-"
    return scene.shown("D10", "wrong-port", *_listed(tunnels), port=port, theirs=theirs)


def _listed(tunnels: Iterable[Device]) -> tuple[str, str]:
    """The question for a node's tunnels, and its answer."""
    found = [f"{d.name} vxlan id {d.vni} dstport {d.port}{'' if d.up else ' state DOWN'}" for d in tunnels]
    return "ip -d link show type vxlan", "; ".join(found) or "nothing"


def outer_port(sighting: Sighting) -> int | None:
    """The UDP port that the outer packet is sent to; None: it is in no tunnel."""
    packet = sighting.layers.outer_packet
    return packet.payload.destination_port if packet is not None and isinstance(packet.payload, Udp) else None


def wrong_inner_mac(scene: Scene) -> Finding | None:
    """Unwrapped, but for another MAC than the tunnel device's."""
    device, last = scene.device, scene.last
    if device is None or last is None or device.kind != "vxlan" or last.capture.pkttype != "otherhost":
        return None
    asked, mac = (f"ip link show {device.name}", f"link/ether {device.mac}"), last.layers.frame.destination
    return scene.shown("D04", "wrong-inner-mac", *asked, mac=mac, own=device.mac, device=device.name)
