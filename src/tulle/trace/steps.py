"""The number of each sighting: 1, 2, 3b, 3c, 4, 5, 6a, 6b, 6c, 7, 8, as ``packet-walk`` tells them.

Pure.  A number is given by what the device is and which way the frame went, so that a walk on
a topology that nobody planned gets the numbers that apply and leaves the others out.  What
has no number of its own ("" ) is shown all the same.  3a is a decision, not a sighting.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tulle.trace.journey import HopKind
from tulle.trace.places import Places, Region
from tulle.trace.sightings import Sighting
from tulle.trace.topology import Device, Topology


@dataclass(frozen=True, slots=True)
class Numbered:
    """A sighting in its place.  ``region`` is where it was, ``kind`` what its device was to it."""

    sighting: Sighting
    step: str
    kind: HopKind
    region: Region
    device: Device | None


def number(ordered: Sequence[Sighting], topology: Topology, places: Places) -> tuple[Numbered, ...]:
    """``ordered`` with their steps; each step is given once, to the sighting that deserves it most."""
    plain = [_numbered(sighting, topology, places) for sighting in ordered]
    return _last_of("5", _last_of("3c", _first_of(plain)))


def _numbered(sighting: Sighting, topology: Topology, places: Places) -> Numbered:
    device = topology.device(sighting.device)
    region = places.region(sighting.device.netns)
    step, kind = _step(sighting, device, region, places)
    return Numbered(sighting, step, kind, region, device)


def _step(sighting: Sighting, device: Device | None, region: Region, places: Places) -> tuple[str, HopKind]:
    if device is None:
        return "", "device"
    match region:
        case "source pod":
            return ("1", "pod") if sighting.outgoing else ("", "pod")
        case "target pod":
            return ("", "pod") if sighting.outgoing else ("8", "pod")
        case "underlay":
            return "4", "underlay"
        case "source node":
            return _leaving(sighting, device, places)
        case "target node":
            return _arriving(sighting, device, places)


def _leaving(sighting: Sighting, device: Device, places: Places) -> tuple[str, HopKind]:
    """On the node that the packet starts from; a pod of the same node is reached from here too."""
    if _leads_to(device, places.source):
        return "", "veth"
    if device.kind == "bridge" and not sighting.encapsulated:
        return ("6c" if sighting.outgoing else "2"), "bridge"
    if places.same_node and sighting.outgoing and _leads_to(device, places.target):
        return "7", "veth"
    if device.kind == "vxlan":
        return ("3b" if sighting.outgoing else ""), "vxlan"
    if sighting.outgoing and not places.same_node and _is_underlay(device, places):
        return "3c", "underlay"
    return "", _kind(device)


def _arriving(sighting: Sighting, device: Device, places: Places) -> tuple[str, HopKind]:
    if _leads_to(device, places.target) and device.kind == "veth":
        return ("7", "veth") if sighting.outgoing else ("", "veth")
    if device.kind == "vxlan":
        return ("" if sighting.outgoing else "6b"), "vxlan"
    if sighting.encapsulated:
        return ("" if sighting.outgoing else "6a"), "underlay"
    if device.kind == "bridge":
        return ("6c" if sighting.outgoing else ""), "bridge"
    if not sighting.outgoing and _is_underlay(device, places):
        return "6a", "underlay"
    return "", _kind(device)


def _leads_to(device: Device, netns: int) -> bool:
    return device.peer is not None and device.peer.netns == netns


def _is_underlay(device: Device, places: Places) -> bool:
    """A NIC, or a cable that ends at neither pod; to a target that is itself a node a cable may lead straight."""
    if _leads_to(device, places.target):
        return places.target == places.target_node
    return device.kind != "bridge" and not _leads_to(device, places.source)


def _kind(device: Device) -> HopKind:
    match device.kind:
        case "bridge" | "vxlan" | "veth":
            return device.kind
        case _:
            return "device"


_FIRST = ("1", "2", "3b", "4", "6a", "6b", "6c", "7", "8")


def _first_of(walk: Sequence[Numbered]) -> list[Numbered]:
    """Each step keeps its number where it was first reached."""
    known: set[str] = set()
    kept: list[Numbered] = []
    for place in walk:
        repeated = place.step in _FIRST and place.step in known
        known.add(place.step)
        kept.append(_renumbered(place, "") if repeated else place)
    return kept


def _last_of(step: str, walk: Sequence[Numbered]) -> tuple[Numbered, ...]:
    """3c is the device that the frame leaves the node by, 5 the last that the underlay shows of it."""
    if step == "5":
        last = max((at for at, place in enumerate(walk) if place.region == "underlay"), default=None)
        first = min((at for at, place in enumerate(walk) if place.region == "underlay"), default=None)
        return tuple(_renumbered(p, "5") if at == last != first else p for at, p in enumerate(walk))
    last = max((at for at, place in enumerate(walk) if place.step == step), default=None)
    return tuple(_renumbered(p, "") if p.step == step and at != last else p for at, p in enumerate(walk))


def _renumbered(place: Numbered, step: str) -> Numbered:
    return Numbered(place.sighting, step, place.kind, place.region, place.device)
