"""Frames to bytes, with lengths and checksums computed where the value leaves them open.

Used for the probe's own TCP SYN and by tests.  ``encode_frame`` is the inverse of
``decode_frame``: what was decoded encodes to the same bytes, less padding and reserved bits.
"""

from ipaddress import IPv4Address, IPv6Address
from struct import pack, unpack
from typing import Final, TypeAlias, assert_never

from tulle.model.network import MacAddress
from tulle.wire.frames import (
    ETH_P_VLAN,
    ICMP_ECHO_REPLY,
    ICMP_ECHO_REQUEST,
    ICMPV6_ECHO_REPLY,
    ICMPV6_ECHO_REQUEST,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    ND_ADVERTISEMENT,
    ND_SOLICITATION,
    Arp,
    Echo,
    Ethernet,
    IcmpError,
    IcmpOther,
    Ipv4,
    Ipv6,
    NeighborDiscovery,
    Ports,
    Tcp,
    Udp,
    Vxlan,
)

_CHECKSUM_AT: Final = {IPPROTO_TCP: 16, IPPROTO_UDP: 6}
_ICMP_CHECKSUM_AT: Final = 2
_Icmp: TypeAlias = Echo | IcmpError | NeighborDiscovery | IcmpOther


def encode_frame(frame: Ethernet) -> bytes:
    """``frame`` as bytes, unpadded."""
    tag = b"" if frame.vlan is None else pack("!HH", ETH_P_VLAN, frame.vlan)
    header = parse_mac(frame.destination) + parse_mac(frame.source) + tag + pack("!H", frame.ethertype)
    match frame.payload:
        case Arp() as arp:
            return header + _arp(arp)
        case Ipv4() | Ipv6() as packet:
            return header + encode_packet(packet)
        case bytes() as raw:
            return header + raw
        case _:
            assert_never(frame.payload)


def encode_packet(packet: Ipv4 | Ipv6) -> bytes:
    """An IP packet without a link layer."""
    return _ipv4(packet) if isinstance(packet, Ipv4) else _ipv6(packet)


def encode_segment(segment: Tcp, source: IPv4Address | IPv6Address, destination: IPv4Address | IPv6Address) -> bytes:
    """A TCP segment with the checksum that goes with these addresses, for a raw socket that adds the IP header."""
    return _checksummed(_tcp(segment), segment.checksum, IPPROTO_TCP, _pseudo_header(source, destination))


def parse_mac(text: MacAddress) -> bytes:
    """Colon text as six bytes."""
    return bytes.fromhex(text.replace(":", ""))


def internet_checksum(data: bytes) -> int:
    """The one's complement sum that IP, ICMP, UDP and TCP use.  Source: RFC 1071."""
    padded = data + b"\0" if len(data) % 2 else data
    total = sum(unpack(f"!{len(padded) // 2}H", padded))
    while total > 0xFFFF:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def _arp(arp: Arp) -> bytes:
    return (
        pack("!HHBBH", 1, 0x0800, 6, 4, arp.operation)
        + parse_mac(arp.sender_mac)
        + arp.sender_ip.packed
        + parse_mac(arp.target_mac)
        + arp.target_ip.packed
    )


def _ipv4(packet: Ipv4) -> bytes:
    body = _transport(packet)
    words = 5 + len(packet.options) // 4
    flags = packet.dont_fragment << 14 | packet.more_fragments << 13 | packet.fragment_offset // 8
    total = words * 4 + len(body) + packet.missing
    header = pack("!BBHHHBBH", 0x40 | words, packet.tos, total, packet.ident, flags, packet.ttl, packet.protocol, 0)
    header += packet.source.packed + packet.destination.packed + packet.options
    checksum = internet_checksum(header) if packet.checksum is None else packet.checksum
    return header[:10] + pack("!H", checksum) + header[12:] + body


def _ipv6(packet: Ipv6) -> bytes:
    body = packet.extensions + _transport(packet)
    first = 6 << 28 | packet.traffic_class << 20 | packet.flow_label
    header = pack("!IHBB", first, len(body) + packet.missing, packet.next_header, packet.hop_limit)
    return header + packet.source.packed + packet.destination.packed + body


