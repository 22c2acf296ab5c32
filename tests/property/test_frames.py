"""Laws of the frame codec: any bytes give a value or DecodeError, and what is written reads back the same."""

from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from tulle.errors import DecodeError
from tulle.model.network import MacAddress, Vni
from tulle.wire.frames import (
    ETH_P_ARP,
    ETH_P_IPV4,
    ETH_P_IPV6,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
    Arp,
    Echo,
    Ethernet,
    IcmpError,
    Ipv4,
    Ipv6,
    NeighborDiscovery,
    Tcp,
    Transport,
    Udp,
    Vxlan,
)
from tulle.wire.frames_decode import decode_frame, decode_packet
from tulle.wire.frames_encode import encode_frame, internet_checksum

PORTS = frozenset({4789, 8472})
u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
plain_port = u16.filter(lambda port: port not in PORTS)
payloads = st.binary(max_size=64)
ip4 = st.builds(IPv4Address, u32)
ip6 = st.builds(IPv6Address, st.integers(0, 2**128 - 1))
macs = st.binary(min_size=6, max_size=6).map(lambda raw: MacAddress(raw.hex(":")))

echoes = st.builds(Echo, request=st.booleans(), ident=u16, sequence=u16, payload=payloads, checksum=st.none() | u16)
datagrams = st.builds(
    Udp, source_port=u16, destination_port=plain_port, payload=payloads, checksum=st.none() | u16, missing=st.just(0)
)
segments = st.builds(
    Tcp,
    source_port=u16,
    destination_port=u16,
    sequence=u32,
    acknowledgement=u32,
    flags=u8,
    window=u16,
    urgent=u16,
    options=st.sampled_from([b"", b"\x02\x04\x05\xb4", b"\x01" * 40]),
    payload=payloads,
    checksum=st.none() | u16,
)
nd_options = st.tuples(u8, st.binary(min_size=6, max_size=6)).map(lambda option: bytes((option[0], 1)) + option[1])
discoveries = st.builds(
    NeighborDiscovery,
    advertisement=st.booleans(),
    target=ip6,
    options=st.lists(nd_options, max_size=2).map(b"".join) | st.binary(max_size=20),
    flags=u8,
    checksum=st.none() | u16,
)


@st.composite
def packets4(draw: st.DrawFn, transports: st.SearchStrategy[tuple[int, Transport]]) -> Ipv4:
    protocol, payload = draw(transports)
    return Ipv4(
        source=draw(ip4),
        destination=draw(ip4),
        protocol=protocol,
        ttl=draw(u8),
        payload=payload,
        tos=draw(u8),
        ident=draw(u16),
        dont_fragment=draw(st.booleans()),
    )


@st.composite
def packets6(draw: st.DrawFn, transports: st.SearchStrategy[tuple[int, Transport]]) -> Ipv6:
    protocol, payload = draw(transports)
    return Ipv6(
        source=draw(ip6),
        destination=draw(ip6),
        protocol=protocol,
        next_header=protocol,
        hop_limit=draw(u8),
        payload=payload,
        traffic_class=draw(u8),
        flow_label=draw(st.integers(0, 2**20 - 1)),
    )


def tagged(protocol: int, transport: st.SearchStrategy[Transport]) -> st.SearchStrategy[tuple[int, Transport]]:
    return transport.map(lambda value: (protocol, value))


