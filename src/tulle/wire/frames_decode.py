"""Frames from bytes: any bytes give a value or ``DecodeError``, never another exception.

The buffer is a ``memoryview`` so that nothing is copied until a payload is kept.  A capture
may be shorter than the frame was: what is cut is counted or left as bytes (see ``frames``),
and only what contradicts itself is an error.
"""

from collections.abc import Set as AbstractSet
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final

from tulle.errors import DecodeError
from tulle.wire.frames import (
    ETH_P_ARP,
    ETH_P_IPV4,
    ETH_P_IPV6,
    ETH_P_VLAN,
    ICMP_ECHO_REPLY,
    ICMP_ECHO_REQUEST,
    ICMPV6_ECHO_REPLY,
    ICMPV6_ECHO_REQUEST,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    ND_ADVERTISEMENT,
    ND_SOLICITATION,
    Ethernet,
    IcmpError,
    IcmpOther,
    Ipv4,
    Ipv6,
    Network,
    Transport,
    Udp,
    Vxlan,
)
from tulle.wire.frames_parts import (
    arp,
    body_of,
    echo,
    extension_headers,
    format_mac,
    is_short,
    need,
    neighbor_discovery,
    ports,
    tcp,
    vxlan_header,
)

_ETHERNET: Final = Struct("!6s6sH")
_IPV4: Final = Struct("!BBHHHBBH4s4s")
_IPV6: Final = Struct("!IHBB16s16s")
_ICMP: Final = Struct("!BBH")
_UDP: Final = Struct("!HHHH")

_ICMP_ERRORS: Final = frozenset({3, 4, 5, 11, 12})
"""Unreachable, source quench, redirect, time exceeded, parameter problem.  Source: RFC 792, RFC 1122 §3.2.2."""
_MAX_NESTING: Final = 4
"""Frames inside frames, quotes inside errors: deeper than this is bytes."""

_NO_PORTS: Final[frozenset[int]] = frozenset()


def decode_frame(
    data: memoryview, *, wire_len: int | None = None, vxlan_ports: AbstractSet[int] = _NO_PORTS
) -> Ethernet:
    """The Ethernet frame in ``data``.

    ``wire_len`` is the length that the frame had before the capture cut it (None: it is
    whole).  UDP to one of ``vxlan_ports`` is opened as VXLAN.

    Raises DecodeError: shorter than its headers, or headers that contradict themselves.
    """
    return _Decoder(vxlan_ports).ethernet(data, cut=_is_cut(data, wire_len))


def decode_packet(
    data: memoryview, *, wire_len: int | None = None, vxlan_ports: AbstractSet[int] = _NO_PORTS
) -> Ipv4 | Ipv6:
    """The IP packet in ``data``, for devices without a link layer (tun, WireGuard).  Raises DecodeError."""
    packet = _Decoder(vxlan_ports).ip(data, cut=_is_cut(data, wire_len))
    if packet is None:
        raise DecodeError("IP packet", version=data[0] >> 4 if data else None)
    return packet


def _is_cut(data: memoryview, wire_len: int | None) -> bool:
    return wire_len is not None and wire_len > len(data)


