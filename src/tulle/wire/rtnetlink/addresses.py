"""Addresses on devices: RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR.

Source: include/uapi/linux/if_addr.h.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Final

from tulle.errors import DecodeError
from tulle.wire.netlink import NLM_F_CREATE, NLM_F_EXCL, Message, Request, parse_attributes
from tulle.wire.rtnetlink.parts import (
    AF_INET,
    AF_INET6,
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
IFA_ADDRESS, IFA_LOCAL, IFA_FLAGS = 1, 2, 8
IFA_F_NODAD: Final = 0x02
IFA_F_PERMANENT: Final = 0x80


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressMessage:
    """An address; ``interface`` has the host bits and the prefix length."""

    index: IfIndex
    interface: IPv4Interface | IPv6Interface
    scope: int = 0
    flags: int = IFA_F_PERMANENT

    @property
    def permanent(self) -> bool:
        """Without a lifetime."""
        return bool(self.flags & IFA_F_PERMANENT)


def decode_address(message: Message) -> AddressMessage:
    """An address from RTM_NEWADDR or RTM_DELADDR.  Raises DecodeError."""
    _, prefixlen, short_flags, scope, index = fixed_part(message, IFADDRMSG, "ifaddrmsg")
    found = parse_attributes(message.payload, IFADDRMSG.size)
    address = read_address(found.get(IFA_LOCAL) or found.get(IFA_ADDRESS))
    if address is None or prefixlen > address.max_prefixlen:
        raise DecodeError("ifaddrmsg", address=address, prefixlen=prefixlen)
    return AddressMessage(
        index=IfIndex(index),
        interface=ip_interface((address, prefixlen)),
        scope=scope,
        flags=read_u32(found.get(IFA_FLAGS), short_flags),
    )


def dump_addresses(index: IfIndex = IfIndex(0)) -> Request:
    """All addresses, or those of one device (the kernel filters, on a strict socket)."""
    return dump(RTM_GETADDR, IFADDRMSG.pack(0, 0, 0, 0, index), "list of addresses")


def new_address(address: AddressMessage, subject: object = None) -> Request:
    """Add an address; the kernel refuses (EEXIST) when it is there."""
    return Request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, _body(address), subject)


def del_address(address: AddressMessage, subject: object = None) -> Request:
    """Remove an address.  IPv4 routes that use it as their source go without an announcement."""
    return Request(RTM_DELADDR, 0, _body(address), subject)


def _body(address: AddressMessage) -> bytes:
    ip = address.interface.ip
    family = AF_INET if ip.version == 4 else AF_INET6
    header = IFADDRMSG.pack(family, address.interface.network.prefixlen, 0, address.scope, address.index)
    local = address_attribute(IFA_LOCAL, ip) + address_attribute(IFA_ADDRESS, ip)
    return header + local + u32_attribute(IFA_FLAGS, address.flags)
