"""Laws of the capture codec: any bytes give sections or DecodeError, and what is written reads back the same."""

from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from tulle.errors import DecodeError
from tulle.wire.pcapng import LOCAL_USE, Interface, LocalBlock, Packet, Section
from tulle.wire.pcapng_decode import decode_sections
from tulle.wire.pcapng_encode import encode_section

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30)
addresses = st.builds(IPv4Address, st.integers(0, 2**32 - 1)) | st.builds(IPv6Address, st.integers(0, 2**128 - 1))
interfaces = st.builds(
    Interface,
    name=texts,
    description=texts,
    link_type=st.integers(0, 2**16 - 1),
    snap_length=st.integers(0, 2**32 - 1),
)
blocks = st.builds(
    LocalBlock,
    type=st.integers(LOCAL_USE, 2**32 - 1),
    body=st.binary(max_size=40).map(lambda body: body + bytes(-len(body) % 4)),
)


@st.composite
def sections(draw: st.DrawFn) -> Section:
    taps = tuple(draw(st.lists(interfaces, max_size=4)))
    packet = st.builds(
        Packet,
        interface=st.integers(0, max(0, len(taps) - 1)),
        t_ns=st.integers(0, 2**64 - 1),
        length=st.integers(0, 2**32 - 1),
        data=st.binary(max_size=70),
        direction=st.sampled_from(["", "in", "out"]),
        reception=st.sampled_from(["", "unicast", "multicast", "broadcast", "promiscuous"]),
        comment=texts,
    )
    return Section(
        interfaces=taps,
        packets=tuple(draw(st.lists(packet, max_size=5))) if taps else (),
        names=draw(st.dictionaries(addresses, texts.filter(bool), max_size=4)),
        comment=draw(texts),
        application=draw(texts),
        blocks=tuple(draw(st.lists(blocks, max_size=2))),
    )


@given(st.lists(sections(), min_size=1, max_size=3))
def test_what_is_written_reads_back_the_same(written: list[Section]) -> None:
    assert decode_sections(b"".join(map(encode_section, written))) == tuple(written)


@given(sections(), st.data())
def test_any_damage_gives_sections_or_a_decode_error(section: Section, data: st.DataObject) -> None:
    whole = bytearray(encode_section(section))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DecodeError):
        decode_sections(bytes(whole[: data.draw(st.integers(0, len(whole)))]))


@given(st.binary(max_size=300))
def test_any_bytes_give_sections_or_a_decode_error(noise: bytes) -> None:
    with suppress(DecodeError):
        decode_sections(encode_section(Section()) + noise)
