"""From steps to rtnetlink requests: names become indexes, words become bits."""

from collections.abc import Callable
from errno import ENODEV, EOPNOTSUPP
from typing import TypeAlias

from tulle.errors import KernelError
from tulle.model.change import Change, Create, Delete, Step
from tulle.model.objects import (
    Address,
    BridgeKind,
    FdbEntry,
    KernelObject,
    Link,
    Neighbor,
    Route,
    VethKind,
    VxlanKind,
)
from tulle.wire.netlink import Request
from tulle.wire.rtnetlink import addresses, links, neighbors, routes
from tulle.wire.rtnetlink.parts import AF_BRIDGE, AF_INET, AF_INET6, NO_DEVICE, IfIndex
from tulle.wire.rtnetlink.vxlan import VxlanInfo

Indexes: TypeAlias = Callable[[str], IfIndex | None]
"""The number of a device, by name; None when there is none."""


def requests(step: Step, indexes: Indexes) -> tuple[Request, ...]:
    """What carries out a step on an address, route, neighbour or FDB entry, or sets a link, in order.

    Raises KernelError (ENODEV): a device that the step names is not there.
    """
    match step:
        case Create(obj=obj):
            return (_put(obj, indexes, step, replace=False),)
        case Change(before=Link() as before, after=Link() as after):
            return set_link(before, after, indexes)
        case Change(before=FdbEntry() as before, after=FdbEntry(is_unicast=False) as after):
            # The kernel replaces the destination of a unicast MAC only.
            return (_remove(before, indexes, step), _put(after, indexes, step, replace=False))
        case Change(after=obj):
            return (_put(obj, indexes, step, replace=True),)
        case Delete(obj=obj):
            return (_remove(obj, indexes, step),)


def new_link(link: Link, indexes: Indexes, peer_netns_fd: int | None = None) -> Request:
    """Make a device, up if wanted, in one request; ``finishing`` is what the kernel does not take in it.

    ``peer_netns_fd``: where a new pair's other end is made.  Raises KernelError.
    """
    settings = links.LinkSettings(
        mtu=link.mtu, mac=link.mac, up=link.up, promiscuous=link.promiscuous, master=_master(link, indexes)
    )
    match link.kind:
        case VxlanKind() as kind:
            return links.new_vxlan(link.name, _vxlan(kind, indexes, link), settings)
        case BridgeKind() as kind:
            return links.new_bridge(link.name, settings, linklocal_learning=kind.linklocal_learning)
        case VethKind(peer=str(peer)) as kind:
            peer_settings = links.LinkSettings(mtu=kind.peer_mtu, mac=kind.peer_mac)
            return links.new_veth(
                link.name, settings, peer=peer, peer_settings=peer_settings, peer_netns_fd=peer_netns_fd
            )
        case _:
            raise KernelError(EOPNOTSUPP, f"link {link.name}", "tulle makes no device of this kind")


def finishing(link: Link) -> Request | None:
    """What a new device still lacks: the kernel ignores an alias at creation, and a port exists only afterwards."""
    if not link.alias and not link.hairpin:
        return None
    settings = links.LinkSettings(alias=link.alias or None)
    return links.set_link(link.name, settings, link, hairpin=link.hairpin or None)


def set_link(before: Link, after: Link, indexes: Indexes) -> tuple[Request, ...]:
    """Only what differs, by the device's name.  Raises KernelError (ENODEV): what it refers to is not there."""
    found: list[Request] = []
    if isinstance(after.kind, VxlanKind) and after.kind != before.kind:
        index = _index(after.name, indexes, after)
        found.append(links.set_vxlan(index, _vxlan(after.kind, indexes, after), after))
    if isinstance(after.kind, BridgeKind) and after.kind != before.kind and not after.kind.linklocal_learning:
        found.append(links.stop_linklocal_learning(_index(after.name, indexes, after), after))
    wanted = links.LinkSettings(
        mtu=after.mtu if after.mtu != before.mtu else None,
        mac=after.mac if after.mac != before.mac else None,
        up=after.up if after.up != before.up else None,
        promiscuous=after.promiscuous if after.promiscuous != before.promiscuous else None,
        master=_master(after, indexes) if after.master != before.master else None,
        alias=after.alias if after.alias != before.alias else None,
    )
    hairpin = after.hairpin if after.hairpin != before.hairpin else None
    if wanted.master is not None:  # what a port has, a device takes when it is one
        found.append(links.set_link(after.name, wanted, after))
        wanted = links.NO_SETTINGS
    if wanted != links.NO_SETTINGS or hairpin is not None:
        found.append(links.set_link(after.name, wanted, after, hairpin=hairpin))
    return tuple(found)


