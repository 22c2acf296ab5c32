"""Capture sections from bytes: any bytes give values or ``DecodeError``, never another exception.

Either byte order, any resolution of time; blocks and options that are not ``pcapng``'s are left out.
Source: IETF draft-ietf-opsawg-pcapng §3, §4.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from struct import Struct, pack
from typing import Literal

from tulle.errors import DecodeError
from tulle.wire.pcapng import (
    COMMENT,
    DIRECTIONS,
    IF_DESCRIPTION,
    IF_NAME,
    IF_OFFSET,
    IF_RESOLUTION,
    INTERFACE,
    IPV4_NAME,
    IPV6_NAME,
    LARGEST_BLOCK,
    LOCAL_USE,
    MAGIC,
    NAMES,
    PACKET,
    PACKET_FLAGS,
    RECEPTIONS,
    SECTION,
    SIMPLE_PACKET,
    USER_APPLICATION,
    Interface,
    LocalBlock,
    Packet,
    Section,
)


def decode_sections(data: bytes) -> tuple[Section, ...]:
    """Every section of a file.  Raises DecodeError: not pcapng, or blocks that contradict themselves."""
    if len(data) < 12 or int.from_bytes(data[:4], "little") != SECTION:
        raise DecodeError("pcapng", start=data[:4].hex())
    readers: list[_Reader] = []
    rest = memoryview(data)
    while rest:
        if _is_section(rest):
            readers.append(_Reader(_byte_order(rest)))
        kind, body, rest = readers[-1].block(rest)
        readers[-1].take(kind, body)
    return tuple(reader.section() for reader in readers)


def _is_section(data: memoryview) -> bool:
    """The type reads the same in both byte orders."""
    return int.from_bytes(data[:4], "little") == SECTION


def _byte_order(data: memoryview) -> Literal["<", ">"]:
    magic = bytes(data[8:12])
    if magic == pack("<I", MAGIC):
        return "<"
    if magic == pack(">I", MAGIC):
        return ">"
    raise DecodeError("pcapng section", magic=magic.hex())


@dataclass(frozen=True, slots=True)
class _Clock:
    """How an interface counts time: ``units`` per second, from ``offset_s`` on."""

    units: int = 1_000_000
    offset_s: int = 0

    def ns(self, ticks: int) -> int:
        return ticks * 1_000_000_000 // self.units + self.offset_s * 1_000_000_000


class _Reader:
    """One section being read; its byte order is constant."""

    def __init__(self, order: Literal["<", ">"]) -> None:
        self.order = order
        self.words = Struct(f"{order}II")
        self.interfaces: list[Interface] = []
        self.clocks: list[_Clock] = []
        self.packets: list[Packet] = []
        self.names: dict[IPv4Address | IPv6Address, str] = {}
        self.blocks: list[LocalBlock] = []
        self.comment = self.application = ""

    def section(self) -> Section:
        return Section(
            interfaces=tuple(self.interfaces),
            packets=tuple(self.packets),
            names=self.names,
            comment=self.comment,
            application=self.application,
            blocks=tuple(self.blocks),
        )

    def block(self, data: memoryview) -> tuple[int, memoryview, memoryview]:
        """The next block's type and body, and what follows it."""
        if len(data) < 12:
            raise DecodeError("pcapng block", need=12, got=len(data))
        kind, size = self.words.unpack_from(data)
        if size < 12 or size % 4 or size > min(len(data), LARGEST_BLOCK):
            raise DecodeError("pcapng block", type=hex(kind), size=size, left=len(data))
        if self._u32(data, size - 4) != size:
            raise DecodeError("pcapng block", type=hex(kind), size=size, size_again=self._u32(data, size - 4))
        return kind, data[8 : size - 4], data[size:]

    def take(self, kind: int, body: memoryview) -> None:
        match kind:
            case _ if kind == SECTION:
                self._header(body)
            case _ if kind == INTERFACE:
                self._interface(body)
            case _ if kind == PACKET:
                self._packet(body)
            case _ if kind == SIMPLE_PACKET:
                self._simple_packet(body)
            case _ if kind == NAMES:
                self._names(body)
            case _ if kind & LOCAL_USE:
                self.blocks.append(LocalBlock(type=kind, body=bytes(body)))
            case _:
                return

    def _header(self, body: memoryview) -> None:
        _need("pcapng section", body, 16)
        if self._u16(body, 4) != 1:
            raise DecodeError("pcapng section", version=self._u16(body, 4))
        for code, value in self._options(body[16:]):
            if code == COMMENT:
                self.comment = self.comment or _text(value)
            elif code == USER_APPLICATION:
                self.application = _text(value)

    def _interface(self, body: memoryview) -> None:
        _need("pcapng interface", body, 8)
        options = dict(self._options(body[8:]))
        self.interfaces.append(
            Interface(
                name=_text(options.get(IF_NAME, b"")),
                description=_text(options.get(IF_DESCRIPTION, b"")),
                link_type=self._u16(body, 0),
                snap_length=self._u32(body, 4),
            )
        )
        self.clocks.append(self._clock(options))

    def _clock(self, options: Mapping[int, bytes]) -> _Clock:
        resolution, offset = options.get(IF_RESOLUTION, b"\6"), options.get(IF_OFFSET, bytes(8))
        if len(resolution) != 1 or len(offset) != 8:
            raise DecodeError("pcapng interface", resolution=resolution.hex(), offset=offset.hex())
        power = resolution[0] & 0x7F
        if power > 63:
            raise DecodeError("pcapng interface", resolution=resolution.hex())
        order: Literal["little", "big"] = "little" if self.order == "<" else "big"
        units = int(2**power if resolution[0] & 0x80 else 10**power)
        return _Clock(units, int.from_bytes(offset, order, signed=True))

    def _packet(self, body: memoryview) -> None:
        _need("pcapng packet", body, 20)
        header: tuple[int, int, int, int, int] = Struct(f"{self.order}IIIII").unpack_from(body)
        interface, high, low, captured, length = header
        end = 20 + captured + (-captured % 4)
        if interface >= len(self.clocks) or end > len(body):
            raise DecodeError("pcapng packet", interface=interface, captured=captured, left=len(body) - 20)
        comment, flags = "", 0
        for code, value in self._options(body[end:]):
            if code == COMMENT:
                comment = comment or _text(value)
            elif code == PACKET_FLAGS and len(value) == 4:
                flags = self._u32(memoryview(value), 0)
        self.packets.append(
            Packet(
                interface=interface,
                t_ns=self.clocks[interface].ns(high << 32 | low),
                length=length,
                data=bytes(body[20 : 20 + captured]),
                direction=DIRECTIONS[flags & 3],
                reception=RECEPTIONS[flags >> 2 & 7],
                comment=comment,
            )
        )

    def _simple_packet(self, body: memoryview) -> None:
        """Without a stamp, of the first interface."""
        _need("pcapng simple packet", body, 4)
        length = self._u32(body, 0)
        if not self.interfaces:
            raise DecodeError("pcapng simple packet", interfaces=0)
        limit = self.interfaces[0].snap_length or length
        data = bytes(body[4 : 4 + min(length, limit)])
        self.packets.append(Packet(interface=0, t_ns=0, length=length, data=data))

    def _names(self, body: memoryview) -> None:
        for kind, value in self._options(body):
            size = {IPV4_NAME: 4, IPV6_NAME: 16}.get(kind)
            if size is None or len(value) <= size:
                continue
            self.names[ip_address(value[:size])] = _text(value[size:].split(b"\0")[0])

    def _options(self, data: memoryview) -> Iterator[tuple[int, bytes]]:
        """Pairs of code and value up to the end mark; names of addresses are laid out the same way."""
        while len(data) >= 4:
            code, size = self._u16(data, 0), self._u16(data, 2)
            if code == 0:
                return
            if 4 + size > len(data):
                raise DecodeError("pcapng option", code=code, size=size, left=len(data) - 4)
            yield code, bytes(data[4 : 4 + size])
            data = data[4 + size + (-size % 4) :]

    def _u16(self, data: memoryview, at: int) -> int:
        return int(Struct(f"{self.order}H").unpack_from(data, at)[0])

    def _u32(self, data: memoryview, at: int) -> int:
        return int(Struct(f"{self.order}I").unpack_from(data, at)[0])


def _need(what: str, data: memoryview, size: int) -> None:
    if len(data) < size:
        raise DecodeError(what, need=size, got=len(data))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
