"""Devices: RTM_NEWLINK, RTM_DELLINK, RTM_GETLINK.

Source: include/uapi/linux/if_link.h, include/uapi/linux/rtnetlink.h ``struct ifinfomsg``,
include/uapi/linux/veth.h.
"""

import struct
from dataclasses import astuple, dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from tulle.errors import DecodeError
from tulle.model.network import MacAddress
from tulle.wire.netlink import (
    NLM_F_CREATE,
    NLM_F_EXCL,
    Message,
    Request,
    encode_attribute,
    find_attribute,
    nested,
    parse_attributes,
)
from tulle.wire.rtnetlink.parts import (
    AF_BRIDGE,
    AF_UNSPEC,
    NO_DEVICE,
    RTM_DELLINK,
    RTM_GETLINK,
    RTM_NEWLINK,
    RTM_SETLINK,
    IfIndex,
    dump,
    fixed_part,
    mac_attribute,
    read_mac,
    read_s32,
    read_text,
    read_u8,
    read_u32,
    s32_attribute,
    text_attribute,
    u8_attribute,
    u32_attribute,
)
from tulle.wire.rtnetlink.vxlan import VxlanInfo, decode_vxlan, encode_vxlan, encode_vxlan_change

IFINFOMSG: Final = struct.Struct("=BxHiII")  # family, type, index, flags, change
IFF_UP: Final = 0x1
IFF_LOOPBACK: Final = 0x8
IFF_PROMISC: Final = 0x100
IFF_LOWER_UP: Final = 0x10000

IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINK, IFLA_STATS, IFLA_MASTER = (1, 3, 4, 5, 7, 10)
IFLA_PROTINFO, IFLA_OPERSTATE, IFLA_LINKINFO, IFLA_IFALIAS, IFLA_STATS64 = (12, 16, 18, 20, 23)
(IFLA_GROUP, IFLA_NET_NS_FD, IFLA_EXT_MASK, IFLA_PROMISCUITY, IFLA_CARRIER, IFLA_LINK_NETNSID) = 27, 28, 29, 30, 33, 37
IFLA_INFO_KIND, IFLA_INFO_DATA, IFLA_INFO_SLAVE_KIND, IFLA_INFO_SLAVE_DATA = 1, 2, 4, 5
IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES = 31, 32
IFLA_BRPORT_MODE = 4
IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE, IFLA_BR_MULTI_BOOLOPT = 1, 5, 46
BOOLEAN_OPTIONS: Final = struct.Struct("=II")
"""Values, and which of them are meant.  Source: ``struct br_boolopt_multi``, linux/if_bridge.h."""
NO_LINKLOCAL_LEARN: Final = 1
VETH_INFO_PEER = 1
RTEXT_FILTER_SKIP_STATS: Final = 1 << 3
STATISTICS: Final = struct.Struct("=8Q")


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkStatistics:
    """The device's counters since it was made, without those of its driver.  Source: ``struct rtnl_link_stats64``."""

    rx_packets: int
    tx_packets: int
    rx_bytes: int
    tx_bytes: int
    rx_errors: int
    tx_errors: int
    rx_dropped: int
    tx_dropped: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkMessage:
    """A device.

    ``kind`` is IFLA_INFO_KIND ("" for a NIC or ``lo``); ``link`` a veth's peer or a tunnel's lower device, and
    ``link_netnsid`` the namespace id that this index is in (None: this namespace; −1: one that
    has no id here).  ``operstate`` is RFC 2863's as the kernel numbers it (6: up; 0: unknown, as
    tunnels are).  ``statistics`` is None when the kernel was asked to skip them.
    """

    index: IfIndex
    name: str
    kind: str = ""
    mtu: int = 0
    mac: MacAddress | None = None
    flags: int = 0
    master: IfIndex = NO_DEVICE
    alias: str = ""
    link: IfIndex = NO_DEVICE
    link_netnsid: int | None = None
    vxlan: VxlanInfo | None = None
    hairpin: bool = False
    linklocal_learning: bool = True
    operstate: int = 0
    carrier: bool = False
    promiscuity: int = 0
    statistics: LinkStatistics | None = None

    @property
    def up(self) -> bool:
        """Set up by an administrator, whether or not there is a carrier."""
        return bool(self.flags & IFF_UP)

    @property
    def promiscuous(self) -> bool:
        """Set so by an administrator; a bridge's port is so without it (``promiscuity``)."""
        return bool(self.flags & IFF_PROMISC)

    @property
    def lower_up(self) -> bool:
        """There is a carrier below."""
        return bool(self.flags & IFF_LOWER_UP)


