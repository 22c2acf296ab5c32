"""The trace ring buffer's pages, laid by hand as the kernel lays them, and its format files."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.errors import DecodeError
from tulle.trace.ring import Record, decode_page, parse_format

NOW = 1_764_000_000_000_000_000
KFREE = """name: kfree_skb
ID: 2310
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:void * skbaddr;\toffset:8;\tsize:8;\tsigned:0;
\tfield:__data_loc char[] name;\toffset:16;\tsize:4;\tsigned:0;
\tfield:__u8 dst[4];\toffset:20;\tsize:4;\tsigned:0;
\tfield:enum skb_drop_reason reason;\toffset:24;\tsize:4;\tsigned:0;

print fmt: "%p %s", REC->skbaddr, __print_symbolic(REC->reason, { 2, "NOT_SPECIFIED" }, { 0x71, "NO_TX_TARGET" })
"""
FORM = parse_format(KFREE)


def page(*events: bytes, now: int = NOW, tail: bytes = b"") -> bytes:
    body = b"".join(events)
    return struct.pack("<QQ", now, len(body)) + body + tail


def event(data: bytes, delta: int = 0, *, long: bool = False) -> bytes:
    """``long``: the length in a word of its own, as events above 112 bytes have it."""
    assert len(data) % 4 == 0
    if long:
        return struct.pack("<II", delta << 5, len(data) + 4) + data
    return struct.pack("<I", delta << 5 | len(data) // 4) + data


def times(*events: bytes) -> list[int]:
    return [record.t_ns - NOW for record in decode_page(page(*events))]


def test_each_event_is_later_by_its_delta() -> None:
    assert times(event(b"abcd", 5), event(b"efghijkl", 7), event(b"mnop" * 40, 1, long=True)) == [5, 12, 13]


def test_an_extended_time_is_added_and_an_absolute_one_replaces() -> None:
    extend = struct.pack("<II", 3 << 5 | 30, 2)
    assert times(extend, event(b"abcd", 1)) == [(2 << 27) + 4]
    later = NOW + 99
    absolute = struct.pack("<II", (later & (1 << 27) - 1) << 5 | 31, later >> 27 & 0xFFFFFFFF)
    assert times(absolute, event(b"abcd", 1)) == [100]


def test_padding_is_skipped_and_padding_to_the_end_ends_the_page() -> None:
    discarded = struct.pack("<II", 4 << 5 | 29, 8) + b"...."
    assert times(discarded, event(b"abcd", 1)) == [5]
    assert times(event(b"abcd", 1), struct.pack("<I", 29), event(b"efgh", 1)) == [1]


def test_what_is_behind_the_committed_bytes_is_not_read() -> None:
    assert len(list(decode_page(page(event(b"abcd"), tail=event(b"old!"))))) == 1


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(struct.pack("<QQ", NOW, 64), id="more committed than there is"),
        pytest.param(page(struct.pack("<I", 20)), id="an event that leaves the page"),
    ],
)
def test_a_page_that_contradicts_itself_is_refused(raw: bytes) -> None:
    with pytest.raises(DecodeError):
        list(decode_page(raw))


@given(st.binary(max_size=300), st.integers(0, 300))
def test_any_bytes_are_records_or_refused(body: bytes, commit: int) -> None:
    try:
        records = list(decode_page(struct.pack("<QQ", NOW, commit) + body))
    except DecodeError:
        return
    assert all(len(record.data) <= len(body) for record in records)


def record() -> Record:
    where = 28 | 6 << 16
    fields = struct.pack("<HHiQI4sI", 2310, 0, 1, 0xFFFF888012345678, where, bytes([10, 244, 2, 3]), 0x71)
    (found,) = decode_page(page(event(fields + b"cbr0\0\0\0\0", 5)))
    return found


def test_fields_are_read_by_the_kernels_own_description() -> None:
    assert record().id == FORM.id == 2310
    assert record().number(FORM, "skbaddr") == 0xFFFF888012345678
    assert record().text(FORM, "name") == "cbr0"
    assert record().bytes(FORM, "dst") == bytes([10, 244, 2, 3])
    assert FORM.symbols[record().number(FORM, "reason")] == "NO_TX_TARGET"


def test_a_field_that_this_kernel_does_not_have_is_absent_and_not_an_error() -> None:
    assert record().number(FORM, "location", 7) == 7
    assert record().bytes(FORM, "gw4") == b""
    assert record().text(FORM, "dev") == ""


def test_an_event_that_is_shorter_than_its_description_is_refused() -> None:
    with pytest.raises(DecodeError):
        Record(NOW, b"\x06\x09\0\0").number(FORM, "skbaddr")


@pytest.mark.parametrize("text", ["", "name: x\nformat:\n", "ID: 3\n"])
def test_a_format_without_a_number_or_fields_is_refused(text: str) -> None:
    with pytest.raises(DecodeError):
        parse_format(text)
