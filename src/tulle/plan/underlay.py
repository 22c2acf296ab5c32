"""Which device carries the outer packets: a pure choice over what the kernel shows.

flannel's order: by name or address, by pattern, by what is to be reached, when any of these is
given; else by the public address when that is on the host; else the device of the default route.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import chain
from typing import Final

from tulle.errors import ConfigError
from tulle.model.network import DroppingChain, Host, IPAddress, IPNetwork, PacketFilters, Underlay, Way
from tulle.model.objects import RT_TABLE_MAIN, Address, Link, Route, Sysctl, SysctlKey, VxlanKind
from tulle.model.state import KernelState
from tulle.plan.ways import is_direct, is_inside, way_to

HOST_SYSCTLS: Final = (SysctlKey("net/ipv6/conf/all/forwarding"),)
"""What has to be observed beside everything else for ``host_facts``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderlayWish:
    """What a person asked for; of several wishes the first that fits.

    ``iface`` are names or addresses of devices, ``iface_regex`` expressions over either, tried
    after them, ``can_reach`` an address whose route decides, tried last.  A pattern never means
    a device with an address inside ``overlay``, which is the overlay's own.  ``keep`` are the addresses that
    peers know this node by: not changed for others of the same device, whatever comes beside them.
    """

    iface: tuple[str, ...] = ()
    iface_regex: tuple[str, ...] = ()
    can_reach: IPAddress | None = None
    public_ip: IPv4Address | None = None
    public_ip6: IPv6Address | None = None
    need4: bool = True
    need6: bool = False
    keep: frozenset[IPAddress] = frozenset()
    overlay: tuple[IPNetwork, ...] = ()
    direct: bool = False
    """Is it to be known which peers are neighbours?"""

    @property
    def versions(self) -> tuple[int, ...]:
        """The IP versions that the underlay must have."""
        return (4,) * self.need4 + (6,) * self.need6


@dataclass(frozen=True, slots=True)
class _Choice:
    """A device, and the addresses of it that were named."""

    device: str
    pinned: tuple[IPAddress, ...] = ()


def choose_underlay(observed: KernelState, wish: UnderlayWish) -> Underlay:
    """The underlay device with its address of each needed family.

    Raises ConfigError: no such device, no default route to go by, or a needed family without an address.
    """
    problems: list[ConfigError] = []
    for choose in _wishes(observed, wish):
        try:
            return _underlay(observed, wish, choose())
        except ConfigError as error:
            problems.append(error)
    raise problems[0]


def _underlay(observed: KernelState, wish: UnderlayWish, choice: _Choice) -> Underlay:
    link = observed.link(choice.device)
    if link is None or link.mtu is None:
        raise ConfigError(f"--iface {choice.device}", "no such device", "see 'ip link' for the names")
    found = {version: _best(observed, wish, choice, version) for version in wish.versions}
    for version, address in found.items():
        if address is None:
            raise ConfigError(f"device {link.name}", f"has no IPv{version} address", "the network needs one")
    address, address6 = found.get(4), found.get(6)
    return Underlay(
        device=link.name,
        mtu=link.mtu,
        address=address if isinstance(address, IPv4Address) else None,
        address6=address6 if isinstance(address6, IPv6Address) else None,
    )


def host_facts(
    observed: KernelState,
    wish: UnderlayWish,
    own_devices: frozenset[str],
    own_subnets: tuple[IPNetwork, ...],
    chains: tuple[DroppingChain, ...],
    filters: PacketFilters,
) -> Host:
    """What decisions depend on, read from a whole state.  Raises ConfigError when no underlay fits."""
    return Host(
        underlay=choose_underlay(observed, wish),
        connected=connected_prefixes(observed, own_devices, own_subnets),
        dropping_chains=chains,
        filters=filters,
        ways=host_ways(observed, own_devices, wish.overlay) if wish.direct else (),
        ipv6=all(found.value is not None for key in HOST_SYSCTLS if isinstance(found := observed.get(key), Sysctl)),
    )


def sent_from(observed: KernelState, tunnels: Collection[str]) -> frozenset[IPAddress]:
    """What the overlay's devices send from: the address that peers know this node by, whichever daemon set it.

    To be kept at a start, so that a virtual address, which moves from node to node, is not taken for the
    node's own.  Later, what is known is to be kept: then a changed device is damage.
    """
    kinds = (link.kind for link in observed.each(Link) if link.name in tunnels)
    return frozenset(kind.local for kind in kinds if isinstance(kind, VxlanKind) and kind.local is not None)