def decode_link(message: Message) -> LinkMessage:
    """A device from RTM_NEWLINK or RTM_DELLINK.  Raises DecodeError."""
    fixed_part(message, IFINFOMSG, "ifinfomsg")
    return _decoded(message.payload)


@lru_cache(maxsize=32)
def _decoded(payload: bytes) -> LinkMessage:
    """Kept for some devices: one whose counters were not asked for answers the same before each pass."""
    _, _, index, flags, _ = IFINFOMSG.unpack_from(payload)
    found = parse_attributes(payload, IFINFOMSG.size)
    info = parse_attributes(found.get(IFLA_LINKINFO, b""))
    kind = read_text(info.get(IFLA_INFO_KIND))
    netnsid = found.get(IFLA_LINK_NETNSID)
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
        link_netnsid=None if netnsid is None else read_s32(netnsid),
        vxlan=decode_vxlan(info.get(IFLA_INFO_DATA, b"")) if kind == "vxlan" else None,
        hairpin=_hairpin(info),
        linklocal_learning=_linklocal_learning(kind, info),
        operstate=read_u8(found.get(IFLA_OPERSTATE)),
        carrier=bool(read_u8(found.get(IFLA_CARRIER))),
        promiscuity=read_u32(found.get(IFLA_PROMISCUITY)),
        statistics=_statistics(found.get(IFLA_STATS64)),
    )


def decode_identity(message: Message) -> tuple[IfIndex, str]:
    """A device's number and name, from RTM_NEWLINK or RTM_DELLINK: a tenth of the whole.  Raises DecodeError."""
    _, _, index, _, _ = fixed_part(message, IFINFOMSG, "ifinfomsg")
    return IfIndex(index), read_text(find_attribute(message.payload, IFLA_IFNAME, IFINFOMSG.size))


def decode_deleted(message: Message) -> IfIndex | None:
    """The device that is no more, of an announcement; None when it tells of something else.  Raises DecodeError.

    A port that leaves its bridge is announced as an RTM_DELLINK of AF_BRIDGE.
    """
    if message.kind != RTM_DELLINK:
        return None
    family, _, index, _, _ = fixed_part(message, IFINFOMSG, "ifinfomsg")
    return IfIndex(index) if family == AF_UNSPEC else None


def encode_link(link: LinkMessage) -> bytes:
    """The payload of the RTM_NEWLINK with which the kernel announces ``link``: what ``decode_link`` reads."""
    parts = [
        IFINFOMSG.pack(AF_UNSPEC, 0, link.index, link.flags, 0),
        text_attribute(IFLA_IFNAME, link.name),
        u32_attribute(IFLA_MTU, link.mtu),
        u8_attribute(IFLA_OPERSTATE, link.operstate),
        u8_attribute(IFLA_CARRIER, int(link.carrier)),
        u32_attribute(IFLA_PROMISCUITY, link.promiscuity),
        _encoded_info(link),
        b"" if link.mac is None else mac_attribute(IFLA_ADDRESS, link.mac),
        u32_attribute(IFLA_MASTER, link.master) if link.master else b"",
        u32_attribute(IFLA_LINK, link.link) if link.link else b"",
        b"" if link.link_netnsid is None else s32_attribute(IFLA_LINK_NETNSID, link.link_netnsid),
        text_attribute(IFLA_IFALIAS, link.alias) if link.alias else b"",
    ]
    if link.statistics is not None:
        parts.append(encode_attribute(IFLA_STATS64, STATISTICS.pack(*astuple(link.statistics))))
    return b"".join(parts)


def dump_links(*, statistics: bool = False) -> Request:
    """All devices of the namespace."""
    body = IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0)
    mask = 0 if statistics else RTEXT_FILTER_SKIP_STATS
    return dump(RTM_GETLINK, body + u32_attribute(IFLA_EXT_MASK, mask), "list of links")


