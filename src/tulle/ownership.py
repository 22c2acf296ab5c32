"""How tulle recognises its own kernel objects, after a restart with no memory.

Ownership is judged from the object itself (names, protocol numbers, shapes, marks), helped by
what the leases say.  The table in ``docs/reference.md`` is this module in words.  Whoever
plans (agent, CNI attachment, lab) hands ``diff`` one function ``object → Standing``.
"""

from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final, TypeAlias

from tulle.model.network import IPAddress, IPNetwork, MacAddress
from tulle.model.objects import (
    RTPROT_BOOT,
    RTPROT_KERNEL,
    RTPROT_TULLE,
    Address,
    ChainAccept,
    FdbEntry,
    IptablesRules,
    KernelObject,
    Link,
    LinkKind,
    Neighbor,
    NftElement,
    NftTable,
    ObjectKey,
    Route,
    Sysctl,
)


class Standing(Enum):
    """Whose an observed object is, and what a pass may do to it."""

    OURS = "ours"
    """Set when it differs, deleted when nothing wants it."""
    KEPT = "kept"
    """Set when it differs, never deleted by a pass."""
    FOREIGN = "foreign"
    """Never touched: a conflict when it holds a key of ours, a stranger when it sits on a link of ours."""
    UNCLAIMED = "unclaimed"
    """Looks like flannel's, and no lease has it: as foreign, and reported wherever it is."""
    KERNEL = "kernel"
    """Made by the kernel as a consequence of something else: never touched, never reported."""


_ROUTES: Final = {RTPROT_TULLE: Standing.OURS, RTPROT_KERNEL: Standing.KERNEL}

Judge: TypeAlias = Callable[[KernelObject], Standing]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOwnership:
    """The agent's judge.  Call it with an observed object.

    ``tunnels`` are the overlay devices that the backend uses, with the kind that makes them ours;
    ``pools`` the overlay's networks with the length of a node's subnet; ``macs`` the VTEP MACs
    of leases that are or were in the book.
    """

    tunnels: Mapping[str, type[LinkKind]]
    pools: tuple[tuple[IPNetwork, int], ...]
    macs: AbstractSet[MacAddress] = field(default_factory=frozenset[MacAddress])
    underlay: str | None = None
    """The device that peers' routes may take without a tunnel; None: they never do."""
    wanted: Mapping[ObjectKey, KernelObject] = field(default_factory=dict[ObjectKey, KernelObject])
    """What the leases ask for: how a route that flannel wrote for one of them is known."""

    def __call__(self, obj: KernelObject) -> Standing:
        match obj:
            case Link():
                return self._link(obj)
            case Route():
                return self._route(obj) if obj.protocol == RTPROT_BOOT else _ROUTES.get(obj.protocol, Standing.FOREIGN)
            case Address():
                return self._address(obj)
            case Neighbor():
                return self._neighbor(obj)
            case FdbEntry():
                return self._fdb_entry(obj)
            case Sysctl():
                return Standing.KEPT
            case NftTable() | ChainAccept() | IptablesRules() | NftElement():
                return Standing.OURS  # only ours and flannel's are ever asked for

    def recognising(self, observed: Iterable[KernelObject]) -> "NodeOwnership":
        """This judge, who knows the FDB entry of a peer that left meanwhile by a neighbour of ours with its MAC."""
        fresh = frozenset(
            obj.mac
            for obj in observed
            if isinstance(obj, Neighbor) and obj.mac is not None and obj.mac not in self.macs
            if self._neighbor(obj) is Standing.OURS
        )
        return replace(self, macs=self.macs | fresh) if fresh else self

    def _link(self, link: Link) -> Standing:
        kind = self.tunnels.get(link.name)
        return Standing.KEPT if kind is not None and isinstance(link.kind, kind) else Standing.FOREIGN

    def _route(self, route: Route) -> Standing:
        """One that flannel may have written: ours from now on where a lease asks for it."""
        through_tunnel = route.device in self.tunnels and route.via == route.dst.network_address
        wanted = self.wanted.get(route.key)
        if isinstance(wanted, Route) and not route.multipath:
            same = (route.device, route.via) == (wanted.device, wanted.via)
            return Standing.OURS if same or through_tunnel else Standing.FOREIGN
        direct = route.device == self.underlay and route.via is not None and route.via not in route.dst
        flannels = (through_tunnel or direct) and self._is_node_subnet(route.dst)
        return Standing.UNCLAIMED if flannels else Standing.FOREIGN

    def _address(self, address: Address) -> Standing:
        if address.device not in self.tunnels:
            return Standing.FOREIGN
        if address.interface.is_link_local:
            return Standing.KERNEL
        whole = address.interface.network.prefixlen == address.interface.max_prefixlen
        made_by_a_lease = address.permanent and whole and self._is_gateway(address.interface.ip)
        return Standing.OURS if made_by_a_lease else Standing.FOREIGN

    def _neighbor(self, neighbor: Neighbor) -> Standing:
        if neighbor.device not in self.tunnels or neighbor.proxy:
            return Standing.FOREIGN
        if not neighbor.permanent:
            return Standing.KEPT if self._is_gateway(neighbor.ip) else Standing.KERNEL
        return Standing.OURS if self._is_gateway(neighbor.ip) else Standing.FOREIGN

    def _fdb_entry(self, entry: FdbEntry) -> Standing:
        if entry.device not in self.tunnels or not entry.is_unicast:
            return Standing.FOREIGN
        known = entry.mac in self.macs
        if not entry.permanent:
            return Standing.KEPT if known else Standing.KERNEL  # learnt by the device
        return Standing.OURS if known else Standing.FOREIGN

    def _is_node_subnet(self, dst: IPNetwork) -> bool:
        """A subnet that a lease of this network could have."""
        return any(
            dst.prefixlen == subnet_len and dst.network_address in network
            for network, subnet_len in self.pools
            if network.version == dst.version
        )

    def _is_gateway(self, ip: IPAddress) -> bool:
        """The first address of a node's subnet, which is where a lease puts its VTEP."""
        return any(
            ip in network and int(ip) & ((1 << (ip.max_prefixlen - subnet_len)) - 1) == 0
            for network, subnet_len in self.pools
            if network.version == ip.version
        )
