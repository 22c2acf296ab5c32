"""What to trace, and what it means on this machine: which namespaces are the ends, which addresses, which port."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from tulle.errors import ConfigError
from tulle.model.network import IPAddress
from tulle.trace.decided import Query
from tulle.trace.decisions import Questioner
from tulle.trace.flow import Flow
from tulle.trace.places import Places, Role, cast, own_address
from tulle.trace.probe_packet import Protocol
from tulle.trace.prober import source_address
from tulle.trace.spaces import Spaces
from tulle.trace.topology import NetnsId, Topology

UNKNOWN: Final = NetnsId(0)
"""A target whose namespace cannot be seen from here: only its address is known."""
DEFAULT_PORTS: Final[Mapping[Protocol, int]] = {"icmp": 0, "udp": 33434, "tcp": 80}


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to trace.  ``target`` None: only ``target_address`` is known; else that is for a target that holds none.

    ``size`` is the packet's in bytes, as in ``Flow``.  ``names`` and ``roles`` are what the caller knows of namespaces.
    """

    source: NetnsId
    target: NetnsId | None
    target_address: IPAddress | None = None
    protocol: Protocol = "icmp"
    port: int = 0
    size: int | None = None
    family: int = 4
    count: int = 1
    timeout_s: float = 1.0
    names: Mapping[NetnsId, str] = field(default_factory=dict[NetnsId, str])
    roles: Mapping[NetnsId, Role] = field(default_factory=dict[NetnsId, Role])


def cast_of(order: Order, spaces: Spaces, topology: Topology, questioner: Questioner) -> Places:
    """The places of the walk; of a target that cannot be seen, the node that would deliver to its address."""
    target = _target(order, topology)
    names = {**spaces.names(), **order.names}
    if target != UNKNOWN or order.target_address is None:
        return cast(topology, order.source, target, names, order.roles)
    places = cast(topology, order.source, target, names | {UNKNOWN: str(order.target_address)}, order.roles)
    deliverer = _deliverer(order.target_address, topology, questioner)
    return replace(places, target_node=deliverer) if deliverer is not None else places


def flow_of(order: Order, spaces: Spaces, topology: Topology, places: Places) -> Flow:
    """Addresses, protocol and port.  Raises ConfigError: an end has no address of this family."""
    target = None if order.target is None else _address(order, topology, places, places.target)
    target = target or order.target_address
    if target is None:
        raise _without_address(order, places, places.target)
    source = source_address(spaces.descriptor(order.source), target)
    source = source or _address(order, topology, places, places.source)
    if source is None:
        raise _without_address(order, places, places.source)
    port = order.port or DEFAULT_PORTS[order.protocol]
    return Flow(protocol=order.protocol, source=source, target=target, port=port, size=order.size)


def _address(order: Order, topology: Topology, places: Places, netns: NetnsId) -> IPAddress | None:
    is_node = netns in (places.source_node, places.target_node)
    return own_address(topology.namespaces[netns], order.family, node=is_node)


def _without_address(order: Order, places: Places, netns: NetnsId) -> ConfigError:
    return ConfigError(places.name(netns), f"has no IPv{order.family} address", "give the address itself")


def _target(order: Order, topology: Topology) -> NetnsId:
    """The namespace that is meant: as named, or the one that holds the address."""
    if order.target is not None:
        return order.target
    for netns, space in topology.namespaces.items():
        held = {address for device in space.devices for address in device.addresses if not device.loopback}
        if order.target_address in held:
            return netns
    return UNKNOWN


def _deliverer(address: IPAddress, topology: Topology, questioner: Questioner) -> NetnsId | None:
    """The namespace that joins others and has the address on a bridge or pair of its own; None: nobody here does."""
    for netns, space in topology.namespaces.items():
        if len(topology.joined(netns)) < 2:
            continue
        route = questioner.decide(Query(netns=netns, source=None, target=address, arrived_by=None))[0]
        device = topology.named(netns, route.device)
        if route.route_kind == "unicast" and route.via is None and device is not None and device.kind in _LOCAL:
            return space.id
    return None


_LOCAL: Final = ("bridge", "veth")