def get_link(device: str | IfIndex, *, statistics: bool = False) -> Request:
    """One device, by name or index."""
    mask = u32_attribute(IFLA_EXT_MASK, 0 if statistics else RTEXT_FILTER_SKIP_STATS)
    if isinstance(device, str):
        body = IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0) + mask + text_attribute(IFLA_IFNAME, device)
    else:
        body = IFINFOMSG.pack(AF_UNSPEC, 0, device, 0, 0) + mask
    return Request(RTM_GETLINK, 0, body, f"link {device}")


class LinkSettings(NamedTuple):
    """What can be given at creation and set later; None leaves it as it is.

    ``master`` 0 frees a port from its bridge, ``alias`` "" removes it; ``group`` is for
    ``del_links_of_group``.  The kernel ignores ``alias`` at creation: give it by ``set_link``.
    """

    mtu: int | None = None
    mac: MacAddress | None = None
    up: bool | None = None
    promiscuous: bool | None = None
    master: IfIndex | None = None
    alias: str | None = None
    group: int | None = None

    def attributes(self) -> bytes:
        parts = (
            b"" if self.mtu is None else u32_attribute(IFLA_MTU, self.mtu),
            b"" if self.mac is None else mac_attribute(IFLA_ADDRESS, self.mac),
            b"" if self.master is None else u32_attribute(IFLA_MASTER, self.master),
            b"" if self.alias is None else encode_attribute(IFLA_IFALIAS, self.alias.encode()),
            b"" if self.group is None else u32_attribute(IFLA_GROUP, self.group),
        )
        return b"".join(parts)

    def header(self, index: IfIndex, family: int = AF_UNSPEC) -> bytes:
        flags = (IFF_UP if self.up else 0) | (IFF_PROMISC if self.promiscuous else 0)
        change = (0 if self.up is None else IFF_UP) | (0 if self.promiscuous is None else IFF_PROMISC)
        return IFINFOMSG.pack(family, 0, index, flags, change)


NO_SETTINGS: Final = LinkSettings()
ONE_QUEUE: Final = u32_attribute(IFLA_NUM_TX_QUEUES, 1) + u32_attribute(IFLA_NUM_RX_QUEUES, 1)


def new_vxlan(name: str, vxlan: VxlanInfo, settings: LinkSettings) -> Request:
    """Make a VXLAN device."""
    return _new(name, "vxlan", encode_vxlan(vxlan), settings)


def new_bridge(name: str, settings: LinkSettings, *, linklocal_learning: bool = True) -> Request:
    """Make a bridge that forwards at once: no spanning tree, no forward delay."""
    data = u32_attribute(IFLA_BR_FORWARD_DELAY, 0) + u32_attribute(IFLA_BR_STP_STATE, 0)
    data += b"" if linklocal_learning else _without_linklocal_learning()
    return _new(name, "bridge", data, settings)


def new_veth(
    name: str, settings: LinkSettings, *, peer: str, peer_settings: LinkSettings, peer_netns_fd: int | None = None
) -> Request:
    """Make a pair; the peer is created directly in the namespace of ``peer_netns_fd`` (None: this one).

    With one queue in each direction, which is what the kernel uses unless it is told otherwise: it would make as many
    as there are CPUs, each with its folder in sysfs, and take all but one away again (drivers/net/veth.c).
    """
    inner = peer_settings.header(NO_DEVICE) + peer_settings.attributes() + ONE_QUEUE + text_attribute(IFLA_IFNAME, peer)
    if peer_netns_fd is not None:
        inner += u32_attribute(IFLA_NET_NS_FD, peer_netns_fd)
    return _new(name, "veth", nested(VETH_INFO_PEER, inner), settings, ONE_QUEUE)


def set_link(
    device: IfIndex | str, settings: LinkSettings, subject: object = None, *, hairpin: bool | None = None
) -> Request:
    """Set what ``settings`` names on an existing device; by its name, one batch can make and set it.

    ``hairpin`` is for a port of a bridge, as in ``set_hairpin``.
    """
    name = text_attribute(IFLA_IFNAME, device) if isinstance(device, str) else b""
    body = settings.header(NO_DEVICE if isinstance(device, str) else device) + name + settings.attributes()
    if hairpin is not None:
        body += nested(IFLA_LINKINFO, _port(hairpin))
    return Request(RTM_NEWLINK, 0, body, f"link {device}" if subject is None else subject)


