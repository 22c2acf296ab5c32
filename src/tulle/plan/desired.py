"""What the kernel of this node should hold, from configuration, host facts, own lease and peers.

``desired`` computes the whole; ``with_peers`` the next version and the keys that it changes, so
that one lease among ten thousand costs one lease's work.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType
from typing import Final, assert_never

from tulle.model.lease import Lease, LeaseKey
from tulle.model.network import DroppingChain, Host, HostGw, IPAddress, MacAddress, NetworkConfig, SubnetPool, Vxlan
from tulle.model.objects import ChainAccept, KernelObject, LinkKind, ObjectKey, Route, Sysctl, VxlanKind
from tulle.model.state import KernelState, Scope
from tulle.ownership import NodeOwnership
from tulle.plan import hostgw, vxlan
from tulle.plan.firewall import NodeFirewall, choose_engine, firewall_objects
from tulle.wire import iptables
from tulle.wire.nft import NFT

BLACKHOLE_METRIC: Final = (1 << 32) - 2
"""After every route that leads somewhere, and before the plugin's own last one."""
NOTHING: Final[Mapping[ObjectKey, KernelObject]] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What the operator of this node chose on the command line."""

    ip_masq: bool = False
    forward_rules: bool = True
    fully_random: bool = True
    """Do masqueraded connections take random ports?"""
    blackhole: bool = False
    """Is what is for none of this node's pods dropped here, rather than sent on?"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """Everything that the desired state follows from.  ``peers`` are admitted leases only."""

    config: NetworkConfig
    host: Host
    own: Lease
    settings: Settings
    peers: Mapping[LeaseKey, Lease] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True, kw_only=True)
class Desired:
    """The wanted state, and what it follows from."""

    inputs: Inputs
    state: KernelState

    def keys_of(self, key: LeaseKey) -> frozenset[ObjectKey]:
        """What one peer accounts for; nothing when ``key`` is no peer's."""
        lease = self.inputs.peers.get(key)
        return frozenset(obj.key for obj in peer_objects(self.inputs, lease)) if lease is not None else frozenset()

    def with_peers(self, peers: Mapping[LeaseKey, Lease], changed: AbstractSet[LeaseKey]) -> tuple["Desired", Scope]:
        """The desired state once ``peers`` are the peers, given that only ``changed`` differ, and the dirty keys."""
        inputs = replace(self.inputs, peers=peers)
        gone: set[ObjectKey] = set()
        made: dict[ObjectKey, KernelObject] = {}
        for key in sorted(changed):
            gone |= self.keys_of(key)
            if key in peers:
                made |= {obj.key: obj for obj in peer_objects(inputs, peers[key])}
        # What is new comes last: it may take over a key, as a VTEP's MAC that moves to another lease.
        state = self.state.changed(gone, made.values())
        return Desired(inputs=inputs, state=state), Scope.of(gone | made.keys())

    def with_chains(self, chains: tuple[DroppingChain, ...]) -> tuple["Desired", Scope]:
        """The desired state once foreign forward chains drop otherwise, and the dirty keys: peers are not concerned."""
        inputs = replace(self.inputs, host=replace(self.inputs.host, dropping_chains=chains))
        before = {obj.key for obj in node_objects(self.inputs)}
        now = {obj.key: obj for obj in node_objects(inputs)}
        state = self.state.changed(before - now.keys(), now.values())
        return Desired(inputs=inputs, state=state), Scope.of(before | now.keys())


def desired(inputs: Inputs) -> Desired:
    """The whole desired state.  Linear in the number of peers."""
    objects = {obj.key: obj for obj in node_objects(inputs)}
    for lease in inputs.peers.values():
        objects.update({obj.key: obj for obj in peer_objects(inputs, lease)})
    return Desired(inputs=inputs, state=KernelState(MappingProxyType(objects)))


def node_objects(inputs: Inputs) -> tuple[KernelObject, ...]:
    """What this node needs whoever its peers are: device, address, forwarding, firewall."""
    backend = inputs.config.backend
    match backend:
        case Vxlan():
            objects = vxlan.device(backend, inputs.host, inputs.own)
        case HostGw():
            objects = hostgw.device(inputs.host, inputs.own)
        case _:
            assert_never(backend)
    return (*objects, *_blackholes(inputs), *_forwarding(inputs.own), *_firewall(inputs))


def peer_objects(inputs: Inputs, lease: Lease) -> tuple[KernelObject, ...]:
    """What one peer adds."""
    backend = inputs.config.backend
    match backend:
        case Vxlan():
            return vxlan.peer(backend, inputs.host, inputs.own, lease)
        case HostGw():
            return hostgw.peer(inputs.host, inputs.own, lease)
        case _:
            assert_never(backend)


