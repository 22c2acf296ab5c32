"""Routes: RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE.

Source: include/uapi/linux/rtnetlink.h ``struct rtmsg``.
"""

import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from typing import Final, NamedTuple

from tulle.errors import DecodeError
from tulle.model.network import IPAddress, IPNetwork
from tulle.wire.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Attributes,
    Message,
    Request,
    encode_attribute,
    nested,
    parse_attributes,
)
from tulle.wire.rtnetlink.parts import (
    AF_INET,
    AF_INET6,
    NO_DEVICE,
    RTM_DELROUTE,
    RTM_GETROUTE,
    RTM_NEWROUTE,
    IfIndex,
    address_attribute,
    dump,
    fixed_part,
    read_address,
    read_u32,
    u32_attribute,
)

RTMSG: Final = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, protocol, scope, type, flags
(RTA_DST, RTA_SRC, RTA_IIF, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS) = 1, 2, 3, 4, 5, 6, 7, 8
RTA_MULTIPATH, RTA_TABLE, RTA_MARK, RTA_VIA, RTA_NH_ID = 9, 15, 16, 18, 30
RTAX_MTU = 2
RTNH_F_DEAD, RTNH_F_ONLINK, RTNH_F_LINKDOWN = 1, 4, 16
RTM_F_CLONED: Final = 0x200
RTM_F_LOOKUP_TABLE: Final = 0x1000
RTM_F_FIB_MATCH: Final = 0x2000
RT_TABLE_UNSPEC, RT_TABLE_MAIN, RT_TABLE_LOCAL = 0, 254, 255
RT_SCOPE_UNIVERSE, RT_SCOPE_LINK, RT_SCOPE_NOWHERE = 0, 253, 255
ROUTE_KINDS: Final = {
    1: "unicast",
    2: "local",
    3: "broadcast",
    4: "anycast",
    5: "multicast",
    6: "blackhole",
    7: "unreachable",
    8: "prohibit",
    9: "throw",
    10: "nat",
}
"""RTN_* by number."""
_KIND_NUMBERS: Final = {name: number for number, name in ROUTE_KINDS.items()}


class RouteMessage(NamedTuple):
    """A route, or the answer to a look-up.

    ``multipath``: it has several next hops, which are not decoded; ``nexthop_id`` 0: none.
    ``cloned``: a cached answer (IPv6), not an entry of a table.  ``dead`` and ``linkdown``: the
    kernel passes it over, because its device is down or without a carrier.
    """

    dst: IPNetwork
    oif: IfIndex = NO_DEVICE
    gateway: IPAddress | None = None
    onlink: bool = False
    prefsrc: IPAddress | None = None
    table: int = RT_TABLE_MAIN
    priority: int = 0
    protocol: int = 0
    scope: int = RT_SCOPE_UNIVERSE
    kind: str = "unicast"
    mtu: int | None = None
    multipath: bool = False
    nexthop_id: int = 0
    cloned: bool = False
    tos: int = 0
    dead: bool = False
    linkdown: bool = False


def decode_route(message: Message) -> RouteMessage:
    """A route from RTM_NEWROUTE or RTM_DELROUTE.  Raises DecodeError."""
    family, dst_len, _, tos, table, protocol, scope, kind, flags = fixed_part(message, RTMSG, "rtmsg")
    found = parse_attributes(message.payload, RTMSG.size)
    return RouteMessage(
        dst=_network(family, found.get(RTA_DST), dst_len),
        oif=IfIndex(read_u32(found.get(RTA_OIF))),
        gateway=_gateway(found),
        onlink=bool(flags & RTNH_F_ONLINK),
        prefsrc=read_address(found.get(RTA_PREFSRC)),
        table=read_u32(found.get(RTA_TABLE), table),
        priority=read_u32(found.get(RTA_PRIORITY)),
        protocol=protocol,
        scope=scope,
        kind=ROUTE_KINDS.get(kind) or str(kind),
        mtu=_mtu(found.get(RTA_METRICS)),
        multipath=RTA_MULTIPATH in found,
        nexthop_id=read_u32(found.get(RTA_NH_ID)),
        cloned=bool(flags & RTM_F_CLONED),
        tos=tos,
        dead=bool(flags & RTNH_F_DEAD),
        linkdown=bool(flags & RTNH_F_LINKDOWN),
    )


def is_kernels_own(message: Message) -> bool:
    """Is it of the table ``local``, which the kernel keeps for itself?  Told without decoding.  Raises DecodeError."""
    return fixed_part(message, RTMSG, "rtmsg")[4] == RT_TABLE_LOCAL


