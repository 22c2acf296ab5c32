"""A cluster as it is drawn: nodes, their pods, bridges, tunnels and ways to each other.

Pure.  A node comes from its kernel's objects, or from a topology before there is a kernel;
what a kernel does not tell (whose pod is behind a port, what a peer is called) is told by
whoever knows it, or stays open.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from tulle.lab.hosts import ETCD
from tulle.lab.topology import LabNode, LabSettings, Topology
from tulle.model.network import IPAddress, IPNetwork, Vxlan
from tulle.model.objects import (
    RTPROT_TULLE_POD,
    Address,
    BridgeKind,
    FdbEntry,
    FdbKey,
    Link,
    Neighbor,
    NeighborKey,
    Route,
    VethKind,
    VxlanKind,
)
from tulle.model.state import KernelState

Source: TypeAlias = Literal["kernel", "topology", "peer"]
"""Who says so: the node's kernel, a topology file, or only another node's tables."""
AgentState: TypeAlias = Literal["", "running", "paused", "gone"]
"""How a node's agent is, where somebody knows: "" when nobody does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterPod:
    """A pod, or a port of the bridge that leads to one: then ``name`` is the port's."""

    name: str
    address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterWay:
    """How a node reaches another's pods.  ``via`` is the underlay address; ``missing`` what is not in the tables."""

    subnet: str
    device: str
    via: str
    missing: tuple[str, ...] = ()
    peer: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterTunnel:
    """A VXLAN device."""

    name: str
    vni: int
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterNode:
    """One node.  ``nic`` and ``addresses`` are its place on the underlay, ``subnets`` what its pods live in.

    ``routed``: its pods have no bridge, but a route each.
    """

    name: str
    source: Source
    nic: str = ""
    addresses: tuple[str, ...] = ()
    subnets: tuple[str, ...] = ()
    bridge: str = ""
    routed: bool = False
    tunnels: tuple[ClusterTunnel, ...] = ()
    pods: tuple[ClusterPod, ...] = ()
    ways: tuple[ClusterWay, ...] = ()
    agent: AgentState = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterHost:
    """A host on the underlay that is no node.  ``state`` is that of the etcd on it; "" when none is there to run."""

    name: str
    addresses: tuple[str, ...] = ()
    state: AgentState = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """All of it.  ``underlay`` is ``switch``, ``router``, or "" when nobody says."""

    name: str
    nodes: tuple[ClusterNode, ...]
    underlay: str = ""
    hosts: tuple[ClusterHost, ...] = ()


def planned(topology: Topology) -> Cluster:
    """What a lab of this topology will look like."""
    nodes = tuple(_planned(topology, node) for node in topology.nodes)
    return named(standing(topology.settings, Cluster(name=topology.name, nodes=nodes)))


def standing(settings: LabSettings, cluster: Cluster, etcd: AgentState = "") -> Cluster:
    """The same on a lab's underlay, with the hosts beside it; ``etcd`` is how the lab's one is."""
    hosts = tuple(
        ClusterHost(
            name=host.name, addresses=_texts((host.address, host.address6)), state=etcd if host.name == ETCD else ""
        )
        for host in settings.hosts
    )
    return replace(cluster, underlay=settings.underlay, hosts=hosts)


def _planned(topology: Topology, node: LabNode) -> ClusterNode:
    settings = topology.settings
    tunnelled = settings.backend == Vxlan.type
    names = [f"flannel.{settings.vni}", f"flannel-v6.{settings.vni}"] if tunnelled else ["eth0", "eth0"]
    names = names[: 1 + settings.ipv6]
    return ClusterNode(
        name=node.name,
        source="topology",
        nic="eth0",
        addresses=_texts((node.address, node.address6)),
        subnets=_texts((node.subnet, node.subnet6)),
        bridge="" if settings.pod_mode == "routed" else "cbr0",
        routed=settings.pod_mode == "routed",
        tunnels=tuple(ClusterTunnel(name=name, vni=settings.vni, port=settings.port) for name in names if tunnelled),
        pods=tuple(ClusterPod(name=pod) for pod in node.pods),
        ways=tuple(way for other in topology.nodes if other is not node for way in _planned_ways(names, other)),
    )


def _planned_ways(names: Iterable[str], other: LabNode) -> Iterable[ClusterWay]:
    for name, subnet, via in zip(names, (other.subnet, other.subnet6), (other.address, other.address6), strict=False):
        yield ClusterWay(subnet=str(subnet), device=name, via=str(via))


def observed(
    name: str, state: KernelState, pods: tuple[ClusterPod, ...] | None = None, agent: AgentState = ""
) -> ClusterNode:
    """A node as its kernel holds it.  ``pods`` None: nobody knows them, so the bridge's ports stand for them."""
    links = {link.name: link for link in state.each(Link)}
    tunnels = {link.name: link.kind for link in links.values() if isinstance(link.kind, VxlanKind)}
    bridge = _pod_bridge(state, links)
    nic = _nic(state, links, tunnels)
    routed = {route.device for route in state.each(Route) if route.protocol == RTPROT_TULLE_POD and route.device}
    ports = tuple(ClusterPod(name=port) for port in sorted({*_ports(links, bridge), *routed}))
    return ClusterNode(
        name=name,
        source="kernel",
        nic=nic,
        addresses=_texts(_addresses(state, nic)),
        subnets=_texts(_subnets(state, bridge) if bridge else _shared_out(state)),
        bridge=bridge,
        routed=bool(routed),
        tunnels=tuple(ClusterTunnel(name=name, vni=kind.vni, port=kind.port) for name, kind in sorted(tunnels.items())),
        pods=ports if pods is None else pods,
        ways=tuple(_ways(state, tunnels, nic)),
        agent=agent,
    )


