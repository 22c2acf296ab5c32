"""What the kernel says of forwarding: only the whole namespace's counts."""

import struct
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tulle.errors import DecodeError
from tulle.wire.netlink import Message, encode_attribute
from tulle.wire.rtnetlink.netconf import RTM_NEWNETCONF, decode_forwarding


def message(family: int, index: int, *, forwarding: bool = True) -> Message:
    body = bytes((family, 0, 0, 0)) + encode_attribute(1, struct.pack("=i", index))
    body += encode_attribute(2, struct.pack("=i", 0)) if forwarding else b""
    return Message(kind=RTM_NEWNETCONF, flags=0, seq=0, pid=0, payload=body)


@pytest.mark.parametrize(
    ("family", "index", "forwarding", "version"),
    [
        pytest.param(2, -1, True, 4, id="IPv4 for all"),
        pytest.param(10, -1, True, 6, id="IPv6 for all"),
        pytest.param(2, 7, True, None, id="one device"),
        pytest.param(2, -2, True, None, id="devices to come"),
        pytest.param(2, -1, False, None, id="something else"),
        pytest.param(28, -1, True, None, id="MPLS"),
    ],
)
def test_forwarding_of_the_whole_namespace(family: int, index: int, forwarding: bool, version: int | None) -> None:
    assert decode_forwarding(message(family, index, forwarding=forwarding)) == version


@given(st.binary(max_size=64))
def test_any_bytes_are_an_answer_or_a_decode_error(payload: bytes) -> None:
    with suppress(DecodeError):
        assert decode_forwarding(Message(RTM_NEWNETCONF, 0, 0, 0, payload)) in {4, 6, None}
