"""A pod's attachment as two ``KernelState``s: what the node holds for it, and what the pod's namespace holds.

The pair's inner end is made directly in the pod; the bridge is shared by all pods of the node and
is adopted when it is there.  Steps 1, 2, 7 and 8 of the packet walk run over what is made here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface
from types import MappingProxyType
from typing import Final

from tulle.cni import routed
from tulle.model.network import IPAddress, IPNetwork, MacAddress
from tulle.model.objects import (
    RTPROT_TULLE,
    RTPROT_TULLE_POD,
    Address,
    AddressKey,
    BridgeKind,
    KernelObject,
    Link,
    LinkKey,
    ObjectKey,
    OtherKind,
    Route,
    RouteKey,
    Sysctl,
    VethKind,
)
from tulle.model.state import KernelState, Scope
from tulle.ownership import Standing
from tulle.wire.cni import Invocation
from tulle.wire.cni_result import Attached, ResultAddress, ResultInterface, ResultRoute

EVERYWHERE: Final[Mapping[int, IPNetwork]] = {4: IPv4Network("0.0.0.0/0"), 6: IPv6Network("::/0")}
LOOPBACK: Final = Link(name="lo", kind=OtherKind())
NEW_LOOPBACK: Final = replace(LOOPBACK, up=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNetwork:
    """What the agent knows that every pod of the node needs; at least one subnet is there.

    ``networks`` are the overlay's: where a pod without a default route can go.  ``masquerades``: the agent
    hides pods behind the node when they talk to the world.  ``lapsed``: our claim on the subnets has run out, so
    that no pod may be added; those that are there stay.
    """

    subnet: IPv4Network | None
    subnet6: IPv6Network | None
    mtu: int
    networks: tuple[IPNetwork, ...] = ()
    masquerades: bool = True
    lapsed: bool = False

    @property
    def subnets(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(net for net in (self.subnet, self.subnet6) if net is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """The wanted state of both sides, and what is answered once they are so.

    ``newborn`` is what the pod's namespace holds of it as soon as the pair is made: both devices, down.
    """

    host: KernelState
    pod: KernelState
    newborn: KernelState
    attached: Attached


def attachment(
    call: Invocation,
    network: PodNetwork,
    addresses: tuple[IPv4Interface | IPv6Interface, ...],
    bridge: Link | None,
    gateways: Mapping[IPAddress, IPAddress] = MappingProxyType({}),
) -> Attachment:
    """What ADD makes.  ``bridge`` is the node's, as ``adopted`` or ``new_bridge`` give it; None: the pod is routed.

    ``gateways``: those of single addresses, where they are not the first of their subnet.
    """
    conf = call.conf
    if bridge is not None and conf.promiscuous:
        bridge = replace(bridge, promiscuous=True)
    mtu = conf.mtu or network.mtu
    results = tuple(
        [
            ResultAddress(
                address=ip if bridge is not None else routed.alone(ip),
                gateway=(gateways.get(ip.ip) if gateways else None) or gateway_of(ip.network),
            )
            for ip in addresses
        ]
    )
    mac = pod_mac(call, addresses)
    pair = Link(
        name=host_device(*call.owner),
        kind=VethKind(peer=call.ifname, peer_netns=call.netns, peer_mtu=mtu, peer_mac=mac),
        mtu=mtu,
        mac=host_mac(*call.owner),
        master=None if bridge is None else bridge.name,
        alias=alias_of(call.container_id),
        hairpin=None if bridge is None else conf.hairpin,
    )
    routes = tuple(_routes(call, network, results))
    pod = Link(name=call.ifname, kind=VethKind(), mtu=mtu, mac=mac)
    return Attachment(
        host=_routed(pair, results) if bridge is None else _bridged(bridge, pair, results if conf.gateway else ()),
        pod=KernelState.of(_pod_objects(pod, results, routes, onlink=bridge is None)),
        newborn=KernelState.of((NEW_LOOPBACK, Link(name=pod.name, kind=pod.kind, mtu=mtu, mac=mac, up=False))),
        attached=Attached(
            interfaces=(
                *((_interface(bridge),) if bridge is not None else ()),
                _interface(pair),
                _interface(pod, sandbox=call.netns),
            ),
            addresses=results,
            routes=routes,
            dns=conf.wishes.dns or conf.dns,
        ),
    )


def routed_scope(host: KernelState) -> Scope:
    """What a routed pod has on the node, its route by its device: a key would ask for the whole table."""
    keys = (key for key in host.objects if not isinstance(key, RouteKey))
    return Scope.of(keys, (link.name for link in host.each(Link)))


def host_scope(bridge: str, device: str, network: PodNetwork) -> Scope:
    """What ADD looks at on the node: all that ``attachment`` wants there."""
    addresses = (AddressKey(bridge, _on_bridge(gateway_of(net), net.prefixlen)) for net in network.subnets)
    return Scope.of((LinkKey(bridge), LinkKey(device), _hears_no_router(bridge).key, *addresses))


@lru_cache(maxsize=1024)
def host_device(container_id: str, ifname: str) -> str:
    """The name of the node's end: the same for the same attachment, so that DEL needs no memory."""
    return "veth" + sha256(f"{container_id}/{ifname}".encode()).hexdigest()[:8]


@lru_cache(maxsize=1024)
def host_mac(container_id: str, ifname: str) -> MacAddress:
    """The MAC of the node's end, which marks it as ours from its first moment on: the alias comes a moment later."""
    return MacAddress("02:" + sha256(f"host/{container_id}/{ifname}".encode()).digest()[:5].hex(":"))


