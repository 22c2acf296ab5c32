"""What the kernel itself does with a step: checks, consequences and announcements, over a plain dict.

The part of Linux's behaviour that tulle's decisions depend on, as seen on 6.18; the contract suite
holds it against the real one.  Left out: link-local addresses, carriers, address lifetimes,
secondary addresses, what rules and packets do.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from errno import EADDRNOTAVAIL, EEXIST, EHOSTUNREACH, EINVAL, ENETDOWN, ENETUNREACH, ENODEV, ENOENT, EOPNOTSUPP, ESRCH
from typing import Final

from tulle.errors import KernelError
from tulle.model.change import Change, Create, Delete, Step
from tulle.model.network import VXLAN_OVERHEAD, VXLAN_OVERHEAD6, DroppingChain, MacAddress
from tulle.model.objects import (
    RTPROT_KERNEL,
    Address,
    BridgeKind,
    ChainAccept,
    FdbEntry,
    FilterObject,
    IptablesRules,
    KernelObject,
    Link,
    LinkKey,
    Neighbor,
    NftElement,
    NftTable,
    NftTableKey,
    ObjectKey,
    OtherKind,
    Route,
    Sysctl,
    SysctlKey,
    VethKind,
    VxlanKind,
)
from tulle.model.state import Scope, object_device
from tulle.wire.iptables import LEGACY

OWN_TABLE: Final = NftTableKey("inet", "tulle")
CONNECTED6_METRIC: Final = 256
NAMESPACE_SYSCTLS: Final = {"net/ipv4/ip_forward": "0", "net/ipv6/conf/all/forwarding": "0"}
DEVICE_SYSCTLS: Final = {
    "net/ipv4/conf/{}/rp_filter": "0",
    "net/ipv6/conf/{}/accept_ra": "1",
    "net/ipv6/conf/{}/disable_ipv6": "0",
}
FORWARDING: Final = frozenset({SysctlKey("net/ipv4/ip_forward"), SysctlKey("net/ipv6/conf/all/forwarding")})
"""The only sysctls whose change is announced."""
_MISSING: Final[Mapping[type[KernelObject], int]] = {Link: ENODEV, Address: EADDRNOTAVAIL, Route: ESRCH}


class Machine:
    """One namespace.  ``announce`` hears of each change what the kernel's multicast groups would say."""

    def __init__(self, announce: Callable[[Scope], None], chains: Iterable[DroppingChain]) -> None:
        self.objects: dict[ObjectKey, KernelObject] = {}
        self.chains = tuple(chains)
        self._announce = announce
        self._made = 0
        self._peers: dict[str, str] = {}
        for path, value in NAMESPACE_SYSCTLS.items():
            self._put(Sysctl(path, value))

    def plant(self, obj: KernelObject) -> None:
        """Put ``obj`` there as it is, without checks."""
        self._put(obj)
        if isinstance(obj, Link):
            self._add_device_sysctls(obj.name)

    def carry_out(self, step: Step) -> None:
        """Do what the kernel would.  Raises KernelError."""
        match step:
            case Create(obj=obj):
                if obj.key in self.objects and not isinstance(obj, Sysctl | NftElement):
                    raise KernelError(EEXIST, step)
                self._set(obj, step)
            case Change(before=Link(), after=Link() as after):
                self._change_link(after, step)
            case Change(after=obj):
                self._set(obj, step)
            case Delete(obj=obj):
                self._delete(obj, step)

    # -- making -----------------------------------------------------------------------

    def _set(self, obj: KernelObject, step: Step) -> None:
        match obj:
            case Link():
                self._create_link(obj, step)
            case Address():
                self._device(obj.device, step)
                self._put(obj)
                self._connect(obj.device)
                self._announce(Scope.of(devices=[obj.device]))
            case Route():
                self._check_route(obj, step)
                self._put(obj)
                self._announce(Scope.of([obj.key]))
            case Neighbor() | FdbEntry():
                device = self._device(obj.device, step)
                if isinstance(obj, FdbEntry) and not isinstance(device.kind, VxlanKind):
                    raise KernelError(EOPNOTSUPP, step)
                self._put(obj)
                self._announce(Scope.of([obj.key]))
            case Sysctl():
                self._set_sysctl(obj, step)
            case NftTable() | ChainAccept() | IptablesRules() | NftElement():
                self._set_rules(obj, step)

    def _set_rules(self, obj: FilterObject | NftElement, step: Step) -> None:
        match obj:
            case NftTable():
                self._remove(self._elements(obj.key))
                self._put(replace(obj, text=None))
            case ChainAccept():
                self._check_chain(obj, step)
                self._put(obj)
            case IptablesRules():
                self._put(obj)
            case NftElement() if NftTableKey(obj.family, obj.table) in self.objects:
                self._put(obj)
            case NftElement():
                raise KernelError(ENOENT, step)
        self._announce_rules(obj)

    def _announce_rules(self, obj: FilterObject | NftElement) -> None:
        """Rules that live in nftables are announced; its elements, which are none, and the older iptables are not."""
        silent = isinstance(obj, NftElement) or (not isinstance(obj, NftTable) and obj.engine == LEGACY)
        if not silent:
            self._announce(Scope.of([OWN_TABLE]))

    def _set_sysctl(self, sysctl: Sysctl, step: Step) -> None:
        if sysctl.key not in self.objects or sysctl.value is None:
            raise KernelError(ENOENT, step)
        self._put(sysctl)
        if sysctl.key in FORWARDING:
            self._announce(Scope.of([sysctl.key]))

    def _create_link(self, link: Link, step: Step) -> None:
        match link.kind:
            case VxlanKind() as kind:
                self._check_tunnel(link.name, kind, step)
            case VethKind(peer=None) | OtherKind():
                raise KernelError(EOPNOTSUPP, step, "tulle makes no device of this kind")
            case VethKind(peer=str(peer), peer_netns=None) if LinkKey(peer) in self.objects:
                raise KernelError(EEXIST, step)
            case _:
                pass
        if link.master:
            self._bridge(link.master, step)
        self._add_link(link)
        match link.kind:
            case VethKind(peer=str(peer), peer_netns=None) as kind:
                self._peers |= {link.name: peer, peer: link.name}
                self._add_link(Link(name=peer, kind=VethKind(), mtu=kind.peer_mtu, mac=kind.peer_mac, up=False))
            case _:
                pass

    def _add_link(self, link: Link) -> None:
        """The link as it reads once made: every field filled, and no larger than the underlay allows."""
        self._made += 1
        kind = VethKind() if isinstance(link.kind, VethKind) else link.kind
        made = replace(
            link,
            kind=kind,
            mtu=self._fitting_mtu(link),
            mac=link.mac or MacAddress(f"02:fa:ce:00:{self._made >> 8:02x}:{self._made & 255:02x}"),
            up=bool(link.up),
            master=link.master or "",
            alias=link.alias or "",
            hairpin=bool(link.hairpin),
            promiscuous=bool(link.promiscuous),
        )
        self._put(made)
        self._add_device_sysctls(link.name)
        self._announce(Scope.of(devices=[link.name]))

    def _fitting_mtu(self, link: Link) -> int:
        if not isinstance(link.kind, VxlanKind) or link.kind.underlay is None:
            return link.mtu or 1500
        lower = self.objects.get(LinkKey(link.kind.underlay))
        overhead = VXLAN_OVERHEAD6 if link.kind.local is not None and link.kind.local.version == 6 else VXLAN_OVERHEAD
        room = (lower.mtu if isinstance(lower, Link) and lower.mtu else 1500) - overhead
        return min(link.mtu or room, room)

    # -- changing a link --------------------------------------------------------------

    def _change_link(self, after: Link, step: Step) -> None:
        before = self._device(after.name, step)
        if isinstance(after.kind, VxlanKind) and after.kind.underlay is not None:
            self._device(after.kind.underlay, step)
        if after.master:
            self._bridge(after.master, step)
        fields = ("mtu", "mac", "up", "master", "alias", "hairpin", "promiscuous")
        given = {name: value for name in fields if (value := getattr(after, name)) is not None}
        is_settable = isinstance(after.kind, VxlanKind) or after.kind == BridgeKind(linklocal_learning=False)
        kind = after.kind if is_settable else before.kind
        self._put(replace(before, kind=kind, **given))
        if after.mac not in {None, before.mac}:
            self._remove(obj for obj in self._on(after.name) if isinstance(obj, Neighbor))
        if before.up and after.up is False:
            self._take_down(after.name)
        if not before.up and after.up:
            self._connect(after.name)
        self._announce(Scope.of(devices=[after.name]))

    def _take_down(self, device: str) -> None:
        """Everything of IPv6 goes, IPv4's routes (unannounced), all neighbours and what the tunnel learnt."""
        self._remove(
            obj
            for obj in self._on(device)
            if isinstance(obj, Route | Neighbor)
            or (isinstance(obj, Address) and obj.interface.version == 6)
            or (isinstance(obj, FdbEntry) and not obj.permanent)
        )

    # -- removing ---------------------------------------------------------------------

    def _delete(self, obj: KernelObject, step: Step) -> None:
        if isinstance(obj, Sysctl):
            return  # a sysctl has no absence
        found = self.objects.get(obj.key)
        if found is None:
            raise KernelError(_MISSING.get(type(obj), ENOENT), step)
        match found:
            case Link():
                self._delete_link(found.name)
            case Address():
                self._delete_address(found)
                self._announce(Scope.of(devices=[found.device]))
            case NftElement():
                self._remove([found])
            case NftTable() | ChainAccept() | IptablesRules():
                self._remove([found, *self._elements(found.key)])
                self._announce_rules(found)
            case _:
                self._remove([found])
                self._announce(Scope.of([found.key]))

    def _delete_link(self, name: str) -> None:
        if LinkKey(name) not in self.objects:
            return
        tunnels = [
            link.name for link in self._links() if isinstance(link.kind, VxlanKind) and link.kind.underlay == name
        ]
        for link in list(self._links()):
            if link.master == name:
                self._put(replace(link, master="", hairpin=False))
        self._remove([*self._on(name), self.objects[LinkKey(name)]])
        self._announce(Scope.of(devices=[name]))
        peer = self._peers.pop(name, name)
        for dependent in (*tunnels, peer):
            self._delete_link(dependent)

    def _delete_address(self, address: Address) -> None:
        """The routes that came with the address go, and for IPv4 those that use it, silently.

        With the last IPv4 address IPv4 itself leaves the device: its routes go, and even permanent neighbours.
        """
        self._remove([address])
        ip, device = address.interface, address.device
        left = [other.interface for other in self._on(device) if isinstance(other, Address)]
        last4 = ip.version == 4 and not any(other.version == 4 for other in left)
        connected = {other.network for other in left}
        if last4:
            self._remove(obj for obj in self._on(device) if isinstance(obj, Neighbor) and obj.ip.version == 4)
        for route in [obj for obj in self.objects.values() if isinstance(obj, Route)]:
            made_by_kernel = route.protocol == RTPROT_KERNEL and route.device == device
            orphaned = made_by_kernel and route.dst == ip.network and route.dst not in connected
            uses_it = route.source == ip.ip or (last4 and route.device == device)
            if orphaned or (ip.version == route.dst.version == 4 and uses_it):
                self._remove([route])
            elif route.source == ip.ip:
                self._put(replace(route, source=None))

    # -- rules ------------------------------------------------------------------------

    def _check_route(self, route: Route, step: Step) -> None:
        if route.kind != "unicast":
            return
        if not self._device(route.device or "", step).up:
            raise KernelError(ENETDOWN, step, "Nexthop device is not up.")
        if route.via is not None and not route.onlink and not self._reaches(route):
            raise KernelError(ENETUNREACH if route.dst.version == 4 else EHOSTUNREACH, step)
        owned = {obj.interface.ip for obj in self.objects.values() if isinstance(obj, Address)}
        if route.source is not None and route.source not in owned:
            raise KernelError(EINVAL, step)

    def _reaches(self, route: Route) -> bool:
        """Is the gateway a neighbour, by a route without a gateway?"""
        via = route.via
        return via is not None and any(
            isinstance(obj, Route) and obj.via is None and obj.device == route.device and via in obj.dst
            for obj in self.objects.values()
        )

    def _check_tunnel(self, name: str, kind: VxlanKind, step: Step) -> None:
        if kind.underlay is not None:
            self._device(kind.underlay, step)
        family = 4 if kind.local is None else kind.local.version
        for link in self._links():
            other = link.kind
            if link.name == name or not isinstance(other, VxlanKind):
                continue
            other_family = 4 if other.local is None else other.local.version
            if (other.vni, other.port, other.gbp, other_family) == (kind.vni, kind.port, kind.gbp, family):
                raise KernelError(EEXIST, step, "A VXLAN device with the specified VNI already exists.")

    def _check_chain(self, accept: ChainAccept, step: Step) -> None:
        here = {(chain.engine, chain.family, chain.table, chain.chain) for chain in self.chains}
        if (accept.engine, accept.family, accept.table, accept.chain) not in here:
            raise KernelError(ENOENT, step)

    def _elements(self, key: ObjectKey) -> list[KernelObject]:
        """What the sets of a table hold."""
        found = (obj for obj in self.objects.values() if isinstance(obj, NftElement))
        return [obj for obj in found if NftTableKey(obj.family, obj.table) == key]

    def _bridge(self, name: str, step: Step) -> None:
        if not isinstance(self._device(name, step).kind, BridgeKind):
            raise KernelError(EOPNOTSUPP, step)

    # -- bookkeeping ------------------------------------------------------------------

    def _device(self, name: str, step: Step) -> Link:
        found = self.objects.get(LinkKey(name))
        if not isinstance(found, Link):
            raise KernelError(ENODEV, step, f"no device {name}")
        return found

    def _links(self) -> Iterator[Link]:
        return (obj for obj in self.objects.values() if isinstance(obj, Link))

    def _on(self, device: str) -> list[KernelObject]:
        return [obj for obj in self.objects.values() if object_device(obj) == device]

    def _put(self, obj: KernelObject) -> None:
        self.objects[obj.key] = obj

    def _remove(self, objects: Iterable[KernelObject]) -> None:
        for obj in list(objects):
            self.objects.pop(obj.key, None)

    def _add_device_sysctls(self, device: str) -> None:
        for pattern, value in DEVICE_SYSCTLS.items():
            self.objects.setdefault(SysctlKey(pattern.format(device)), Sysctl(pattern.format(device), value))

    def _connect(self, device: str) -> None:
        """The routes to the prefixes of a device's addresses, while it is up."""
        link = self.objects.get(LinkKey(device))
        if not isinstance(link, Link) or not link.up:
            return
        for address in [obj for obj in self._on(device) if isinstance(obj, Address)]:
            network, ip = address.interface.network, address.interface.ip
            if network.version == 6:
                made = Route(dst=network, device=device, metric=CONNECTED6_METRIC, protocol=RTPROT_KERNEL)
            elif network.prefixlen < 32:
                made = Route(dst=network, device=device, source=ip, protocol=RTPROT_KERNEL)
            else:
                continue
            self.objects.setdefault(made.key, made)
