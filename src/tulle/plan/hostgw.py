"""The ``host-gw`` backend: two pure functions from leases to kernel objects.

No tunnel: every node is the gateway of its own pods, and all nodes are neighbours on the
underlay, so that a peer costs one route::

    route      10.244.2.0/24 via 192.168.64.12 dev eth0    pod subnet → the peer's own address
"""

from tulle.errors import ConfigError
from tulle.model.lease import Lease
from tulle.model.network import Host, IPAddress
from tulle.model.objects import KernelObject, Route
from tulle.plan.vxlan import IPV4_LEAST_MTU, IPV6_LEAST_MTU


def device(_host: Host, _own: Lease) -> tuple[KernelObject, ...]:
    """What this node needs to take part: nothing beyond the underlay that it has."""
    return ()


def peer(host: Host, own: Lease, lease: Lease) -> tuple[KernelObject, ...]:
    """What this node programs to reach ``lease``'s pods: one route for each family that both have.

    The kernel refuses a gateway that is not on the underlay's own segment; that peer stays
    unreachable, and the failed step says so.
    """
    name, routes = host.underlay.device, list[KernelObject]()
    both4 = own.subnet is not None and host.underlay.address is not None
    if both4 and lease.subnet is not None and lease.public_ip is not None:
        routes.append(Route(dst=lease.subnet, device=name, via=lease.public_ip))
    both6 = own.subnet6 is not None and host.underlay.address6 is not None
    if both6 and lease.subnet6 is not None and lease.public_ip6 is not None:
        routes.append(Route(dst=lease.subnet6, device=name, via=lease.public_ip6))
    return tuple(routes)


def mtu(host: Host) -> int:
    """The MTU of pods: the underlay's, since nothing is added to a packet."""
    return host.underlay.mtu


def check_mtu(host: Host, ipv6: bool) -> None:
    """Is there room for a pod's packets?  Raises ConfigError: IPv4 asks for 576 bytes, IPv6 for 1280.

    Source: RFC 791 §3.2, RFC 8200 §5.
    """
    least = IPV6_LEAST_MTU if ipv6 else IPV4_LEAST_MTU
    if host.underlay.mtu < least:
        where = f"device {host.underlay.device}"
        raise ConfigError(where, f"MTU {host.underlay.mtu} is too small for pods", f"at least {least}")


def check_public(host: Host, public: IPAddress | None) -> None:
    """Can neighbours use ``public`` as a gateway?  Raises ConfigError: it is not the underlay's own address."""
    if public is not None and public not in {host.underlay.address, host.underlay.address6}:
        flag = "--public-ip" if public.version == 4 else "--public-ipv6"
        rule = f"is not an address of {host.underlay.device}, and host-gw routes to it directly"
        raise ConfigError(f"{flag} {public}", rule, "leave the flag out")