def set_vxlan(index: IfIndex, vxlan: VxlanInfo, subject: object = None) -> Request:
    """Change what the kernel can change on a VXLAN device: local address, underlay device, learning."""
    info = text_attribute(IFLA_INFO_KIND, "vxlan") + nested(IFLA_INFO_DATA, encode_vxlan_change(vxlan))
    return Request(RTM_NEWLINK, 0, IFINFOMSG.pack(AF_UNSPEC, 0, index, 0, 0) + nested(IFLA_LINKINFO, info), subject)


def stop_linklocal_learning(index: IfIndex, subject: object = None) -> Request:
    """Make a bridge learn nothing from frames to 01:80:c2:00:00:0x; from Linux 5.0 on."""
    info = text_attribute(IFLA_INFO_KIND, "bridge") + nested(IFLA_INFO_DATA, _without_linklocal_learning())
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


def del_links_of_group(group: int, subject: object = None) -> Request:
    """Remove every device of a group: one wait of the kernel's for all, where each ``del_link`` has its own."""
    return Request(RTM_DELLINK, 0, IFINFOMSG.pack(AF_UNSPEC, 0, 0, 0, 0) + u32_attribute(IFLA_GROUP, group), subject)


def _new(name: str, kind: str, data: bytes, settings: LinkSettings, more: bytes = b"") -> Request:
    info = text_attribute(IFLA_INFO_KIND, kind) + nested(IFLA_INFO_DATA, data)
    body = settings.header(NO_DEVICE) + text_attribute(IFLA_IFNAME, name) + settings.attributes() + more
    return Request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body + nested(IFLA_LINKINFO, info), f"link {name}")


def _encoded_info(link: LinkMessage) -> bytes:
    info = text_attribute(IFLA_INFO_KIND, link.kind) if link.kind else b""
    info += nested(IFLA_INFO_DATA, encode_vxlan(link.vxlan)) if link.vxlan is not None else b""
    info += b"" if link.linklocal_learning else nested(IFLA_INFO_DATA, _without_linklocal_learning())
    info += _port(hairpin=True) if link.hairpin else b""
    return nested(IFLA_LINKINFO, info) if info else b""


@lru_cache
def _port(hairpin: bool) -> bytes:
    data = nested(IFLA_INFO_SLAVE_DATA, u8_attribute(IFLA_BRPORT_MODE, int(hairpin)))
    return text_attribute(IFLA_INFO_SLAVE_KIND, "bridge") + data


def _without_linklocal_learning() -> bytes:
    return encode_attribute(IFLA_BR_MULTI_BOOLOPT, BOOLEAN_OPTIONS.pack(NO_LINKLOCAL_LEARN, NO_LINKLOCAL_LEARN))


def _linklocal_learning(kind: str, info: dict[int, bytes]) -> bool:
    """Kernels before the option learn."""
    if kind != "bridge":
        return True
    options = parse_attributes(info.get(IFLA_INFO_DATA, b"")).get(IFLA_BR_MULTI_BOOLOPT, b"")
    return len(options) != BOOLEAN_OPTIONS.size or not BOOLEAN_OPTIONS.unpack(options)[0] & NO_LINKLOCAL_LEARN


def _hairpin(info: dict[int, bytes]) -> bool:
    if read_text(info.get(IFLA_INFO_SLAVE_KIND)) != "bridge":
        return False
    return bool(read_u8(parse_attributes(info.get(IFLA_INFO_SLAVE_DATA, b"")).get(IFLA_BRPORT_MODE)))


def _statistics(value: bytes | None) -> LinkStatistics | None:
    if value is None:
        return None
    if len(value) < STATISTICS.size:
        raise DecodeError("rtnl_link_stats64", need=STATISTICS.size, got=len(value))
    names = LinkStatistics.__dataclass_fields__
    return LinkStatistics(**dict(zip(names, STATISTICS.unpack_from(value), strict=True)))
