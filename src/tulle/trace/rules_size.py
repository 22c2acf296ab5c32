"""Rules of the diagnosis about size: a packet that may not be fragmented and does not fit.

Pure.  A router says so with an ICMP error, a link layer says nothing: a bridge and a veth pair
drop a frame that is longer than the next device takes.
"""

from collections.abc import Iterator
from typing import Final

from tulle.trace.journey import Finding
from tulle.trace.scene import Scene
from tulle.trace.topology import Device

_ETHERNET: Final = 14
_VLAN: Final = 4
"""So much more than its MTU a device takes on receipt.  Source: include/linux/netdevice.h, is_skb_forwardable."""


def too_big_at_source(scene: Scene) -> Finding | None:
    """The source's own kernel refused: its device is too small, or it has learnt of a smaller one on the way."""
    if scene.send_error != "EMSGSIZE":
        return None
    route, size = scene.decision("route"), scene.probe.size
    device = scene.topology.named(scene.cast.source, route.device) if route else None
    if device is not None and size is not None and size > device.mtu:
        return _does_not_fit(scene, device, size)
    return scene.finding("", "too-big-learnt", route, size=size, target=scene.target)


def too_big(scene: Scene) -> Finding | None:
    """The route leads into a device that is too small; an answer is its sender's kernel's, and may be fragmented."""
    route, last, size = scene.decision("route"), scene.last, scene.probe.size
    if route is None or last is None or size is None or scene.direction != "request":
        return None
    device = scene.topology.named(scene.netns, route.device)
    if device is None or device.key == last.device or size <= device.mtu:
        return None
    return _does_not_fit(scene, device, size)


def narrow_link(scene: Scene) -> Finding | None:
    """The device that comes next on this link takes less than the frame."""
    last = scene.last
    if last is None:
        return None
    size = last.capture.length - _ETHERNET
    narrow = next((device for device in _next(scene) if 0 < device.mtu + _VLAN < size), None)
    if narrow is None:
        return None
    asked = f"ip link show {narrow.name}", f"mtu {narrow.mtu}"
    where = scene.cast.name(narrow.netns)
    return scene.shown("D55", "narrow-link", *asked, device=narrow.name, where=where, mtu=narrow.mtu, size=size)


def _does_not_fit(scene: Scene, device: Device, size: int) -> Finding:
    asked = f"ip link show {device.name}", f"mtu {device.mtu}"
    return scene.shown("", "too-big", *asked, device=device.name, mtu=device.mtu, size=size)


def _next(scene: Scene) -> Iterator[Device]:
    """The other end of the pair that it left by; in a bridge in the middle the port to the target's node."""
    device, last = scene.device, scene.last
    if device is None or last is None:
        return
    if last.outgoing:
        peer = scene.topology.peer(device)
        yield from () if peer is None else (peer,)
        return
    space = scene.topology.namespaces.get(scene.netns)
    ports = [d for d in (space.devices if space else ()) if d.peer and d.peer.netns == scene.cast.target_node]
    yield from ports
