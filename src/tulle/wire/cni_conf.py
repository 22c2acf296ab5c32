"""The network configuration on stdin, and what flannel's users have in theirs.

A conflist of flannel works with only ``type`` changed: its ``delegate`` holds keys of the bridge
plugin, which are read here as if they stood outside.  Keys that tulle does not know are ignored,
except within its own object.  Source: CNI specification 1.1.0, "Network configuration format".
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Interface, IPv6Address, IPv6Interface, ip_address, ip_interface, ip_network
from typing import Final

from tulle.model.network import IPAddress, IPNetwork, MacAddress
from tulle.wire.cni_error import ADDRESS_OUTSIDE, BAD_CONFIG, BAD_ENVIRONMENT, UNSUPPORTED_FIELD, CniError
from tulle.wire.cni_ranges import AddressRange, parse_ranges
from tulle.wire.strict_json import JsonValue

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,252}")
IFNAME: Final = re.compile(r"[^/:\s%\x00-\x20\x7f-\U0010ffff]{1,15}")
MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
OWN_IPAM: Final = frozenset({"", "host-local", "tulle"})
"""Types of address management that tulle is itself, in host-local's files."""
DATA_DIR: Final = "/var/lib/cni/networks"
REFUSED: Final[Mapping[str, tuple[tuple[JsonValue, ...], str]]] = {
    "vlan": ((0,), "tulle makes no VLANs"),
    "vlanTrunk": (([],), "tulle makes no VLANs"),
    "enabledad": ((False,), "tulle's addresses are never somebody else's, and a pod would wait a second for them"),
    "disableContainerInterface": ((False,), "a pod has its addresses on its interface"),
    "portIsolation": ((False,), "pods of a node reach each other; use a network policy"),
    "uplinkInterface": (("",), "what leaves the bridge is routed"),
}
"""Keys of the bridge plugin: the values that ask for nothing, and why any other is refused."""
OWN_KEYS: Final = frozenset({"guard"})
MODES: Final = ("bridge", "routed")
"""How pods are connected to their node."""


