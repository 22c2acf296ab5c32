"""From steps to rtnetlink requests: names become indexes, words become bits."""

from collections.abc import Mapping

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
from tulle.wire.rtnetlink.parts import AF_BRIDGE, AF_INET, AF_INET6, IfIndex

Indexes = Mapping[str, IfIndex]
ENODEV = 19
EOPNOTSUPP = 95


def requests(step: Step, indexes: Indexes, peer_netns_fd: int | None = None) -> tuple[Request, ...]:
    """What carries out one step on a link, address, route, neighbour or FDB entry.

    ``peer_netns_fd``: where a new pair's other end is made.  Raises KernelError (ENODEV): a device that
    the step names is not there.
    """
    match step:
        case Create(obj=Link() as link):
            return _new_link(link, indexes, peer_netns_fd)
        case Change(before=Link() as before, after=Link() as after):
            return _set_link(before, after, indexes)
        case Delete(obj=Link() as link):
            return (links.del_link(index_of(link.name, indexes, step), step),)
        case Create(obj=obj):
            return (_put(obj, indexes, step, replace=False),)
        case Change(after=obj):
            return (_put(obj, indexes, step, replace=True),)
        case Delete(obj=obj):
            return (_remove(obj, indexes, step),)


def after_creation(link: Link, index: IfIndex, subject: object) -> tuple[Request, ...]:
    """What RTM_NEWLINK passes over when it makes a device, and takes from one that is there."""
    alias = (links.set_link(index, links.LinkSettings(alias=link.alias), subject),) if link.alias else ()
    hairpin = (links.set_hairpin(index, on=True, subject=subject),) if link.hairpin else ()
    return alias + hairpin


def index_of(name: str | None, indexes: Indexes, subject: object) -> IfIndex:
    """The device's index.  Raises KernelError (ENODEV)."""
    if name not in indexes:
        raise KernelError(ENODEV, subject, f"no device {name}")
    return indexes[name]


def _new_link(link: Link, indexes: Indexes, peer_netns_fd: int | None) -> tuple[Request, ...]:
    settings = _settings(link, indexes)
    match link.kind:
        case VxlanKind() as kind:
            made = links.new_vxlan(link.name, _vxlan(kind, indexes, link), settings)
        case BridgeKind():
            made = links.new_bridge(link.name, settings)
        case VethKind(peer=str(peer)) as kind:
            peer_settings = links.LinkSettings(mtu=kind.peer_mtu, mac=kind.peer_mac)
            made = links.new_veth(
                link.name, settings, peer=peer, peer_settings=peer_settings, peer_netns_fd=peer_netns_fd
            )
        case _:
            raise KernelError(EOPNOTSUPP, link, "tulle makes no device of this kind")
    return (made,)


def _set_link(before: Link, after: Link, indexes: Indexes) -> tuple[Request, ...]:
    index = index_of(after.name, indexes, after)
    found: list[Request] = []
    if isinstance(after.kind, VxlanKind) and after.kind != before.kind:
        found.append(links.set_vxlan(index, _vxlan(after.kind, indexes, after), after))
    wanted = links.LinkSettings(
        mtu=after.mtu if after.mtu != before.mtu else None,
        mac=after.mac if after.mac != before.mac else None,
        up=after.up if after.up != before.up else None,
        master=_master(after, indexes) if after.master != before.master else None,
        alias=after.alias if after.alias != before.alias else None,
    )
    if wanted != links.LinkSettings():
        found.append(links.set_link(index, wanted, after))
    if after.hairpin is not None and after.hairpin != before.hairpin:
        found.append(links.set_hairpin(index, on=after.hairpin, subject=after))
    return tuple(found)


