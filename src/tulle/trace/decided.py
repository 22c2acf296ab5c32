"""The kernel's answers about one packet in one namespace, as values, and which to ask for.

Pure.  ``decisions`` asks them over netlink; ``correlate`` puts them beside the hops.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from tulle.model.network import IPAddress, MacAddress
from tulle.trace.journey import Direction, Reason, ReasonKind
from tulle.trace.sightings import Sighting
from tulle.trace.steps import Numbered
from tulle.trace.topology import NetnsId, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Where would this namespace send a packet?  ``arrived_by`` is the device it came in on; None: it starts here.

    ``bridge_mac`` is asked of the bridge's FDB when the frame was switched and never routed.
    """

    netns: NetnsId
    source: IPAddress | None
    target: IPAddress
    arrived_by: str | None
    bridge: str | None = None
    bridge_mac: MacAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One answer.

    ``device`` is the device it names, ``via`` a route's gateway, ``mac`` a neighbour's, ``dst`` an FDB entry's address.

    ``subject`` is what was asked for: an address, a MAC.  ``error`` is the errno's name when
    the kernel refused; ``route_kind`` is a route's type (``unicast``, ``local``, ``blackhole`` …).
    """

    kind: ReasonKind
    netns: NetnsId
    subject: str
    reason: Reason
    found: bool = True
    device: str = ""
    via: IPAddress | None = None
    mac: MacAddress | None = None
    dst: IPAddress | None = None
    error: str = ""
    route_kind: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """Switches of a namespace that decide before any table: None when they could not be read."""

    forwarding: bool | None = None
    rp_filter: int | None = None


Answers: TypeAlias = Mapping[tuple[Direction, NetnsId], tuple[Decision, ...]]


def queries(walk: tuple[Numbered, ...], topology: Topology) -> tuple[Query, ...]:
    """What to ask each namespace that the walk touched: once, with the device where its own stack met the packet."""
    asked: dict[NetnsId, Query] = {}
    for place in walk:
        query = _query(place.sighting, topology)
        if query is not None:
            asked[query.netns] = _better(asked.get(query.netns), query)
    return tuple(asked.values())


def _better(old: Query | None, new: Query) -> Query:
    """A receipt higher up (bridge after port, tunnel after NIC) replaces the lower; what leaves decides nothing."""
    return old if old is not None and new.arrived_by is None else new


def _query(sighting: Sighting, topology: Topology) -> Query | None:
    device = topology.device(sighting.device)
    if device is None:
        return None
    frame, packet = sighting.layers.frame, sighting.layers.packet
    if sighting.layers.outer is not None and sighting.layers.outer_packet is not None:
        frame, packet = sighting.layers.outer, sighting.layers.outer_packet
    master = topology.master(device)
    bridge = master.name if master is not None and master.kind == "bridge" and not sighting.outgoing else None
    return Query(
        netns=device.netns,
        source=packet.source,
        target=packet.destination,
        arrived_by=None if sighting.outgoing else device.name,
        bridge=bridge,
        bridge_mac=frame.destination if bridge else None,
    )
