"""Devices: RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK.

Source: include/uapi/linux/if_link.h, include/uapi/linux/rtnetlink.h ``struct ifinfomsg``,
include/uapi/linux/veth.h.
"""

import struct
from dataclasses import dataclass
from typing import Final

from tulle.model.network import IPAddress, MacAddress
from tulle.wire.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Request,
    encode_attribute,
    nested,
    parse_attributes,
)
from tulle.wire.rtnetlink.parts import (
    AF_BRIDGE,
    AF_UNSPEC,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_SETLINK,
    IfIndex,
    address_attribute,
    dump,
    fixed_part,
    mac_attribute,
    read_address,
    read_be16,
    read_mac,
    read_text,
    read_u8,
    read_u32,
    text_attribute,
    u8_attribute,
    u32_attribute,
)

IFINFOMSG: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change
IFF_UP: Final = 0x1
IFF_LOOPBACK: Final = 0x8
IFF_LOWER_UP: Final = 0x10000

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_STATS, IFLA_MASTER = 1, 3, 4, 5, 7, 10
IFLA_PROTINFO, IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_STATS64 = 12, 16, 18, 20, 23
IFLA_AF_SPEC, IFLA_NET_NS_FD, IFLA_EXT_MASK, IFLA_LINK_NETNSID = 26, 28, 29, 37
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_VXLAN_ID, IFLA_VXLAN_LINK, IFLA_VXLAN_LOCAL, IFLA_VXLAN_LEARNING, IFLA_VXLAN_PORT = 1, 3, 4, 7, 15
IFLA_VXLAN_LOCAL6, IFLA_VXLAN_GBP = 17, 23
IFLA_BRPORT_MODE = 4
IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE = 1, 5
VETH_INFO_PEER = 1
RTEXT_FILTER_SKIP_STATS: Final = 1 << 3


@dataclass(frozen=True, slots=True, kw_only=True)
class VxlanInfo:
    """IFLA_INFO_DATA of a VXLAN device; ``link`` is the underlay device's index (0: none)."""

    vni: int
    link: IfIndex = IfIndex(0)
    local: IPAddress | None = None
    port: int = 8472
    learning: bool = True
    gbp: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMessage:
    """A device.

    ``kind`` is IFLA_INFO_KIND ("" for a NIC or ``lo``); ``link`` a veth's peer or a tunnel's lower device, and
    ``link_netnsid`` the namespace id that this index is in (None: this namespace).  ``tx_dropped``
    and ``rx_dropped`` are 0 when the kernel was asked to skip statistics.
    """

    index: IfIndex
    name: str
    kind: str = ""
    mtu: int = 0
    mac: MacAddress | None = None
    flags: int = 0
    master: IfIndex = IfIndex(0)
    alias: str = ""
    link: IfIndex = IfIndex(0)
    link_netnsid: int | None = None
    vxlan: VxlanInfo | None = None
    hairpin: bool = False
    operstate: int = 0
    rx_dropped: int = 0
    tx_dropped: int = 0

    @property
    def up(self) -> bool:
        """Set up by an administrator, whether or not there is a carrier."""
        return bool(self.flags & IFF_UP)


def decode_link(message: Message) -> LinkMessage:
    """A device from RTM_NEWLINK or RTM_DELLINK.  Raises DecodeError."""
    _, _, index, flags, _ = fixed_part(message, IFINFOMSG, "ifinfomsg")
    found = parse_attributes(message.payload, IFINFOMSG.size)
    info = parse_attributes(found.get(IFLA_LINKINFO, b""))
    kind = read_text(info.get(IFLA_INFO_KIND))
    netnsid = found.get(IFLA_LINK_NETNSID)
    rx_dropped, tx_dropped = _drops(found.get(IFLA_STATS64, b""))
    return LinkMessage(
        index=IfIndex(index),
        name=read_text(found.get(IFLA_IFNAME)),
        kind=kind,
        mtu=read_u32(found.get(IFLA_MTU)),
        mac=read_mac(found.get(IFLA_ADDRESS)),
        flags=flags,
        master=IfIndex(read_u32(found.get(IFLA_MASTER))),
        alias=read_text(found.get(IFLA_IFALIAS)),
        link=IfIndex(read_u32(found.get(IFLA_LINK))),
        link_netnsid=None if netnsid is None else read_u32(netnsid),
        vxlan=_vxlan(info.get(IFLA_INFO_DATA, b"")) if kind == "vxlan" else None,
        hairpin=_hairpin(info),
        operstate=read_u8(found.get(IFLA_OPERSTATE)),
        rx_dropped=rx_dropped,
        tx_dropped=tx_dropped,
    )


