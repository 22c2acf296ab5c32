"""Pods without a bridge: a pair whose end on the node has the gateway's address, and a route for each pod.

Whatever a pod sends is routed and passes the forward hook, also to a pod of the same node.  The pod
holds its address alone (/32, /128) and takes the gateway, the same as on a bridge, to be on its
link.  The node's route to a pod wins over the bridge's: both kinds of pods share a node and a subnet.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface, ip_network
from typing import Final

from tulle.model.network import IPAddress
from tulle.model.objects import RTPROT_TULLE_POD, Address, KernelObject, Neighbor, Route, Sysctl
from tulle.wire.cni_result import ResultAddress

LAST_METRIC: Final = 65535
"""What catches a subnet's addresses that no pod has comes after every route that leads to one."""


def host_objects(device: str, results: Iterable[ResultAddress]) -> list[KernelObject]:
    """What the node holds beside the pair, whose end here is called ``device``.

    The strict reverse path is the guard where nothing else is: over IPv4 the pod sends from its own address only.
    """
    objects: list[KernelObject] = [
        Sysctl(f"net/ipv6/conf/{device}/accept_ra", "0"),
        Sysctl(f"net/ipv4/conf/{device}/rp_filter", "1"),
    ]
    for each in results:
        gateway = ip_interface(each.gateway)
        objects.append(Address(device=device, interface=gateway, nodad=True if gateway.version == 6 else None))
        objects.append(Route(dst=ip_network(each.address.ip), device=device, protocol=RTPROT_TULLE_POD))
    return objects


def alone(interface: IPv4Interface | IPv6Interface) -> IPv4Interface | IPv6Interface:
    """The address as the pod holds it: nobody else is on its link."""
    return ip_interface(interface.ip)


def shared(
    subnets: Sequence[IPv4Network | IPv6Network], bridges: Iterable[str], addresses: Iterable[IPAddress]
) -> list[KernelObject]:
    """What the routed pods that have ``addresses`` need together.

    An address of ours that no pod has is unreachable: without a bridge it would leave by the default route.
    A pod on one of ``bridges`` takes its whole subnet for its link: the node answers there for those that are not.
    """
    objects: list[KernelObject] = [catch_all(subnet) for subnet in subnets]
    six = [ip for ip in addresses if ip.version == 6]
    for bridge in bridges:
        objects.append(Sysctl(f"net/ipv4/conf/{bridge}/proxy_arp", "1"))
        objects += [Sysctl(f"net/ipv6/conf/{bridge}/proxy_ndp", "1")] if six else []
        objects += [Neighbor(device=bridge, ip=ip, mac=None, proxy=True) for ip in six]
    return objects


def catch_all(subnet: IPv4Network | IPv6Network) -> Route:
    """What comes after every route to a pod of ``subnet``."""
    return Route(dst=subnet, device=None, kind="unreachable", metric=LAST_METRIC, protocol=RTPROT_TULLE_POD)


def is_shared(obj: KernelObject, subnets: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Is it of those that go when no pod needs them, rather than with a pod's device?"""
    match obj:
        case Route(device=None, kind="unreachable", protocol=protocol):
            return protocol == RTPROT_TULLE_POD
        case Neighbor(proxy=True, ip=ip):
            return any(ip in subnet for subnet in subnets)
        case _:
            return False
