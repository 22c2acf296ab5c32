"""Leases as every store keeps them: flannel's key and flannel's JSON, so that both can share a cluster.

    key    10.244.1.0-24    10.244.1.0-24&fd10:244:0:1::-64    0.0.0.0-0&fd10:244:0:1::-64 (IPv6 only)
    value  {"PublicIP":"192.168.64.11","PublicIPv6":null,"BackendType":"vxlan",
            "BackendData":{"VNI":1,"VtepMAC":"02:00:0a:f4:01:00"}}

Decoding says what a value is; whether to believe it is ``plan.admission``'s work.
"""

import json
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from tulle.errors import DecodeError
from tulle.model.lease import Lease, LeaseKey, NodeId
from tulle.model.network import MacAddress, Vni, Vxlan
from tulle.wire.strict_json import JsonValue, decode_object

VALUE_LIMIT: Final = 64 * 1024
NO_IPV4: Final = IPv4Address(0)
"""How flannel writes that a lease has no IPv4 address."""
VNI_LAST: Final = (1 << 24) - 1

_KEY = re.compile(r"(\d{1,3}(?:\.\d{1,3}){3})-(\d{1,2})(?:&([0-9a-f:]{2,39})-(\d{1,3}))?")
_MAC = re.compile(r"[0-9a-f]{2}(?:([:-])[0-9a-f]{2})(?:\1[0-9a-f]{2}){4}")
_BACKEND_TYPE = re.compile(r"[A-Za-z0-9_.-]{0,32}")
_LONGEST4, _LONGEST6 = 31, 127  # flannel reads the lengths into 5 and 7 bits


def lease_key(subnet: IPv4Network | None, subnet6: IPv6Network | None) -> LeaseKey:
    """The tail of the key under which a claim of these subnets is stored; at least one is given."""
    four = f"{subnet.network_address}-{subnet.prefixlen}" if subnet is not None else f"{NO_IPV4}-0"
    six = f"&{subnet6.network_address}-{subnet6.prefixlen}" if subnet6 is not None else ""
    return LeaseKey(four + six)


def parse_lease_key(key: str) -> tuple[IPv4Network | None, IPv6Network | None]:
    """The subnets that a key claims, at least one.

    Raises DecodeError: another shape, host bits set, or a length that flannel cannot read.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        raise DecodeError("lease key", key=_shortened(key))
    address, length, address6, length6 = match.groups()
    try:
        subnet = None if (address, length) == (str(NO_IPV4), "0") else IPv4Network((address, int(length)))
        subnet6 = IPv6Network((address6, int(length6))) if address6 else None
    except ValueError as error:
        raise DecodeError("lease key", key=key, reason=str(error)) from None
    if subnet is None and subnet6 is None:
        raise DecodeError("lease key", key=key, reason="claims no subnet")
    if (subnet and subnet.prefixlen > _LONGEST4) or (subnet6 and subnet6.prefixlen > _LONGEST6):
        raise DecodeError("lease key", key=key, reason="no room for a node's pods")
    return subnet, subnet6


def decode_lease(
    key: str, value: bytes, *, created: int = 0, expires_at_ns: int | None = None, owner: NodeId | None = None
) -> Lease:
    """The lease that a store holds under ``key`` (the tail); the other arguments are the store's own facts.

    Unknown keys are ignored and key names match in any case, as flannel reads them.  A backend
    that this build does not carry keeps its ``backend_type``; its data is not looked at.
    Raises DecodeError: larger than 64 KiB, not the shape, or fields of the wrong type.
    """
    subnet, subnet6 = parse_lease_key(key)
    fields = decode_object("lease", value, VALUE_LIMIT)
    if "publicip" in fields and fields["publicip"] is None:
        raise DecodeError("lease", PublicIP=None)
    public_ip = _address4(fields.get("publicip"))
    backend_type = _text(fields, "backendtype", "BackendType")
    if not _BACKEND_TYPE.fullmatch(backend_type):
        raise DecodeError("lease", BackendType=_shortened(backend_type))
    carried = backend_type == Vxlan.type
    vni, mac = _vtep(fields.get("backenddata"), "BackendData") if carried else (None, None)
    vni6, mac6 = _vtep(fields.get("backendv6data"), "BackendV6Data") if carried else (None, None)
    if vni is not None and vni6 is not None and vni != vni6:
        raise DecodeError("lease", VNI=vni, IPv6_VNI=vni6)
    return Lease(
        key=lease_key(subnet, subnet6),
        subnet=subnet,
        subnet6=subnet6,
        public_ip=None if subnet is None and public_ip == NO_IPV4 else public_ip,
        public_ip6=_address6(fields.get("publicipv6")),
        backend_type=Vxlan.type if carried else backend_type,  # one string for all
        vni=vni if vni is not None else vni6,
        vtep_mac=mac,
        vtep_mac6=mac6,
        created=created,
        expires_at_ns=expires_at_ns,
        owner=owner,
    )


def encode_lease(lease: Lease) -> bytes:
    """The value of ``lease`` as flannel writes it: same fields, same order, no spaces."""
    fields: dict[str, object] = {
        "PublicIP": str(lease.public_ip or NO_IPV4),
        "PublicIPv6": None if lease.public_ip6 is None else str(lease.public_ip6),
    }
    if lease.backend_type:
        fields["BackendType"] = lease.backend_type
    for name, mac in (("BackendData", lease.vtep_mac), ("BackendV6Data", lease.vtep_mac6)):
        if mac is not None:
            fields[name] = ({"VNI": lease.vni} if lease.vni is not None else {}) | {"VtepMAC": mac}
    return json.dumps(fields, separators=(",", ":")).encode()


def _vtep(value: JsonValue, name: str) -> tuple[Vni | None, MacAddress | None]:
    """VNI and MAC of one family's VXLAN data; Nones where there is none."""
    if value is None:
        return None, None
    if not isinstance(value, dict):
        raise DecodeError("lease", field=name, reason="not an object")
    vni = value.get("vni")
    if vni is not None and (not isinstance(vni, int) or isinstance(vni, bool) or not 0 < vni <= VNI_LAST):
        raise DecodeError("lease", field=f"{name}.VNI", reason=f"not in 1..{VNI_LAST}")
    mac = _text(value, "vtepmac", f"{name}.VtepMAC").lower()
    if not mac:
        return None if vni is None else Vni(vni), None
    if not _MAC.fullmatch(mac):
        raise DecodeError("lease", VtepMAC=_shortened(mac))
    return None if vni is None else Vni(vni), MacAddress(mac.replace("-", ":"))


def _text(fields: Mapping[str, JsonValue], key: str, name: str) -> str:
    value = fields.get(key)
    if value is not None and not isinstance(value, str):
        raise DecodeError("lease", field=name, reason="not a string")
    return value or ""


def _address4(value: JsonValue) -> IPv4Address | None:
    if value is None:
        return None
    try:
        return IPv4Address(value if isinstance(value, str) else "")
    except ValueError:
        raise DecodeError("lease", PublicIP=_shortened(value)) from None


def _address6(value: JsonValue) -> IPv6Address | None:
    if value is None:
        return None
    text = value if isinstance(value, str) and "%" not in value else ""  # a scope means something on one host only
    try:
        return IPv6Address(text)
    except ValueError:
        raise DecodeError("lease", PublicIPv6=_shortened(value)) from None


def _shortened(value: object) -> str:
    """Enough of a hostile value to find it by, safe to print: repr escapes what is not ASCII."""
    return ascii(value)[:80]
