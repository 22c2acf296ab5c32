"""Capture files in the pcapng format, as values and back: sections, interfaces, packets, names, comments.

One ``Section`` is one file's worth of packets with their interfaces.  Writing is in
``pcapng_encode``, reading in ``pcapng_decode``.
Source: IETF draft-ietf-opsawg-pcapng (block types §4, options §3.5).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from tulle.model.network import IPAddress

LINK_ETHERNET: Final = 1
LINK_RAW_IP: Final = 101
"""Link types.  Source: the tcpdump group's list of link-layer header types."""

SECTION: Final = 0x0A0D0D0A
INTERFACE: Final = 1
SIMPLE_PACKET: Final = 3
NAMES: Final = 4
PACKET: Final = 6
LOCAL_USE: Final = 0x80000000
"""Block types with this bit are nobody's: readers that do not know one skip it."""

Direction: TypeAlias = Literal["in", "out", ""]
Reception: TypeAlias = Literal["", "unicast", "multicast", "broadcast", "promiscuous"]
DIRECTIONS: Final[tuple[Direction, ...]] = ("", "in", "out", "")
RECEPTIONS: Final[tuple[Reception, ...]] = ("", "unicast", "multicast", "broadcast", "promiscuous", "", "", "")
"""By their number in a packet's flags."""

MAGIC: Final = 0x1A2B3C4D
COMMENT: Final = 1
USER_APPLICATION: Final = 4
IF_NAME: Final = 2
IF_DESCRIPTION: Final = 3
IF_RESOLUTION: Final = 9
IF_OFFSET: Final = 14
PACKET_FLAGS: Final = 2
"""Codes of options, each in its own kind of block."""
IPV4_NAME: Final = 1
IPV6_NAME: Final = 2
"""Records of a name block."""
LARGEST_BLOCK: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """Where packets were captured."""

    name: str
    description: str = ""
    link_type: int = LINK_ETHERNET
    snap_length: int = 0
    """0: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One captured frame.  ``interface`` is an index; ``length`` the frame's own: ``data`` may be its start."""

    interface: int
    t_ns: int
    length: int
    data: bytes
    direction: Direction = ""
    reception: Reception = ""
    comment: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalBlock:
    """A block of our own: ``type`` has the ``LOCAL_USE`` bit."""

    type: int
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One section of a file; ``names`` are what addresses are called, ``blocks`` ours of local use."""

    interfaces: tuple[Interface, ...] = ()
    packets: tuple[Packet, ...] = ()
    names: Mapping[IPAddress, str] = field(default_factory=dict[IPAddress, str])
    comment: str = ""
    application: str = ""
    blocks: tuple[LocalBlock, ...] = ()
