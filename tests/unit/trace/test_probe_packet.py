"""What is the probe, what is its reply, and what only looks like them."""

from dataclasses import replace
from ipaddress import IPv4Address, ip_address

import pytest

from tests.kit.journeys import ethernet, make_probe, packet, reply, request, segment, unreachable
from tests.kit.machines import mac, two_nodes
from tulle.model.network import MacAddress, Vni
from tulle.trace.journey import Direction
from tulle.trace.probe_packet import (
    LEAST_SIZE,
    PAYLOAD_BYTES,
    Probe,
    describe,
    direction_of,
    icmp_error_text,
    layers,
    tcp_flags,
)
from tulle.wire.frames import (
    TCP_ACK,
    TCP_RST,
    TCP_SYN,
    Arp,
    Echo,
    Ethernet,
    IcmpError,
    Ports,
    Transport,
    Udp,
    Vxlan,
)
from tulle.wire.frames_encode import encode_packet

MACHINE = two_nodes()
ICMP, UDP, TCP = make_probe(MACHINE), make_probe(MACHINE, "udp", 53), make_probe(MACHINE, "tcp", 80)
ICMP6 = make_probe(two_nodes(6))
STRANGER = replace(ICMP, id=bytes(16))
OTHER = ip_address("10.244.9.9")


CUT_ECHO = Echo(request=True, ident=0x1234, sequence=1, payload=b"")


def cut(source: int, destination: int) -> Ports:
    """A header of which a quote kept eight bytes."""
    return Ports(source_port=source, destination_port=destination, rest=bytes(4))


def there(probe: Probe, load: Transport, number: int | None = None) -> Direction | None:
    return direction_of(packet(probe.source, probe.target, number or probe.number, load), probe)


def back(probe: Probe, load: Transport, number: int | None = None) -> Direction | None:
    return direction_of(packet(probe.target, probe.source, number or probe.number, load), probe)


@pytest.mark.parametrize("probe", [ICMP, ICMP6, UDP, TCP], ids=["icmp", "icmpv6", "udp", "tcp"])
def test_a_probe_and_the_answer_of_its_target_are_told_apart(probe: Probe) -> None:
    assert there(probe, request(probe)) == "request"
    assert back(probe, reply(probe)) == "reply"


@pytest.mark.parametrize("probe", [ICMP, UDP, TCP], ids=["icmp", "udp", "tcp"])
def test_the_id_survives_an_address_that_nat_rewrote(probe: Probe) -> None:
    rewritten = packet(OTHER, probe.target, probe.number, request(probe))
    assert direction_of(rewritten, probe) == "request"


@pytest.mark.parametrize(
    ("probe", "load"),
    [
        pytest.param(ICMP, request(STRANGER), id="another echo"),
        pytest.param(ICMP, Echo(request=True, ident=ICMP.ident, sequence=1, payload=bytes(56)), id="our ident only"),
        pytest.param(UDP, Udp(source_port=1, destination_port=53, payload=b"dns"), id="another query"),
        pytest.param(TCP, segment(41000, 80, TCP_SYN), id="another connection"),
        pytest.param(TCP, segment(40000, 80, TCP_ACK, payload=TCP.payload), id="our id, but no SYN: data of somebody"),
        pytest.param(ICMP, unreachable(STRANGER), id="an error about another packet"),
        pytest.param(UDP, b"", id="no transport at all"),
    ],
)
def test_what_is_not_ours(probe: Probe, load: Transport) -> None:
    assert there(probe, load) is None


def test_a_servers_own_words_are_the_reply_by_the_reversed_tuple() -> None:
    assert back(UDP, Udp(source_port=53, destination_port=40000, payload=b"no such name")) == "reply"
    assert back(UDP, Udp(source_port=54, destination_port=40000, payload=b"no such name")) is None


@pytest.mark.parametrize(
    ("flags", "acknowledges", "found"),
    [
        pytest.param(TCP_SYN | TCP_ACK, 2, "reply", id="a listener leaves the data of the SYN unread"),
        pytest.param(TCP_RST | TCP_ACK, 2 + PAYLOAD_BYTES, "reply", id="a reset counts the data"),
        pytest.param(TCP_RST | TCP_ACK, 7, None, id="an answer to another segment"),
    ],
)
def test_a_tcp_answer_acknowledges_the_probe(flags: int, acknowledges: int, found: Direction | None) -> None:
    assert back(TCP, segment(80, 40000, flags, acknowledgement=acknowledges)) == found


def test_a_sequence_number_at_its_end_wraps_round() -> None:
    probe = replace(TCP, sequence=0xFFFFFFFF)
    assert back(probe, segment(80, 40000, TCP_RST | TCP_ACK, acknowledgement=0)) == "reply"


@pytest.mark.parametrize(
    ("probe", "quoted", "found"),
    [
        pytest.param(ICMP, request(ICMP), "reply", id="an echo quoted whole"),
        pytest.param(ICMP, CUT_ECHO, "reply", id="an echo cut before the id"),
        pytest.param(UDP, cut(40000, 53), "reply", id="a quote cut after 8 bytes"),
        pytest.param(TCP, cut(40000, 80), "reply", id="a TCP quote cut likewise"),
        pytest.param(TCP, segment(40000, 80, TCP_SYN, sequence=1), "reply", id="a TCP header quoted whole"),
        pytest.param(TCP, segment(40000, 80, TCP_RST, sequence=2), None, id="the reset that followed the answer"),
        pytest.param(UDP, cut(40001, 53), None, id="a cut quote of another"),
    ],
)
def test_an_icmp_error_answers_the_probe_that_it_quotes(
    probe: Probe, quoted: Transport, found: Direction | None
) -> None:
    inside = packet(probe.source, probe.target, probe.number, quoted)
    error = IcmpError(type=3, code=3, info=0, quoted=inside)
    assert direction_of(packet(OTHER, probe.source, 1, error), probe) == found


