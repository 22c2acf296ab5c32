"""What a lab shall be: nodes, pods and addresses, chosen from flags, ``lab.toml`` and defaults.

A ``Topology`` that exists is valid: its names are safe in a
path, its nodes and pods fit their networks, its MTU carries the overlay.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final, TypeVar

from tulle.errors import ConfigError
from tulle.lab.checks import Check
from tulle.lab.hosts import FIRST_NODE, UNDERLAY, UNDERLAY6, UnderlayHost, etcd_host, outside_host
from tulle.model.network import VXLAN_OVERHEAD, VXLAN_OVERHEAD6, HostGw, IPNetwork, Vxlan
from tulle.wire.cni_conf import MODES

DEFAULT_LAB: Final = "lab"
NETWORK: Final = IPv4Network("10.244.0.0/16")
NETWORK6: Final = IPv6Network("fd10:244::/48")
SUBNET_LEN6: Final = 64
LEAST_MTU: Final = 576
"""The datagram that every IPv4 host must take.  Source: RFC 791 §3.1."""
LEAST_MTU6: Final = 1280
"""The least link MTU of IPv6.  Source: RFC 8200 §5."""
UNDERLAYS: Final = ("switch", "router")
BACKENDS: Final = (Vxlan.type, HostGw.type)
STORES: Final = ("sqlite", "etcd")

_CHOICES: Final = {"underlay": UNDERLAYS, "backend": BACKENDS, "store": STORES, "pod_mode": MODES}
_SETTINGS: Final = ("name", "underlay", "backend", "pod_mode", "ipv6", "outside", "store")
"""The wishes that are fields of ``LabSettings``."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,14}")
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class LabNode:
    """One node: its place on the underlay, the pod subnets reserved for it, its pods."""

    name: str
    number: int
    address: IPv4Address
    address6: IPv6Address | None
    subnet: IPv4Network
    subnet6: IPv6Network | None
    pods: tuple[str, ...]

    @property
    def port(self) -> str:
        """The underlay's end of its link."""
        return f"port{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabSettings:
    """What is the same for every node, before there is one.  ``mtu`` is the underlay's."""

    name: str = DEFAULT_LAB
    underlay: str = "switch"
    mtu: int = 1500
    ipv6: bool = False
    network: IPv4Network = NETWORK
    network6: IPv6Network = NETWORK6
    subnet_len: int = 24
    backend: str = Vxlan.type
    vni: int = 1
    port: int = 8472
    pod_mode: str = MODES[0]
    outside: bool = False
    """Is there a host outside?"""
    store: str = STORES[0]
    """What the agents share: a file, or an etcd on a host of its own."""
    checks: tuple[Check, ...] = ()
    """What ``lab check`` proves."""

    @property
    def outsider(self) -> UnderlayHost | None:
        """The host outside, where the lab has one."""
        return outside_host(ipv6=self.ipv6) if self.outside else None

    @property
    def etcd(self) -> UnderlayHost | None:
        """The host with the etcd, where the lab has one."""
        return etcd_host(ipv6=self.ipv6) if self.store == "etcd" else None

    @property
    def hosts(self) -> tuple[UnderlayHost, ...]:
        """All that is on the underlay beside the nodes."""
        return tuple(host for host in (self.outsider, self.etcd) if host is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topology:
    """A whole lab."""

    settings: LabSettings
    nodes: tuple[LabNode, ...]

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def pods(self) -> tuple[str, ...]:
        """All pods, node by node."""
        return tuple(pod for node in self.nodes for pod in node.pods)

    @property
    def places(self) -> tuple[str, ...]:
        """All that has a namespace: the underlay, the hosts on it, nodes, pods."""
        hosts = (host.name for host in self.settings.hosts)
        return (self.settings.underlay, *hosts, *(node.name for node in self.nodes), *self.pods)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the command line asked for; None where it said nothing."""

    name: str | None = None
    nodes: int | None = None
    pods: int | None = None
    underlay: str | None = None
    backend: str | None = None
    pod_mode: str | None = None
    ipv6: bool | None = None
    outside: bool | None = None
    store: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LabFile:
    """``lab.toml``, read: ``settings`` for the settings, and either ``named`` nodes with their pods or counts."""

    settings: Mapping[str, object] = field(default_factory=dict[str, object])
    named: Mapping[str, tuple[str, ...]] | None = None
    nodes: int | None = None
    pods: int | None = None


def design(wishes: Wishes, file: LabFile | None = None) -> Topology:
    """The lab that flags, file and defaults describe, in this order of precedence.

    Raises ConfigError naming the object and the rule that it breaks.
    """
    file = file or LabFile()
    said = {key: getattr(wishes, key) for key in _SETTINGS}
    settings = _checked({**file.settings, **{key: value for key, value in said.items() if value is not None}})
    if file.named is not None:
        if wishes.nodes is not None or wishes.pods is not None:
            raise ConfigError("--nodes, --pods", "the file names its nodes and pods", "leave the flags out")
        if not file.named:
            raise ConfigError("nodes 0", "must be 1 or more")
        named = file.named
    else:
        named = _numbered(settings, _first(wishes.nodes, file.nodes, 2), _first(wishes.pods, file.pods, 2))
    nodes = tuple(place_node(settings, number, name, pods) for number, (name, pods) in enumerate(named.items(), 1))
    _check_names(settings, nodes)
    topology = Topology(settings=settings, nodes=nodes)
    for check in settings.checks:
        judge_check(topology, check)
    return topology


def place_node(settings: LabSettings, number: int, name: str, pods: tuple[str, ...]) -> LabNode:
    """Node ``number`` (from 1) of a lab with its addresses.  Raises ConfigError: it does not fit."""
    _check_room(settings, number, name, len(pods))
    step6 = number << (128 - SUBNET_LEN6)
    return LabNode(
        name=name,
        number=number,
        address=UNDERLAY[FIRST_NODE + number],
        address6=UNDERLAY6[FIRST_NODE + number] if settings.ipv6 else None,
        subnet=IPv4Network((int(settings.network[0]) + (number << (32 - settings.subnet_len)), settings.subnet_len)),
        subnet6=IPv6Network((int(settings.network6[0]) + step6, SUBNET_LEN6)) if settings.ipv6 else None,
        pods=pods,
    )


def grown(topology: Topology, name: str | None, pods: int, taken: Iterable[int]) -> LabNode:
    """The next node for a running lab: the lowest free number, pods numbered on after the highest one."""
    used = {node.number for node in topology.nodes} | set(taken)
    number = next(n for n in range(1, len(used) + 2) if n not in used)
    highest = max((int(pod[3:]) for pod in topology.pods if re.fullmatch(r"pod[0-9]{1,9}", pod)), default=0)
    names = tuple(f"pod{highest + n}" for n in range(1, pods + 1))
    node = place_node(topology.settings, number, name or f"node{number}", names)
    _check_names(topology.settings, (*topology.nodes, node))
    return node


def check_name(what: str, name: str) -> str:
    """``name``, safe in a path and in a namespace's name.  Raises ConfigError."""
    if not NAME.fullmatch(name):
        rule = "must be 1 to 15 letters, digits, - or _, and begin with a letter or digit"
        raise ConfigError(f"{what} {name!r}", rule)
    return name


def judge_check(topology: Topology, check: Check) -> None:
    """Raises ConfigError: it names a place that the lab does not have, or a family."""
    settings = topology.settings
    for name in (check.source, check.target):
        if name not in topology.places and not (name == check.target and _is_address(name)):
            raise ConfigError(f"check {str(check)!r}", f"{name} is no node or pod of lab {settings.name}")
    if check.version == 6 and not settings.ipv6:
        raise ConfigError(f"check {str(check)!r}", f"lab {settings.name} has no IPv6", "make it with --ipv6")


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _checked(values: Mapping[str, object]) -> LabSettings:
    settings = LabSettings(**values)  # pyright: ignore[reportArgumentType]  # each value went through its own reader
    check_name("lab", settings.name)
    for key, choices in _CHOICES.items():
        if (value := getattr(settings, key)) not in choices:
            raise ConfigError(f"{key} {value}", f"must be {' or '.join(choices)}")
    if settings.backend == HostGw.type and settings.underlay != "switch":
        rule = f"its nodes must be neighbours, and underlay {settings.underlay} stands between them"
        raise ConfigError(f"backend {settings.backend}", rule, "take --underlay switch, or --backend vxlan")
    _check_mtu(settings)
    networks: list[IPNetwork] = [settings.network, settings.network6] if settings.ipv6 else [settings.network]
    for network, underlay in zip(networks, (UNDERLAY, UNDERLAY6), strict=False):
        if network.is_loopback or network.is_multicast or network.is_link_local or network.is_unspecified:
            raise ConfigError(f"network {network}", "no pod can have an address of it", f"like {NETWORK} or {NETWORK6}")
        if network.overlaps(underlay):
            raise ConfigError(f"network {network}", f"overlaps the underlay {underlay}", "choose another")
    if not settings.network.prefixlen < settings.subnet_len <= 30:
        raise ConfigError(
            f"subnet_len {settings.subnet_len}", f"must be {settings.network.prefixlen + 1} to 30 in {settings.network}"
        )
    if settings.ipv6 and settings.network6.prefixlen >= SUBNET_LEN6:
        raise ConfigError(f"network6 {settings.network6}", f"must be shorter than the nodes' /{SUBNET_LEN6}")
    return settings


def _check_mtu(settings: LabSettings) -> None:
    pods = LEAST_MTU6 if settings.ipv6 else LEAST_MTU
    overhead = VXLAN_OVERHEAD6 if settings.ipv6 else VXLAN_OVERHEAD
    if settings.backend == HostGw.type:
        overhead = 0
    if not pods + overhead <= settings.mtu <= 65535:
        why = f"IPv{6 if settings.ipv6 else 4} needs {pods}" + (f" and VXLAN adds {overhead}" if overhead else "")
        raise ConfigError(f"mtu {settings.mtu}", f"must be {pods + overhead} to 65535", why)


def _check_room(settings: LabSettings, number: int, name: str, pods: int) -> None:
    """Subnet 0 stays free, as flannel leaves it; in a subnet .0 is the VTEP, .1 the bridge, the last broadcast."""
    subnets = (1 << (settings.subnet_len - settings.network.prefixlen)) - 1
    if settings.ipv6:
        subnets = min(subnets, (1 << (SUBNET_LEN6 - settings.network6.prefixlen)) - 1)
    hosts = UNDERLAY.num_addresses - 2 - FIRST_NODE
    if number > subnets:
        where = f"network {settings.network}" + (f" with {settings.network6}" if settings.ipv6 else "")
        raise ConfigError(where, f"has room for {subnets} nodes", f"{name} is number {number}")
    if number > hosts:
        raise ConfigError(f"underlay {UNDERLAY}", f"has room for {hosts} nodes", f"{name} is number {number}")
    room = (1 << (32 - settings.subnet_len)) - 3
    if pods > room:
        raise ConfigError(f"node {name}", f"its /{settings.subnet_len} subnet has room for {room} pods, not {pods}")


def _check_names(settings: LabSettings, nodes: Iterable[LabNode]) -> None:
    """All that has a namespace in the lab shares one space of names."""
    seen = {settings.underlay: "the underlay's namespace"}
    seen |= {host.name: f"the host {host.name}" for host in settings.hosts}
    for node in nodes:
        for what, name in (("node", node.name), *(("pod", pod) for pod in node.pods)):
            check_name(what, name)
            if name in seen:
                raise ConfigError(f"{what} {name}", f"the name is taken by {seen[name]}", "choose another")
            seen[name] = f"a {what}"


def _numbered(settings: LabSettings, nodes: int, pods: int) -> dict[str, tuple[str, ...]]:
    for flag, value, least in (("nodes", nodes, 1), ("pods", pods, 0)):
        if value < least:
            raise ConfigError(f"{flag} {value}", f"must be {least} or more")
    _check_room(settings, nodes, f"node{nodes}", pods)  # before a billion names are made
    return {f"node{n}": tuple(f"pod{(n - 1) * pods + p}" for p in range(1, pods + 1)) for n in range(1, nodes + 1)}


def _first(*values: T | None) -> T:
    return next(value for value in values if value is not None)
