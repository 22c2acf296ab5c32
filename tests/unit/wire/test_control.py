"""The control socket's frames: what both ends agree on, byte by byte."""

import pytest

from tulle.errors import DecodeError
from tulle.wire.control import (
    REQUEST_LIMIT,
    CniRequest,
    VerbRequest,
    decode_frame,
    decode_json,
    decode_length,
    decode_request,
    encode_cni,
    encode_cni_answer,
    encode_frame,
    encode_json,
    encode_verb,
)


def test_a_question_is_a_length_a_kind_and_json() -> None:
    assert encode_verb({"verb": "status"}) == b'\x00\x00\x00\x12J{"verb":"status"}'
    assert decode_request(b'J{"verb":"status"}') == VerbRequest({"verb": "status"})


def test_a_plugin_execution_is_the_environment_a_nul_and_stdin_verbatim() -> None:
    request = CniRequest({"CNI_COMMAND": "ADD", "EMPTY": "", "EQUALS": "a=b"}, b"\x00{}\n")
    frame = encode_cni(request)
    assert frame[4:] == b"CCNI_COMMAND=ADD\0EMPTY=\0EQUALS=a=b\0\0\x00{}\n"
    assert decode_request(frame[4:]) == request


def test_an_environment_that_is_not_utf_8_goes_through_unharmed() -> None:
    request = decode_request(b"CA=\xff\xfe\0\0")
    assert isinstance(request, CniRequest)
    assert encode_cni(request)[4:] == b"CA=\xff\xfe\0\0"


def test_a_plugins_end_is_its_exit_code_and_what_it_printed() -> None:
    assert encode_cni_answer(1, b"{}") == b"\x00\x00\x00\x03\x01{}"


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"X{}", id="an unknown kind"),
        pytest.param(b"J", id="no JSON"),
        pytest.param(b"J[1]", id="no object"),
        pytest.param(b"J{", id="cut JSON"),
        pytest.param(b"J" + b"[" * 100_000, id="deep JSON"),
        pytest.param(b"C", id="no end of the environment"),
        pytest.param(b"CA=1\0", id="one NUL is missing"),
        pytest.param(b"CA\0\0", id="a variable without a value"),
        pytest.param(b"CA=1\0A=2\0\0", id="a variable twice"),
    ],
)
def test_any_other_request_is_malformed(body: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_request(body)


@pytest.mark.parametrize(
    ("header", "length"),
    [
        pytest.param(b"\0\0\0\0", 0, id="nothing follows"),
        pytest.param(REQUEST_LIMIT.to_bytes(4, "big"), REQUEST_LIMIT, id="the largest"),
        pytest.param((REQUEST_LIMIT + 1).to_bytes(4, "big"), None, id="one more"),
        pytest.param(b"\xff\xff\xff\xff", None, id="f57 four gigabytes"),
        pytest.param(b"\0\0\0", None, id="a cut length"),
    ],
)
def test_a_length_is_bounded(header: bytes, length: int | None) -> None:
    if length is None:
        with pytest.raises(DecodeError):
            decode_length(header)
    else:
        assert decode_length(header) == length


def test_a_frame_is_there_when_all_of_it_is_and_what_follows_is_nobodys() -> None:
    frame = encode_frame(b"question")
    assert [decode_frame(frame[:size]) for size in range(len(frame))] == [None] * len(frame)
    assert decode_frame(frame) == decode_frame(bytearray(frame) + b"more") == b"question"


def test_an_execution_without_an_environment_has_its_stdin() -> None:
    assert decode_request(b"C\0\0{}") == CniRequest({}, b"\0{}")


def test_answers_are_compact_and_keep_other_scripts() -> None:
    assert encode_json({"state": "就绪", "peers": 1}) == '{"state":"就绪","peers":1}'.encode()
    assert decode_json(encode_json({"state": "就绪"})) == {"state": "就绪"}