def host_ways(observed: KernelState, exclude: frozenset[str], overlay: tuple[IPNetwork, ...]) -> tuple[Way, ...]:
    """The host's own ways in table main, the longest prefix and then the lowest metric first.

    Left out is what belongs to the overlay: all on the devices of ``exclude``, and the routes to its subnets.
    """
    routes = [
        route
        for route in observed.each(Route)
        if route.table == RT_TABLE_MAIN
        and route.device not in exclude
        and not any(is_inside(route.dst, net) for net in overlay)
    ]
    routes.sort(key=lambda route: (-route.dst.prefixlen, route.key.metric, str(route.dst)))
    return tuple(Way(route.dst, route.device if is_direct(route) else None) for route in routes)


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


def _wishes(observed: KernelState, wish: UnderlayWish) -> list[partial[_Choice]]:
    """The ways to choose a device, in their order; what a person named leaves no room for the default."""
    ways = [partial(_named, observed, text) for text in wish.iface]
    ways += [partial(_matching, observed, wish, pattern) for pattern in wish.iface_regex]
    if wish.can_reach is not None:
        ways.append(partial(_towards, observed, wish.can_reach))
    return ways or [partial(_by_default, observed, wish)]


def _named(observed: KernelState, text: str) -> _Choice:
    try:
        ip = ip_address(text)
    except ValueError:
        return _Choice(text)
    return _Choice(_owner(observed, ip, "--iface"), (ip,))


def _matching(observed: KernelState, wish: UnderlayWish, pattern: str) -> _Choice:
    """The first device with an address of each needed family that matches; else the first whose name does."""
    expression = re.compile(pattern)
    devices = list(_outside_overlay(observed, wish))
    for link in devices:
        matched = [_first_match(observed, link, version, expression) for version in wish.versions]
        pinned = tuple(ip for ip in matched if ip is not None)
        if matched and len(pinned) == len(matched):
            return _Choice(link.name, pinned)
    for link in devices:
        if expression.search(link.name):
            return _Choice(link.name)
    raise ConfigError(f"--iface-regex {ascii(pattern)[1:-1]}", "matches no device", "see 'ip address'")


def _first_match(observed: KernelState, link: Link, version: int, expression: re.Pattern[str]) -> IPAddress | None:
    ips = _usable(observed, link.name, version)
    return next((ip for ip in ips if expression.search(str(ip))), None)


def _outside_overlay(observed: KernelState, wish: UnderlayWish) -> Iterator[Link]:
    inside = {
        address.device
        for address in observed.each(Address)
        if any(address.interface.ip in network for network in wish.overlay)
    }
    return (link for link in observed.each(Link) if link.name not in inside)


def _towards(observed: KernelState, target: IPAddress) -> _Choice:
    """The device, and the source address, of the route to ``target``."""
    route = way_to(observed.each(Route), target)
    if route is None or route.device is None:
        raise ConfigError(f"--iface-can-reach {target}", "there is no route to it", f"see 'ip route get {target}'")
    return _Choice(route.device, (route.source,) if route.source is not None else ())


def _by_default(observed: KernelState, wish: UnderlayWish) -> _Choice:
    for public in (wish.public_ip, wish.public_ip6):
        if public is not None and any(found.interface.ip == public for found in observed.each(Address)):
            return _Choice(_owner(observed, public, "--public-ip"))
    version = wish.versions[0]
    for route in sorted(observed.each(Route), key=lambda route: route.metric):
        if route.dst.prefixlen == 0 and route.device and route.dst.version == version and route.kind == "unicast":
            return _Choice(route.device)
    raise ConfigError("underlay", "no default route to choose a device by", "name one with --iface")


def _owner(observed: KernelState, ip: IPAddress, flag: str) -> str:
    for found in observed.each(Address):
        if found.interface.ip == ip:
            return found.device
    raise ConfigError(f"{flag} {ip}", "no device has this address", "see 'ip address'")


def _best(observed: KernelState, wish: UnderlayWish, choice: _Choice, version: int) -> IPAddress | None:
    """The one that was named above all; else the one that is to be kept; else the first of the usable."""
    usable = _usable(observed, choice.device, version)
    pinned = (ip for ip in choice.pinned if ip.version == version)
    kept = (ip for ip in usable if ip in wish.keep)
    return next(chain(pinned, kept, usable), None)


def _usable(observed: KernelState, device: str, version: int) -> list[IPAddress]:
    """In flannel's order: permanent before dynamic, then primary before secondary, then as the kernel lists them.

    Left out are link-local ones, which no lease may name, and deprecated ones.
    """
    usable = [
        address
        for address in observed.each(Address)
        if address.device == device
        and address.interface.version == version
        and not address.interface.is_link_local
        and not address.deprecated
    ]
    usable.sort(key=lambda address: (address.scope, not address.permanent, address.secondary))
    return [address.interface.ip for address in usable]