def _pod_bridge(state: KernelState, links: Mapping[str, Link]) -> str:
    """The bridge with most pods' ports; of equal ones the conventional name; "" without one."""
    bridges = [name for name, link in links.items() if isinstance(link.kind, BridgeKind)]
    conventional: Final = ("cbr0", "cni0")
    return max(
        bridges,
        key=lambda name: (len(_ports(links, name)), name in conventional, bool(list(_subnets(state, name))), name),
        default="",
    )


def _ports(links: Mapping[str, Link], bridge: str) -> list[str]:
    return [
        name for name, link in links.items() if bridge and link.master == bridge and isinstance(link.kind, VethKind)
    ]


def _nic(state: KernelState, links: Mapping[str, Link], tunnels: Mapping[str, VxlanKind]) -> str:
    """Where packets for other nodes leave: the tunnel's own word, else the device of its address.

    Without a tunnel that of the default route, else of the first route with a gateway.
    """
    for kind in tunnels.values():
        if kind.underlay in links:
            return kind.underlay or ""
        for address in state.each(Address):
            if kind.local is not None and address.interface.ip == kind.local:
                return address.device
    gateways = sorted(
        (r for r in state.each(Route) if r.device and (r.via is not None or not r.dst.prefixlen)),
        key=lambda route: (route.dst.prefixlen > 0, str(route.dst)),
    )
    return gateways[0].device or "" if gateways else ""


def _addresses(state: KernelState, device: str) -> Iterable[IPAddress]:
    mine = [a.interface.ip for a in state.each(Address) if a.device == device and not a.interface.ip.is_link_local]
    return sorted(mine, key=lambda ip: (ip.version, int(ip)))


def _subnets(state: KernelState, bridge: str) -> Iterable[IPNetwork]:
    held = [a.interface.network for a in state.each(Address) if a.device == bridge and not a.interface.ip.is_link_local]
    return sorted(held, key=lambda network: (network.version, int(network.network_address)))


def _shared_out(state: KernelState) -> Iterable[IPNetwork]:
    """What the node shares out among routed pods: what is left of it is unreachable."""
    return (r.dst for r in state.each(Route) if r.protocol == RTPROT_TULLE_POD and r.kind == "unreachable")


def _ways(state: KernelState, tunnels: Mapping[str, VxlanKind], nic: str) -> Iterable[ClusterWay]:
    """Routes into a tunnel with what must be behind them, and plain routes over the underlay that name a gateway."""
    routes = [route for route in state.each(Route) if route.via is not None and route.dst.prefixlen]
    for route in sorted(routes, key=lambda route: (route.dst.version, int(route.dst.network_address))):
        if route.device in tunnels and route.via is not None:
            yield _tunnelled(state, route, route.via)
        elif route.device == nic and not route.dst.is_link_local:
            yield ClusterWay(subnet=str(route.dst), device=nic, via=str(route.via))


def _tunnelled(state: KernelState, route: Route, via: IPAddress) -> ClusterWay:
    device = route.device or ""
    neighbor = state.get(NeighborKey(device, via))
    mac = neighbor.mac if isinstance(neighbor, Neighbor) else None
    entry = state.get(FdbKey(device, mac)) if mac else None
    dst = entry.dst if isinstance(entry, FdbEntry) else None
    missing = ("neighbour",) if mac is None else ("FDB entry",) if dst is None else ()
    return ClusterWay(subnet=str(route.dst), device=device, via=str(dst or ""), missing=missing)


def named(cluster: Cluster) -> Cluster:
    """The same with each way's peer called by its name, where one of the nodes has that address."""
    names = {address: node.name for node in cluster.nodes for address in node.addresses}
    nodes = [
        replace(node, ways=tuple(replace(way, peer=names.get(way.via, "")) for way in node.ways))
        for node in cluster.nodes
    ]
    return replace(cluster, nodes=tuple(nodes))


def with_gaps(cluster: Cluster) -> Cluster:
    """The same with a way that lacks its route for every subnet of another node that a node has no way to.

    Only for a cluster whose nodes all belong to one overlay.
    """
    held = {subnet: node for node in cluster.nodes for subnet in node.subnets}
    return replace(cluster, nodes=tuple(replace(node, ways=(*node.ways, *_gaps(node, held))) for node in cluster.nodes))


def _gaps(node: ClusterNode, held: Mapping[str, ClusterNode]) -> Iterable[ClusterWay]:
    known = {way.subnet for way in node.ways}
    for subnet, other in held.items():
        if other.name != node.name and subnet not in known:
            yield ClusterWay(subnet=subnet, device="", via="", missing=("route",), peer=other.name)


def with_peers(cluster: Cluster) -> Cluster:
    """The same with a node for every peer that only the tables of another know."""
    known = {address for node in cluster.nodes for address in node.addresses}
    far: dict[str, list[str]] = {}
    for node in cluster.nodes:
        for way in node.ways:
            if way.via and way.via not in known:
                far.setdefault(way.via, []).append(way.subnet)
    peers = [ClusterNode(name=via, source="peer", addresses=(via,), subnets=tuple(s)) for via, s in far.items()]
    return replace(cluster, nodes=(*cluster.nodes, *peers))


def _texts(values: Iterable[object]) -> tuple[str, ...]:
    return tuple(str(value) for value in values if value is not None)
