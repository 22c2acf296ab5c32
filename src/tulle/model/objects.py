"""Kernel objects as values, each with the key that the kernel tells it apart by.

Devices are named, never numbered: an interface index is a fact of one boot and lives only in
``kernel/``.  In a *desired* object a field that is None means "not ours to decide"; an
*observed* object fills every field that the kernel reports.  One type serves the agent, the
pod attachment and the lab.
"""

from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from typing import Final, NamedTuple, TypeAlias

from tulle.model.network import IPAddress, IPNetwork, MacAddress, Vni

RTPROT_KERNEL: Final = 2
"""A connected route that the kernel made itself.  Source: include/uapi/linux/rtnetlink.h."""
RTPROT_BOOT: Final = 3
"""What a program writes that gives its routes no number of its own, as flannel does."""
RTPROT_TULLE: Final = 116
"""The route protocol number that marks a route as ours (0x74, "t")."""
RTPROT_TULLE_POD: Final = 117
"""The protocol number of a route to a pod of this node: the plugin's, which the agent's own passes leave alone."""
RT_TABLE_MAIN: Final = 254
IP6_RT_PRIO_USER: Final = 1024
"""The metric that the kernel gives an IPv6 route without one.  Source: include/uapi/linux/ipv6_route.h."""


@dataclass(frozen=True, slots=True)
class LinkKey:
    """A device of this namespace, by name."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VxlanKind:
    """A VXLAN device.  ``local`` is the outer source, ``underlay`` the device that the outer packets leave by."""

    vni: Vni
    port: int
    local: IPAddress | None
    underlay: str | None
    learning: bool = False
    gbp: bool = False


@dataclass(frozen=True, slots=True)
class BridgeKind:
    """A bridge.

    ``linklocal_learning``: it learns from the frames of LLDP and its like, which no rule sees; wanted True leaves it.
    """

    linklocal_learning: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class VethKind:
    """One end of a veth pair; the peer is only read when the pair is made.

    ``peer_netns`` is a path (``/run/netns/…``); None: the peer stays in this namespace.
    An observed veth carries no peer.
    """

    peer: str | None = None
    peer_netns: str | None = None
    peer_mtu: int | None = None
    peer_mac: MacAddress | None = None


@dataclass(frozen=True, slots=True)
class OtherKind:
    """Any device that tulle never makes: ``lo``, a NIC (empty name), a TUN …"""

    kind: str = ""


LinkKind: TypeAlias = VxlanKind | BridgeKind | VethKind | OtherKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """A device and its settings.  ``master`` is the bridge it is a port of ("" when observed on none)."""

    name: str
    kind: LinkKind
    mtu: int | None = None
    mac: MacAddress | None = None
    up: bool | None = True
    master: str | None = None
    alias: str | None = None
    hairpin: bool | None = None
    promiscuous: bool | None = None

    @property
    def key(self) -> LinkKey:
        return LinkKey(self.name)


@dataclass(frozen=True, slots=True)
class AddressKey:
    """An address on a device.  ``interface`` has the host bits and the prefix length."""

    device: str
    interface: IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """An address.  ``permanent`` is False for one with a lifetime (DHCP, RA); ``nodad`` skips IPv6's DAD wait.

    Only observed are ``secondary`` (IPv4: another address of its prefix came first; IPv6: a privacy address) and
    ``deprecated`` (nothing new should be sent from it).
    """

    device: str
    interface: IPv4Interface | IPv6Interface
    scope: int = 0
    permanent: bool = True
    nodad: bool | None = None
    secondary: bool = False
    deprecated: bool = False

    @property
    def key(self) -> AddressKey:
        return AddressKey(self.device, self.interface)


@dataclass(frozen=True, slots=True)
class RouteKey:
    """What the kernel tells unicast routes apart by (TOS is always 0 here).

    ``metric`` 0 on an IPv6 route means the kernel's default of 1024 and is keyed as 1024.
    """

    dst: IPNetwork
    table: int
    metric: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route.  ``kind`` is ``unicast``, ``blackhole``, ``unreachable`` …; ``multipath`` marks one tulle never makes.

    ``device`` is None for routes without one (blackhole); ``mtu`` is the route's own MTU metric.
    """

    dst: IPNetwork
    device: str | None
    via: IPAddress | None = None
    onlink: bool = False
    source: IPAddress | None = None
    table: int = RT_TABLE_MAIN
    metric: int = 0
    protocol: int = RTPROT_TULLE
    kind: str = "unicast"
    mtu: int | None = None
    multipath: bool = False

    @property
    def key(self) -> RouteKey:
        return RouteKey(self.dst, self.table, self.metric or (IP6_RT_PRIO_USER if self.dst.version == 6 else 0))


@dataclass(frozen=True, slots=True)
class NeighborKey:
    """A neighbour entry: an IP address on a device.  A proxy entry is another object, in a table of its own."""

    device: str
    ip: IPAddress
    proxy: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Neighbor:
    """IP → MAC on one device.  ``permanent``: NUD_PERMANENT, never resolved nor aged."""

    device: str
    ip: IPAddress
    mac: MacAddress | None
    permanent: bool = True
    proxy: bool = False

    @property
    def key(self) -> NeighborKey:
        return NeighborKey(self.device, self.ip, self.proxy)


