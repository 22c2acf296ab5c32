"""rtnetlink's laws: decode(encode(x)) = x, and any bytes are a value or a DecodeError."""

from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface
from typing import Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tulle.errors import DecodeError
from tulle.model.network import MacAddress
from tulle.wire.netlink import Message, decode_ack, decode_messages, encode_attribute, parse_attributes
from tulle.wire.rtnetlink.addresses import AddressMessage, decode_address, encode_address
from tulle.wire.rtnetlink.links import LinkMessage, LinkStatistics, decode_deleted, decode_link, encode_link
from tulle.wire.rtnetlink.neighbors import NeighborMessage, decode_neighbor, encode_neighbor
from tulle.wire.rtnetlink.nsids import decode_nsid
from tulle.wire.rtnetlink.parts import AF_BRIDGE, AF_INET, AF_INET6, IfIndex
from tulle.wire.rtnetlink.routes import ROUTE_KINDS, RouteMessage, decode_route, encode_route, is_kernels_own
from tulle.wire.rtnetlink.rules import decode_rule
from tulle.wire.rtnetlink.vxlan import VxlanInfo

COUNTERS = tuple(LinkStatistics.__dataclass_fields__)
u8, u16, u32, u64 = (st.integers(0, (1 << bits) - 1) for bits in (8, 16, 32, 64))
nonzero16, nonzero24 = st.integers(1, 0xFFFF), st.integers(1, (1 << 24) - 1)
indexes = st.integers(0, (1 << 31) - 1).map(IfIndex)
macs = st.binary(min_size=6, max_size=6).map(lambda raw: MacAddress(raw.hex(":")))
addresses4, addresses6 = st.ip_addresses(v=4), st.ip_addresses(v=6)
names = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=15)
aliases = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)), max_size=80)
lifetimes = st.none() | st.integers(0, 0xFFFFFFFE)

vxlans = st.builds(
    VxlanInfo,
    vni=nonzero24,
    link=indexes,
    local=st.none() | addresses4 | addresses6,
    group=st.none() | addresses4 | addresses6,
    port=u16,
    ttl=u8,
    learning=st.booleans(),
    gbp=st.booleans(),
    external=st.booleans(),
)
statistics = st.lists(u64, min_size=8, max_size=8).map(
    lambda counters: LinkStatistics(**dict(zip(COUNTERS, counters, strict=True)))
)


def _links(kind: st.SearchStrategy[str], vxlan: st.SearchStrategy[VxlanInfo | None]) -> st.SearchStrategy[LinkMessage]:
    return st.builds(
        LinkMessage,
        index=indexes,
        name=names,
        kind=kind,
        mtu=u32,
        mac=st.none() | macs,
        flags=u32,
        master=indexes,
        alias=aliases,
        link=indexes,
        link_netnsid=st.none() | st.integers(-1, (1 << 31) - 1),
        vxlan=vxlan,
        hairpin=st.booleans(),
        operstate=u8,
        carrier=st.booleans(),
        promiscuity=u32,
        statistics=st.none() | statistics,
    )


links = _links(st.sampled_from(["", "veth", "bridge", "dummy"]), st.none()) | _links(st.just("vxlan"), vxlans)


def _interface4(ip: IPv4Address, length: int) -> IPv4Interface:
    return IPv4Interface((ip, length))


def _interface6(ip: IPv6Address, length: int) -> IPv6Interface:
    return IPv6Interface((ip, length))


interfaces4 = st.builds(_interface4, addresses4, st.integers(0, 32))
interfaces6 = st.builds(_interface6, addresses6, st.integers(0, 128))
interfaces = interfaces4 | interfaces6


@st.composite
def address_messages(draw: st.DrawFn) -> AddressMessage:
    interface = draw(interfaces)
    peer = draw(st.none() | (addresses4 if interface.version == 4 else addresses6))
    return AddressMessage(
        index=draw(indexes),
        interface=interface,
        peer=peer if peer != interface.ip else None,
        scope=draw(u8),
        flags=draw(u32),
        valid_s=draw(lifetimes),
        preferred_s=draw(lifetimes),
    )


