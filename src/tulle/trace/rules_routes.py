"""Rules of the diagnosis about routing and who answers: no route, no forwarding, a silent next hop or target.

Pure.
"""

from typing import Final

from tulle.trace.decided import Decision
from tulle.trace.journey import Finding
from tulle.trace.scene import Scene

_REFUSING: Final = frozenset({"blackhole", "unreachable", "prohibit", "throw"})


def no_route_at_source(scene: Scene) -> Finding | None:
    """The source itself knows no way."""
    route = scene.decision("route")
    if route is None or route.found:
        return None
    if scene.cast.source == scene.cast.source_node:
        return no_route(scene)
    return scene.finding("D25", "source-no-route", route, target=scene.target)


def next_hop_silent(scene: Scene) -> Finding | None:
    """The source asks for its gateway, or for a target on its own subnet, and nobody answers."""
    route, neigh = scene.decision("route"), scene.decision("neigh")
    if route is not None and route.via is not None:
        silent = scene.unanswered(scene.netns, route.via)
        return scene.finding("D27", "gateway-silent", neigh, ip=silent.ip) if silent else None
    silent = scene.unanswered(scene.netns, scene.target)
    node = scene.cast.name(scene.cast.source_node)
    return scene.finding("D33", "target-silent", neigh, ip=silent.ip, node=node) if silent else None


def no_forwarding(scene: Scene) -> Finding | None:
    """The namespace is no router: its switch is off."""
    facts = scene.facts.get(scene.netns)
    if facts is None or facts.forwarding is not False or _delivered_locally(scene):
        return None
    key = "net.ipv4.ip_forward" if scene.probe.family == 4 else "net.ipv6.conf.all.forwarding"
    return scene.finding("D41", "no-forwarding", scene.decision("route"), repair=f"sysctl -w {key}=1", key=key)


def _delivered_locally(scene: Scene) -> bool:
    route = scene.decision("route")
    return route is not None and route.route_kind == "local"


def no_route(scene: Scene) -> Finding | None:
    """The kernel found no way, or one that says no."""
    route = scene.decision("route")
    if route is None or (route.found and route.route_kind not in _REFUSING):
        return None
    if route.route_kind in _REFUSING:
        return scene.finding("D21", "refusing-route", route, target=scene.target, kind=route.route_kind)
    if _refused_the_source(scene, route):
        return reverse_path(scene)
    return scene.finding("D17", "no-route", route, target=scene.target)


def _refused_the_source(scene: Scene, route: Decision) -> bool:
    """The look-up failed for where the packet came from: EXDEV, since Linux 6.13 EINVAL with rp_filter on."""
    facts = scene.facts.get(scene.netns)
    return route.error == "EXDEV" or (route.error == "EINVAL" and facts is not None and bool(facts.rp_filter))


def reverse_path(scene: Scene) -> Finding | None:
    """There is no way back to where the packet came from, so it was refused."""
    route, reason = scene.decision("route"), scene.drop.reason if scene.drop else ""
    if reason != "IP_RPFILTER" and (route is None or not _refused_the_source(scene, route)):
        return None
    source = scene.last.layers.packet.source if scene.last else scene.probe.source
    device = scene.device.name if scene.device else ""
    return scene.finding("D19", "reverse-path", route, source=source, device=device)


def target_silent(scene: Scene) -> Finding | None:
    """The node asks for the pod, and nobody answers."""
    target = scene.target
    neigh, asked = scene.decision("neigh"), scene.unanswered(scene.netns, target)
    if asked is None and (neigh is None or neigh.found or neigh.subject != str(target)):
        return None
    return scene.finding("D33", "target-silent", neigh, ip=target)


def not_for_this_pod(scene: Scene) -> Finding | None:
    """The frame reached the pod under a MAC that is not the pod's."""
    device, last = scene.device, scene.last
    if device is None or last is None or last.capture.pkttype != "otherhost":
        return None
    target = scene.target
    answers = scene.decided.get(scene.cast.target_node, ())
    neigh = next((answer for answer in answers if answer.kind == "neigh" and answer.subject == str(target)), None)
    repair = f"ip neigh del {target} dev {neigh.device}" if neigh else ""
    mac = last.layers.frame.destination
    return scene.finding("", "stale-neighbour", neigh, repair=repair, ip=target, mac=mac, own=device.mac)
