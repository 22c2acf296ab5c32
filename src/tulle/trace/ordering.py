"""The order of sightings in which the packet was really there, though stamps tie or lie.

Pure.  Two facts of the kernel make time alone the wrong key: a received packet keeps one
receive stamp while it climbs from a port to its bridge or from a NIC to the VXLAN device on
it, and a stamp may survive a veth pair inside one namespace.  So: by time, but never at a veth's
far end before its near end, nor up or out of a namespace before the frame came into it.
"""

from collections.abc import Iterable, Sequence

from tulle.trace.sightings import Sighting
from tulle.trace.topology import Topology


def in_order(sightings: Iterable[Sighting], topology: Topology) -> tuple[Sighting, ...]:
    """The sightings of one direction along the packet's way."""
    waiting = sorted(sightings, key=lambda sighting: (sighting.t_ns, *_rank(sighting, topology)))
    ordered: list[Sighting] = []
    while waiting:
        at = next((at for at, sighting in enumerate(waiting) if not _waits(sighting, waiting, topology)), 0)
        ordered.append(waiting.pop(at))
    return tuple(ordered)


def without_copies(
    sightings: Sequence[Sighting], topology: Topology
) -> tuple[tuple[Sighting, ...], tuple[Sighting, ...]]:
    """The walk, and the copies that a bridge flooded out of other ports while it did not know the right one.

    Of several transmissions by ports of one bridge those are the walk that got furthest; none is that goes back to
    whoever sent the frame (a hairpin port).  What a copy became at the far end of its cable goes with it.
    """
    flooded = [sighting for sighting in sightings if _is_flooded(sighting, sightings, topology)]
    ends = {topology.device(sighting.device) for sighting in flooded}
    beyond = {device.peer for device in ends if device is not None}
    copies = tuple(s for s in sightings if s in flooded or (not s.outgoing and s.device in beyond))
    return tuple(sighting for sighting in sightings if sighting not in copies), copies


def _is_flooded(sighting: Sighting, sightings: Sequence[Sighting], topology: Topology) -> bool:
    device = topology.device(sighting.device)
    if not sighting.outgoing or device is None or device.master is None:
        return False
    if _goes_back(sighting, sightings, topology):
        return True
    reached = _reach(sighting, sightings, topology)
    return any(
        other.outgoing
        and _master(other, topology) == (device.netns, device.master)
        and _reach(other, sightings, topology) > reached
        for other in sightings
        if other is not sighting
    )


def _goes_back(sighting: Sighting, sightings: Sequence[Sighting], topology: Topology) -> bool:
    """Was the very same frame sent by the far end of this port?"""
    device, frame = topology.device(sighting.device), sighting.layers.frame
    far = topology.peer(device) if device else None
    return far is not None and any(
        other.device == far.key
        and other.outgoing
        and (other.layers.frame.source, other.layers.frame.destination) == (frame.source, frame.destination)
        for other in sightings
    )


def _reach(sighting: Sighting, sightings: Sequence[Sighting], topology: Topology) -> int:
    """How far it is known to have got: out of sight, to a far end that is known, seen there, accepted there."""
    device = topology.device(sighting.device)
    far = topology.peer(device) if device else None
    if far is None:
        return 0
    seen = [other.capture.pkttype for other in sightings if other.device == far.key and not other.outgoing]
    return 3 if any(kind != "otherhost" for kind in seen) else 2 if seen else 1


def _master(sighting: Sighting, topology: Topology) -> tuple[int, int | None] | None:
    device = topology.device(sighting.device)
    return (device.netns, device.master) if device else None


def _rank(sighting: Sighting, topology: Topology) -> tuple[int, int, int, int]:
    """Among equal stamps: received first, upwards; then sent, downwards; the device last, so that no tie is left."""
    height, device = _height(sighting, topology), sighting.device
    return int(sighting.outgoing), -height if sighting.outgoing else height, device.netns, device.ifindex


def _height(sighting: Sighting, topology: Topology) -> int:
    device = topology.device(sighting.device)
    return topology.height(device) if device else 0


def _waits(sighting: Sighting, waiting: Sequence[Sighting], topology: Topology) -> bool:
    """Has a place that ``sighting`` comes from still to come itself?"""
    return any(
        _is_near_end(other, sighting, topology) or _leads_up_to(other, sighting, topology)
        for other in waiting
        if other is not sighting
    )


def _is_near_end(other: Sighting, sighting: Sighting, topology: Topology) -> bool:
    """Did the same packet enter at ``other`` the veth pair that it leaves at ``sighting``?"""
    device = topology.device(sighting.device)
    enters = other.outgoing and not sighting.outgoing and device is not None and other.device == device.peer
    return enters and other.layers.packet.ttl == sighting.layers.packet.ttl


def _leads_up_to(other: Sighting, sighting: Sighting, topology: Topology) -> bool:
    """Was ``other`` received in the same namespace, no later, below a device that only passes the frame on?"""
    if other.outgoing or other.device.netns != sighting.device.netns or other.t_ns > sighting.t_ns:
        return False
    return sighting.outgoing or _height(other, topology) < _height(sighting, topology)