def dump_links(*, statistics: bool = False) -> Request:
    """All devices of the namespace."""
    body = IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0)
    mask = 0 if statistics else RTEXT_FILTER_SKIP_STATS
    return dump(RTM_GETLINK, body + u32_attribute(IFLA_EXT_MASK, mask), "list of links")


def get_link(name: str) -> Request:
    """One device by name."""
    body = IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0)
    mask = u32_attribute(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS)
    return Request(RTM_GETLINK, 0, body + mask + text_attribute(IFLA_IFNAME, name), f"link {name}")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkSettings:
    """What can be given at creation and set later; None leaves it as it is."""

    mtu: int | None = None
    mac: MacAddress | None = None
    up: bool | None = None
    master: IfIndex | None = None
    alias: str | None = None

    def attributes(self) -> bytes:
        parts = (
            b"" if self.mtu is None else u32_attribute(IFLA_MTU, self.mtu),
            b"" if self.mac is None else mac_attribute(IFLA_ADDRESS, self.mac),
            b"" if self.master is None else u32_attribute(IFLA_MASTER, self.master),
            b"" if self.alias is None else encode_attribute(IFLA_IFALIAS, self.alias.encode()),
        )
        return b"".join(parts)

    def header(self, index: IfIndex, family: int = AF_UNSPEC) -> bytes:
        flags = IFF_UP if self.up else 0
        change = 0 if self.up is None else IFF_UP
        return IFINFOMSG.pack(family, 0, index, flags, change)


def new_vxlan(name: str, vxlan: VxlanInfo, settings: LinkSettings) -> Request:
    """Make a VXLAN device.

    Over IPv6 it also takes datagrams without a UDP checksum, as RFC 6935 allows, since the peer's
    kernel may leave it out.
    """
    return _new(name, "vxlan", vxlan_data(vxlan), settings)


def new_bridge(name: str, settings: LinkSettings) -> Request:
    """Make a bridge that forwards at once: no spanning tree, no forward delay."""
    data = u32_attribute(IFLA_BR_FORWARD_DELAY, 0) + u32_attribute(IFLA_BR_STP_STATE, 0)
    return _new(name, "bridge", data, settings)


def new_veth(
    name: str, settings: LinkSettings, *, peer: str, peer_settings: LinkSettings, peer_netns_fd: int | None = None
) -> Request:
    """Make a pair; the peer is created directly in the namespace of ``peer_netns_fd`` (None: this one)."""
    inner = peer_settings.header(IfIndex(0)) + peer_settings.attributes() + text_attribute(IFLA_IFNAME, peer)
    if peer_netns_fd is not None:
        inner += u32_attribute(IFLA_NET_NS_FD, peer_netns_fd)
    return _new(name, "veth", nested(VETH_INFO_PEER, inner), settings)


def set_link(index: IfIndex, settings: LinkSettings, subject: object = None) -> Request:
    """Set what ``settings`` names on an existing device."""
    return Request(RTM_NEWLINK, 0, settings.header(index) + settings.attributes(), subject)


