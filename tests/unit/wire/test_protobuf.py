"""The protobuf wire format: bytes from its specification, and laws over any bytes."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.errors import DecodeError
from tulle.wire.protobuf import bytes_field, message_field, number_field, walk

INT64 = st.integers(-(1 << 63), (1 << 63) - 1)
FIELDS = st.integers(1, (1 << 29) - 1)


@pytest.mark.parametrize(
    ("encoded", "expected"),
    [
        pytest.param(number_field(1, 150), "089601", id="the specification's 150"),
        pytest.param(bytes_field(2, b"testing"), "120774657374696e67", id="the specification's testing"),
        pytest.param(number_field(1, 0), "", id="zero is absent"),
        pytest.param(bytes_field(1, b""), "", id="no bytes are absent"),
        pytest.param(message_field(3, b""), "1a00", id="an empty message is present"),
        pytest.param(number_field(1, -1), "08ffffffffffffffffff01", id="minus one takes ten bytes"),
        pytest.param(number_field(64, 1), "800401", id="a field beyond fifteen takes two bytes"),
    ],
)
def test_fields_are_encoded_as_specified(encoded: bytes, expected: str) -> None:
    assert encoded.hex() == expected


@given(FIELDS, INT64)
def test_every_number_comes_back(field: int, value: int) -> None:
    assert list(walk("test", number_field(field, value))) == ([(field, value)] if value else [])


@given(st.lists(st.tuples(FIELDS, st.binary(max_size=300))))
def test_messages_come_back_in_their_order(fields: list[tuple[int, bytes]]) -> None:
    data = b"".join(message_field(field, value) for field, value in fields)
    assert list(walk("test", data)) == fields


@given(st.binary(max_size=200))
def test_any_bytes_are_fields_or_a_decode_error(data: bytes) -> None:
    with suppress(DecodeError):
        list(walk("test", data))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param("08", id="a number without its value"),
        pytest.param("08ff", id="a number that goes on"),
        pytest.param("08ffffffffffffffffff7f", id="a number beyond 64 bits"),
        pytest.param("08ffffffffffffffffffff01", id="a number of eleven bytes"),
        pytest.param("0a05616263", id="bytes cut short"),
        pytest.param("09010203", id="a fixed64 cut short"),
        pytest.param("0b", id="a group"),
        pytest.param("0001", id="field zero"),
    ],
)
def test_malformed_fields_are_refused(data: str) -> None:
    with pytest.raises(DecodeError):
        list(walk("test", bytes.fromhex(data)))


def test_fixed_fields_are_passed_over_by_their_size() -> None:
    data = bytes.fromhex("09" + "01" * 8 + "0d" + "02" * 4 + "1003")
    assert list(walk("test", data)) == [(1, b"\x01" * 8), (1, b"\x02" * 4), (2, 3)]
