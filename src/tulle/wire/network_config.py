"""The shared network configuration: flannel's JSON ⇄ ``NetworkConfig``, with flannel's defaults and rules.

Every rule that is broken names its key.  Two differences from flannel, both on the strict side:
duplicate keys are refused, and SubnetMin must not lie behind SubnetMax.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, assert_never

from tulle.errors import ConfigError, DecodeError
from tulle.model.network import Backend, HostGw, IPAddress, IPNetwork, NetworkConfig, SubnetPool, Vni, Vxlan
from tulle.wire.strict_json import JsonValue, decode_object

CONFIG_LIMIT: Final = 64 * 1024
CARRIED: Final = (Vxlan.type, HostGw.type)
"""The backends of this build."""
FLANNELS: Final = ("alloc", "extension", "host-gw", "ipip", "ipsec", "tencent-vpc", "udp", "vxlan", "wireguard")
DEFAULT_PORT: Final = 8472

Fields = Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """What differs between the two families' keys and rules."""

    prefix: str
    network: type[IPv4Network] | type[IPv6Network]
    address: type[IPv4Address] | type[IPv6Address]
    usual_len: int
    longest: int


_V4 = _Family(prefix="", network=IPv4Network, address=IPv4Address, usual_len=24, longest=30)
_V6 = _Family(prefix="IPv6", network=IPv6Network, address=IPv6Address, usual_len=64, longest=126)


def decode_network_config(data: bytes) -> NetworkConfig:
    """The configuration in ``data``.  Raises ConfigError that names the key and the rule in one line."""
    try:
        fields = decode_object("JSON", data, CONFIG_LIMIT)
    except DecodeError as error:
        raise ConfigError("network configuration", str(error)) from None
    four, six = _flag(fields, "EnableIPv4", True), _flag(fields, "EnableIPv6", False)
    if not four and not six:
        raise ConfigError(_named("EnableIPv4"), "is false and so is EnableIPv6", "enable one of them")
    return NetworkConfig(
        pool4=_pool(fields, _V4) if four else None,
        pool6=_pool(fields, _V6) if six else None,
        backend=_backend(fields),
        enable_nftables=_flag(fields, "EnableNFTables", False) if "enablenftables" in fields else None,
    )


def judge_network_config(data: bytes | None) -> NetworkConfig | ConfigError | None:
    """What a store's value says: the configuration, why it is none, or None where there is no value."""
    if data is None:
        return None
    try:
        return decode_network_config(data)
    except ConfigError as error:
        return error


def encode_network_config(config: NetworkConfig) -> bytes:
    """``config`` as flannel reads it, every value explicit."""
    fields: dict[str, object] = {}
    if config.pool4 is None:
        fields["EnableIPv4"] = False
    if config.pool6 is not None:
        fields["EnableIPv6"] = True
    if config.enable_nftables is not None:
        fields["EnableNFTables"] = config.enable_nftables
    for family, pool in ((_V4, config.pool4), (_V6, config.pool6)):
        if pool is not None:
            fields[f"{family.prefix}Network"] = str(pool.network)
            fields[f"{family.prefix}SubnetLen"] = pool.subnet_len
            fields[f"{family.prefix}SubnetMin"] = str(pool.first.network_address)
            fields[f"{family.prefix}SubnetMax"] = str(pool.last.network_address)
    fields["Backend"] = _encoded_backend(config.backend)
    return json.dumps(fields, separators=(",", ":")).encode()


def _encoded_backend(backend: Backend) -> dict[str, object]:
    match backend:
        case Vxlan():
            return _encoded_vxlan(backend)
        case HostGw():
            return {"Type": backend.type}
        case _:
            assert_never(backend)


def _encoded_vxlan(backend: Vxlan) -> dict[str, object]:
    fields: dict[str, object] = {"Type": backend.type, "VNI": backend.vni, "Port": backend.port}
    if backend.mtu is not None:
        fields["MTU"] = backend.mtu
    flags = {"GBP": backend.gbp, "Learning": backend.learning, "DirectRouting": backend.direct_routing}
    return fields | {name: value for name, value in flags.items() if value}


def _backend(fields: Fields) -> Backend:
    backend = fields.get("backend")
    if backend is None:
        raise ConfigError(_named("Backend"), "is absent, which means udp", f"{_carried()}: set Backend.Type")
    if not isinstance(backend, dict):
        raise ConfigError(_named("Backend"), "must be an object")
    kind = _text(backend, "Type", "Backend.Type").lower()
    if kind not in FLANNELS:
        named = ascii(kind)[:40] if kind else "absent"
        raise ConfigError(_named("Backend.Type"), f"is {named}, not one of {', '.join(FLANNELS)}", _carried())
    if kind not in CARRIED:
        raise ConfigError(_named("Backend.Type"), f"is {kind}", _carried())
    return HostGw() if kind == HostGw.type else _vxlan(backend)


