"""A capture section to bytes: little-endian blocks, nanosecond stamps, the same bytes for the same value.

Source: IETF draft-ietf-opsawg-pcapng §3, §4.
"""

from collections.abc import Mapping
from struct import pack
from typing import Final

from tulle.model.network import IPAddress
from tulle.wire.pcapng import (
    COMMENT,
    DIRECTIONS,
    IF_DESCRIPTION,
    IF_NAME,
    IF_RESOLUTION,
    INTERFACE,
    IPV4_NAME,
    IPV6_NAME,
    MAGIC,
    NAMES,
    PACKET,
    PACKET_FLAGS,
    RECEPTIONS,
    SECTION,
    USER_APPLICATION,
    Interface,
    Packet,
    Section,
)

_NANOSECONDS: Final = 9
"""As a power of ten."""
_LONGEST_OPTION: Final = 0xFFFF


def encode_section(section: Section) -> bytes:
    """The section as a whole file; texts that are too long for an option are cut at a character."""
    options = _options((COMMENT, section.comment), (USER_APPLICATION, section.application))
    blocks = [_block(SECTION, pack("<IHHq", MAGIC, 1, 0, -1) + options)]
    blocks += [_interface(interface) for interface in section.interfaces]
    blocks += [_names(section.names)] if section.names else []
    blocks += [_block(block.type, block.body) for block in section.blocks]
    blocks += [_packet(packet) for packet in section.packets]
    return b"".join(blocks)


def _block(kind: int, body: bytes) -> bytes:
    body = _padded(body)
    return pack("<II", kind, len(body) + 12) + body + pack("<I", len(body) + 12)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)


def _options(*options: tuple[int, str | bytes]) -> bytes:
    """Those that say something, and the end mark; nothing when none does."""
    told = b""
    for code, value in options:
        data = _cut(value) if isinstance(value, str) else value
        if data:
            told += pack("<HH", code, len(data)) + _padded(data)
    return told + bytes(4) if told else b""


def _cut(text: str) -> bytes:
    """UTF-8 that fits, without half a character."""
    return text.encode(errors="replace")[:_LONGEST_OPTION].decode(errors="ignore").encode()


def _interface(interface: Interface) -> bytes:
    options = _options(
        (IF_NAME, interface.name), (IF_DESCRIPTION, interface.description), (IF_RESOLUTION, bytes([_NANOSECONDS]))
    )
    return _block(INTERFACE, pack("<HHI", interface.link_type, 0, interface.snap_length) + options)


def _names(names: Mapping[IPAddress, str]) -> bytes:
    told = b""
    for address, name in names.items():
        record = address.packed + _cut(name).replace(b"\0", b"?") + b"\0"
        told += pack("<HH", IPV4_NAME if address.version == 4 else IPV6_NAME, len(record)) + _padded(record)
    return _block(NAMES, told + bytes(4))


def _packet(packet: Packet) -> bytes:
    flags = DIRECTIONS.index(packet.direction) | RECEPTIONS.index(packet.reception) << 2
    options = _options((COMMENT, packet.comment), (PACKET_FLAGS, pack("<I", flags) if flags else b""))
    high, low = packet.t_ns >> 32, packet.t_ns & 0xFFFFFFFF
    header = pack("<IIIII", packet.interface, high, low, len(packet.data), packet.length)
    return _block(PACKET, header + _padded(packet.data) + options)
