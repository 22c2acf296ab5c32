"""Frames, with scapy as oracle: what it builds reads as what it says, and what we build it reads alike."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr,
    IPv6,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
)
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Packet, Raw

from tulle.errors import DecodeError
from tulle.wire.frames import Arp, Echo, Ethernet, IcmpError, Ipv4, Ipv6, NeighborDiscovery, Ports, Tcp, Udp, Vxlan
from tulle.wire.frames_decode import decode_frame, decode_packet
from tulle.wire.frames_encode import encode_frame

A, B = "02:00:0a:f4:01:00", "02:00:0a:f4:02:00"
PORTS = frozenset({8472})
ETHER = Ether(src=A, dst=B)
PING = IP(src="10.244.1.2", dst="10.244.2.3", ttl=63) / ICMP(id=7, seq=9) / Raw(b"abcdefgh")
PING6 = IPv6(src="fd10::2", dst="fd10::3", hlim=63) / ICMPv6EchoRequest(id=7, seq=9, data=b"abcdefgh")
SYN = IP(src="10.244.1.2", dst="10.244.2.3") / TCP(sport=40000, dport=80, flags="S", options=[("MSS", 1410)])
OUTER = Ether(src=A, dst=B) / IP(src="192.168.64.11", dst="192.168.64.12") / UDP(sport=50000, dport=8472, chksum=0)
TUNNEL = OUTER / VXLAN(vni=1, flags=8) / ETHER / PING


def frame(packet: Packet) -> bytes:
    return bytes(packet)


def read(packet: Packet) -> Ethernet:
    return decode_frame(memoryview(frame(packet)), vxlan_ports=PORTS)


CAPTURES: Sequence[Any] = (
    pytest.param(ETHER / PING, id="ping"),
    pytest.param(ETHER / PING6, id="ping over IPv6"),
    pytest.param(ETHER / SYN, id="SYN"),
    pytest.param(ETHER / IP(dst="10.0.0.1") / UDP(sport=1, dport=2) / b"xyz", id="UDP"),
    pytest.param(ETHER / Dot1Q(vlan=7) / PING, id="a VLAN's tag"),
    pytest.param(ETHER / ARP(op=1, psrc="10.0.0.1", pdst="10.0.0.2"), id="who has"),
    pytest.param(ETHER / IP(dst="10.0.0.1") / ICMP(type=3, code=4, nexthopmtu=1400) / PING, id="too big"),
    pytest.param(ETHER / IPv6(dst="fd10::1") / ICMPv6DestUnreach() / PING6, id="unreachable over IPv6"),
    pytest.param(
        ETHER / IPv6(dst="ff02::1") / ICMPv6ND_NS(tgt="fd10::3") / ICMPv6NDOptSrcLLAddr(lladdr=A), id="solicitation"
    ),
    pytest.param(
        ETHER / IPv6(dst="fd10::2") / ICMPv6ND_NA(tgt="fd10::3", R=1) / ICMPv6NDOptDstLLAddr(lladdr=B),
        id="advertisement",
    ),
    pytest.param(ETHER / IPv6(dst="fd10::3") / IPv6ExtHdrHopByHop() / UDP() / b"x", id="extension headers"),
    pytest.param(ETHER / IPv6(dst="fd10::3") / IPv6ExtHdrFragment(offset=3) / b"middle", id="the middle of a packet"),
    pytest.param(ETHER / IP(dst="10.0.0.1", frag=5) / b"middle", id="the middle of an IPv4 packet"),
    pytest.param(TUNNEL, id="a tunnel"),
    pytest.param(OUTER / VXLAN(vni=(1 << 24) - 1, flags=8) / ETHER / PING6, id="IPv6 in a tunnel"),
    pytest.param(Ether(src=A, dst=B, type=0x88CC) / b"lldp", id="what nobody reads"),
)


@pytest.mark.parametrize("packet", CAPTURES)
def test_what_scapy_builds_is_read_and_written_back_byte_for_byte(packet: Packet) -> None:
    assert encode_frame(read(packet)) == frame(packet)


@pytest.mark.parametrize("packet", CAPTURES)
def test_our_checksums_and_lengths_are_scapys(packet: Packet) -> None:
    """Read, forget the checksums, write: the same bytes."""
    assert encode_frame(_forgotten(read(packet))) == frame(packet)


def _forgotten(value: Any) -> Any:
    """``value`` without any checksum that was computed over it; 0 of a tunnel's UDP means none and stays."""
    if not hasattr(value, "__dataclass_fields__"):
        return value
    fields = {name: _forgotten(getattr(value, name)) for name in value.__dataclass_fields__}
    if fields.get("checksum"):
        fields["checksum"] = None
    return type(value)(**fields)


# -- what is read --------------------------------------------------------------------------


def test_a_ping_through_the_tunnel_is_nested_as_on_the_wire() -> None:
    match read(TUNNEL):
        case Ethernet(
            payload=Ipv4(
                source=outer,
                payload=Udp(
                    destination_port=8472,
                    payload=Vxlan(
                        vni=1, inner=Ethernet(payload=Ipv4(destination=inner, ttl=63, payload=Echo() as echo))
                    ),
                ),
            )
        ):
            assert (outer, inner) == (IPv4Address("192.168.64.11"), IPv4Address("10.244.2.3"))
            assert (echo.request, echo.ident, echo.sequence, echo.payload) == (True, 7, 9, b"abcdefgh")
        case other:
            raise AssertionError(other)