@dataclass(frozen=True, slots=True)
class FdbKey:
    """A forwarding entry of a VXLAN device.

    A unicast MAC has one destination; an all-zero or multicast MAC may have several, so for
    those (and only those) ``dst`` is part of the key.
    """

    device: str
    mac: MacAddress
    dst: IPAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FdbEntry:
    """Inner MAC → underlay address.  ``port`` and ``vni`` None: the device's own."""

    device: str
    mac: MacAddress
    dst: IPAddress | None
    permanent: bool = True
    port: int | None = None
    vni: int | None = None

    @property
    def is_unicast(self) -> bool:
        """The shape that a lease makes: neither the all-zero default entry nor a multicast MAC."""
        return self.mac != "00:00:00:00:00:00" and not int(self.mac[:2], 16) & 1

    @property
    def key(self) -> FdbKey:
        return FdbKey(self.device, self.mac, None if self.is_unicast else self.dst)


@dataclass(frozen=True, slots=True)
class SysctlKey:
    """A sysctl of this network namespace, by its path below /proc/sys, e.g. ``net/ipv4/ip_forward``."""

    path: str


@dataclass(frozen=True, slots=True)
class Sysctl:
    """A sysctl's value as text without the newline; None when observed as absent."""

    path: str
    value: str | None

    @property
    def key(self) -> SysctlKey:
        return SysctlKey(self.path)


@dataclass(frozen=True, slots=True)
class NftTableKey:
    """An nftables table."""

    family: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NftTable:
    """A table of ours, replaced whole in one transaction.

    ``digest`` is the hash of the desired text, carried in every rule's comment; observed is
    what the rules say, or "" when they disagree or one is missing.  ``text`` is the body for
    ``nft -f``; an observed table has None.
    """

    family: str
    name: str
    digest: str
    text: str | None = None

    @property
    def key(self) -> NftTableKey:
        return NftTableKey(self.family, self.name)


@dataclass(frozen=True, slots=True)
class ChainAcceptKey:
    """Our accept in a foreign forward chain whose policy is drop."""

    engine: str
    family: str
    table: str
    chain: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainAccept:
    """Rules of ours (comment ``tulle forward``) appended to a foreign chain: accept from and to ``networks``."""

    engine: str
    family: str
    table: str
    chain: str
    networks: tuple[IPNetwork, ...]

    @property
    def key(self) -> ChainAcceptKey:
        return ChainAcceptKey(self.engine, self.family, self.table, self.chain)


class NftElement(NamedTuple):
    """An element of a set of one of our tables: all of it is its key.  It goes when its table is replaced.

    ``value`` has one text for each part of the set's type: a device's name, a MAC, an address, or a number as ``0x…``.
    Every pod has half a dozen, which are compared and hashed more than anything else: hence a NamedTuple.
    """

    family: str
    table: str
    set: str
    value: tuple[str, ...]

    @property
    def key(self) -> "NftElement":
        return self


@dataclass(frozen=True, slots=True)
class IptablesKey:
    """The rules that one program (``owner``) keeps in the iptables tables of one IP version.

    ``engine`` is ``iptables-nft`` or ``iptables-legacy``, ``owner`` ``tulle`` or ``flannel``.
    """

    engine: str
    version: int
    owner: str


@dataclass(frozen=True, slots=True)
class IptablesTable:
    """What one table holds of an owner: its chains, and its rules as ``iptables-save`` prints them."""

    name: str
    chains: tuple[str, ...]
    rules: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class IptablesRules:
    """An owner's chains and rules in iptables, with the jumps that lead there from the built-in chains.

    ``digest`` is the hash of the desired rules, carried in the comment of each; observed is what
    the rules say, or "" when they disagree, one is missing or their order is another.
    """

    engine: str
    version: int
    owner: str
    digest: str
    tables: tuple[IptablesTable, ...]

    @property
    def key(self) -> IptablesKey:
        return IptablesKey(self.engine, self.version, self.owner)


FilterKey: TypeAlias = NftTableKey | ChainAcceptKey | IptablesKey
"""What is written with the packet filter's own tools."""
FilterObject: TypeAlias = NftTable | ChainAccept | IptablesRules
ObjectKey: TypeAlias = LinkKey | AddressKey | RouteKey | NeighborKey | FdbKey | SysctlKey | FilterKey | NftElement
KernelObject: TypeAlias = Link | Address | Route | Neighbor | FdbEntry | Sysctl | FilterObject | NftElement


def device_of(key: ObjectKey) -> str | None:
    """The device that the object lives on and vanishes with; None for a link itself and for device-less objects.

    A route's key does not say its device: ask the ``Route``.
    """
    match key:
        case AddressKey() | NeighborKey() | FdbKey():
            return key.device
        case SysctlKey():
            return _sysctl_device(key)
        case LinkKey() | RouteKey() | NftTableKey() | ChainAcceptKey() | IptablesKey() | NftElement():
            return None


def _sysctl_device(key: SysctlKey) -> str | None:
    """``net/ipv6/conf/flannel.1/accept_ra`` is flannel.1's; ``all`` and ``default`` are the namespace's."""
    match key.path.split("/"):
        case ["net", _, "conf" | "neigh", device, _] if device not in {"all", "default"}:
            return device
        case _:
            return None