def test_a_redirect_is_about_the_probe_and_not_its_fate() -> None:
    redirect = IcmpError(type=5, code=1, info=0, quoted=packet(ICMP.source, ICMP.target, 1, request(ICMP)))
    assert direction_of(packet(OTHER, ICMP.source, 1, redirect), ICMP) is None


def test_an_error_that_quotes_an_error_is_nobodys_reply() -> None:
    nested = packet(OTHER, ICMP.source, 1, unreachable(ICMP))
    error = IcmpError(type=3, code=1, info=0, quoted=nested)
    assert direction_of(packet(OTHER, ICMP.source, 1, error), ICMP) is None


def test_a_tunnels_frame_is_split_where_the_tunnel_splits_it() -> None:
    inner = ethernet((mac(1), mac(2)), packet(ICMP.source, ICMP.target, 1, request(ICMP)))
    wrapped = Udp(source_port=1, destination_port=8472, payload=Vxlan(vni=Vni(7), inner=inner))
    outer = ethernet((mac(3), mac(4)), packet(OTHER, OTHER, 17, wrapped))
    found = layers(outer)
    assert found is not None
    assert (found.frame, found.outer, found.packet) == (inner, outer, inner.payload)
    assert found.outer_packet == outer.payload


def test_what_is_no_ip_has_no_layers() -> None:
    arp = Arp(
        operation=1,
        sender_mac=mac(1),
        sender_ip=IPv4Address("10.0.0.1"),
        target_mac=mac(0),
        target_ip=IPv4Address("10.0.0.2"),
    )
    frame = Ethernet(destination=MacAddress("ff:ff:ff:ff:ff:ff"), source=mac(1), ethertype=0x0806, payload=arp)
    assert layers(frame) is None
    tunnelled = Udp(source_port=1, destination_port=8472, payload=Vxlan(vni=Vni(1), inner=frame))
    assert layers(ethernet((mac(3), mac(4)), packet(OTHER, OTHER, 17, tunnelled))) is None


@pytest.mark.parametrize(
    ("probe", "load", "text"),
    [
        pytest.param(ICMP, request(ICMP), "ICMP echo request seq 1", id="echo"),
        pytest.param(ICMP6, reply(ICMP6), "ICMPv6 echo reply seq 1", id="echo over IPv6"),
        pytest.param(UDP, request(UDP), "UDP 40000→53", id="udp"),
        pytest.param(TCP, request(TCP), "TCP 40000→80 SYN", id="syn"),
        pytest.param(TCP, reply(TCP), "TCP 80→40000 RST ACK", id="reset"),
        pytest.param(UDP, unreachable(UDP), "ICMP port unreachable", id="error"),
        pytest.param(ICMP6, unreachable(ICMP6), "ICMPv6 port unreachable", id="error over IPv6"),
        pytest.param(ICMP, b"?", "IP protocol 1", id="what is not read further"),
    ],
)
def test_describe(probe: Probe, load: Transport, text: str) -> None:
    assert describe(packet(probe.source, probe.target, probe.number, load)) == text


@pytest.mark.parametrize(
    ("kind", "code", "family", "text"),
    [
        (3, 4, 4, "ICMP fragmentation needed"),
        (3, 77, 4, "ICMP unreachable code 77"),
        (11, 0, 4, "ICMP time exceeded"),
        (12, 0, 4, "ICMP error type 12 code 0"),
        (1, 0, 6, "ICMPv6 no route"),
        (2, 0, 6, "ICMPv6 packet too big"),
        (3, 0, 6, "ICMPv6 time exceeded"),
    ],
)
def test_icmp_errors_have_the_names_of_their_rfcs(kind: int, code: int, family: int, text: str) -> None:
    assert icmp_error_text(kind, code, family) == text


def test_flags_without_a_bit_are_said_to_be_none() -> None:
    assert (tcp_flags(0), tcp_flags(TCP_SYN | TCP_ACK)) == ("none", "SYN ACK")


def test_the_digest_changes_with_what_no_hop_may_change() -> None:
    others = [replace(TCP, sequence=2), replace(TCP, port=81), replace(TCP, ident=1), replace(TCP, id=bytes(16))]
    assert len({TCP.digest, *(other.digest for other in others)}) == 5


def test_the_mtu_that_an_error_names_is_told() -> None:
    too_big = IcmpError(type=3, code=4, info=1350, quoted=b"")
    assert describe(packet(ICMP.target, ICMP.source, 1, too_big)) == "ICMP fragmentation needed, MTU 1350"
    pointer = IcmpError(type=12, code=0, info=1 << 24, quoted=b"")
    assert describe(packet(ICMP.target, ICMP.source, 1, pointer)) == "ICMP error type 12 code 0"


@pytest.mark.parametrize("probe", [ICMP, ICMP6, UDP, TCP], ids=["icmp", "icmp6", "udp", "tcp"])
@pytest.mark.parametrize("size", [LEAST_SIZE, 1450, 65535])
def test_a_probe_of_a_wished_size_fills_its_packet(probe: Probe, size: int) -> None:
    sized = replace(probe, size=size)
    assert sized.payload.startswith(probe.id)
    assert len(encode_packet(packet(probe.source, probe.target, probe.number, request(sized)))) == size


def test_an_echo_has_pings_length() -> None:
    assert len(ICMP.payload) == 56
    assert ICMP.payload.startswith(ICMP.id)
