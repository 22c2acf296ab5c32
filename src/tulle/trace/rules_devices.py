"""Rules of the diagnosis about devices: down, or not where they belong.

Pure.  The kernel says no more than "no route" when a device that is down took its routes with it,
and nothing at all when a pair's other end is down: the list of devices knows.
"""

from typing import Final

from tulle.trace.journey import Finding
from tulle.trace.scene import Scene
from tulle.trace.topology import Device

_WITH_ROUTES: Final = ("vxlan", "bridge")


def first_device_down(scene: Scene) -> Finding | None:
    """The source's own device, or the other end of its pair: nothing was ever seen to leave."""
    route = scene.decision("route")
    own = scene.topology.named(scene.cast.source, route.device) if route else None
    if own is None or scene.walk:
        return None
    peer = scene.topology.peer(own)
    down = next((device for device in (own, peer) if device is not None and not device.up), None)
    return _is_down(scene, "D30", down)


def veth_down(scene: Scene) -> Finding | None:
    """The pair's other end was never reached."""
    peer = scene.topology.peer(scene.device) if scene.device else None
    if peer is None or peer.up or scene.last is None or not scene.last.outgoing:
        return None
    return _is_down(scene, "D30", peer)


def port_down(scene: Scene) -> Finding | None:
    """A bridge in the middle whose port to the target's node is down."""
    space = scene.topology.namespaces.get(scene.netns)
    ports = [d for d in (space.devices if space else ()) if d.peer and d.peer.netns == scene.cast.target_node]
    return _is_down(scene, "D60", next((port for port in ports if not port.up), None))


def target_down(scene: Scene) -> Finding | None:
    """The node's port to the target, or the target's own end of the pair: the bridge sends elsewhere, if anywhere."""
    space = scene.topology.namespaces.get(scene.netns)
    for port in space.devices if space else ():
        if port.peer is not None and port.peer.netns == scene.cast.target != scene.netns:
            ends = (port, scene.topology.peer(port))
            return _is_down(scene, "D30", next((end for end in ends if end is not None and not end.up), None))
    return None


def routes_down(scene: Scene) -> Finding | None:
    """No route, and a tunnel or bridge here is down: the kernel removed what went through it."""
    route, space = scene.decision("route"), scene.topology.namespaces.get(scene.netns)
    if route is None or route.found or route.route_kind or space is None:
        return None
    down = next((device for device in space.devices if device.kind in _WITH_ROUTES and not device.up), None)
    if down is None:
        return None
    fault = "D11" if down.kind == "vxlan" else "D31"
    return scene.finding(fault, "device-down", route, repair=f"ip link set {down.name} up", device=down.name)


def not_in_the_bridge(scene: Scene) -> Finding | None:
    """The source's pair ends in a device that is no bridge's port, and the frame is for the bridge's MAC."""
    device, last = scene.device, scene.last
    if device is None or last is None or last.outgoing or last.capture.pkttype != "otherhost":
        return None
    if device.kind != "veth" or device.master is not None:
        return None
    owner = next((d for d in _bridges(scene) if d.mac == last.layers.frame.destination), None)
    if owner is None:
        return None
    repair = f"ip link set {device.name} master {owner.name}"
    asked = f"ip link show {device.name}", f"{device.name} has no master"
    return scene.shown("D28", "not-in-the-bridge", *asked, repair=repair, device=device.name, bridge=owner.name)


def _bridges(scene: Scene) -> list[Device]:
    space = scene.topology.namespaces.get(scene.netns)
    return [device for device in (space.devices if space else ()) if device.kind == "bridge"]


def _is_down(scene: Scene, fault: str, device: Device | None) -> Finding | None:
    """The finding that ``device`` is down; None: there is no such device."""
    if device is None:
        return None
    where = scene.cast.name(device.netns)
    asked = f"ip link show {device.name}", f"{device.name} state DOWN"
    repair = f"ip link set {device.name} up"
    return scene.shown(fault, "veth-down", *asked, repair=repair, device=device.name, where=where)