def _transport(packet: Ipv4 | Ipv6) -> bytes:
    pseudo = _pseudo_header(packet.source, packet.destination)
    match packet.payload:
        case Echo() | IcmpError() | NeighborDiscovery() | IcmpOther() as message:
            return _icmp(message, pseudo if isinstance(packet, Ipv6) else None)
        case Udp() as datagram:
            return _checksummed(_udp(datagram), datagram.checksum, IPPROTO_UDP, pseudo)
        case Tcp() as segment:
            return _checksummed(_tcp(segment), segment.checksum, IPPROTO_TCP, pseudo)
        case Ports() as ports:
            return pack("!HH", ports.source_port, ports.destination_port) + ports.rest
        case bytes() as raw:
            return raw
        case _:
            assert_never(packet.payload)


def _pseudo_header(source: IPv4Address | IPv6Address, destination: IPv4Address | IPv6Address) -> bytes:
    """The addresses' share of the pseudo header; protocol and length are added where they are known."""
    return source.packed + destination.packed


def _checksummed(message: bytes, given: int | None, protocol: int, addresses: bytes) -> bytes:
    """``message`` with its checksum set.  Source: RFC 768, RFC 9293 §3.1, RFC 8200 §8.1."""
    checksum = given
    if checksum is None:
        checksum = internet_checksum(addresses + pack("!IHBB", len(message), 0, 0, protocol) + message)
        if protocol == IPPROTO_UDP and checksum == 0:
            checksum = 0xFFFF  # 0 says "no checksum"
    at = _CHECKSUM_AT.get(protocol, _ICMP_CHECKSUM_AT)
    return message[:at] + pack("!H", checksum) + message[at + 2 :]


def _icmp(message: _Icmp, addresses6: bytes | None) -> bytes:
    """``addresses6``: of the IPv6 header, whose ICMP is another protocol and has a pseudo header; None is IPv4."""
    match message:
        case Echo():
            kinds = (
                (ICMP_ECHO_REPLY, ICMP_ECHO_REQUEST) if addresses6 is None else (ICMPV6_ECHO_REPLY, ICMPV6_ECHO_REQUEST)
            )
            body = pack("!BBHHH", kinds[message.request], 0, 0, message.ident, message.sequence) + message.payload
        case IcmpError():
            quoted = message.quoted if isinstance(message.quoted, bytes) else encode_packet(message.quoted)
            body = pack("!BBHI", message.type, message.code, 0, message.info) + quoted
        case NeighborDiscovery():
            body = _neighbor_discovery(message)
        case IcmpOther():
            body = pack("!BBH", message.type, message.code, 0) + message.body
        case _:
            assert_never(message)
    if addresses6 is not None:
        return _checksummed(body, message.checksum, IPPROTO_ICMPV6, addresses6)
    checksum = internet_checksum(body) if message.checksum is None else message.checksum
    return body[:2] + pack("!H", checksum) + body[4:]


def _neighbor_discovery(message: NeighborDiscovery) -> bytes:
    kind = ND_ADVERTISEMENT if message.advertisement else ND_SOLICITATION
    return pack("!BBHB3x", kind, 0, 0, message.flags) + message.target.packed + message.options


def _udp(datagram: Udp) -> bytes:
    payload = datagram.payload if isinstance(datagram.payload, bytes) else _vxlan(datagram.payload)
    length = 8 + len(payload) + datagram.missing
    return pack("!HHHH", datagram.source_port, datagram.destination_port, length, 0) + payload


def _vxlan(header: Vxlan) -> bytes:
    return pack("!B3xI", header.flags, header.vni << 8) + encode_frame(header.inner)


def _tcp(segment: Tcp) -> bytes:
    offset = (5 + len(segment.options) // 4) << 4
    header = pack(
        "!HHIIBBHHH",
        segment.source_port,
        segment.destination_port,
        segment.sequence,
        segment.acknowledgement,
        offset,
        segment.flags,
        segment.window,
        0,
        segment.urgent,
    )
    return header + segment.options + segment.payload