def _put(obj: KernelObject, indexes: Indexes, step: Step, *, replace: bool) -> Request:
    match obj:
        case Address():
            return addresses.new_address(_address(obj, indexes, step), subject=step)
        case Route():
            return routes.new_route(_route(obj, indexes, step), replace=replace, subject=step)
        case Neighbor():
            mode = "replace" if replace else "create"
            return neighbors.new_neighbor(_neighbor(obj, indexes, step), mode, step)
        case FdbEntry():
            mode = "replace" if replace else "create" if obj.is_unicast else "append"
            return neighbors.new_neighbor(_fdb_entry(obj, indexes, step), mode, step)
        case _:
            raise AssertionError(f"{obj} is not rtnetlink's")


def _remove(obj: KernelObject, indexes: Indexes, step: Step) -> Request:
    match obj:
        case Address():
            return addresses.del_address(_address(obj, indexes, step), step)
        case Route():
            return routes.del_route(_route(obj, indexes, step), step)
        case Neighbor():
            return neighbors.del_neighbor(_neighbor(obj, indexes, step), step)
        case FdbEntry():
            return neighbors.del_neighbor(_fdb_entry(obj, indexes, step), step)
        case _:
            raise AssertionError(f"{obj} is not rtnetlink's")


def _settings(link: Link, indexes: Indexes) -> links.LinkSettings:
    master = _master(link, indexes) if link.master else None
    return links.LinkSettings(mtu=link.mtu, mac=link.mac, up=link.up, master=master)


def _master(link: Link, indexes: Indexes) -> IfIndex | None:
    if link.master is None:
        return None
    return index_of(link.master, indexes, link) if link.master else IfIndex(0)


def _vxlan(kind: VxlanKind, indexes: Indexes, subject: object) -> links.VxlanInfo:
    return links.VxlanInfo(
        vni=kind.vni,
        link=index_of(kind.underlay, indexes, subject) if kind.underlay else IfIndex(0),
        local=kind.local,
        port=kind.port,
        learning=kind.learning,
        gbp=kind.gbp,
    )


def _address(address: Address, indexes: Indexes, subject: object) -> addresses.AddressMessage:
    flags = addresses.IFA_F_PERMANENT | (addresses.IFA_F_NODAD if address.nodad else 0)
    index = index_of(address.device, indexes, subject)
    return addresses.AddressMessage(index=index, interface=address.interface, scope=address.scope, flags=flags)


def _route(route: Route, indexes: Indexes, subject: object) -> routes.RouteMessage:
    direct = route.kind == "unicast" and route.via is None and route.dst.version == 4
    return routes.RouteMessage(
        dst=route.dst,
        oif=index_of(route.device, indexes, subject) if route.device is not None else IfIndex(0),
        gateway=route.via,
        onlink=route.onlink,
        prefsrc=route.source,
        table=route.table,
        priority=route.metric,
        protocol=route.protocol,
        scope=routes.RT_SCOPE_LINK if direct else routes.RT_SCOPE_UNIVERSE,
        kind=route.kind,
        mtu=route.mtu,
    )


def _neighbor(neighbor: Neighbor, indexes: Indexes, subject: object) -> neighbors.NeighborMessage:
    return neighbors.NeighborMessage(
        family=AF_INET if neighbor.ip.version == 4 else AF_INET6,
        index=index_of(neighbor.device, indexes, subject),
        dst=neighbor.ip,
        lladdr=neighbor.mac,
        state=neighbors.NUD_PERMANENT if neighbor.permanent else neighbors.NUD_REACHABLE,
        flags=neighbors.NTF_PROXY if neighbor.proxy else 0,
    )


def _fdb_entry(entry: FdbEntry, indexes: Indexes, subject: object) -> neighbors.NeighborMessage:
    return neighbors.NeighborMessage(
        family=AF_BRIDGE,
        index=index_of(entry.device, indexes, subject),
        dst=entry.dst,
        lladdr=entry.mac,
        state=neighbors.NUD_PERMANENT if entry.permanent else neighbors.NUD_REACHABLE,
        flags=neighbors.NTF_SELF,
        port=entry.port or 0,
        vni=entry.vni or 0,
    )
