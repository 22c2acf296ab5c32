"""Neighbours, and the FDB entries that travel in the same messages: RTM_NEWNEIGH, RTM_DELNEIGH, RTM_GETNEIGH.

Source: include/uapi/linux/neighbour.h.
"""

import struct
from typing import Final, NamedTuple

from tulle.model.network import IPAddress, MacAddress
from tulle.wire.netlink import NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE, Message, Request, parse_attributes
from tulle.wire.rtnetlink.parts import (
    AF_BRIDGE,
    AF_INET,
    AF_INET6,
    NO_DEVICE,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_NEWNEIGH,
    IfIndex,
    address_attribute,
    be16_attribute,
    dump,
    fixed_part,
    mac_attribute,
    read_address,
    read_be16,
    read_mac,
    read_u16,
    read_u32,
    u16_attribute,
    u32_attribute,
)

NDMSG: Final = struct.Struct("=BxxxiHBB")  # family, ifindex, state, flags, type
(NDA_DST, NDA_LLADDR, NDA_VLAN, NDA_PORT, NDA_VNI, NDA_IFINDEX, NDA_MASTER, NDA_FLAGS_EXT) = 1, 2, 5, 6, 7, 8, 9, 15
NUD_INCOMPLETE, NUD_REACHABLE, NUD_STALE, NUD_DELAY, NUD_PROBE = (0x01, 0x02, 0x04, 0x08, 0x10)
NUD_FAILED, NUD_NOARP, NUD_PERMANENT = 0x20, 0x40, 0x80
NTF_SELF, NTF_MASTER, NTF_PROXY, NTF_EXT_LEARNED = 0x02, 0x04, 0x08, 0x10

_MODES: Final = {
    "create": NLM_F_CREATE | NLM_F_EXCL,
    "replace": NLM_F_CREATE | NLM_F_REPLACE,
    "append": NLM_F_CREATE | NLM_F_APPEND,
}


class NeighborMessage(NamedTuple):
    """A neighbour (``family`` IPv4 or IPv6: dst → lladdr) or an FDB entry (AF_BRIDGE: lladdr → dst or port).

    ``master`` is the bridge of a bridge's FDB entry, ``vlan`` 0: none; ``port`` and ``vni`` 0: the
    device's own.  ``flags`` are NTF_*, ``flags_ext`` NTF_EXT_* (kernel 5.16).
    """

    family: int
    ifindex: IfIndex
    dst: IPAddress | None = None
    lladdr: MacAddress | None = None
    state: int = NUD_PERMANENT
    flags: int = 0
    flags_ext: int = 0
    master: IfIndex = NO_DEVICE
    vlan: int = 0
    port: int = 0
    vni: int = 0

    @property
    def permanent(self) -> bool:
        return bool(self.state & NUD_PERMANENT)


def decode_neighbor(message: Message) -> NeighborMessage:
    """An entry from RTM_NEWNEIGH or RTM_DELNEIGH.  Raises DecodeError."""
    family, index, state, flags, _ = fixed_part(message, NDMSG, "ndmsg")
    found = parse_attributes(message.payload, NDMSG.size)
    return NeighborMessage(
        family,
        IfIndex(index),
        read_address(found.get(NDA_DST)),
        read_mac(found.get(NDA_LLADDR)),
        state,
        flags,
        flags_ext=read_u32(found.get(NDA_FLAGS_EXT)),
        master=IfIndex(read_u32(found.get(NDA_MASTER))),
        vlan=read_u16(found.get(NDA_VLAN)),
        port=read_be16(found.get(NDA_PORT)),
        vni=read_u32(found.get(NDA_VNI)),
    )


def encode_neighbor(entry: NeighborMessage) -> bytes:
    """The payload of RTM_NEWNEIGH and RTM_DELNEIGH."""
    body = NDMSG.pack(entry.family, entry.ifindex, entry.state, entry.flags, 0)
    if entry.dst is not None:
        body += address_attribute(NDA_DST, entry.dst)
    if entry.lladdr is not None:
        body += mac_attribute(NDA_LLADDR, entry.lladdr)
    if entry.flags_ext:
        body += u32_attribute(NDA_FLAGS_EXT, entry.flags_ext)
    if entry.vlan:
        body += u16_attribute(NDA_VLAN, entry.vlan)
    if entry.port:
        body += be16_attribute(NDA_PORT, entry.port)
    if entry.vni:
        body += u32_attribute(NDA_VNI, entry.vni)
    if entry.master:
        body += u32_attribute(NDA_MASTER, entry.master)
    return body


def dump_neighbors(*, index: IfIndex = NO_DEVICE, proxy: bool = False) -> Request:
    """All neighbours, or those of one device; ``proxy``: the proxy entries instead."""
    body = NDMSG.pack(0, 0, 0, NTF_PROXY if proxy else 0, 0)
    return dump(RTM_GETNEIGH, body + (u32_attribute(NDA_IFINDEX, index) if index else b""), "list of neighbours")


def dump_fdb(index: IfIndex = NO_DEVICE) -> Request:
    """All FDB entries, or those of one device."""
    return dump(RTM_GETNEIGH, NDMSG.pack(AF_BRIDGE, index, 0, 0, 0), "list of FDB entries")


def get_neighbor(index: IfIndex, dst: IPAddress) -> Request:
    """One neighbour."""
    body = NDMSG.pack(AF_INET if dst.version == 4 else AF_INET6, index, 0, 0, 0)
    return Request(RTM_GETNEIGH, 0, body + address_attribute(NDA_DST, dst), f"neighbour {dst}")


def get_fdb_entry(index: IfIndex, mac: MacAddress, *, master: bool = False, vlan: int = 0) -> Request:
    """One FDB entry of a device, or, with ``master``, of the bridge that it is a port of (kernel 5.0)."""
    body = NDMSG.pack(AF_BRIDGE, index, 0, NTF_MASTER if master else NTF_SELF, 0) + mac_attribute(NDA_LLADDR, mac)
    body += u16_attribute(NDA_VLAN, vlan) if vlan else b""
    return Request(RTM_GETNEIGH, 0, body, f"FDB entry {mac}")


def new_neighbor(entry: NeighborMessage, mode: str = "create", subject: object = None) -> Request:
    """Add an entry: ``create`` (EEXIST when it is there), ``replace`` or ``append`` (another destination of a MAC)."""
    return Request(RTM_NEWNEIGH, _MODES[mode], encode_neighbor(entry), subject)


def del_neighbor(entry: NeighborMessage, subject: object = None) -> Request:
    """Remove an entry."""
    return Request(RTM_DELNEIGH, 0, encode_neighbor(entry), subject)
