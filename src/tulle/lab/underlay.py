"""The wires between the nodes, as one ``KernelState`` per namespace.

This is all that a lab makes beside namespaces: what the nodes' agents and plugins build on top
is theirs.  ``switch`` is one segment with a bridge; ``router`` is a provider's network, where
every node has a link of its own and the outer packet's TTL falls.
"""

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from typing import Final

from tulle.lab.hosts import UNDERLAY, UNDERLAY6, UnderlayHost
from tulle.lab.topology import LabNode, LabSettings
from tulle.model.network import IPAddress, IPNetwork
from tulle.model.objects import Address, BridgeKind, KernelObject, Link, OtherKind, Route, Sysctl, VethKind
from tulle.model.state import KernelState
from tulle.ownership import Standing

BRIDGE: Final = "br0"
NODE_DEVICE: Final = "eth0"
ROUTER: Final = UNDERLAY[1]
ROUTER6: Final = UNDERLAY6[1]
RTPROT_STATIC: Final = 4
"""An administrator's route: the agent must not take the lab's routes for its own.  Source: linux/rtnetlink.h."""
ANY4: Final = IPv4Network("0.0.0.0/0")
ANY6: Final = IPv6Network("::/0")
ACCEPT_DAD: Final = "net/ipv6/conf/default/accept_dad"
"""For devices made from now on.  Source: Documentation/networking/ip-sysctl.rst."""


def everything_kept(_: KernelObject) -> Standing:
    """The lab's judge: in a namespace that it has just made, it sets what it wants and deletes nothing."""
    return Standing.KEPT


def ground(settings: LabSettings) -> KernelState:
    """What a node's and the underlay's namespace begins with, before there is a device.

    Without duplicate address detection: a router asks for its neighbours from its link-local address,
    and could not for as long as that one is being tried out (RFC 4861 §7.2.2, RFC 4862 §5.4).
    """
    return KernelState.of([_loopback(), *([Sysctl(ACCEPT_DAD, "0")] if settings.ipv6 else [])])


def middle(settings: LabSettings) -> KernelState:
    """The underlay's own namespace before a node is connected."""
    match settings.underlay:
        case "router":
            forwarding = [Sysctl("net/ipv4/ip_forward", "1")]
            if settings.ipv6:
                forwarding.append(Sysctl("net/ipv6/conf/all/forwarding", "1"))
            return KernelState.of(forwarding)
        case _:
            bridge = Link(name=BRIDGE, kind=BridgeKind(), mtu=settings.mtu, alias=_alias(settings))
            return KernelState.of([bridge])


def port(settings: LabSettings, node: LabNode | UnderlayHost, netns: str) -> KernelState:
    """The underlay's end of the link to ``node``, whose namespace is at the path ``netns``."""
    pair = VethKind(peer=NODE_DEVICE, peer_netns=netns, peer_mtu=settings.mtu)
    on_bridge = BRIDGE if settings.underlay == "switch" else None
    link = Link(name=node.port, kind=pair, mtu=settings.mtu, master=on_bridge, alias=_alias(settings))
    if settings.underlay == "switch":
        return KernelState.of([link])
    return KernelState.of([link, *_router_port(node)])


def node_end(settings: LabSettings, node: LabNode | UnderlayHost) -> KernelState:
    """A node's end of its link: ``eth0`` with its addresses and routes, as its agent finds it."""
    eth0 = Link(name=NODE_DEVICE, kind=VethKind(), mtu=settings.mtu, alias=_alias(settings))
    routed = settings.underlay == "router"
    objects: list[KernelObject] = [eth0]
    for address, wire, gateway in _families(node):
        length = address.max_prefixlen if routed else wire.prefixlen
        objects.append(_address(NODE_DEVICE, address, length))
        if routed:
            everywhere = ANY4 if address.version == 4 else ANY6
            objects.append(Route(dst=everywhere, device=NODE_DEVICE, via=gateway, onlink=True, protocol=RTPROT_STATIC))
    return KernelState.of(objects)


def _router_port(node: LabNode | UnderlayHost) -> Iterator[KernelObject]:
    device = node.port
    for address, _, gateway in _families(node):
        whole = IPv4Network(address) if isinstance(address, IPv4Address) else IPv6Network(address)
        yield _address(device, gateway, gateway.max_prefixlen)
        yield Route(dst=whole, device=device, protocol=RTPROT_STATIC)


def _families(node: LabNode | UnderlayHost) -> Iterator[tuple[IPAddress, IPNetwork, IPAddress]]:
    """A node's address, the wire's network and the router's address, of each family that the lab has."""
    yield node.address, UNDERLAY, ROUTER
    if node.address6 is not None:
        yield node.address6, UNDERLAY6, ROUTER6


def _address(device: str, ip: IPAddress, length: int) -> Address:
    if isinstance(ip, IPv6Address):
        return Address(device=device, interface=IPv6Interface((ip, length)), nodad=True)
    return Address(device=device, interface=IPv4Interface((ip, length)))


def _loopback() -> Link:
    return Link(name="lo", kind=OtherKind())


def _alias(settings: LabSettings) -> str:
    return f"tulle:lab {settings.name}"
