"""What each namespace is to this packet: a pod's, a node's, or the underlay between them.

Pure.  Found from the devices and how they are joined, never from names: a pod's node is the
namespace at the other end of its veth pair.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from tulle.model.network import IPAddress
from tulle.trace.journey import Direction
from tulle.trace.topology import Device, Namespace, NetnsId, Topology

Region: TypeAlias = Literal["source pod", "source node", "underlay", "target node", "target pod"]
Role: TypeAlias = Literal["pod", "node"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """The cast of one walk.  A source that is a node has ``source == source_node``, a target likewise.

    ``names`` labels namespaces for people.
    """

    source: NetnsId
    source_node: NetnsId
    target_node: NetnsId
    target: NetnsId
    names: Mapping[NetnsId, str]

    def seen_from(self, direction: Direction) -> "Places":
        """The same cast as the reply sees it."""
        if direction == "request":
            return self
        return replace(
            self, source=self.target, source_node=self.target_node, target_node=self.source_node, target=self.source
        )

    @property
    def same_node(self) -> bool:
        return self.source_node == self.target_node

    def region(self, netns: NetnsId) -> Region:
        """On one node, source and target pods share "source node"."""
        if netns == self.source_node:
            return "source node"
        if netns == self.target_node:
            return "target node"
        if netns == self.source:
            return "source pod"
        return "target pod" if netns == self.target else "underlay"

    def label(self, netns: NetnsId) -> str:
        """The namespace's short name beside a hop: ``root`` for a node's own."""
        return "root" if netns in (self.source_node, self.target_node) else self.name(netns)

    def node(self, netns: NetnsId) -> str:
        """The box that a hop is drawn in: a node's name, or ``underlay``."""
        match self.region(netns):
            case "source pod" | "source node":
                return self.name(self.source_node)
            case "target pod" | "target node":
                return self.name(self.target_node)
            case "underlay":
                return "underlay"

    def name(self, netns: NetnsId) -> str:
        return self.names.get(netns) or f"net:[{netns}]"


def cast(
    topology: Topology,
    source: NetnsId,
    target: NetnsId,
    names: Mapping[NetnsId, str],
    roles: Mapping[NetnsId, Role] = {},
) -> Places:
    """The places of a request from ``source`` to ``target``.  ``roles`` overrides what the devices look like."""
    return Places(
        source=source,
        source_node=_node_of(topology, source, roles),
        target_node=_node_of(topology, target, roles),
        target=target,
        names=names,
    )


def _node_of(topology: Topology, netns: NetnsId, roles: Mapping[NetnsId, Role]) -> NetnsId:
    space = topology.namespaces.get(netns)
    if space is None or roles.get(netns) == "node":
        return netns
    joined = [other for other in topology.joined(netns) if other in topology.namespaces]
    looks_like_a_node = bool(space.vxlans) or len(joined) != 1
    return netns if looks_like_a_node and roles.get(netns) != "pod" else joined[0] if joined else netns


def own_address(space: Namespace, family: int, *, node: bool) -> IPAddress | None:
    """The address that stands for the namespace: a pod's own, a node's underlay address; None: none of this family.

    Of a node the tunnel's outer address is preferred, then any that is not on the tunnel or a bridge of pods.
    """
    locals_ = [device.local for device in space.vxlans if device.local is not None and device.local.version == family]
    held = {address for device in space.devices for address in device.addresses}
    if node and (outer := next((address for address in locals_ if address in held), None)) is not None:
        return outer
    return next(
        (address for device in sorted(space.devices, key=_preference) for address in _usable(device, family)), None
    )


def _preference(device: Device) -> tuple[bool, int]:
    return device.kind in ("bridge", "vxlan"), device.ifindex


def _usable(device: Device, family: int) -> list[IPAddress]:
    if device.loopback:
        return []
    return [address for address in device.addresses if address.version == family and not address.is_link_local]
