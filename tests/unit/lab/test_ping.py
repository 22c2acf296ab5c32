"""Echo requests as bytes, and which datagrams answer one."""

import pytest

from tulle.lab.ping import encode_request, is_reply
from tulle.wire.frames_encode import internet_checksum

IP_HEADER = bytes([0x45]) + bytes(19)
OPTIONS_HEADER = bytes([0x46]) + bytes(23)


def reply(kind: int, ident: int = 7, sequence: int = 1) -> bytes:
    return bytes([kind, 0, 0, 0]) + ident.to_bytes(2, "big") + sequence.to_bytes(2, "big") + b"payload"


def test_a_request_carries_a_right_checksum_and_as_much_as_pings() -> None:
    request = encode_request(4, ident=7, sequence=1)
    assert internet_checksum(request) == 0
    assert len(request) == 64


def test_over_ipv6_the_kernel_fills_in_the_checksum() -> None:
    assert encode_request(6, ident=7, sequence=1)[:8] == bytes([128, 0, 0, 0, 0, 7, 0, 1])


@pytest.mark.parametrize(
    ("version", "datagram", "answers"),
    [
        pytest.param(4, IP_HEADER + reply(0), True, id="its reply"),
        pytest.param(4, OPTIONS_HEADER + reply(0), True, id="its reply behind IP options"),
        pytest.param(6, reply(129), True, id="its reply over IPv6"),
        pytest.param(4, IP_HEADER + reply(8), False, id="a request"),
        pytest.param(4, IP_HEADER + reply(0, ident=8), False, id="another ping's reply"),
        pytest.param(4, IP_HEADER + reply(0, sequence=2), False, id="another sequence"),
        pytest.param(4, IP_HEADER + reply(0)[:7], False, id="a short reply"),
        pytest.param(4, b"", False, id="nothing"),
        pytest.param(6, b"", False, id="nothing over IPv6"),
    ],
)
def test_only_the_reply_to_the_request_answers_it(version: int, datagram: bytes, answers: bool) -> None:
    assert is_reply(version, datagram, ident=7, sequence=1) is answers


@pytest.mark.parametrize("size", [0, 1, 1422])
def test_a_request_carries_as_many_bytes_as_were_asked_for(size: int) -> None:
    request = encode_request(4, ident=7, sequence=1, payload=bytes(size))
    assert len(request) == 8 + size
    assert internet_checksum(request) == 0