@dataclass(frozen=True, slots=True)
class PodRoute:
    """A route that the configuration asks for in the pod; ``via`` None: the pod's gateway."""

    dst: IPNetwork
    via: IPAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the runtime asks for one pod: addresses (none: any), a MAC, DNS settings to pass on."""

    addresses: tuple[IPAddress, ...] = ()
    mac: MacAddress | None = None
    dns: Mapping[str, JsonValue] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConf:
    """The network's configuration, of the keys that tulle reads.  ``gateway``: the bridge has the pods' gateway.

    ``routed``: pods have no bridge.  ``bridge`` None: the one that the node has; ``mtu`` None: the node's.
    ``ip_masq`` asks for pods that are masqueraded, also where the agent does not for all.  ``guard``: what comes out
    of a pod has its own addresses; ``guard_needed``: no pod without.  ``ipam`` None: tulle gives the addresses, else
    the plugin of this name, whose result has the routes.  ``ranges``: where our own addresses
    come from; none: from anywhere.
    """

    cni_version: str
    name: str
    routed: bool = False
    bridge: str | None = None
    mtu: int | None = None
    hairpin: bool = True
    promiscuous: bool = False
    gateway: bool = True
    default_gateway: bool = True
    force_address: bool = False
    ip_masq: bool = False
    guard: bool = True
    guard_needed: bool = False
    ipam: str | None = None
    ranges: tuple[AddressRange, ...] = ()
    routes: tuple[PodRoute, ...] = ()
    dns: Mapping[str, JsonValue] | None = None
    wishes: Wishes = Wishes()
    valid_attachments: frozenset[tuple[str, str]] | None = None
    """GC: (container id, interface name) of what still lives; None when the runtime did not say."""


def parse_conf(conf: Mapping[str, JsonValue], version: str) -> NetworkConf:
    """The decoded object as a value.  Raises CniError naming the key and the rule."""
    own = _own_keys(conf)
    bridge = {**conf, **_object("delegate", conf.get("delegate"))}
    ipam = _object("ipam", bridge.get("ipam"))
    hairpin, promiscuous = _flag(bridge, "hairpinMode"), _flag(bridge, "promiscMode") or False
    if hairpin and promiscuous:
        raise CniError(BAD_CONFIG, "promiscMode", "cannot be set together with hairpinMode")
    _refuse_what_cannot_be(conf, bridge, ipam)
    is_gateway, default_gateway = _flag(bridge, "isGateway"), _flag(bridge, "isDefaultGateway")
    if default_gateway is None:  # flannel's has none unless it says so
        default_gateway = "delegate" not in conf and is_gateway is not False
    ip_masq = _flag(bridge, "ipMasq")  # flannel's: whenever its agent does not
    guard, checked = _flag(own, "guard"), _flag(bridge, "macspoofchk")
    routed = _is_routed(bridge)
    return NetworkConf(
        cni_version=version,
        name=matching("name", conf.get("name"), NAME, BAD_CONFIG),
        routed=routed,
        bridge=_bridge(bridge.get("bridge")),
        mtu=_mtu(bridge.get("mtu")),
        hairpin=not promiscuous if hairpin is None else hairpin,
        promiscuous=promiscuous,
        gateway=default_gateway or is_gateway is not False,
        default_gateway=default_gateway,
        force_address=_flag(bridge, "forceAddress") or False,
        ip_masq="delegate" in conf if ip_masq is None else ip_masq,
        guard=next((wish for wish in (guard, checked) if wish is not None), True),
        guard_needed=guard is not False and checked is True,
        ipam=_other_ipam(ipam),
        routes=_routes(ipam.get("routes")),
        dns=_object("dns", conf.get("dns")) or None,
        wishes=_wishes(conf),
        valid_attachments=_attachments(conf),
    )


def with_ranges(conf: NetworkConf, decoded: Mapping[str, JsonValue]) -> NetworkConf:
    """With where addresses are to come from: for ADD, and STATUS, which foretells it.  Raises CniError naming it."""
    if conf.ipam is not None:
        return conf
    bridge = {**decoded, **_object("delegate", decoded.get("delegate"))}
    runtime = _object("runtimeConfig", decoded.get("runtimeconfig"))
    ranges = parse_ranges(_object("ipam", bridge.get("ipam")), runtime)
    return replace(conf, ranges=ranges) if ranges else conf


def matching(what: str, value: JsonValue, pattern: re.Pattern[str], code: int = BAD_ENVIRONMENT) -> str:
    """``value``, if it is a name.  Raises CniError."""
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise CniError(code, f"{what} {value!r}", "must be letters, digits, '_', '.' or '-', and not begin with these")
    return value


def parse_ifname(value: str, code: int = BAD_ENVIRONMENT) -> str:
    """An interface name that the kernel takes literally.  Raises CniError."""
    if not IFNAME.fullmatch(value) or value in {".", ".."}:
        raise CniError(code, f"interface name {value!r}", "must be 1 to 15 characters without '/', ':', '%' or spaces")
    return value


def parse_mac(what: str, value: JsonValue, code: int = BAD_CONFIG) -> MacAddress:
    """A unicast MAC address, in any case of its digits.  Raises CniError."""
    text = value.lower() if isinstance(value, str) else ""
    if not MAC.fullmatch(text) or int(text[:2], 16) & 1 or text == "00:00:00:00:00:00":
        raise CniError(code, f"{what} {value!r}", "must be a unicast MAC address")
    return MacAddress(text)


def parse_wanted_address(what: str, value: JsonValue, code: int = BAD_CONFIG) -> IPAddress:
    """An address that somebody asks for; a prefix length is allowed and means nothing.  Raises CniError."""
    try:
        found = ip_interface(value) if isinstance(value, str) and "%" not in value else None
    except ValueError:
        found = None
    if not isinstance(found, IPv4Interface | IPv6Interface):
        raise CniError(code, f"{what} {value!r}", "must be an address")
    if found.ip.is_multicast or found.ip.is_loopback or found.ip.is_unspecified:
        raise CniError(ADDRESS_OUTSIDE, f"{what} {value!r}", "is no pod's address")
    return found.ip


def _refuse_what_cannot_be(
    conf: Mapping[str, JsonValue], bridge: Mapping[str, JsonValue], ipam: Mapping[str, JsonValue]
) -> None:
    """Keys of the bridge plugin, of flannel's and of host-local that would not do what they say."""
    for key, (harmless, reason) in REFUSED.items():
        if (value := bridge.get(key.lower())) not in (None, *harmless):
            raise CniError(UNSUPPORTED_FIELD, key, f"has the value {value!r}: {reason}")
    kind = _object("delegate", conf.get("delegate")).get("type")
    if kind not in {None, "bridge", "tulle"}:
        raise CniError(UNSUPPORTED_FIELD, "delegate.type", f"has the value {kind!r}: pods are on a bridge here")
    for key in ("dataDir", "resolvConf") if ipam.get("type", "") in OWN_IPAM else ():
        if (value := ipam.get(key.lower())) not in {None, "", DATA_DIR}:
            reason = f"addresses are in {DATA_DIR}" if key == "dataDir" else "say it in dns"
            raise CniError(UNSUPPORTED_FIELD, f"ipam.{key}", f"has the value {value!r}: {reason}")


