"""From rtnetlink messages to kernel objects: indexes become names, bits become words.

Pure in what it does, here because interface indexes are facts of one boot.
"""

from collections.abc import Callable
from ipaddress import IPv6Network
from typing import Final, TypeAlias

from tulle.model.network import MacAddress, Vni
from tulle.model.objects import (
    Address,
    BridgeKind,
    FdbEntry,
    Link,
    LinkKind,
    Neighbor,
    OtherKind,
    Route,
    VethKind,
    VxlanKind,
)
from tulle.wire.rtnetlink.addresses import IFA_F_DEPRECATED, IFA_F_NODAD, IFA_F_SECONDARY, AddressMessage
from tulle.wire.rtnetlink.links import LinkMessage
from tulle.wire.rtnetlink.neighbors import NTF_PROXY, NUD_NOARP, NUD_PERMANENT, NeighborMessage
from tulle.wire.rtnetlink.parts import AF_BRIDGE, IfIndex
from tulle.wire.rtnetlink.routes import RT_TABLE_LOCAL, RouteMessage

Names: TypeAlias = Callable[[IfIndex], str | None]
"""The device of an index; None for 0 and for one that is gone."""
MULTICAST6: Final = IPv6Network("ff00::/8")
ROUTE_KINDS_SHOWN: Final = frozenset({"unicast", "blackhole", "unreachable", "prohibit", "throw"})


def link(message: LinkMessage, names: Names) -> Link:
    """A device; its master and underlay by name."""
    return Link(
        name=message.name,
        kind=_kind(message, names),
        mtu=message.mtu,
        mac=message.mac,
        up=message.up,
        master=names(message.master) or "",
        alias=message.alias,
        hairpin=message.hairpin,
        promiscuous=message.promiscuous,
    )


def address(message: AddressMessage, names: Names) -> Address | None:
    """An address; None on a device that is gone meanwhile."""
    device = names(message.index)
    if device is None:
        return None
    return Address(
        device=device,
        interface=message.interface,
        scope=message.scope,
        permanent=message.permanent,
        nodad=bool(message.flags & IFA_F_NODAD),
        secondary=bool(message.flags & IFA_F_SECONDARY),
        deprecated=bool(message.flags & IFA_F_DEPRECATED),
    )


def route(message: RouteMessage, names: Names) -> Route | None:
    """A route that packets to others can take; None for local, multicast and cached ones, and without a device."""
    if message.table == RT_TABLE_LOCAL or message.cloned or message.kind not in ROUTE_KINDS_SHOWN:
        return None
    if isinstance(message.dst, IPv6Network) and message.dst.subnet_of(MULTICAST6):
        return None
    device = names(message.oif) if message.kind == "unicast" else None  # IPv6 says ``lo`` for a blackhole
    multipath = message.multipath or bool(message.nexthop_id)
    if message.kind == "unicast" and device is None and not multipath:
        return None
    return Route(
        dst=message.dst,
        device=device,
        via=message.gateway,
        onlink=message.onlink,
        source=message.prefsrc,
        table=message.table,
        metric=message.priority,
        protocol=message.protocol,
        kind=message.kind,
        mtu=message.mtu,
        multipath=multipath,
    )


def neighbor(message: NeighborMessage, names: Names) -> Neighbor | FdbEntry | None:
    """A neighbour, or an FDB entry of a tunnel; None for what the kernel keeps for itself."""
    device = names(message.ifindex)
    if device is None:
        return None
    if message.family == AF_BRIDGE:
        return _fdb_entry(message, device)
    if message.dst is None:
        return None
    proxy = bool(message.flags & NTF_PROXY)
    return Neighbor(
        device=device,
        ip=message.dst,
        mac=None if proxy else message.lladdr,
        permanent=message.permanent or proxy,
        proxy=proxy,
    )


def _fdb_entry(message: NeighborMessage, device: str) -> FdbEntry | None:
    if message.lladdr is None or message.master:
        return None
    return FdbEntry(
        device=device,
        mac=MacAddress(message.lladdr),
        dst=message.dst,
        permanent=bool(message.state & (NUD_PERMANENT | NUD_NOARP)),  # a "static" entry never ages either
        port=message.port or None,
        vni=message.vni or None,
    )


def _kind(message: LinkMessage, names: Names) -> LinkKind:
    match message.kind:
        case "vxlan" if message.vxlan is not None:
            info = message.vxlan
            return VxlanKind(
                vni=Vni(info.vni),
                port=info.port,
                local=info.local,
                underlay=names(info.link),
                learning=info.learning,
                gbp=info.gbp,
            )
        case "bridge":
            return BridgeKind(linklocal_learning=message.linklocal_learning)
        case "veth":
            return VethKind()
        case kind:
            return OtherKind(kind)
