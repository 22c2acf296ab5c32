"""JSON whose repetitions are shared: nothing is lost, nothing grows without end, nonsense is refused."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.pictures import cross_node, lengthened
from tulle.errors import DecodeError
from tulle.render.shared_json import LARGEST, SCHEMA, shared, unshared
from tulle.trace.json import encode_journey

WORDS = st.sampled_from(["", "$", "$keys", "$rows", "a word that stands there again and again", "豆腐" * 20])
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | WORDS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=30,
)


def compact(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


@given(VALUES)
def test_what_is_shared_comes_back_to_the_byte(value: object) -> None:
    assert unshared(shared(compact(value))) == compact(value)
    assert shared(compact(value)) == shared(compact(value))


@given(st.binary(max_size=200) | VALUES.map(lambda value: compact({"schema": SCHEMA, "parts": value, "value": value})))
def test_any_text_is_read_or_refused(text: bytes) -> None:
    try:
        unshared(text)
    except DecodeError:
        return


def test_a_long_walk_is_half_as_long() -> None:
    text = encode_journey(lengthened(cross_node(), 24))
    assert len(shared(text)) < len(text) / 2
    assert unshared(shared(text)) == text


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([{"$": 0}] * 100_000, id="a part"),
        pytest.param({"$keys": ["k" * 100_000], "$rows": [[1]] * 1_000}, id="a key"),
    ],
)
def test_a_small_text_never_stands_for_an_endless_one(value: object) -> None:
    with pytest.raises(DecodeError, match=str(LARGEST)):
        unshared(compact({"schema": SCHEMA, "parts": ["x" * 1_000], "value": value}))


@pytest.mark.parametrize(
    "value",
    [
        {"$": 7},
        {"$": -1},
        {"$keys": ["a"], "$rows": [[1, 2]]},
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(value: object) -> None:
    with pytest.raises(DecodeError):
        unshared(compact({"schema": SCHEMA, "parts": [], "value": value}))
