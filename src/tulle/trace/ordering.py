"""The order of sightings in which the packet was really there, though stamps tie or lie.

Pure.  Two facts of the kernel make time alone the wrong key: a received packet keeps one
receive stamp while it climbs from a port to its bridge or from a NIC to the VXLAN device on
it, and a stamp may survive a veth pair inside one namespace.  So: by time, then by height of
the device, and never at a veth's far end before its near end.
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


def shares_stamp(sighting: Sighting, before: Sighting) -> bool:
    """Is ``sighting``'s stamp no later than that of the place before it: then it only says "since then"."""
    return sighting.t_ns <= before.t_ns


def without_copies(
    sightings: Sequence[Sighting], topology: Topology
) -> tuple[tuple[Sighting, ...], tuple[Sighting, ...]]:
    """The walk, and the copies that a bridge flooded out of other ports while it did not know the right one.

    Of several transmissions by ports of one bridge only those that lead into a tapped namespace are the walk.
    """
    copies = tuple(sighting for sighting in sightings if _is_copy(sighting, sightings, topology))
    return tuple(sighting for sighting in sightings if sighting not in copies), copies


def _is_copy(sighting: Sighting, sightings: Sequence[Sighting], topology: Topology) -> bool:
    if not sighting.outgoing or _leads_on(sighting, topology):
        return False
    device = topology.device(sighting.device)
    if device is None or device.master is None:
        return False
    return any(
        other.outgoing and _leads_on(other, topology) and _master(other, topology) == (device.netns, device.master)
        for other in sightings
        if other is not sighting
    )


def _leads_on(sighting: Sighting, topology: Topology) -> bool:
    device = topology.device(sighting.device)
    return device is not None and topology.peer(device) is not None


def _master(sighting: Sighting, topology: Topology) -> tuple[int, int | None] | None:
    device = topology.device(sighting.device)
    return (device.netns, device.master) if device else None


def _rank(sighting: Sighting, topology: Topology) -> tuple[int, int]:
    """Among equal stamps: received first, upwards; then sent, downwards."""
    device = topology.device(sighting.device)
    height = topology.height(device) if device else 0
    return (1, -height) if sighting.outgoing else (0, height)


def _waits(sighting: Sighting, waiting: Sequence[Sighting], topology: Topology) -> bool:
    """Has the near end of ``sighting``'s veth pair still to come, for the same packet?"""
    device = topology.device(sighting.device)
    if sighting.outgoing or device is None or device.peer is None:
        return False
    return any(
        other.outgoing and other.device == device.peer and other.layers.packet.ttl == sighting.layers.packet.ttl
        for other in waiting
    )
