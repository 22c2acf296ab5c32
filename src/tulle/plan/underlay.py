"""Which device carries the outer packets: a pure choice over what the kernel shows.

flannel's order: by name or address when one is given; else by the public address when that is
on the host; else the device of the default route.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from tulle.errors import ConfigError
from tulle.model.network import DroppingChain, Host, IPAddress, IPNetwork, Underlay
from tulle.model.objects import Address, Route, Sysctl, SysctlKey
from tulle.model.state import KernelState

HOST_SYSCTLS: Final = (SysctlKey("net/ipv6/conf/all/forwarding"),)
"""What has to be observed beside everything else for ``host_facts``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderlayWish:
    """What a person asked for.  ``iface`` is a device's name or one of its addresses."""

    iface: str | None = None
    public_ip: IPv4Address | None = None
    public_ip6: IPv6Address | None = None
    need4: bool = True
    need6: bool = False


def choose_underlay(observed: KernelState, wish: UnderlayWish) -> Underlay:
    """The underlay device with its address of each needed family.

    Raises ConfigError: no such device, no default route to go by, or a needed family without an address.
    """
    link = observed.link(_device_name(observed, wish))
    if link is None or link.mtu is None:
        raise ConfigError(f"--iface {wish.iface or ''}".strip(), "no such device", "see 'ip link' for the names")
    pinned = _address(wish.iface)
    address = _best(observed, link.name, 4, pinned)
    address6 = _best(observed, link.name, 6, pinned)
    if wish.need4 and address is None:
        raise ConfigError(f"device {link.name}", "has no IPv4 address", "the network needs one")
    if wish.need6 and address6 is None:
        raise ConfigError(f"device {link.name}", "has no IPv6 address", "the network needs one")
    return Underlay(
        device=link.name,
        mtu=link.mtu,
        address=address if isinstance(address, IPv4Address) and wish.need4 else None,
        address6=address6 if isinstance(address6, IPv6Address) and wish.need6 else None,
    )


def host_facts(
    observed: KernelState,
    wish: UnderlayWish,
    own_devices: frozenset[str],
    own_subnets: tuple[IPNetwork, ...],
    chains: tuple[DroppingChain, ...],
) -> Host:
    """What decisions depend on, read from a whole state.  Raises ConfigError when no underlay fits."""
    return Host(
        underlay=choose_underlay(observed, wish),
        connected=connected_prefixes(observed, own_devices, own_subnets),
        dropping_chains=chains,
        ipv6=all(found.value is not None for key in HOST_SYSCTLS if isinstance(found := observed.get(key), Sysctl)),
    )


def connected_prefixes(
    observed: KernelState, exclude: frozenset[str], own_subnets: tuple[IPNetwork, ...] = ()
) -> tuple[IPNetwork, ...]:
    """Prefixes on the host's own devices: a lease inside one of them would hijack it.

    Left out is what tulle put there itself: all on the devices of ``exclude``, and the pods' bridge,
    whose prefix is our own subnet.
    """
    return tuple(
        address.interface.network
        for address in observed.each(Address)
        if address.device not in exclude
        and not address.interface.is_link_local
        and not address.interface.is_loopback
        and address.interface.network.prefixlen < address.interface.max_prefixlen
        and address.interface.network not in own_subnets
    )


def _device_name(observed: KernelState, wish: UnderlayWish) -> str:
    if wish.iface is not None:
        pinned = _address(wish.iface)
        return wish.iface if pinned is None else _owner(observed, pinned, "--iface")
    for public in (wish.public_ip, wish.public_ip6):
        if public is not None and any(found.interface.ip == public for found in observed.each(Address)):
            return _owner(observed, public, "--public-ip")
    for route in sorted(observed.each(Route), key=lambda route: route.metric):
        wanted_family = wish.need4 if route.dst.version == 4 else not wish.need4
        if route.dst.prefixlen == 0 and route.device is not None and wanted_family and route.kind == "unicast":
            return route.device
    raise ConfigError("underlay", "no default route to choose a device by", "name one with --iface")


def _owner(observed: KernelState, ip: IPAddress, flag: str) -> str:
    for found in observed.each(Address):
        if found.interface.ip == ip:
            return found.device
    raise ConfigError(f"{flag} {ip}", "no device has this address", "see 'ip address'")


def _address(text: str | None) -> IPAddress | None:
    try:
        return ip_address(text or "")
    except ValueError:
        return None


def _best(observed: KernelState, device: str, version: int, pinned: IPAddress | None) -> IPAddress | None:
    """Global before link-local, permanent before dynamic, lowest first; the pinned one above all."""
    found = [a for a in observed.each(Address) if a.device == device and a.interface.version == version]
    if pinned is not None and pinned.version == version:
        return pinned
    usable = [a for a in found if not a.interface.is_link_local]
    usable.sort(key=lambda a: (a.scope, not a.permanent, int(a.interface.ip)))
    return usable[0].interface.ip if usable else None
