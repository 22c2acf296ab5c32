"""Laws of the journey's JSON: lossless, the same bytes each time, and any bytes are a journey or a DecodeError."""

import json
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.journeys import story
from tulle.errors import DecodeError
from tulle.trace.journey import Hop, Journey, Side
from tulle.trace.json import decode_journey, encode_journey

REAL = encode_journey(story().walks().turns_round().walks().journey())
numbers = st.integers(-(2**63), 2**63 - 1)
st.register_type_strategy(int, numbers)

journeys = st.builds(
    Journey,
    hops=st.lists(st.from_type(Hop), max_size=3).map(tuple),
    side=st.lists(st.from_type(Side), max_size=2).map(tuple),
    notes=st.lists(st.text(max_size=20), max_size=2).map(tuple),
)
documents = st.recursive(
    st.none() | st.booleans() | numbers | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)


@given(journeys)
def test_what_is_written_reads_back_the_same_and_writes_the_same_bytes(journey: Journey) -> None:
    data = encode_journey(journey)
    assert decode_journey(data) == journey
    assert encode_journey(decode_journey(data)) == data
    assert b"\n" not in data


@given(st.binary(max_size=200))
def test_any_bytes_are_a_journey_or_a_decode_error(data: bytes) -> None:
    with suppress(DecodeError):
        decode_journey(data)


@given(st.integers(0, len(REAL) - 1), st.integers(0, 12), st.binary(max_size=12))
def test_a_damaged_journey_is_a_journey_or_a_decode_error(at: int, cut: int, instead: bytes) -> None:
    with suppress(DecodeError):
        decode_journey(REAL[:at] + instead + REAL[at + cut :])


@given(st.sampled_from(sorted(json.loads(REAL))), documents)
def test_any_json_in_any_field_is_a_journey_or_a_decode_error(key: str, value: object) -> None:
    with suppress(DecodeError):
        decode_journey(json.dumps(json.loads(REAL) | {key: value}).encode())