def del_link(link: Link, indexes: Indexes) -> Request:
    """Remove a device.  Raises KernelError (ENODEV)."""
    return links.del_link(_index(link.name, indexes, link), link)


def _put(obj: KernelObject, indexes: Indexes, step: Step, *, replace: bool) -> Request:
    match obj:
        case Neighbor():
            mode = "replace" if replace else "create"
            return neighbors.new_neighbor(_neighbor(obj, indexes, step), mode, step)
        case FdbEntry():
            mode = "append" if not obj.is_unicast else "replace" if replace else "create"
            return neighbors.new_neighbor(_fdb_entry(obj, indexes, step), mode, step)
        case Route():
            return routes.new_route(_route(obj, indexes, step), replace=replace, subject=step)
        case Address():
            return addresses.new_address(_address(obj, indexes, step), replace=replace, subject=step)
        case _:
            raise AssertionError(f"{obj} is not carried by a request of its own")


def _remove(obj: KernelObject, indexes: Indexes, step: Step) -> Request:
    match obj:
        case Address():
            return addresses.del_address(_address(obj, indexes, step), step)
        case Route():
            return routes.del_route(_route(obj, indexes, step, scope=routes.RT_SCOPE_NOWHERE), step)
        case Neighbor():
            return neighbors.del_neighbor(_neighbor(obj, indexes, step), step)
        case FdbEntry():
            return neighbors.del_neighbor(_fdb_entry(obj, indexes, step), step)
        case _:
            raise AssertionError(f"{obj} is not carried by a request of its own")


def _index(name: str, indexes: Indexes, subject: object) -> IfIndex:
    found = indexes(name)
    if found is None:
        raise KernelError(ENODEV, subject, f"no device {name}")
    return found


def _master(link: Link, indexes: Indexes) -> IfIndex | None:
    if link.master is None:
        return None
    return _index(link.master, indexes, link) if link.master else NO_DEVICE


def _vxlan(kind: VxlanKind, indexes: Indexes, subject: object) -> VxlanInfo:
    return VxlanInfo(
        vni=kind.vni,
        link=NO_DEVICE if kind.underlay is None else _index(kind.underlay, indexes, subject),
        local=kind.local,
        port=kind.port,
        learning=kind.learning,
        gbp=kind.gbp,
    )


def _address(address: Address, indexes: Indexes, subject: object) -> addresses.AddressMessage:
    flags = addresses.IFA_F_PERMANENT | (addresses.IFA_F_NODAD if address.nodad else 0)
    index = _index(address.device, indexes, subject)
    return addresses.AddressMessage(index=index, interface=address.interface, scope=address.scope, flags=flags)


def _route(route: Route, indexes: Indexes, subject: object, *, scope: int | None = None) -> routes.RouteMessage:
    """``scope`` is what a deletion must match; a new IPv4 route without a gateway has that of its link."""
    direct = route.kind == "unicast" and route.via is None and route.dst.version == 4
    own_scope = routes.RT_SCOPE_LINK if direct else routes.RT_SCOPE_UNIVERSE
    return routes.RouteMessage(
        dst=route.dst,
        oif=NO_DEVICE if route.device is None else _index(route.device, indexes, subject),
        gateway=route.via,
        onlink=route.onlink,
        prefsrc=route.source,
        table=route.table,
        priority=route.metric,
        protocol=route.protocol,
        scope=own_scope if scope is None else scope,
        kind=route.kind,
        mtu=route.mtu,
    )


def _neighbor(neighbor: Neighbor, indexes: Indexes, subject: object) -> neighbors.NeighborMessage:
    return neighbors.NeighborMessage(
        AF_INET if neighbor.ip.version == 4 else AF_INET6,
        _index(neighbor.device, indexes, subject),
        neighbor.ip,
        neighbor.mac,
        neighbors.NUD_PERMANENT if neighbor.permanent else neighbors.NUD_REACHABLE,
        neighbors.NTF_PROXY if neighbor.proxy else 0,
    )


def _fdb_entry(entry: FdbEntry, indexes: Indexes, subject: object) -> neighbors.NeighborMessage:
    return neighbors.NeighborMessage(
        family=AF_BRIDGE,
        ifindex=_index(entry.device, indexes, subject),
        dst=entry.dst,
        lladdr=entry.mac,
        state=neighbors.NUD_PERMANENT if entry.permanent else neighbors.NUD_REACHABLE,
        flags=neighbors.NTF_SELF,
        port=entry.port or 0,
        vni=entry.vni or 0,
    )
