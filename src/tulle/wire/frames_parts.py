"""The parts of a frame that hold no other frame: what ``frames_decode`` hands a slice to.

Each takes the bytes of one header and what follows; ``cut`` says that bytes may be missing at
the end because the capture, or an ICMP quote, stopped there.
"""

from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final

from tulle.errors import DecodeError
from tulle.model.network import MacAddress, Vni
from tulle.wire.frames import ND_ADVERTISEMENT, Arp, Echo, NeighborDiscovery, Ports, Tcp, Transport

_ARP: Final = Struct("!HHBBH6s4s6s4s")
_TCP: Final = Struct("!HHIIBBHHH")
_EXTENSION_HEADERS: Final = frozenset({0, 43, 60})
"""IPv6 hop-by-hop, routing, destination options: each says its own length.  Source: RFC 8200 §4."""
_FRAGMENT_HEADER: Final = 44
_ETHERNET_LEN: Final = 14


def need(what: str, data: memoryview, size: int) -> None:
    """Raises DecodeError when ``data`` is shorter than ``size``."""
    if len(data) < size:
        raise DecodeError(what, need=size, got=len(data))


def is_short(what: str, data: memoryview, size: int, *, cut: bool) -> bool:
    """Is ``data`` too short, and may it be?  Raises DecodeError when it may not."""
    if len(data) >= size:
        return False
    if not cut:
        raise DecodeError(what, need=size, got=len(data))
    return True


def body_of(data: memoryview, announced: int | None, *, cut: bool, what: str) -> tuple[memoryview, int]:
    """The announced part of ``data`` and how many bytes of it are missing.

    None or 0 announces "to the end" (segmentation offload).  Padding behind it is left out.
    """
    if announced is None or announced == len(data):
        return data, 0
    if announced < len(data):
        return data[:announced], 0
    if not cut:
        raise DecodeError(what, announced=announced, got=len(data))
    return data, announced - len(data)


def format_mac(raw: bytes) -> MacAddress:
    """Six bytes as lower-case colon text."""
    return MacAddress(raw.hex(":"))


def vxlan_header(data: memoryview) -> tuple[Vni, int, memoryview]:
    """VNI, flags and inner frame.  Source: RFC 7348 §5.  Raises DecodeError: short header, or I flag clear."""
    need("VXLAN header", data, 8 + _ETHERNET_LEN)
    flags = data[0]
    if not flags & 0x08:
        raise DecodeError("VXLAN header", flags=flags)
    return Vni(int.from_bytes(data[4:7], "big")), flags, data[8:]


def arp(data: memoryview) -> Arp | bytes:
    """ARP for IPv4 over Ethernet; other kinds of ARP as bytes."""
    need("ARP packet", data, 8)
    if bytes(data[:6]) != b"\x00\x01\x08\x00\x06\x04":
        return bytes(data)
    need("ARP packet", data, _ARP.size)
    *_, operation, sender_mac, sender_ip, target_mac, target_ip = _ARP.unpack_from(data)
    return Arp(
        operation=operation,
        sender_mac=format_mac(sender_mac),
        sender_ip=IPv4Address(sender_ip),
        target_mac=format_mac(target_mac),
        target_ip=IPv4Address(target_ip),
    )


def extension_headers(next_header: int, body: memoryview, *, cut: bool) -> tuple[int, memoryview, int]:
    """The upper protocol, the bytes of all extension headers, and the fragment header's offset-and-flag word."""
    at, fragment = 0, 0
    while next_header in _EXTENSION_HEADERS or next_header == _FRAGMENT_HEADER:
        header = body[at:]
        if is_short("IPv6 extension header", header, 8, cut=cut):
            break
        size = 8 if next_header == _FRAGMENT_HEADER else 8 + 8 * header[1]
        if is_short("IPv6 extension header", header, size, cut=cut):
            break
        if next_header == _FRAGMENT_HEADER:
            fragment = int.from_bytes(header[2:4], "big")
        at, next_header = at + size, header[0]
        if fragment >> 3:
            break  # what follows is the middle of a packet, not a header
    return next_header, body[:at], fragment


def echo(data: memoryview, *, request: bool, checksum: int) -> Echo:
    """An echo message, whose first eight bytes are there."""
    return Echo(
        request=request,
        ident=int.from_bytes(data[4:6], "big"),
        sequence=int.from_bytes(data[6:8], "big"),
        payload=bytes(data[8:]),
        checksum=checksum,
    )


def neighbor_discovery(data: memoryview, *, cut: bool) -> Transport:
    """A solicitation or advertisement, as its type says; bytes when its target is cut."""
    if is_short("neighbour discovery", data, 24, cut=cut):
        return bytes(data)
    return NeighborDiscovery(
        advertisement=data[0] == ND_ADVERTISEMENT,
        target=IPv6Address(bytes(data[8:24])),
        options=bytes(data[24:]),
        flags=data[4],
        checksum=int.from_bytes(data[2:4], "big"),
    )


def tcp(data: memoryview, *, cut: bool) -> Transport:
    """A segment; only its ports when its header is cut.  Raises DecodeError."""
    if is_short("TCP header", data, _TCP.size, cut=cut):
        return ports(data)
    source_port, destination_port, sequence, ack, offset, flags, window, checksum, urgent = _TCP.unpack_from(data)
    header_len = (offset >> 4) * 4
    if header_len < _TCP.size:
        raise DecodeError("TCP header", header_len=header_len)
    if is_short("TCP options", data, header_len, cut=cut):
        return ports(data)
    return Tcp(
        source_port=source_port,
        destination_port=destination_port,
        sequence=sequence,
        acknowledgement=ack,
        flags=flags,
        window=window,
        payload=bytes(data[header_len:]),
        urgent=urgent,
        options=bytes(data[_TCP.size : header_len]),
        checksum=checksum,
    )


def ports(data: memoryview) -> Ports | bytes:
    """The ports and what follows them; bytes when even they are cut."""
    if len(data) < 4:
        return bytes(data)
    return Ports(
        source_port=int.from_bytes(data[:2], "big"),
        destination_port=int.from_bytes(data[2:4], "big"),
        rest=bytes(data[4:]),
    )
