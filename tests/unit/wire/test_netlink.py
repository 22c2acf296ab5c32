"""Netlink framing: what is packed, what is refused, and what an acknowledgement says."""

import struct

import pytest

from tulle.errors import DecodeError
from tulle.wire.netlink import (
    NLM_F_ACK,
    NLM_F_ACK_TLVS,
    NLM_F_CAPPED,
    NLM_F_CREATE,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    Ack,
    Message,
    Request,
    batches,
    decode_ack,
    decode_messages,
    encode_attribute,
    find_attribute,
    nested,
    parse_attributes,
)

HEADER = struct.Struct("=IHHII")


def test_a_request_is_padded_numbered_and_always_a_request() -> None:
    encoded = Request(24, NLM_F_CREATE, b"abcde").encode(7)
    assert encoded == HEADER.pack(21, 24, NLM_F_CREATE | NLM_F_REQUEST, 7, 0) + b"abcde\0\0\0"


def test_only_a_request_that_wants_an_answer_asks_for_one() -> None:
    without, with_ack = (HEADER.unpack(Request(24, 0, b"").encode(1, ack)) for ack in (False, True))
    assert (without[2] & NLM_F_ACK, with_ack[2] & NLM_F_ACK) == (0, NLM_F_ACK)


def test_requests_sent_together_are_read_as_sent() -> None:
    requests = [Request(24, 0, bytes(n)) for n in range(9)]
    datagram = b"".join(request.encode(seq) for seq, request in enumerate(requests))
    assert [(m.seq, m.payload) for m in decode_messages(datagram)] == [(n, bytes(n)) for n in range(9)]


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        pytest.param(0, [], id="nothing to send"),
        pytest.param(1, [1], id="one"),
        pytest.param(128, [128], id="exactly one batch"),
        pytest.param(300, [128, 128, 44], id="the rest comes last"),
    ],
)
def test_requests_are_split_in_order(count: int, expected: list[int]) -> None:
    requests = [Request(24, 0, b"", subject=n) for n in range(count)]
    split = list(batches(requests))
    assert [len(batch) for batch in split] == expected
    assert [request for batch in split for request in batch] == requests


@pytest.mark.parametrize(
    "datagram",
    [
        pytest.param(b"\0" * 3, id="shorter than a header"),
        pytest.param(HEADER.pack(15, 1, 0, 0, 0), id="shorter than its own header"),
        pytest.param(HEADER.pack(17, 1, 0, 0, 0), id="longer than the datagram"),
        pytest.param(HEADER.pack(0, 1, 0, 0, 0), id="length zero would never end"),
        pytest.param(HEADER.pack(16, 1, 0, 0, 0) + b"\0" * 5, id="leftovers"),
        pytest.param(HEADER.pack(0xFFFFFFFF, 1, 0, 0, 0), id="largest length"),
    ],
)
def test_a_broken_datagram_is_one_error(datagram: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_messages(datagram)


def test_attributes_are_read_by_type_without_their_flags() -> None:
    inner = encode_attribute(1, b"name\0") + encode_attribute(2, b"")
    assert parse_attributes(nested(18, inner) + encode_attribute(4, b"abcd")) == {18: inner, 4: b"abcd"}
    assert parse_attributes(inner) == {1: b"name\0", 2: b""}


def test_one_attribute_is_found_without_those_behind_it() -> None:
    payload = nested(18, b"") + encode_attribute(3, b"first\0") + encode_attribute(3, b"last\0")
    assert find_attribute(payload + b"\1", 3) == b"first\0"
    assert find_attribute(payload, 18) == b""
    assert find_attribute(payload, 7) is None
    with pytest.raises(DecodeError):
        find_attribute(struct.pack("=HH", 9, 1) + b"abcd", 3)


def test_the_last_attribute_need_not_be_padded() -> None:
    assert parse_attributes(struct.pack("=HH", 5, 3) + b"x") == {3: b"x"}


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(struct.pack("=HH", 3, 1), id="shorter than its header"),
        pytest.param(struct.pack("=HH", 0, 1), id="length zero would never end"),
        pytest.param(struct.pack("=HH", 9, 1) + b"abcd", id="leaves the payload"),
        pytest.param(struct.pack("=HH", 4, 1) + b"ab", id="leftovers"),
        pytest.param(b"\1", id="one byte"),
    ],
)
def test_broken_attributes_are_one_error(payload: bytes) -> None:
    with pytest.raises(DecodeError):
        parse_attributes(payload)


REQUEST = Request(24, 0, b"abcdefgh").encode(9)
TEXT = encode_attribute(1, b"Invalid prefix for given prefix length\0")


@pytest.mark.parametrize(
    ("kind", "flags", "payload", "expected"),
    [
        pytest.param(NLMSG_ERROR, NLM_F_CAPPED, b"\0\0\0\0" + REQUEST[:16], Ack(0, 9), id="success"),
        pytest.param(
            NLMSG_ERROR, NLM_F_CAPPED, struct.pack("=i", -17) + REQUEST[:16], Ack(17, 9), id="refused, silent"
        ),
        pytest.param(
            NLMSG_ERROR,
            NLM_F_CAPPED | NLM_F_ACK_TLVS,
            struct.pack("=i", -22) + REQUEST[:16] + TEXT,
            Ack(22, 9, "Invalid prefix for given prefix length"),
            id="refused with a reason",
        ),
        pytest.param(
            NLMSG_ERROR,
            NLM_F_ACK_TLVS,
            struct.pack("=i", -22) + REQUEST + TEXT,
            Ack(22, 9, "Invalid prefix for given prefix length"),
            id="the whole request echoed before the reason",
        ),
        pytest.param(
            NLMSG_DONE,
            NLM_F_ACK_TLVS,
            struct.pack("=i", -95) + encode_attribute(1, b"no\xff\0"),
            Ack(95, 9, "no\ufffd"),
            id="a dump that ended badly, with text that is none",
        ),
        pytest.param(NLMSG_DONE, 0, b"\0\0\0\0", Ack(0, 9), id="a dump that ended well"),
    ],
)
def test_an_acknowledgement_says_what_the_kernel_said(kind: int, flags: int, payload: bytes, expected: Ack) -> None:
    assert decode_ack(Message(kind, flags, 9, 0, payload)) == expected


@pytest.mark.parametrize(
    ("flags", "payload"),
    [
        pytest.param(0, b"\0\0\0", id="no errno"),
        pytest.param(NLM_F_ACK_TLVS, b"\0" * 12, id="the echoed header is cut"),
        pytest.param(NLM_F_CAPPED | NLM_F_ACK_TLVS, b"\0" * 20 + b"\1", id="the attributes are cut"),
    ],
)
def test_a_broken_acknowledgement_is_one_error(flags: int, payload: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_ack(Message(NLMSG_ERROR, flags, 9, 0, payload))
