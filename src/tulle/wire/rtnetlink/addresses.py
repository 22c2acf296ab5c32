"""Addresses on devices: RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR.

Source: include/uapi/linux/if_addr.h.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Final

from tulle.errors import DecodeError
from tulle.model.network import IPAddress
from tulle.wire.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    Request,
    encode_attribute,
    parse_attributes,
)
from tulle.wire.rtnetlink.parts import (
    AF_INET,
    AF_INET6,
    NO_DEVICE,
    RTM_DELADDR,
    RTM_GETADDR,
    RTM_NEWADDR,
    IfIndex,
    address_attribute,
    dump,
    fixed_part,
    read_address,
    read_u32,
    u32_attribute,
)

IFADDRMSG: Final = struct.Struct("=BBBBI")  # family, prefixlen, flags, scope, index
CACHEINFO: Final = struct.Struct("=IIII")  # preferred, valid, created, updated
FOREVER: Final = 0xFFFFFFFF
IFA_ADDRESS, IFA_LOCAL, IFA_CACHEINFO, IFA_FLAGS = 1, 2, 6, 8
IFA_F_SECONDARY: Final = 0x01
"""IPv4: not the first of its prefix.  The same bit is IFA_F_TEMPORARY on IPv6."""
IFA_F_NODAD: Final = 0x02
IFA_F_DEPRECATED: Final = 0x20
IFA_F_PERMANENT: Final = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressMessage:
    """An address; ``interface`` has the host bits and the prefix length.

    ``peer`` is the other end's address on a point-to-point device, whose prefix length
    ``interface`` then has; None: an ordinary address.  Lifetimes None: for ever.
    """

    index: IfIndex
    interface: IPv4Interface | IPv6Interface
    peer: IPAddress | None = None
    scope: int = 0
    flags: int = IFA_F_PERMANENT
    valid_s: int | None = None
    preferred_s: int | None = None

    @property
    def permanent(self) -> bool:
        """Without a lifetime."""
        return bool(self.flags & IFA_F_PERMANENT)


def decode_address(message: Message) -> AddressMessage:
    """An address from RTM_NEWADDR or RTM_DELADDR.  Raises DecodeError."""
    _, prefixlen, short_flags, scope, index = fixed_part(message, IFADDRMSG, "ifaddrmsg")
    found = parse_attributes(message.payload, IFADDRMSG.size)
    local, peer = found.get(IFA_LOCAL), found.get(IFA_ADDRESS)
    interface = _interface(peer if local is None else local, prefixlen)
    preferred_s, valid_s = _lifetimes(found.get(IFA_CACHEINFO))
    return AddressMessage(
        index=IfIndex(index),
        interface=interface,
        peer=None if local is None or local == peer else read_address(peer),
        scope=scope,
        flags=read_u32(found.get(IFA_FLAGS), short_flags),
        valid_s=valid_s,
        preferred_s=preferred_s,
    )


@lru_cache(maxsize=1024)
def _interface(packed: bytes | None, prefixlen: int) -> IPv4Interface | IPv6Interface:
    """The same few are read with every look at a bridge.  Raises DecodeError."""
    address = read_address(packed)
    if address is None or prefixlen > address.max_prefixlen:
        raise DecodeError("ifaddrmsg", address=address, prefixlen=prefixlen)
    return ip_interface((address, prefixlen))


def encode_address(address: AddressMessage) -> bytes:
    """The payload of RTM_NEWADDR and RTM_DELADDR."""
    interface = address.interface
    family = AF_INET if isinstance(interface, IPv4Interface) else AF_INET6
    prefixlen = interface.network.prefixlen
    header = IFADDRMSG.pack(family, prefixlen, address.flags & 0xFF, address.scope, address.index)
    local = address_attribute(IFA_LOCAL, interface) + address_attribute(IFA_ADDRESS, address.peer or interface)
    body = header + local + u32_attribute(IFA_FLAGS, address.flags)
    if address.valid_s is None and address.preferred_s is None:
        return body
    valid_s = FOREVER if address.valid_s is None else address.valid_s
    preferred_s = FOREVER if address.preferred_s is None else address.preferred_s
    return body + encode_attribute(IFA_CACHEINFO, CACHEINFO.pack(preferred_s, valid_s, 0, 0))


def dump_addresses(index: IfIndex = NO_DEVICE) -> Request:
    """All addresses, or those of one device (the kernel filters, on a strict socket)."""
    return dump(RTM_GETADDR, IFADDRMSG.pack(0, 0, 0, 0, index), "list of addresses")


def new_address(address: AddressMessage, *, replace: bool = False, subject: object = None) -> Request:
    """Add an address; the kernel refuses (EEXIST) when it is there.  With ``replace`` its lifetimes are set then."""
    flags = NLM_F_CREATE | (NLM_F_REPLACE if replace else NLM_F_EXCL)
    return Request(RTM_NEWADDR, flags, encode_address(address), subject)


def del_address(address: AddressMessage, subject: object = None) -> Request:
    """Remove an address.  IPv4 routes that use it as their source go without an announcement."""
    return Request(RTM_DELADDR, 0, encode_address(address), subject)


def _lifetimes(value: bytes | None) -> tuple[int | None, int | None]:
    """(preferred, valid) in seconds."""
    if value is None:
        return None, None
    if len(value) < CACHEINFO.size:
        raise DecodeError("ifa_cacheinfo", need=CACHEINFO.size, got=len(value))
    preferred_s, valid_s, _, _ = CACHEINFO.unpack_from(value)
    return (None if preferred_s == FOREVER else preferred_s, None if valid_s == FOREVER else valid_s)