def test_a_port_that_is_no_tunnels_is_not_opened() -> None:
    packet = decode_frame(memoryview(frame(TUNNEL))).payload
    assert isinstance(packet, Ipv4)
    assert isinstance(packet.payload, Udp)
    assert isinstance(packet.payload.payload, bytes)


def test_an_error_quotes_the_packet_that_it_is_about() -> None:
    packet = read(ETHER / IP(dst="10.0.0.1") / ICMP(type=3, code=4, nexthopmtu=1400) / PING).payload
    assert isinstance(packet, Ipv4)
    error = packet.payload
    assert isinstance(error, IcmpError)
    assert (error.type, error.code, error.info) == (3, 4, 1400)
    assert isinstance(error.quoted, Ipv4)
    assert isinstance(error.quoted.payload, Echo)


def test_a_quote_of_eight_bytes_still_has_its_ports() -> None:
    whole = bytes(SYN)[:28]
    packet = read(ETHER / IP(dst="10.0.0.1") / ICMP(type=11) / Raw(whole)).payload
    assert isinstance(packet, Ipv4)
    assert isinstance(packet.payload, IcmpError)
    quoted = packet.payload.quoted
    assert isinstance(quoted, Ipv4)
    assert isinstance(quoted.payload, Ports)
    assert (quoted.payload.source_port, quoted.payload.destination_port) == (40000, 80)


@pytest.mark.parametrize(
    ("message", "option", "mac"),
    [
        pytest.param(ICMPv6ND_NS(tgt="fd10::3"), ICMPv6NDOptSrcLLAddr(lladdr=A), A, id="solicitation"),
        pytest.param(ICMPv6ND_NA(tgt="fd10::3"), ICMPv6NDOptDstLLAddr(lladdr=B), B, id="advertisement"),
        pytest.param(ICMPv6ND_NA(tgt="fd10::3"), ICMPv6NDOptSrcLLAddr(lladdr=B), None, id="the other's option"),
    ],
)
def test_who_asks_for_whom_over_ipv6(message: Packet, option: Packet, mac: str | None) -> None:
    packet = read(ETHER / IPv6(dst="ff02::1") / message / option).payload
    assert isinstance(packet, Ipv6)
    assert isinstance(packet.payload, NeighborDiscovery)
    assert (packet.payload.target, packet.payload.mac) == (IPv6Address("fd10::3"), mac)


def test_who_asks_for_whom_over_ipv4() -> None:
    arp = read(ETHER / ARP(op=1, hwsrc=A, psrc="10.0.0.1", pdst="10.0.0.2")).payload
    assert isinstance(arp, Arp)
    assert (arp.operation, arp.sender_mac, arp.target_ip) == (1, A, IPv4Address("10.0.0.2"))


def test_a_syn_has_its_options_and_flags() -> None:
    packet = read(ETHER / SYN).payload
    assert isinstance(packet, Ipv4)
    segment = packet.payload
    assert isinstance(segment, Tcp)
    assert (segment.flags, segment.options[:4]) == (2, b"\x02\x04\x05\x82")


def test_a_packet_without_a_link_layer_is_read_by_its_version() -> None:
    assert isinstance(decode_packet(memoryview(bytes(PING))), Ipv4)
    assert isinstance(decode_packet(memoryview(bytes(PING6))), Ipv6)
    with pytest.raises(DecodeError, match="version=0"):
        decode_packet(memoryview(b"\x00" * 40))


def test_padding_behind_the_packet_is_not_the_packets() -> None:
    raw = frame(ETHER / PING)
    assert decode_frame(memoryview(raw + b"\0" * 18)) == decode_frame(memoryview(raw))


# -- what is refused -----------------------------------------------------------------------

RAW = frame(ETHER / PING)


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        pytest.param(b"", "Ethernet header", id="nothing"),
        pytest.param(RAW[:13], "Ethernet header", id="a cut link layer"),
        pytest.param(RAW[:20], "IPv4 header", id="a cut header"),
        pytest.param(RAW[:40], "IPv4 packet", id="less than it announces"),
        pytest.param(RAW[:14] + b"\x42" + RAW[15:], "IPv4 header", id="a header of eight bytes"),
        pytest.param(RAW[:14] + b"\x65" + RAW[15:], "IPv6 header", id="another version, and too short for it"),
        pytest.param(RAW[:14] + b"\x75" + RAW[15:], "IP packet", id="another version than its EtherType"),
        pytest.param(RAW[:16] + b"\x00\x10" + RAW[18:], "IPv4 header", id="a packet shorter than its header"),
        pytest.param(frame(OUTER / VXLAN(vni=1, flags=0) / ETHER), "VXLAN header", id="f61 a VNI that is not valid"),
        pytest.param(frame(OUTER / Raw(b"\x08\0\0\0\0\0\1\0")), "VXLAN header", id="f61 a tunnel without a frame"),
        pytest.param(
            frame(ETHER / IP(dst="10.0.0.1") / UDP(len=3)), "UDP header", id="a datagram shorter than its header"
        ),
        pytest.param(
            frame(ETHER / IP(dst="10.0.0.1") / TCP(dataofs=2)), "TCP header", id="a segment shorter than its header"
        ),
    ],
)
def test_what_contradicts_itself_is_malformed_and_named(raw: bytes, what: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_frame(memoryview(raw), vxlan_ports=PORTS)
    assert caught.value.what == what
