"""The shared network configuration and the node's view of its own underlay.

Both are facts that every decision starts from: the configuration is one per cluster and
comes from the store, the host facts are one per node and come from its kernel.
"""

from dataclasses import dataclass, field
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import ClassVar, Final, NewType, TypeAlias

Vni = NewType("Vni", int)
"""VXLAN network identifier, 1 … 2²⁴−1."""
MacAddress = NewType("MacAddress", str)
"""A link-layer address as lower-case colon text, e.g. ``02:00:0a:f4:02:00``."""

IPNetwork: TypeAlias = IPv4Network | IPv6Network
IPAddress: TypeAlias = IPv4Address | IPv6Address

VXLAN_OVERHEAD: Final = 50
"""Outer Ethernet 14 + IPv4 20 + UDP 8 + VXLAN 8 bytes.  Source: RFC 7348 §5."""
VXLAN_OVERHEAD6: Final = 70
"""The same over IPv6, whose header has 40 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vxlan:
    """The ``vxlan`` backend.  ``port`` 8472 is Linux's old default, not IANA's 4789; ``mtu`` None: the underlay's."""

    type: ClassVar[str] = "vxlan"

    vni: Vni = Vni(1)
    port: int = 8472
    mtu: int | None = None
    gbp: bool = False
    learning: bool = False
    direct_routing: bool = False

    @property
    def device(self) -> str:
        """Name of the IPv4 VXLAN device (flannel's, so that a node can switch in place)."""
        return _vxlan_device("flannel", self.vni)

    @property
    def device6(self) -> str:
        """Name of the IPv6 VXLAN device."""
        return _vxlan_device("flannel-v6", self.vni)


@cache
def _vxlan_device(name: str, vni: Vni) -> str:
    """One string for the three entries of each of ten thousand peers."""
    return f"{name}.{vni}"


@dataclass(frozen=True, slots=True)
class HostGw:
    """The ``host-gw`` backend: plain routes between neighbours, nothing to choose."""

    type: ClassVar[str] = "host-gw"


Backend: TypeAlias = Vxlan | HostGw
"""Closed choice of backends: a new one is one class here, one file in ``plan/``, one ``match`` line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubnetPool:
    """One family's share: node subnets of ``/subnet_len`` between ``first`` and ``last`` (both included)."""

    network: IPNetwork
    subnet_len: int
    first: IPNetwork
    last: IPNetwork


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """What all nodes share.  At least one of ``pool4`` and ``pool6`` is there."""

    pool4: SubnetPool | None
    pool6: SubnetPool | None
    backend: Backend = field(default_factory=Vxlan)
    enable_nftables: bool | None = None

    @property
    def direct_routing(self) -> bool:
        """Are peers that are neighbours on the underlay reached without the tunnel?"""
        return isinstance(self.backend, Vxlan) and self.backend.direct_routing

    @property
    def networks(self) -> tuple[IPNetwork, ...]:
        """The overlay's networks, IPv4 first."""
        return tuple(pool.network for pool in (self.pool4, self.pool6) if pool is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Underlay:
    """The device that carries the outer packets, as the node's own kernel shows it."""

    device: str
    mtu: int
    address: IPv4Address | None
    address6: IPv6Address | None

    @property
    def addresses(self) -> tuple[IPAddress, ...]:
        """That of each family that there is one of, IPv4 first."""
        return tuple(ip for ip in (self.address, self.address6) if ip is not None)

    def __str__(self) -> str:
        return f"{self.device} {' '.join(map(str, self.addresses))} mtu {self.mtu}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DroppingChain:
    """A foreign base chain in the forward hook that drops packets of the overlay.

    An accept in our own table does not rescue a packet that this chain drops.  One that drops
    by policy takes an accept of ours at its end, in the language of ``engine``; one that drops
    by a rule is only reported.
    """

    engine: str
    """``nft`` (also for chains that iptables' nft variant made) or ``iptables-legacy``."""
    family: str
    table: str
    chain: str
    by_rule: str | None = None
    """Where the rule is (``chain handle 7``); None: by policy."""


@dataclass(frozen=True, slots=True)
class Way:
    """Where a route of this host leads: to neighbours on ``device``, or (None) through a gateway, or nowhere."""

    dst: IPNetwork
    device: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketFilters:
    """Which engines can hold this node's rules, as found at the agent's start and at each audit.

    ``engines``: ``nft``, ``iptables-nft``, ``iptables-legacy``, as far as their tools are
    installed; ``legacy_rules``: the older iptables' tables hold rules of anybody.
    """

    engines: frozenset[str] = frozenset({"nft"})
    legacy_rules: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Facts about this node that decisions depend on and that tulle does not set."""

    underlay: Underlay
    connected: tuple[IPNetwork, ...] = ()
    """Prefixes of the host's own interfaces that are not tulle's (admission refuses leases inside them)."""
    dropping_chains: tuple[DroppingChain, ...] = ()
    filters: PacketFilters = PacketFilters()
    ipv6: bool = True
    """Does the kernel speak IPv6 at all?  Where it does not, it has no settings of it either."""
    ways: tuple[Way, ...] = ()
    """The host's own routes, the one that counts before those that it covers; told only for ``DirectRouting``."""

    def neighbour_device(self, ip: IPAddress) -> str | None:
        """The device on which ``ip`` is a neighbour; None when there is a gateway between, or no way at all."""
        return next((way.device for way in self.ways if ip in way.dst), None)