@st.composite
def routes(draw: st.DrawFn) -> RouteMessage:
    version = draw(st.sampled_from([4, 6]))
    own = addresses4 if version == 4 else addresses6
    return RouteMessage(
        dst=draw(interfaces4 if version == 4 else interfaces6).network,
        oif=draw(indexes),
        gateway=draw(st.none() | own | addresses6),
        onlink=draw(st.booleans()),
        prefsrc=draw(st.none() | own),
        table=draw(u32),
        priority=draw(u32),
        protocol=draw(u8),
        scope=draw(u8),
        kind=draw(st.sampled_from(sorted(ROUTE_KINDS.values()))),
        mtu=draw(st.none() | st.integers(1, 0xFFFFFFFF)),
        nexthop_id=draw(u32),
        cloned=draw(st.booleans()),
        tos=draw(u8),
        dead=draw(st.booleans()),
        linkdown=draw(st.booleans()),
    )


neighbors = st.builds(
    NeighborMessage,
    family=st.sampled_from([AF_INET, AF_INET6, AF_BRIDGE]),
    ifindex=indexes,
    dst=st.none() | addresses4 | addresses6,
    lladdr=st.none() | macs,
    state=u16,
    flags=u8,
    flags_ext=u32,
    vlan=u16,
    port=u16,
    vni=nonzero24,
    master=indexes,
)


def _message(payload: bytes) -> Message:
    return Message(0, 0, 0, 0, payload)


@given(links)
def test_a_link_survives_encoding(link: LinkMessage) -> None:
    assert decode_link(_message(encode_link(link))) == link


@given(address_messages())
def test_an_address_survives_encoding(address: AddressMessage) -> None:
    assert decode_address(_message(encode_address(address))) == address


@given(routes())
@example(RouteMessage(dst=IPv4Network("10.0.0.0/8"), gateway=IPv6Address("fe80::1")))
@example(RouteMessage(dst=IPv4Network("0.0.0.0/0"), gateway=IPv4Address("0.0.0.0")))
def test_a_route_survives_encoding(route: RouteMessage) -> None:
    assert decode_route(_message(encode_route(route))) == route


@given(neighbors)
def test_a_neighbour_survives_encoding(entry: NeighborMessage) -> None:
    assert decode_neighbor(_message(encode_neighbor(entry))) == entry


DECODERS: Final[list[Callable[[Message], object]]] = [
    decode_link,
    decode_address,
    decode_route,
    is_kernels_own,
    decode_deleted,
    decode_neighbor,
    decode_nsid,
    decode_rule,
    decode_ack,
]
attributes = st.builds(encode_attribute, st.integers(0, 64) | u16, st.binary(max_size=20))


@st.composite
def payloads(draw: st.DrawFn) -> bytes:
    """Nothing in particular, or a fixed part and attributes of which the last may be cut."""
    inner = draw(st.lists(attributes, max_size=6))
    cut = draw(st.binary(max_size=5))
    nest = encode_attribute(18, b"".join(draw(st.lists(attributes, max_size=3)))) if draw(st.booleans()) else b""
    return draw(st.binary(max_size=16)) + b"".join(inner) + nest + cut


@pytest.mark.parametrize("decode", DECODERS, ids=lambda decode: decode.__name__)
@given(payload=payloads() | st.binary(max_size=64), kind=st.integers(0, 110), flags=u16)
def test_any_payload_is_a_value_or_a_decode_error(
    decode: Callable[[Message], object], payload: bytes, kind: int, flags: int
) -> None:
    with suppress(DecodeError):
        decode(Message(kind, flags, 0, 0, payload))


@given(links, st.data())
def test_a_link_that_is_cut_or_damaged_is_a_value_or_a_decode_error(link: LinkMessage, data: st.DataObject) -> None:
    payload = bytearray(encode_link(link))
    for at in data.draw(st.lists(st.integers(0, len(payload) - 1), max_size=3)):
        payload[at] ^= data.draw(st.integers(1, 255))
    try:
        decode_link(_message(bytes(payload[: data.draw(st.integers(0, len(payload)))])))
    except DecodeError:
        return


@given(st.binary(max_size=200))
def test_any_datagram_and_any_attributes_are_values_or_a_decode_error(buffer: bytes) -> None:
    for read in (lambda: decode_messages(buffer), lambda: parse_attributes(buffer)):
        try:
            read()
        except DecodeError:
            continue