def _own_keys(conf: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
    """tulle's own object, in which no key is passed over."""
    own = _object("tulle", conf.get("tulle"))
    for key in own.keys() - OWN_KEYS:
        raise CniError(UNSUPPORTED_FIELD, f"tulle.{key}", f"unknown key with value {own[key]!r}")
    return own


def _other_ipam(ipam: Mapping[str, JsonValue]) -> str | None:
    kind = ipam.get("type", "")
    if isinstance(kind, str) and kind in OWN_IPAM:
        return None
    if not isinstance(kind, str) or not NAME.fullmatch(kind):
        raise CniError(UNSUPPORTED_FIELD, "ipam.type", f"has the value {kind!r}, which is no plugin's name")
    return kind


def _is_routed(conf: Mapping[str, JsonValue]) -> bool:
    """``mode``, called as other plugins call theirs.  A bridge's keys ask for a bridge."""
    mode = conf.get("mode", "bridge")
    if not isinstance(mode, str) or mode not in MODES:
        raise CniError(BAD_CONFIG, f"mode {mode!r}", f"must be one of {', '.join(MODES)}")
    if mode == "routed":
        for name in ("bridge", "promiscMode", "forceAddress"):
            if conf.get(name.lower()):
                raise CniError(BAD_CONFIG, name, "cannot be set together with mode routed, which has no bridge")
    return mode == "routed"


def _wishes(conf: Mapping[str, JsonValue]) -> Wishes:
    """From ``runtimeConfig`` (declared capabilities), else ``args.cni``."""
    runtime = _object("runtimeConfig", conf.get("runtimeconfig"))
    args = _object("args.cni", _object("args", conf.get("args")).get("cni"))
    ips, mac = runtime.get("ips", args.get("ips")), runtime.get("mac", args.get("mac"))
    if ips is not None and not isinstance(ips, list):
        raise CniError(BAD_CONFIG, "ips", "must be a list")
    return Wishes(
        addresses=tuple(parse_wanted_address("ips", ip) for ip in ips or ()),
        mac=None if mac is None else parse_mac("mac", mac),
        dns=_object("dns", runtime.get("dns")) or None,
    )


def _routes(value: JsonValue) -> tuple[PodRoute, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise CniError(BAD_CONFIG, "ipam.routes", "must be a list")
    return tuple(parse_route(_object("ipam.routes", entry)) for entry in value)


def parse_route(entry: Mapping[str, JsonValue]) -> PodRoute:
    """A route as configurations and results spell it.  Raises CniError."""
    dst, via = entry.get("dst"), entry.get("gw")
    try:
        route = PodRoute(ip_network(_text(dst)), None if via is None else ip_address(_text(via)))
    except ValueError:
        raise CniError(BAD_CONFIG, f"ipam.routes {dst!r} {via!r}", "must be a network and a gateway") from None
    if isinstance(route.via, IPv4Address | IPv6Address) and route.via.version != route.dst.version:
        raise CniError(BAD_CONFIG, f"ipam.routes {dst!r} {via!r}", "must be of one family")
    return route


def _attachments(conf: Mapping[str, JsonValue]) -> frozenset[tuple[str, str]] | None:
    """libcni also sends the misnamed key; the right one wins."""
    found = conf.get("cni.dev/valid-attachments", conf.get("cni.dev/attachments"))
    if found is None:
        return None
    if not isinstance(found, list):
        raise CniError(BAD_CONFIG, "cni.dev/valid-attachments", "must be a list")
    entries = [_object("cni.dev/valid-attachments", entry) for entry in found]
    pairs = [(entry.get("containerid"), entry.get("ifname")) for entry in entries]
    if not all(isinstance(name, str) for pair in pairs for name in pair):
        raise CniError(BAD_CONFIG, "cni.dev/valid-attachments", "must name containerID and ifname")
    return frozenset((str(container_id), str(ifname)) for container_id, ifname in pairs)


def _bridge(value: JsonValue) -> str | None:
    if value is None or value == "":
        return None
    return parse_ifname(_text(value), BAD_CONFIG)


def _mtu(value: JsonValue) -> int | None:
    if value is None or value == 0:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 68 <= value <= 65535:
        raise CniError(BAD_CONFIG, f"mtu {value!r}", "must be 68 to 65535")
    return value


def _flag(conf: Mapping[str, JsonValue], name: str) -> bool | None:
    value = conf.get(name.lower())
    if value is not None and not isinstance(value, bool):
        raise CniError(BAD_CONFIG, f"{name} {value!r}", "must be true or false")
    return value


def _object(what: str, value: JsonValue) -> Mapping[str, JsonValue]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise CniError(BAD_CONFIG, what, "must be an object")
    return value


def _text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise CniError(BAD_CONFIG, f"{value!r}", "must be a string")
    return value
