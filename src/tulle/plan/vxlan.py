"""The ``vxlan`` backend: two pure functions from leases to kernel objects.

A peer costs three entries, and this module is the only place that makes them::

    route      10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink    pod subnet → VTEP address
    neighbour  10.244.2.0 → 02:00:0a:f4:02:00                       VTEP address → inner MAC
    FDB        02:00:0a:f4:02:00 → 192.168.64.12                    inner MAC → underlay address

With ``DirectRouting`` a neighbour is reached past the tunnel, by one plain route::

    route      10.244.2.0/24 via 192.168.64.12 dev eth0             pod subnet → the peer's own address

Layout and names are flannel's, so that nodes of both kinds share one cluster.
"""

from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Final

from tulle.errors import ConfigError
from tulle.model.lease import Lease
from tulle.model.network import VXLAN_OVERHEAD, VXLAN_OVERHEAD6, Host, IPAddress, IPNetwork, MacAddress, Vxlan
from tulle.model.objects import Address, FdbEntry, KernelObject, Link, Neighbor, Route, Sysctl, VxlanKind

IPV4_LEAST_MTU: Final = 576
IPV6_LEAST_MTU: Final = 1280


def device(backend: Vxlan, host: Host, own: Lease) -> tuple[KernelObject, ...]:
    """What this node needs to take part: the VTEP device of each family that it has, with its address.

    A family is left out when the lease or the underlay lacks it.
    """
    objects: list[KernelObject] = []
    underlay = host.underlay
    if own.subnet is not None and underlay.address is not None:
        objects += _vtep(
            Link(
                name=backend.device,
                kind=_kind(backend, host, version=4),
                mtu=mtu4(backend, host),
                mac=own.vtep_mac,
            ),
            Address(device=backend.device, interface=ip_interface(own.subnet.network_address)),
            host,
        )
    if own.subnet6 is not None and underlay.address6 is not None:
        objects += _vtep(
            Link(
                name=backend.device6,
                kind=_kind(backend, host, version=6),
                mtu=mtu6(backend, host),
                mac=own.vtep_mac6,
            ),
            # Nobody else can have it, and duplicate address detection would delay it by a second.
            Address(device=backend.device6, interface=ip_interface(own.subnet6.network_address), nodad=True),
            host,
        )
    return tuple(objects)


def peer(backend: Vxlan, host: Host, own: Lease, lease: Lease) -> tuple[KernelObject, ...]:
    """What this node programs to reach ``lease``'s pods: three entries for each family that both have.

    With ``DirectRouting`` a peer that is a neighbour on the underlay costs one route, to its own address.
    """
    objects: list[KernelObject] = []
    both4 = own.subnet is not None and host.underlay.address is not None
    if both4 and lease.subnet is not None and lease.public_ip is not None and lease.vtep_mac is not None:
        objects += _entries(backend, host, _Far(backend.device, lease.subnet, lease.public_ip, lease.vtep_mac))
    both6 = own.subnet6 is not None and host.underlay.address6 is not None
    if both6 and lease.subnet6 is not None and lease.public_ip6 is not None and lease.vtep_mac6 is not None:
        objects += _entries(backend, host, _Far(backend.device6, lease.subnet6, lease.public_ip6, lease.vtep_mac6))
    return tuple(objects)


@dataclass(frozen=True, slots=True)
class _Far:
    """One family of a peer, and the VTEP of ours that faces it."""

    tunnel: str
    subnet: IPNetwork
    public_ip: IPAddress
    mac: MacAddress


def _entries(backend: Vxlan, host: Host, far: _Far) -> tuple[KernelObject, ...]:
    device = host.neighbour_device(far.public_ip) if backend.direct_routing else None
    if device is not None:
        return (Route(dst=far.subnet, device=device, via=far.public_ip),)
    gateway = far.subnet.network_address
    return (
        Neighbor(device=far.tunnel, ip=gateway, mac=far.mac),
        FdbEntry(device=far.tunnel, mac=far.mac, dst=far.public_ip),
        Route(dst=far.subnet, device=far.tunnel, via=gateway, onlink=True),
    )


def mtu4(backend: Vxlan, host: Host) -> int:
    """MTU of the IPv4 VTEP: the underlay's (or the configured one) less the outer headers."""
    return (backend.mtu or host.underlay.mtu) - VXLAN_OVERHEAD


def mtu6(backend: Vxlan, host: Host) -> int:
    """MTU of the IPv6 VTEP: 20 bytes less than IPv4's, since the outer header is larger."""
    return (backend.mtu or host.underlay.mtu) - VXLAN_OVERHEAD6


def check_mtu(backend: Vxlan, host: Host, ipv6: bool) -> None:
    """Is there room for a pod's packets?  Raises ConfigError: IPv4 asks for 576 bytes, IPv6 for 1280.

    Source: RFC 791 §3.2, RFC 8200 §5.
    """
    least, overhead = (IPV6_LEAST_MTU, VXLAN_OVERHEAD6) if ipv6 else (IPV4_LEAST_MTU, VXLAN_OVERHEAD)
    outer = backend.mtu or host.underlay.mtu
    if outer - overhead < least:
        where = "Backend.MTU" if backend.mtu else f"device {host.underlay.device}"
        raise ConfigError(where, f"MTU {outer} leaves pods {outer - overhead} bytes", f"at least {least + overhead}")


def choose_mac(existing: Link | None, entropy: bytes) -> MacAddress:
    """The VTEP's MAC: what the device already has, so that peers need not learn another; else a random one.

    ``entropy`` is six random bytes.  A new MAC is locally administered and unicast, and given at
    the link's creation, so that systemd's MACAddressPolicy leaves it alone.
    """
    if existing is not None and isinstance(existing.kind, VxlanKind) and existing.mac is not None:
        return existing.mac
    first = (entropy[0] & 0xFE) | 0x02
    return MacAddress(":".join(f"{byte:02x}" for byte in (first, *entropy[1:6])))


def _kind(backend: Vxlan, host: Host, version: int) -> VxlanKind:
    underlay = host.underlay
    return VxlanKind(
        vni=backend.vni,
        port=backend.port,
        local=underlay.address if version == 4 else underlay.address6,
        underlay=underlay.device,
        learning=backend.learning,
        gbp=backend.gbp,
    )


def _vtep(link: Link, address: Address, host: Host) -> tuple[KernelObject, ...]:
    # A pod must not be able to talk the node into another router (CVE-2020-10749).
    deaf = (Sysctl(f"net/ipv6/conf/{link.name}/accept_ra", "0"),) if host.ipv6 else ()
    return (link, address, *deaf)