class _Decoder:
    """The recursive reader: what is constant during one frame, and how deep we are."""

    __slots__ = ("depth", "vxlan_ports")

    def __init__(self, vxlan_ports: AbstractSet[int]) -> None:
        self.vxlan_ports = vxlan_ports
        self.depth = 0

    def ethernet(self, data: memoryview, *, cut: bool) -> Ethernet:
        need("Ethernet header", data, _ETHERNET.size)
        destination, source, ethertype = _ETHERNET.unpack_from(data)
        rest, vlan = data[_ETHERNET.size :], None
        if ethertype == ETH_P_VLAN:
            need("VLAN tag", rest, 4)
            vlan = int.from_bytes(rest[:2], "big")
            ethertype, rest = int.from_bytes(rest[2:4], "big"), rest[4:]
        return Ethernet(
            destination=format_mac(destination),
            source=format_mac(source),
            ethertype=ethertype,
            payload=self._network(ethertype, rest, cut=cut),
            vlan=vlan,
        )

    def _network(self, ethertype: int, data: memoryview, *, cut: bool) -> Network:
        if ethertype == ETH_P_ARP:
            return arp(data)
        if ethertype in (ETH_P_IPV4, ETH_P_IPV6):
            packet = self.ip(data, cut=cut)
            if packet is not None and isinstance(packet, Ipv4) == (ethertype == ETH_P_IPV4):
                return packet
            raise DecodeError("IP packet", ethertype=hex(ethertype), version=data[0] >> 4 if data else None)
        return bytes(data)

    def ip(self, data: memoryview, *, cut: bool) -> Ipv4 | Ipv6 | None:
        """None: neither version 4 nor 6."""
        match data[0] >> 4 if data else 0:
            case 4:
                return self._ipv4(data, cut=cut)
            case 6:
                return self._ipv6(data, cut=cut)
            case _:
                return None

    def _ipv4(self, data: memoryview, *, cut: bool) -> Ipv4:
        need("IPv4 header", data, _IPV4.size)
        first, tos, total, ident, fragment, ttl, protocol, checksum, source, destination = _IPV4.unpack_from(data)
        header_len = (first & 0xF) * 4
        if header_len < _IPV4.size or (total and total < header_len):
            raise DecodeError("IPv4 header", header_len=header_len, total_len=total)
        need("IPv4 options", data, header_len)
        body, missing = body_of(data[header_len:], total - header_len if total else None, cut=cut, what="IPv4 packet")
        offset = (fragment & 0x1FFF) * 8
        return Ipv4(
            source=IPv4Address(source),
            destination=IPv4Address(destination),
            protocol=protocol,
            ttl=ttl,
            payload=bytes(body)
            if offset
            else self._transport(protocol, body, cut=missing > 0 or bool(fragment & 0x2000)),
            tos=tos,
            ident=ident,
            dont_fragment=bool(fragment & 0x4000),
            more_fragments=bool(fragment & 0x2000),
            fragment_offset=offset,
            options=bytes(data[_IPV4.size : header_len]),
            missing=missing,
            checksum=checksum,
        )

    def _ipv6(self, data: memoryview, *, cut: bool) -> Ipv6:
        need("IPv6 header", data, _IPV6.size)
        first, length, next_header, hop_limit, source, destination = _IPV6.unpack_from(data)
        body, missing = body_of(data[_IPV6.size :], length or None, cut=cut, what="IPv6 packet")
        protocol, extensions, fragment = extension_headers(next_header, body, cut=missing > 0)
        payload = body[len(extensions) :]
        is_later_fragment, is_cut = fragment >> 3 != 0, missing > 0 or bool(fragment & 1)
        return Ipv6(
            source=IPv6Address(source),
            destination=IPv6Address(destination),
            protocol=protocol,
            hop_limit=hop_limit,
            payload=bytes(payload) if is_later_fragment else self._transport(protocol, payload, cut=is_cut),
            next_header=next_header,
            extensions=bytes(extensions),
            traffic_class=first >> 20 & 0xFF,
            flow_label=first & 0xFFFFF,
            missing=missing,
        )

    def _transport(self, protocol: int, data: memoryview, *, cut: bool) -> Transport:
        """``cut``: bytes may be missing at the end without that being an error."""
        match protocol:
            case _ if protocol == IPPROTO_ICMP:
                return self._icmp(data, cut=cut)
            case _ if protocol == IPPROTO_ICMPV6:
                return self._icmpv6(data, cut=cut)
            case _ if protocol == IPPROTO_UDP:
                return self._udp(data, cut=cut)
            case _ if protocol == IPPROTO_TCP:
                return tcp(data, cut=cut)
            case _:
                return bytes(data)

    def _icmp(self, data: memoryview, *, cut: bool) -> Transport:
        if is_short("ICMP header", data, 8, cut=cut):
            return bytes(data)
        kind, code, checksum = _ICMP.unpack_from(data)
        if kind in (ICMP_ECHO_REQUEST, ICMP_ECHO_REPLY):
            return echo(data, request=kind == ICMP_ECHO_REQUEST, checksum=checksum)
        if kind in _ICMP_ERRORS:
            return self._error(data)
        return IcmpOther(type=kind, code=code, body=bytes(data[4:]), checksum=checksum)

    def _icmpv6(self, data: memoryview, *, cut: bool) -> Transport:
        if is_short("ICMPv6 header", data, 8, cut=cut):
            return bytes(data)
        kind, code, checksum = _ICMP.unpack_from(data)
        if kind in (ICMPV6_ECHO_REQUEST, ICMPV6_ECHO_REPLY):
            return echo(data, request=kind == ICMPV6_ECHO_REQUEST, checksum=checksum)
        if kind < 128:
            return self._error(data)
        if kind in (ND_SOLICITATION, ND_ADVERTISEMENT):
            return neighbor_discovery(data, cut=cut)
        return IcmpOther(type=kind, code=code, body=bytes(data[4:]), checksum=checksum)

    def _error(self, data: memoryview) -> IcmpError:
        kind, code, checksum = _ICMP.unpack_from(data)
        return IcmpError(
            type=kind,
            code=code,
            info=int.from_bytes(data[4:8], "big"),
            quoted=self._quoted(data[8:]),
            checksum=checksum,
        )

    def _quoted(self, data: memoryview) -> Ipv4 | Ipv6 | bytes:
        """A quote is cut by its sender and rewritten by others: unreadable is not an error of the frame."""
        if self.depth >= _MAX_NESTING:
            return bytes(data)
        self.depth += 1
        try:
            return self.ip(data, cut=True) or bytes(data)
        except DecodeError:
            return bytes(data)
        finally:
            self.depth -= 1

    def _udp(self, data: memoryview, *, cut: bool) -> Transport:
        if is_short("UDP header", data, _UDP.size, cut=cut):
            return ports(data)
        source_port, destination_port, length, checksum = _UDP.unpack_from(data)
        if 0 < length < _UDP.size:
            raise DecodeError("UDP header", length=length)
        body, missing = body_of(data[_UDP.size :], length - _UDP.size if length else None, cut=cut, what="UDP datagram")
        return Udp(
            source_port=source_port,
            destination_port=destination_port,
            payload=self._udp_payload(destination_port, body, cut=missing > 0),
            missing=missing,
            checksum=checksum,
        )

    def _udp_payload(self, port: int, data: memoryview, *, cut: bool) -> bytes | Vxlan:
        if port not in self.vxlan_ports or self.depth >= _MAX_NESTING:
            return bytes(data)
        if cut and len(data) < 8 + _ETHERNET.size:
            return bytes(data)
        vni, flags, inner = vxlan_header(data)
        self.depth += 1
        try:
            return Vxlan(vni=vni, inner=self.ethernet(inner, cut=cut), flags=flags)
        finally:
            self.depth -= 1
