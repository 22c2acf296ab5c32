"""The part of a link's message that only a VXLAN device has: IFLA_INFO_DATA.

Source: include/uapi/linux/if_link.h ``IFLA_VXLAN_*``.
"""

from dataclasses import dataclass

from tulle.model.network import IPAddress
from tulle.wire.netlink import encode_attribute, parse_attributes
from tulle.wire.rtnetlink.parts import (
    NO_DEVICE,
    IfIndex,
    address_attribute,
    read_address,
    read_be16,
    read_u8,
    read_u32,
    u8_attribute,
    u32_attribute,
)

IFLA_VXLAN_ID, IFLA_VXLAN_GROUP, IFLA_VXLAN_LINK, IFLA_VXLAN_LOCAL, IFLA_VXLAN_TTL = (1, 2, 3, 4, 5)
IFLA_VXLAN_LEARNING, IFLA_VXLAN_AGEING, IFLA_VXLAN_PORT = 7, 8, 15
IFLA_VXLAN_GROUP6, IFLA_VXLAN_LOCAL6, IFLA_VXLAN_GBP, IFLA_VXLAN_COLLECT_METADATA = (16, 17, 23, 25)


@dataclass(frozen=True, slots=True, kw_only=True)
class VxlanInfo:
    """A VXLAN device's own settings.

    ``link`` is the underlay device's index (0: none), ``group`` where frames to unknown MACs go,
    ``ttl`` 0: the kernel's default, ``external``: the tunnel's keys come with each packet.
    """

    vni: int
    link: IfIndex = NO_DEVICE
    local: IPAddress | None = None
    group: IPAddress | None = None
    port: int = 8472
    ttl: int = 0
    learning: bool = True
    gbp: bool = False
    external: bool = False


def decode_vxlan(payload: bytes) -> VxlanInfo:
    """The settings from IFLA_INFO_DATA.  Raises DecodeError."""
    data = parse_attributes(payload)
    return VxlanInfo(
        vni=read_u32(data.get(IFLA_VXLAN_ID)),
        link=IfIndex(read_u32(data.get(IFLA_VXLAN_LINK))),
        local=read_address(data.get(IFLA_VXLAN_LOCAL) or data.get(IFLA_VXLAN_LOCAL6)),
        group=read_address(data.get(IFLA_VXLAN_GROUP) or data.get(IFLA_VXLAN_GROUP6)),
        port=read_be16(data.get(IFLA_VXLAN_PORT)),
        ttl=read_u8(data.get(IFLA_VXLAN_TTL)),
        learning=bool(read_u8(data.get(IFLA_VXLAN_LEARNING))),
        gbp=IFLA_VXLAN_GBP in data,
        external=bool(read_u8(data.get(IFLA_VXLAN_COLLECT_METADATA))),
    )


def encode_vxlan(vxlan: VxlanInfo) -> bytes:
    """The attributes inside IFLA_INFO_DATA."""
    data = u32_attribute(IFLA_VXLAN_ID, vxlan.vni) + u8_attribute(IFLA_VXLAN_LEARNING, int(vxlan.learning))
    data += encode_attribute(IFLA_VXLAN_PORT, vxlan.port.to_bytes(2, "big"))
    data += u32_attribute(IFLA_VXLAN_LINK, vxlan.link) if vxlan.link else b""
    data += u8_attribute(IFLA_VXLAN_TTL, vxlan.ttl) if vxlan.ttl else b""
    data += _either(IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6, vxlan.local)
    data += _either(IFLA_VXLAN_GROUP, IFLA_VXLAN_GROUP6, vxlan.group)
    data += u8_attribute(IFLA_VXLAN_COLLECT_METADATA, 1) if vxlan.external else b""
    return data + (encode_attribute(IFLA_VXLAN_GBP, b"") if vxlan.gbp else b"")


def encode_vxlan_change(vxlan: VxlanInfo) -> bytes:
    """The attributes that the kernel takes for a device that exists: it refuses the port and GBP, even unchanged."""
    data = u32_attribute(IFLA_VXLAN_ID, vxlan.vni) + u8_attribute(IFLA_VXLAN_LEARNING, int(vxlan.learning))
    data += u32_attribute(IFLA_VXLAN_LINK, vxlan.link) if vxlan.link else b""
    return data + _either(IFLA_VXLAN_LOCAL, IFLA_VXLAN_LOCAL6, vxlan.local)


def _either(kind4: int, kind6: int, address: IPAddress | None) -> bytes:
    if address is None:
        return b""
    return address_attribute(kind4 if address.version == 4 else kind6, address)