def alias_of(container_id: str) -> str:
    """What marks the node's end as ours, and whose it is; as much of it as the kernel keeps."""
    return f"tulle:{container_id}"[:255]


@lru_cache(maxsize=64)
def gateway_of(subnet: IPv4Network | IPv6Network) -> IPAddress:
    """The bridge's address: the subnet's base + 1, as flannel's ``subnet.env`` says it."""
    return subnet[1]


def pod_mac(call: Invocation, addresses: tuple[IPv4Interface | IPv6Interface, ...]) -> MacAddress:
    """The MAC of the pod's end: the wanted one, else its first address's."""
    return call.conf.wishes.mac or mac_of(addresses[0].ip)


def mac_of(ip: IPAddress) -> MacAddress:
    """A locally administered MAC that follows from the address, so that a new pod of an old address is not mistaken."""
    tail = ip.packed if ip.version == 4 else sha256(ip.packed).digest()[:4]
    return MacAddress("0a:58:" + tail.hex(":"))


def new_bridge(name: str, network: PodNetwork) -> Link:
    """A bridge that has to be made.  Without a MAC of its own it would take the lowest of its ports, and change it."""
    return Link(name=name, kind=BridgeKind(), mtu=network.mtu, mac=mac_of(gateway_of(network.subnets[0])))


def adopted(bridge: Link) -> Link:
    """An existing bridge as we want it: up, and otherwise as it is."""
    return Link(name=bridge.name, kind=BridgeKind(), mtu=bridge.mtu, mac=bridge.mac)


@lru_cache(maxsize=64)
def without_linklocal_learning(bridge: Link) -> Link:
    """The bridge of a guarded pod: it would learn another's MAC from a frame of LLDP before any rule sees that."""
    return replace(bridge, kind=BridgeKind(linklocal_learning=False))


def judge(obj: KernelObject) -> Standing:
    """In the few keys of one attachment: what is of another kind is somebody else's, the rest is set right."""
    match obj:
        case Link(kind=BridgeKind() | VethKind() | OtherKind(kind="")):
            return Standing.KEPT
        case Link():
            return Standing.FOREIGN
        case Route(protocol=protocol) if protocol not in {RTPROT_TULLE, RTPROT_TULLE_POD}:
            return Standing.FOREIGN
        case _:
            return Standing.KEPT


def _routed(pair: Link, results: tuple[ResultAddress, ...]) -> KernelState:
    return KernelState.of((pair, *routed.host_objects(pair.name, results)))


def _bridged(bridge: Link, pair: Link, results: tuple[ResultAddress, ...]) -> KernelState:
    gateways = tuple([(each.gateway, each.address.network.prefixlen) for each in results])
    return KernelState(MappingProxyType({**_bridge_objects(bridge, gateways), pair.key: pair}))


@lru_cache(maxsize=16)
def _bridge_objects(bridge: Link, gateways: tuple[tuple[IPAddress, int], ...]) -> Mapping[ObjectKey, KernelObject]:
    """What all pods of a bridge share.  A port hears no router advertisement: the bridge does."""
    addresses = [
        Address(device=bridge.name, interface=_on_bridge(gateway, length), nodad=True if gateway.version == 6 else None)
        for gateway, length in gateways
    ]
    return {obj.key: obj for obj in (bridge, *addresses, _hears_no_router(bridge.name))}


@lru_cache(maxsize=64)
def _on_bridge(gateway: IPAddress, prefixlen: int) -> IPv4Interface | IPv6Interface:
    """The gateway as the bridge holds it."""
    return ip_interface((gateway, prefixlen))


def _pod_objects(
    device: Link, results: tuple[ResultAddress, ...], routes: tuple[ResultRoute, ...], *, onlink: bool
) -> tuple[KernelObject, ...]:
    """``onlink``: the pod's own addresses do not lead to its gateways."""
    gateways = {each.gateway for each in results} if onlink else set[IPAddress]()
    held = [
        Address(device=device.name, interface=each.address, nodad=True if each.address.version == 6 else None)
        for each in results
    ]
    ways = [
        Route(dst=route.dst, device=device.name, via=route.gateway, onlink=route.gateway in gateways)
        for route in routes
    ]
    return (LOOPBACK, device, _hears_no_router(device.name), *held, *ways)


def _routes(call: Invocation, network: PodNetwork, results: tuple[ResultAddress, ...]) -> list[ResultRoute]:
    """The default route, or without one the overlay's networks; then what the configuration asks for."""
    found: dict[IPNetwork, ResultRoute] = {}
    for result in results:
        version = result.address.version
        overlay = [net for net in network.networks if net.version == version]
        for dst in [EVERYWHERE[version]] if call.conf.default_gateway else overlay:
            found[dst] = ResultRoute(dst, result.gateway)
        for wanted in call.conf.routes:
            if wanted.dst.version == version:
                found[wanted.dst] = ResultRoute(wanted.dst, wanted.via or result.gateway)
    return list(found.values())


@lru_cache(maxsize=64)
def _hears_no_router(device: str) -> Sysctl:
    return Sysctl(f"net/ipv6/conf/{device}/accept_ra", "0")


def _interface(link: Link, sandbox: str = "") -> ResultInterface:
    return ResultInterface(name=link.name, mac=link.mac or "", mtu=link.mtu, sandbox=sandbox)