def pod_mtu(inputs: Inputs) -> int:
    """The MTU that fits every family the pods have: what ``subnet.env`` says."""
    backend = inputs.config.backend
    match backend:
        case Vxlan():
            smaller = vxlan.mtu6 if inputs.own.subnet6 is not None else vxlan.mtu4
            return smaller(backend, inputs.host)
        case HostGw():
            return hostgw.mtu(inputs.host)
        case _:
            assert_never(backend)


def check_room(config: NetworkConfig, host: Host) -> None:
    """Does the underlay leave room for a pod's packets?  Raises ConfigError."""
    backend = config.backend
    match backend:
        case Vxlan():
            vxlan.check_mtu(backend, host, ipv6=config.pool6 is not None)
        case HostGw():
            hostgw.check_mtu(host, ipv6=config.pool6 is not None)
        case _:
            assert_never(backend)


def check_public(config: NetworkConfig, host: Host, *public: IPAddress | None) -> None:
    """Can the peers of this backend send to the addresses that a person gave?  Raises ConfigError."""
    backend = config.backend
    match backend:
        case Vxlan():
            return  # any address that leads here, also through NAT
        case HostGw():
            for address in public:
                hostgw.check_public(host, address)
        case _:
            assert_never(backend)


def tunnels(config: NetworkConfig) -> Mapping[str, type[LinkKind]]:
    """The overlay devices of the backend, with the kind that makes them ours."""
    backend = config.backend
    match backend:
        case Vxlan():
            return {backend.device: VxlanKind, backend.device6: VxlanKind}
        case HostGw():
            return {}
        case _:
            assert_never(backend)


def node_ownership(
    config: NetworkConfig,
    macs: Iterable[MacAddress],
    underlay: str | None = None,
    wanted: Mapping[ObjectKey, KernelObject] = NOTHING,
) -> NodeOwnership:
    """The agent's judge.  ``macs``: the VTEP MACs of all leases that are or were in the book.

    With ``wanted``, routes that flannel wrote for the same leases count as ours.
    """
    backend = config.backend
    plain = isinstance(backend, HostGw) or backend.direct_routing
    pools: tuple[SubnetPool | None, ...] = (config.pool4, config.pool6)
    return NodeOwnership(
        tunnels=tunnels(config),
        pools=tuple((pool.network, pool.subnet_len) for pool in pools if pool is not None),
        macs=macs if isinstance(macs, AbstractSet) else frozenset(macs),
        underlay=underlay if plain else None,
        wanted=wanted,
    )


def _blackholes(inputs: Inputs) -> tuple[Route, ...]:
    """Where a packet for an address of our own subnet ends that no bridge and no pod's route takes.

    It would leave by the default route, and come back where that one's router knows the subnet.
    """
    subnets = inputs.own.subnets if inputs.settings.blackhole else ()
    return tuple(Route(dst=subnet, device=None, kind="blackhole", metric=BLACKHOLE_METRIC) for subnet in subnets)


def _forwarding(own: Lease) -> tuple[Sysctl, ...]:
    """Step 3a and 6c happen only on a node that forwards."""
    ip4 = (Sysctl("net/ipv4/ip_forward", "1"),) if own.subnet is not None else ()
    ip6 = (Sysctl("net/ipv6/conf/all/forwarding", "1"),) if own.subnet6 is not None else ()
    return ip4 + ip6


def _firewall(inputs: Inputs) -> tuple[KernelObject, ...]:
    """Our own rules, and our accept in each foreign chain that would drop what ours accept."""
    settings, networks = inputs.settings, inputs.config.networks
    engine = choose_engine(inputs.config.enable_nftables, inputs.host.filters)
    rules = firewall_objects(
        NodeFirewall(
            network4=next((net for net in networks if isinstance(net, IPv4Network)), None),
            network6=next((net for net in networks if isinstance(net, IPv6Network)), None),
            subnet4=inputs.own.subnet,
            subnet6=inputs.own.subnet6,
            masquerade=settings.ip_masq,
            forward=settings.forward_rules,
            fully_random=settings.fully_random,
        ),
        engine,
    )
    if not settings.forward_rules:
        return rules
    accepts = (
        ChainAccept(
            engine=chain.engine,
            family=chain.family,
            table=chain.table,
            chain=chain.chain,
            networks=tuple(net for net in networks if _carries(chain.family, net.version)),
        )
        for chain in inputs.host.dropping_chains
        if chain.by_rule is None  # an accept at the end would come after the rule that drops
        and not _holds_our_jump(chain, engine)
    )
    return (*rules, *(accept for accept in accepts if accept.networks))


def _holds_our_jump(chain: DroppingChain, engine: str) -> bool:
    """Is it the FORWARD in which our own rules accept already?"""
    forward = (chain.table, chain.chain) == ("filter", "FORWARD") and chain.family in {"ip", "ip6"}
    return forward and engine == (iptables.NFT_VARIANT if chain.engine == NFT else chain.engine)


def _carries(family: str, version: int) -> bool:
    """Does a chain of this nft family see packets of this IP version?"""
    return family in {"inet", "ip" if version == 4 else "ip6"}