def _vxlan(backend: Fields) -> Vxlan:
    mtu = _whole(backend, "MTU", 0, 0, 65_535, "Backend.MTU")
    return Vxlan(
        vni=Vni(_whole(backend, "VNI", 1, 1, (1 << 24) - 1, "Backend.VNI")),
        port=_whole(backend, "Port", 0, 0, 65_535, "Backend.Port") or DEFAULT_PORT,
        mtu=mtu or None,
        gbp=_flag(backend, "GBP", False, "Backend.GBP"),
        learning=_flag(backend, "Learning", False, "Backend.Learning"),
        direct_routing=_flag(backend, "DirectRouting", False, "Backend.DirectRouting"),
    )


def _carried() -> str:
    return f"this build carries {', '.join(CARRIED)}"


def _pool(fields: Fields, family: _Family) -> SubnetPool:
    network = _network(fields, family)
    length = _subnet_len(fields, family, network)
    size = 1 << (network.max_prefixlen - length)
    base, end = int(network.network_address), int(network.broadcast_address)
    first = _bound(fields, family, "SubnetMin", network, length, base + size)
    last = _bound(fields, family, "SubnetMax", network, length, end + 1 - size)
    if int(first.network_address) > int(last.network_address):
        raise ConfigError(_named(f"{family.prefix}SubnetMin"), f"{first} lies behind SubnetMax {last}")
    return SubnetPool(network=network, subnet_len=length, first=first, last=last)


def _network(fields: Fields, family: _Family) -> IPNetwork:
    """The network; host bits are masked off, as flannel does."""
    name = f"{family.prefix}Network"
    text = _text(fields, name)
    try:
        if "/" not in text or "%" in text:
            raise ValueError
        return family.network(text, strict=False)
    except ValueError:
        wanted = "an IPv6 network like fd10:244::/48" if family is _V6 else "an IPv4 network like 10.244.0.0/16"
        raise ConfigError(_named(name), f"must be {wanted}") from None


def _subnet_len(fields: Fields, family: _Family, network: IPNetwork) -> int:
    name, prefix = f"{family.prefix}SubnetLen", network.prefixlen
    given = _whole(fields, name, 0, 0, network.max_prefixlen)
    if not given:
        if prefix > family.longest - 2:
            raise ConfigError(
                _named(f"{family.prefix}Network"), f"{network} is too small", f"at most /{family.longest - 2}"
            )
        return family.usual_len if prefix <= family.usual_len - 2 else prefix + 2
    if given > family.longest:
        raise ConfigError(_named(name), f"is {given}", f"at most {family.longest}")
    if given < prefix + 2:
        raise ConfigError(_named(name), f"is {given}, and {network} must hold four subnets", f"at least {prefix + 2}")
    return given


def _bound(fields: Fields, family: _Family, key: str, network: IPNetwork, length: int, default: int) -> IPNetwork:
    """SubnetMin or SubnetMax as the subnet that begins there."""
    name = f"{family.prefix}{key}"
    text = _text(fields, name)
    address = _address(text, family, name) if text else family.address(default)
    if address not in network:
        raise ConfigError(_named(name), f"{address} is not in {network}")
    try:
        return family.network((int(address), length))
    except ValueError:
        raise ConfigError(_named(name), f"{address} is not the start of a /{length}") from None


def _address(text: str, family: _Family, name: str) -> IPAddress:
    try:
        if "%" in text:
            raise ValueError
        return family.address(text)
    except ValueError:
        raise ConfigError(_named(name), f"{ascii(text)[:60]} is not an address of its family") from None


def _flag(fields: Fields, name: str, default: bool, shown: str = "") -> bool:
    value = fields.get(name.lower())
    if value is not None and not isinstance(value, bool):
        raise ConfigError(_named(shown or name), "must be true or false")
    return default if value is None else value


def _whole(fields: Fields, name: str, default: int, low: int, high: int, shown: str = "") -> int:
    value = fields.get(name.lower())
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigError(_named(shown or name), f"must be a whole number from {low} to {high}")
    return value


def _text(fields: Fields, name: str, shown: str = "") -> str:
    value = fields.get(name.lower())
    if value is not None and not isinstance(value, str):
        raise ConfigError(_named(shown or name), "must be a string")
    return value or ""


def _named(key: str) -> str:
    return f"network configuration: {key}"
