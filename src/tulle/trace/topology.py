"""The devices that a packet may cross, as the kernel lists them: namespaces joined by veth pairs.

Pure: ``discover`` fills it from netlink, tests write it by hand.  A namespace is told apart by
the inode of its ``nsfs`` file, which two names of one namespace share.  What a device is
*for* (a pod's, a node's, the underlay) is not here but in ``places``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, NewType, TypeAlias

from tulle.model.network import IPAddress, MacAddress

NetnsId = NewType("NetnsId", int)
"""Inode of a network namespace."""
_DEEPEST: Final = 8
"""Devices stacked on devices: more is a loop or nonsense."""


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """A device on this machine: interface indexes are per namespace."""

    netns: NetnsId
    ifindex: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One device.  ``kind`` is the kernel's word (``veth``, ``bridge``, ``vxlan``; "" for a NIC or ``lo``).

    ``peer`` is the other end of a veth pair, as far as it was found; ``master`` the bridge it
    is a port of; ``lower`` the device under a VXLAN or VLAN device.
    """

    netns: NetnsId
    ifindex: int
    name: str
    kind: str = ""
    mac: MacAddress | None = None
    mtu: int = 0
    up: bool = True
    loopback: bool = False
    master: int | None = None
    lower: int | None = None
    peer: DeviceKey | None = None
    vni: int | None = None
    port: int | None = None
    local: IPAddress | None = None
    addresses: tuple[IPAddress, ...] = ()

    @property
    def key(self) -> DeviceKey:
        return DeviceKey(self.netns, self.ifindex)


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """A network namespace and its devices, in the order of their interface index."""

    id: NetnsId
    name: str
    devices: tuple[Device, ...]

    @property
    def vxlans(self) -> tuple[Device, ...]:
        return tuple(device for device in self.devices if device.kind == "vxlan")


@dataclass(frozen=True, slots=True)
class Topology:
    """All namespaces that were looked into."""

    namespaces: Mapping[NetnsId, Namespace]
    _devices: dict[DeviceKey, Device] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        index = {device.key: device for space in self.namespaces.values() for device in space.devices}
        object.__setattr__(self, "_devices", index)

    def device(self, key: DeviceKey) -> Device | None:
        return self._devices.get(key)

    def named(self, netns: NetnsId, name: str) -> Device | None:
        space = self.namespaces.get(netns)
        return next((device for device in space.devices if device.name == name), None) if space else None

    def peer(self, device: Device) -> Device | None:
        """The other end of a veth pair; None when it is not a pair or the other end was not found."""
        return self._devices.get(device.peer) if device.peer else None

    def master(self, device: Device) -> Device | None:
        return self._devices.get(DeviceKey(device.netns, device.master)) if device.master else None

    def vxlan_ports(self) -> frozenset[int]:
        """UDP ports of every VXLAN device that was found."""
        return frozenset(
            device.port for space in self.namespaces.values() for device in space.vxlans if device.port is not None
        )

    def joined(self, netns: NetnsId) -> tuple[NetnsId, ...]:
        """The namespaces at the other ends of this one's veth pairs."""
        space = self.namespaces.get(netns)
        found = {device.peer.netns for device in (space.devices if space else ()) if device.peer}
        return tuple(sorted(found - {netns}))

    def height(self, device: Device) -> int:
        """How far up the stack a received frame meets it: a NIC or veth 0, a bridge on that 1, a VXLAN over that 2."""
        return self._height(device, _DEEPEST)

    def _height(self, device: Device, left: int) -> int:
        if left == 0:
            return 0
        below = [other for other in self._below(device) if other.key != device.key]
        return 1 + max((self._height(other, left - 1) for other in below), default=0) if device.kind in _STACKED else 0

    def _below(self, device: Device) -> Iterable[Device]:
        space = self.namespaces[device.netns].devices
        if device.kind == "bridge":
            return [port for port in space if port.master == device.ifindex]
        return [port for port in space if port.ifindex == device.lower]


_STACKED: Final = frozenset({"bridge", "vxlan", "vlan", "macvlan", "bond"})

Edges: TypeAlias = Mapping[NetnsId, frozenset[NetnsId]]


def on_the_way(topology: Topology, source: NetnsId, target: NetnsId) -> tuple[NetnsId, ...]:
    """The namespaces between source and target, both included: dead ends are left out, also chains of them.

    What remains are all ways through, so that a reply by another path is seen too.  When the two
    are not joined, all that each of them reaches.
    """
    edges = {space: set(topology.joined(space)) & topology.namespaces.keys() for space in topology.namespaces}
    for space, others in list(edges.items()):
        for other in others:
            edges[other].add(space)
    ends = {source, target}
    reached = _reached(edges, source) | _reached(edges, target)
    if target not in _reached(edges, source):
        return tuple(sorted(reached))
    edges = {space: others & reached for space, others in edges.items() if space in reached}
    while dead := {space for space, others in edges.items() if len(others) < 2 and space not in ends}:
        edges = {space: others - dead for space, others in edges.items() if space not in dead}
    return tuple(sorted(edges))


def are_joined(topology: Topology, source: NetnsId, target: NetnsId) -> bool:
    """Can a way from one to the other be seen from here?"""
    edges = {space: set(topology.joined(space)) for space in topology.namespaces}
    for space, others in list(edges.items()):
        for other in others:
            edges.setdefault(other, set()).add(space)
    return target in _reached(edges, source)


def _reached(edges: Mapping[NetnsId, set[NetnsId]], start: NetnsId) -> set[NetnsId]:
    seen, waiting = {start}, [start]
    while waiting:
        for other in edges.get(waiting.pop(), set()) - seen:
            seen.add(other)
            waiting.append(other)
    return seen
