"""Captures as other programs write them, block by block, and what is refused."""

from ipaddress import ip_address
from struct import pack

import pytest

from tulle.errors import DecodeError
from tulle.wire.pcapng import INTERFACE, LINK_RAW_IP, SECTION, SIMPLE_PACKET, Interface, LocalBlock, Packet, Section
from tulle.wire.pcapng_decode import decode_sections
from tulle.wire.pcapng_encode import encode_section


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    return pack(f"{order}II", kind, len(body) + 12) + body + pack(f"{order}I", len(body) + 12)


def header(order: str = "<") -> bytes:
    return block(SECTION, pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(order: str = "<", options: bytes = b"") -> bytes:
    return block(INTERFACE, pack(f"{order}HHI", 1, 0, 0) + options, order)


def packet(order: str = "<", ticks: int = 0, data: bytes = b"abcd") -> bytes:
    body = pack(f"{order}IIIII", 0, ticks >> 32, ticks & 0xFFFFFFFF, len(data), 60)
    return block(6, body + data + bytes(-len(data) % 4), order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


WHOLE = Section(
    interfaces=(Interface(name="node1:eth0", description="step 3c"), Interface(name="tun", link_type=LINK_RAW_IP)),
    packets=(
        Packet(
            interface=1, t_ns=1_764_000_000_123_456_789, length=1500, data=b"\x45" * 7, direction="out", comment="hop 1"
        ),
        Packet(interface=0, t_ns=0, length=0, data=b"", direction="in", reception="promiscuous"),
    ),
    names={ip_address("10.244.1.2"): "pod1", ip_address("fd64::11"): "node1"},
    comment="delivered",
    application="tulle 0.1",
    blocks=(LocalBlock(type=0x80000001, body=b"mine"),),
)


def test_a_section_reads_back_as_it_was_written() -> None:
    assert decode_sections(encode_section(WHOLE)) == (WHOLE,)


def test_the_first_bytes_are_the_formats_own() -> None:
    """Magic, version and an open length, as every reader expects them."""
    assert encode_section(Section()).hex() == "0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000"


def test_several_sections_stay_apart() -> None:
    assert decode_sections(encode_section(WHOLE) + encode_section(Section())) == (WHOLE, Section())


@pytest.mark.parametrize("order", ["<", ">"])
def test_either_byte_order_is_read(order: str) -> None:
    (section,) = decode_sections(header(order) + interface(order) + packet(order, ticks=5))
    assert section.packets == (Packet(interface=0, t_ns=5000, length=60, data=b"abcd"),)


@pytest.mark.parametrize(
    ("options", "expected_ns"),
    [
        pytest.param(b"", 3_000_000, id="microseconds unless it says otherwise"),
        pytest.param(option(9, b"\x09"), 3_000, id="nanoseconds"),
        pytest.param(option(9, b"\x00"), 3_000_000_000_000, id="seconds"),
        pytest.param(option(9, b"\x8a"), 2_929_687_500, id="a power of two"),
        pytest.param(option(14, pack("<q", 7)), 7_003_000_000, id="an offset in seconds"),
    ],
)
def test_stamps_are_nanoseconds_whatever_the_interface_counts_in(options: bytes, expected_ns: int) -> None:
    (section,) = decode_sections(header() + interface(options=options) + packet(ticks=3000))
    assert section.packets[0].t_ns == expected_ns


def test_unknown_blocks_and_options_are_left_out() -> None:
    known = header() + interface(options=option(2, b"eth0") + option(77, b"?")) + packet()
    (section,) = decode_sections(known + block(5, b"statistics, perhaps."))
    assert section.interfaces == (Interface(name="eth0"),)
    assert len(section.packets) == 1


def test_a_simple_packet_is_one_of_the_first_interface() -> None:
    (section,) = decode_sections(header() + interface() + block(SIMPLE_PACKET, pack("<I", 3) + b"abc\0"))
    assert section.packets == (Packet(interface=0, t_ns=0, length=3, data=b"abc"),)


def test_a_text_too_long_for_an_option_is_cut_at_a_character() -> None:
    (section,) = decode_sections(encode_section(Section(comment="网" * 30_000)))
    assert section.comment == "网" * 21_845


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xd4\xc3\xb2\xa1" + bytes(20), id="the older pcap format"),
        pytest.param(header()[:20], id="cut header"),
        pytest.param(block(SECTION, b"\0" * 16), id="no magic"),
        pytest.param(block(SECTION, pack("<IHHq", 0x1A2B3C4D, 2, 0, -1)), id="another version"),
        pytest.param(header() + block(INTERFACE, b""), id="empty interface"),
        pytest.param(header() + interface()[:-4] + pack("<I", 24), id="lengths that differ"),
        pytest.param(header() + pack("<II", 6, 13) + bytes(5), id="length not a multiple of four"),
        pytest.param(header() + pack("<II", 6, 0xFFFFFFFC) + bytes(20), id="length past the end"),
        pytest.param(header() + packet(), id="packet of no interface"),
        pytest.param(header() + interface() + packet()[:-8] + bytes(8), id="packet with a broken end"),
        pytest.param(header() + interface(options=pack("<HH", 2, 40)), id="option past the end"),
        pytest.param(header() + interface(options=option(9, b"\x7f")), id="resolution without end"),
        pytest.param(header() + block(SIMPLE_PACKET, pack("<I", 0)), id="simple packet of no interface"),
    ],
)
def test_what_contradicts_itself_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_sections(data)
