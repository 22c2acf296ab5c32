"""Where things stand on a lab's underlay: its networks, and the hosts on it that are no nodes.

Such a host has a namespace and a link as a node has, and no agent, no lease, no route to any pod.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

UNDERLAY: Final = IPv4Network("192.168.64.0/24")
UNDERLAY6: Final = IPv6Network("fd64::/64")
FIRST_NODE: Final = 10
"""Node n has host number 10 + n on the underlay; the router has 1."""
OUTSIDE: Final = "outside"
OUTSIDE_NUMBER: Final = 2
ETCD: Final = "etcd"
ETCD_NUMBER: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderlayHost:
    """A host on the underlay that is no part of the overlay.  ``port`` is the underlay's end of its link."""

    name: str
    port: str
    address: IPv4Address
    address6: IPv6Address | None = None


def outside_host(*, ipv6: bool) -> UnderlayHost:
    """The host that pods reach by their node's address."""
    return _host(OUTSIDE, "port0", OUTSIDE_NUMBER, ipv6=ipv6)


def etcd_host(*, ipv6: bool) -> UnderlayHost:
    """The host that runs the lab's etcd, as a cluster's control plane does."""
    return _host(ETCD, "port-etcd", ETCD_NUMBER, ipv6=ipv6)


def _host(name: str, port: str, number: int, *, ipv6: bool) -> UnderlayHost:
    return UnderlayHost(name=name, port=port, address=UNDERLAY[number], address6=UNDERLAY6[number] if ipv6 else None)