simple4 = packets4(tagged(IPPROTO_ICMP, echoes) | tagged(IPPROTO_UDP, datagrams) | tagged(IPPROTO_TCP, segments))
simple6 = packets6(
    tagged(IPPROTO_ICMPV6, echoes | discoveries) | tagged(IPPROTO_UDP, datagrams) | tagged(IPPROTO_TCP, segments)
)
errors4 = packets4(
    tagged(IPPROTO_ICMP, st.builds(IcmpError, type=st.sampled_from([3, 11, 12]), code=u8, info=u32, quoted=simple4))
)
arps = st.builds(Arp, operation=u16, sender_mac=macs, sender_ip=ip4, target_mac=macs, target_ip=ip4)
vlans = st.none() | u16
frames = (
    st.builds(
        Ethernet, destination=macs, source=macs, ethertype=st.just(ETH_P_IPV4), payload=simple4 | errors4, vlan=vlans
    )
    | st.builds(Ethernet, destination=macs, source=macs, ethertype=st.just(ETH_P_IPV6), payload=simple6, vlan=vlans)
    | st.builds(Ethernet, destination=macs, source=macs, ethertype=st.just(ETH_P_ARP), payload=arps, vlan=vlans)
)
tunnels = frames.flatmap(
    lambda inner: st.builds(
        Ethernet,
        destination=macs,
        source=macs,
        ethertype=st.just(ETH_P_IPV4),
        payload=packets4(
            tagged(
                IPPROTO_UDP,
                st.builds(
                    Udp,
                    source_port=u16,
                    destination_port=st.sampled_from(sorted(PORTS)),
                    payload=st.builds(Vxlan, vni=st.integers(0, 2**24 - 1).map(Vni), inner=st.just(inner)),
                    missing=st.just(0),
                ),
            )
        ),
    )
)


@given(frames | tunnels)
def test_what_is_written_reads_back_and_writes_the_same_bytes_again(frame: Ethernet) -> None:
    raw = encode_frame(frame)
    read = decode_frame(memoryview(raw), vxlan_ports=PORTS)
    assert encode_frame(read) == raw
    assert type(read.payload) is type(frame.payload)
    assert (read.source, read.destination, read.vlan) == (frame.source, frame.destination, frame.vlan)


@given(st.binary(max_size=200), st.none() | st.integers(0, 2000))
def test_any_bytes_give_a_value_or_a_decode_error(raw: bytes, wire_len: int | None) -> None:
    for decode in (decode_frame, decode_packet):
        with suppress(DecodeError):
            decode(memoryview(raw), wire_len=wire_len, vxlan_ports=PORTS)


@given(frames | tunnels, st.data())
def test_a_damaged_frame_gives_a_value_or_a_decode_error(frame: Ethernet, data: st.DataObject) -> None:
    raw = bytearray(encode_frame(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(u8)
    with suppress(DecodeError):
        decode_frame(memoryview(raw), vxlan_ports=PORTS)


@given(simple4 | simple6, st.data())
def test_a_snapped_frame_counts_what_is_missing(packet: Ipv4 | Ipv6, data: st.DataObject) -> None:
    ethertype = ETH_P_IPV4 if isinstance(packet, Ipv4) else ETH_P_IPV6
    mac = MacAddress("02:00:00:00:00:01")
    whole = encode_frame(Ethernet(destination=mac, source=mac, ethertype=ethertype, payload=packet))
    header = 34 if isinstance(packet, Ipv4) else 54
    size = data.draw(st.integers(header, len(whole)))
    read = decode_frame(memoryview(whole)[:size], wire_len=len(whole)).payload
    assert isinstance(read, Ipv4 | Ipv6)
    assert read.missing == len(whole) - size
    assert encode_frame(Ethernet(destination=mac, source=mac, ethertype=ethertype, payload=read)) == whole[:size]


@given(discoveries, st.binary(min_size=6, max_size=6))
def test_neighbour_discovery_finds_its_own_link_layer_option_only(message: NeighborDiscovery, mac: bytes) -> None:
    own, other = (2, 1) if message.advertisement else (1, 2)
    options = bytes((other, 1)) + mac + bytes((own, 1)) + mac[::-1]
    assert replace(message, options=options).mac == mac[::-1].hex(":")
    assert replace(message, options=options[:-1]).mac is None
    assert replace(message, options=b"").mac is None


@given(st.binary(max_size=99))
def test_a_message_with_its_own_checksum_sums_to_zero(raw: bytes) -> None:
    even = raw + b"\0" * (len(raw) % 2)
    assert internet_checksum(even + internet_checksum(even).to_bytes(2, "big")) == 0
