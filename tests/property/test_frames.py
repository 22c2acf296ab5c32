"""Laws of the frame codec: any bytes give a value or DecodeError, and what is written reads back the same."""

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
discoveries = st.builds(
    NeighborDiscovery,
    advertisement=st.booleans(),
    target=ip6,
    mac=st.none() | macs,
    flags=u8,
    checksum=st.none() | u16,
)


def packets4(transports: st.SearchStrategy[tuple[int, Transport]]) -> st.SearchStrategy[Ipv4]:
    return st.builds(
        lambda pair, rest: Ipv4(protocol=pair[0], payload=pair[1], **rest),
        transports,
        st.fixed_dictionaries(
            {"source": ip4, "destination": ip4, "ttl": u8, "tos": u8, "ident": u16, "dont_fragment": st.booleans()}
        ),
    )


def packets6(transports: st.SearchStrategy[tuple[int, Transport]]) -> st.SearchStrategy[Ipv6]:
    return st.builds(
        lambda pair, rest: Ipv6(protocol=pair[0], next_header=pair[0], payload=pair[1], **rest),
        transports,
        st.fixed_dictionaries(
            {
                "source": ip6,
                "destination": ip6,
                "hop_limit": u8,
                "traffic_class": u8,
                "flow_label": st.integers(0, 2**20 - 1),
            }
        ),
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
        try:
            decode(memoryview(raw), wire_len=wire_len, vxlan_ports=PORTS)
        except DecodeError:
            pass


@given(frames | tunnels, st.data())
def test_a_damaged_frame_gives_a_value_or_a_decode_error(frame: Ethernet, data: st.DataObject) -> None:
    raw = bytearray(encode_frame(frame))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(u8)
    try:
        decode_frame(memoryview(raw), vxlan_ports=PORTS)
    except DecodeError:
        pass


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


@given(st.binary(max_size=99))
def test_a_message_with_its_own_checksum_sums_to_zero(raw: bytes) -> None:
    even = raw + b"\0" * (len(raw) % 2)
    assert internet_checksum(even + internet_checksum(even).to_bytes(2, "big")) == 0