def set_vxlan(index: IfIndex, vxlan: VxlanInfo, subject: object = None) -> Request:
    """Change what the kernel can change on a VXLAN device: local address, underlay device, learning."""
    info = text_attribute(IFLA_INFO_KIND, "vxlan") + nested(IFLA_INFO_DATA, vxlan_data(vxlan))
    return Request(RTM_NEWLINK, 0, IFINFOMSG.pack(AF_UNSPEC, 0, index, 0, 0) + nested(IFLA_LINKINFO, info), subject)


def set_name_and_netns(index: IfIndex, *, name: str | None = None, netns_fd: int | None = None) -> Request:
    """Rename a device, move it to another namespace, or both."""
    body = IFINFOMSG.pack(AF_UNSPEC, 0, index, 0, 0)
    body += b"" if name is None else text_attribute(IFLA_IFNAME, name)
    body += b"" if netns_fd is None else u32_attribute(IFLA_NET_NS_FD, netns_fd)
    return Request(RTM_NEWLINK, 0, body, f"link {index}")


def set_hairpin(index: IfIndex, *, on: bool, subject: object = None) -> Request:
    """May a bridge port send a frame back where it came from?"""
    body = IFINFOMSG.pack(AF_BRIDGE, 0, index, 0, 0) + nested(IFLA_PROTINFO, u8_attribute(IFLA_BRPORT_MODE, int(on)))
    return Request(RTM_SETLINK, 0, body, subject)


def del_link(index: IfIndex, subject: object = None) -> Request:
    """Remove a device and everything on it."""
    return Request(RTM_DELLINK, 0, IFINFOMSG.pack(AF_UNSPEC, 0, index, 0, 0), subject)


def vxlan_data(vxlan: VxlanInfo) -> bytes:
    """IFLA_INFO_DATA of a VXLAN device."""
    data = u32_attribute(IFLA_VXLAN_ID, vxlan.vni) + u8_attribute(IFLA_VXLAN_LEARNING, int(vxlan.learning))
    data += encode_attribute(IFLA_VXLAN_PORT, vxlan.port.to_bytes(2, "big"))
    if vxlan.link:
        data += u32_attribute(IFLA_VXLAN_LINK, vxlan.link)
    if vxlan.local is not None:
        kind = IFLA_VXLAN_LOCAL if vxlan.local.version == 4 else IFLA_VXLAN_LOCAL6
        data += address_attribute(kind, vxlan.local)
    return data + (encode_attribute(IFLA_VXLAN_GBP, b"") if vxlan.gbp else b"")


def _new(name: str, kind: str, data: bytes, settings: LinkSettings) -> Request:
    info = text_attribute(IFLA_INFO_KIND, kind) + nested(IFLA_INFO_DATA, data)
    body = settings.header(IfIndex(0)) + text_attribute(IFLA_IFNAME, name) + settings.attributes()
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body + nested(IFLA_LINKINFO, info), f"link {name}")


def _vxlan(payload: bytes) -> VxlanInfo:
    data = parse_attributes(payload)
    local = data.get(IFLA_VXLAN_LOCAL) or data.get(IFLA_VXLAN_LOCAL6)
    return VxlanInfo(
        vni=read_u32(data.get(IFLA_VXLAN_ID)),
        link=IfIndex(read_u32(data.get(IFLA_VXLAN_LINK))),
        local=read_address(local),
        port=read_be16(data.get(IFLA_VXLAN_PORT)),
        learning=bool(read_u8(data.get(IFLA_VXLAN_LEARNING))),
        gbp=IFLA_VXLAN_GBP in data,
    )


def _hairpin(info: dict[int, bytes]) -> bool:
    if read_text(info.get(IFLA_INFO_SLAVE_KIND)) != "bridge":
        return False
    return bool(read_u8(parse_attributes(info.get(IFLA_INFO_SLAVE_DATA, b"")).get(IFLA_BRPORT_MODE)))


def _drops(stats: bytes) -> tuple[int, int]:
    """(rx_dropped, tx_dropped) of ``struct rtnl_link_stats64``, its seventh and eighth counters."""
    return struct.unpack_from("=QQ", stats, 48) if len(stats) >= 64 else (0, 0)
