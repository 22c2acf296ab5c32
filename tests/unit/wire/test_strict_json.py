"""JSON as a hostile writer meets it: what is refused, with which fact, and how fast."""

import time

import pytest

from tulle.errors import DecodeError
from tulle.wire.strict_json import DEPTH_LIMIT, JsonValue, decode_json, decode_object

LIMIT = 64 * 1024


@pytest.mark.parametrize(
    ("data", "value"),
    [
        pytest.param(b'{"PublicIP":"10.0.0.1"}', {"publicip": "10.0.0.1"}, id="keys are folded as Go folds them"),
        pytest.param(b'{"a":{"B":1}}', {"a": {"b": 1}}, id="inner keys too"),
        pytest.param(b' [1, 2.5, "X", true, null] ', [1, 2.5, "X", True, None], id="values are not"),
        pytest.param(b'"\\u00e9"', "é", id="escapes"),
        pytest.param('{"é":1}'.encode(), {"é": 1}, id="UTF-8"),
        pytest.param(b"[" * DEPTH_LIMIT + b"]" * DEPTH_LIMIT, None, id="as deep as allowed"),
        pytest.param(b'{"a":[' * 16 + b"]}" * 16, None, id="as deep as allowed, of both kinds"),
        pytest.param(b'["' + b"[" * 99 + b'"]', ["[" * 99], id="brackets in a text"),
        pytest.param(b"[" + b",".join([b"[]"] * 99) + b"]", [list[JsonValue]()] * 99, id="many beside each other"),
    ],
)
def test_a_value(data: bytes, value: JsonValue) -> None:
    decoded = decode_json("it", data, LIMIT)
    assert value is None or decoded == value


@pytest.mark.parametrize(
    ("data", "fact"),
    [
        pytest.param(b"", "reason", id="nothing"),
        pytest.param(b"{", "reason", id="cut"),
        pytest.param(b"{}{}", "reason", id="two"),
        pytest.param(b"{'a':1}", "reason", id="not JSON"),
        pytest.param(b'{"a":1,"a":2}', "duplicate key", id="a key twice"),
        pytest.param(b'{"PublicIP":1,"publicip":2}', "duplicate key", id="a key in two spellings"),
        pytest.param(b'{"a":{"b":1,"B":2}}', "duplicate key", id="a key twice, inside"),
        pytest.param(b'{"a":NaN}', "NaN is not JSON", id="NaN"),
        pytest.param(b"[Infinity]", "Infinity is not JSON", id="infinity"),
        pytest.param(b"[-Infinity]", "-Infinity is not JSON", id="minus infinity"),
        pytest.param(b'{"a":1e400}', "1e400 is out of range", id="f53 a number that is infinite in disguise"),
        pytest.param(b"-1e999", "-1e999 is out of range", id="and a negative one"),
        pytest.param(b"1" * 5000, "reason", id="a number of five thousand digits"),
        pytest.param(b'"\xff"', "utf-8", id="not UTF-8"),
        pytest.param(b"\xef\xbb\xbf{}", "BOM", id="a byte order mark"),
        pytest.param(b'"a\nb"', "control character", id="a newline in a string"),
        pytest.param(b'"a\x00b"', "control character", id="a NUL in a string"),
        pytest.param(b"[" * 33 + b"]" * 33, "depth", id="one level too deep"),
        pytest.param(b'{"a":[' * 16 + b"[1]" + b"]}" * 16, "depth", id="one level too deep, of both kinds"),
        pytest.param(b'{"a":' * 33 + b"1" + b"}" * 33, "depth", id="one object too deep"),
        pytest.param(b"[" * 10_000, "depth", id="ten thousand levels"),
        pytest.param(b'"' + b"x" * LIMIT + b'"', "limit=65536", id="too large"),
        pytest.param(b" " * (10 << 20), "limit=65536", id="10 MB of nothing"),
    ],
)
def test_f53_what_is_refused_says_why_in_one_line(data: bytes, fact: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_json("it", data, LIMIT)
    assert str(caught.value).startswith("it: malformed")
    assert fact in str(caught.value)
    assert str(caught.value).isprintable()


def test_the_limit_counts_bytes_and_is_allowed_itself() -> None:
    exact = b'"' + b"x" * (LIMIT - 2) + b'"'
    assert decode_json("it", exact, LIMIT) == "x" * (LIMIT - 2)
    with pytest.raises(DecodeError):
        decode_json("it", exact + b" ", LIMIT)


@pytest.mark.parametrize("data", [b"[]", b"1", b'"a"', b"null"])
def test_an_object_is_asked_for_by_name(data: bytes) -> None:
    with pytest.raises(DecodeError, match="not a JSON object"):
        decode_object("it", data, LIMIT)


def test_the_worst_that_fits_is_refused_in_no_time() -> None:
    """Not a figure, a bound far above it: nothing here is more than linear."""
    hostile = (b"[" * 32_000 + b"]" * 32_000, b'{"a":' * 12_000, b"[" + b"[]," * 21_000 + b"[]]", b"9" * 65_000)
    started = time.process_time()
    for data in hostile:
        try:
            decode_json("it", data, LIMIT)
        except DecodeError:
            continue
    assert time.process_time() - started < 1.0
