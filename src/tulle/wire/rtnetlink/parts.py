"""What every kind of rtnetlink message has: integers, addresses, MACs and names as attributes.

Source: include/uapi/linux/rtnetlink.h, include/linux/socket.h.
"""

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NewType

from tulle.errors import DecodeError
from tulle.model.network import IPAddress, MacAddress
from tulle.wire.netlink import NLM_F_DUMP, Message, Request, encode_attribute

IfIndex = NewType("IfIndex", int)
"""An interface's number in one network namespace, for one life of the interface; 0: none."""

NO_DEVICE: Final = IfIndex(0)

AF_UNSPEC: Final = 0
AF_INET: Final = 2
AF_BRIDGE: Final = 7
AF_INET6: Final = 10

RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK, RTM_SETLINK = 16, 17, 18, 19
RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR = 20, 21, 22
RTM_NEWROUTE, RTM_DELROUTE, RTM_GETROUTE = 24, 25, 26
RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH = 28, 29, 30
RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
RTM_NEWNSID, RTM_DELNSID, RTM_GETNSID = 88, 89, 90
RTM_NEWNEXTHOP, RTM_DELNEXTHOP, RTM_GETNEXTHOP = 104, 105, 106

RTNLGRP_LINK, RTNLGRP_NEIGH = 1, 3
RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV4_ROUTE = 5, 7
RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV6_ROUTE = 9, 11
RTNLGRP_NEXTHOP = 32

U32: Final = struct.Struct("=I")
S32: Final = struct.Struct("=i")
U16: Final = struct.Struct("=H")
U32_ATTRIBUTE: Final = struct.Struct("=HHI")
ADDRESS4_ATTRIBUTE: Final = struct.Struct("=HH4s")
ADDRESS6_ATTRIBUTE: Final = struct.Struct("=HH16s")
MAC_ATTRIBUTE: Final = struct.Struct("=HH6s2x")
GENMSG: Final = struct.Struct("=B3x")  # struct rtgenmsg, padded


def u8_attribute(kind: int, value: int) -> bytes:
    return encode_attribute(kind, bytes((value,)))


def u32_attribute(kind: int, value: int) -> bytes:
    return U32_ATTRIBUTE.pack(8, kind, value)


def u16_attribute(kind: int, value: int) -> bytes:
    return encode_attribute(kind, U16.pack(value))


def s32_attribute(kind: int, value: int) -> bytes:
    return encode_attribute(kind, S32.pack(value))


def be16_attribute(kind: int, value: int) -> bytes:
    """A number in network byte order."""
    return encode_attribute(kind, value.to_bytes(2, "big"))


def text_attribute(kind: int, text: str) -> bytes:
    """A NUL-terminated string."""
    return encode_attribute(kind, text.encode() + b"\0")


def address_attribute(kind: int, address: IPAddress) -> bytes:
    """An address in network byte order."""
    if isinstance(address, IPv4Address):
        return ADDRESS4_ATTRIBUTE.pack(8, kind, int(address).to_bytes(4, "big"))
    return ADDRESS6_ATTRIBUTE.pack(20, kind, int(address).to_bytes(16, "big"))


def mac_attribute(kind: int, mac: str) -> bytes:
    return MAC_ATTRIBUTE.pack(10, kind, bytes.fromhex(mac.replace(":", "")))


def read_u8(value: bytes | None, default: int = 0) -> int:
    """The number; ``default`` when the attribute is absent.  Raises DecodeError."""
    return default if value is None else _sized(value, 1)[0]


def read_u32(value: bytes | None, default: int = 0) -> int:
    """The number; ``default`` when the attribute is absent.  Raises DecodeError."""
    if value is None:
        return default
    number: int = U32.unpack(_sized(value, 4))[0]
    return number


def read_s32(value: bytes | None, default: int = 0) -> int:
    """The signed number; ``default`` when the attribute is absent.  Raises DecodeError."""
    if value is None:
        return default
    number: int = S32.unpack(_sized(value, 4))[0]
    return number


def read_u16(value: bytes | None, default: int = 0) -> int:
    """The number; ``default`` when the attribute is absent.  Raises DecodeError."""
    if value is None:
        return default
    number: int = U16.unpack(_sized(value, 2))[0]
    return number


def read_be16(value: bytes | None, default: int = 0) -> int:
    """The number, sent in network byte order; ``default`` when absent.  Raises DecodeError."""
    return default if value is None else int.from_bytes(_sized(value, 2), "big")


def read_text(value: bytes | None) -> str:
    """The string; "" when the attribute is absent.  Bytes that are not UTF-8 stay visible as escapes."""
    return "" if value is None else value.split(b"\0", 1)[0].decode(errors="backslashreplace")


def read_mac(value: bytes | None) -> MacAddress | None:
    """A six-byte link-layer address; None when absent or of another length (tunnels without a MAC)."""
    return None if value is None or len(value) != 6 else MacAddress(value.hex(":"))


def read_address(value: bytes | None) -> IPAddress | None:
    """An IPv4 or IPv6 address by its length; None when absent.  Raises DecodeError."""
    if value is None:
        return None
    if len(value) == 4:
        return IPv4Address(value)
    if len(value) == 16:
        return IPv6Address(value)
    raise DecodeError("address attribute", length=len(value))


def fixed_part(message: Message, layout: struct.Struct, what: str) -> tuple[int, ...]:
    """The message's fixed struct.  Raises DecodeError when it is cut short."""
    if len(message.payload) < layout.size:
        raise DecodeError(what, need=layout.size, got=len(message.payload))
    return layout.unpack_from(message.payload)


def dump(kind: int, body: bytes, subject: str) -> Request:
    """A request for everything of ``kind`` that the filter in ``body`` lets through."""
    return Request(kind, NLM_F_DUMP, body, subject)


def _sized(value: bytes, size: int) -> bytes:
    if len(value) < size:
        raise DecodeError("netlink attribute", need=size, got=len(value))
    return value[:size]
