"""Rules of the diagnosis about packet filters: the kernel's own word that one dropped this packet, or the guess.

Pure.  The drop says where in the kernel, not which rule: the list of rules is for a person to read.
"""

from typing import Final

from tulle.trace.journey import Finding
from tulle.trace.rules_tunnel import outer_port
from tulle.trace.scene import Scene

_LIST: Final = "nft list ruleset"


def filtered_at_source(scene: Scene) -> Finding | None:
    """The kernel refused the send itself."""
    return scene.shown("", "source-filter", _LIST, "sendto: EPERM") if scene.send_error == "EPERM" else None


def tunnel_filtered(scene: Scene) -> Finding | None:
    """On the tunnel device, on its way out: the filter met the outer packet."""
    device, last = scene.device, scene.last
    if last is None or not last.outgoing or device is None or device.kind != "vxlan":
        return None
    return _dropped(scene, "D47", "tunnel-filter-out", port=device.port)


def tunnel_filtered_in(scene: Scene) -> Finding | None:
    """On the NIC, still in the tunnel's headers."""
    if scene.last is None or not scene.last.encapsulated:
        return None
    return _dropped(scene, "D46", "tunnel-filter-in", port=outer_port(scene.last))


def filtered(scene: Scene) -> Finding | None:
    """On the way through a node: by its bridge's own filter, else by its forward hook."""
    place = scene.drop.place if scene.drop else ""
    if scene.device is not None and scene.device.kind == "bridge" and scene.last is not None and scene.last.outgoing:
        return _dropped(scene, "D36", "bridge-filter", device=scene.device.name, place=place)
    fault = "D43" if scene.cast.region(scene.netns) == "source node" else "D44"
    return _dropped(scene, fault, "forward-filter", place=place)


def filtered_in_pod(scene: Scene) -> Finding | None:
    """After it had reached its target."""
    return _dropped(scene, "", "target-filter")


def maybe_filtered(scene: Scene) -> Finding | None:
    """Every table would let it through and it did not get through; without a drop reason that is all that is known."""
    route = scene.decision("route")
    if scene.drop is not None or route is None or not route.found:
        return None
    return scene.finding("", "tables-agree", route)


def _dropped(scene: Scene, fault: str, rule: str, **facts: str | int | None) -> Finding | None:
    """The finding, when the kernel says that a filter freed this very packet."""
    if not scene.netfilter or scene.drop is None:
        return None
    return scene.shown(fault, rule, _LIST, f"{scene.drop.reason} in {scene.drop.place or '?'}", repair="", **facts)