def encode_route(route: RouteMessage) -> bytes:
    """The payload of RTM_NEWROUTE and RTM_DELROUTE; a route with several next hops has none (``multipath``)."""
    table = route.table if route.table < 256 else RT_TABLE_UNSPEC
    kind = _KIND_NUMBERS[route.kind]
    family = AF_INET if isinstance(route.dst, IPv4Network) else AF_INET6
    body = RTMSG.pack(
        family, route.dst.prefixlen, 0, route.tos, table, route.protocol, route.scope, kind, _flags(route)
    )
    body += address_attribute(RTA_DST, route.dst.network_address) + u32_attribute(RTA_TABLE, route.table)
    if route.oif:
        body += u32_attribute(RTA_OIF, route.oif)
    if route.gateway is not None:
        body += _encoded_gateway(route.gateway, family)
    if route.prefsrc is not None:
        body += address_attribute(RTA_PREFSRC, route.prefsrc)
    if route.nexthop_id:
        body += u32_attribute(RTA_NH_ID, route.nexthop_id)
    if route.priority:
        body += u32_attribute(RTA_PRIORITY, route.priority)
    if route.mtu is not None:
        body += nested(RTA_METRICS, u32_attribute(RTAX_MTU, route.mtu))
    return body


def dump_routes(version: int, *, table: int = RT_TABLE_UNSPEC, oif: IfIndex = NO_DEVICE) -> Request:
    """All routes of one IP version; the kernel filters by table and device, on a strict socket.

    A table without routes may not exist yet: the kernel then answers ENOENT.
    """
    body = RTMSG.pack(_family(version), 0, 0, 0, table if table < 256 else 0, 0, 0, 0, 0)
    body += u32_attribute(RTA_TABLE, table) if table else b""
    return dump(RTM_GETROUTE, body + (u32_attribute(RTA_OIF, oif) if oif else b""), "list of routes")


def get_route(
    dst: IPAddress, *, iif: IfIndex = NO_DEVICE, src: IPAddress | None = None, mark: int = 0, fib_match: bool = False
) -> Request:
    """Ask which route a packet takes: the kernel's own look-up.

    ``iif``: as if forwarded from this device.  ``fib_match``: answer with the table's entry (5.5, IPv4; 5.6, IPv6).
    """
    flags = RTM_F_LOOKUP_TABLE if dst.version == 4 else 0  # IPv6 always answers with the table, and refuses to be asked
    flags |= RTM_F_FIB_MATCH if fib_match else 0
    src_len = src.max_prefixlen if src is not None else 0
    body = RTMSG.pack(_family(dst.version), dst.max_prefixlen, src_len, 0, 0, 0, 0, 0, flags)
    body += address_attribute(RTA_DST, dst)
    body += address_attribute(RTA_SRC, src) if src is not None else b""
    body += u32_attribute(RTA_IIF, iif) if iif else b""
    body += u32_attribute(RTA_MARK, mark) if mark else b""
    return Request(RTM_GETROUTE, 0, body, f"route to {dst}")


def new_route(route: RouteMessage, *, replace: bool = False, subject: object = None) -> Request:
    """Add a route; with ``replace`` the one of the same key gives way in the same step."""
    flags = NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL)
    return Request(RTM_NEWROUTE, flags, encode_route(route), subject)


def del_route(route: RouteMessage, subject: object = None) -> Request:
    """Remove exactly this route."""
    return Request(RTM_DELROUTE, 0, encode_route(route), subject)


def _encoded_gateway(gateway: IPAddress, family: int) -> bytes:
    """``family`` is the route's: by a gateway of the other one it leads with RTA_VIA (struct rtvia)."""
    own = AF_INET if isinstance(gateway, IPv4Address) else AF_INET6
    if own == family:
        return address_attribute(RTA_GATEWAY, gateway)
    return encode_attribute(RTA_VIA, struct.pack("=H", own) + gateway.packed)


def _flags(route: RouteMessage) -> int:
    flags = RTNH_F_ONLINK if route.onlink else 0
    flags |= RTNH_F_DEAD if route.dead else 0
    flags |= RTNH_F_LINKDOWN if route.linkdown else 0
    return flags | (RTM_F_CLONED if route.cloned else 0)


def _gateway(found: Attributes) -> IPAddress | None:
    via = found.get(RTA_VIA)  # struct rtvia: u16 family, address
    return read_address(found.get(RTA_GATEWAY)) if via is None else read_address(via[2:])


def _mtu(metrics: bytes | None) -> int | None:
    return None if metrics is None else read_u32(parse_attributes(metrics).get(RTAX_MTU)) or None


def _network(family: int, value: bytes | None, prefixlen: int) -> IPNetwork:
    """By the address's length; without one it is the family's default route."""
    address = (bytes(4) if family == AF_INET else bytes(16)) if value is None else value
    try:
        # ``ip_network`` would try both kinds, and take three times as long.
        return IPv4Network((address, prefixlen)) if len(address) == 4 else IPv6Network((address, prefixlen))
    except ValueError:
        raise DecodeError("rtmsg", dst=address.hex(), dst_len=prefixlen) from None


def _family(version: int) -> int:
    return AF_INET if version == 4 else AF_INET6
