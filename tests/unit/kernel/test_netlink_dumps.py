"""What the netlink socket makes of a kernel that changes its mind: a scripted one, since the real one rarely does."""

import socket
import struct
from collections.abc import Callable
from errno import EINTR, EMSGSIZE, EPERM
from typing import cast

import pytest

from tulle.errors import KernelError
from tulle.kernel.netlink_socket import DUMP_TRIES, NetlinkSocket
from tulle.wire.netlink import NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_MULTI, NLMSG_DONE, Request

PORT = 4242
ENTRY, LINK = 28, 16
DUMP = Request(30, NLM_F_DUMP, b"", "list of neighbours")


class ScriptedKernel:
    """Answers each request with what ``script`` says, numbered as the request was."""

    def __init__(self, script: Callable[[int, int], list[bytes]]) -> None:
        self.script, self.requests, self.waiting = script, 0, list[tuple[bytes, int]]()

    def getsockname(self) -> tuple[int, int]:
        return PORT, 0

    def sendto(self, data: bytes, _: tuple[int, int]) -> None:
        self.requests += 1
        seq: int = struct.unpack_from("=I", data, 8)[0]
        self.waiting += [(datagram, 0) for datagram in self.script(self.requests, seq)]

    def recvfrom_into(self, buffer: memoryview, _: int, __: int) -> tuple[int, tuple[int, int]]:
        if not self.waiting:
            raise BlockingIOError
        datagram, sender = self.waiting.pop(0)
        kept = datagram[: len(buffer)]
        buffer[: len(kept)] = kept
        return len(datagram), (sender, 0)


def _socket(kernel: ScriptedKernel) -> NetlinkSocket:
    return NetlinkSocket(cast("socket.socket", cast("object", kernel)))


def _message(kind: int, seq: int, payload: bytes, flags: int = NLM_F_MULTI, port: int = PORT) -> bytes:
    return struct.pack("=IHHII", 16 + len(payload), kind, flags, seq, port) + payload


def _done(seq: int, errno: int = 0, flags: int = NLM_F_MULTI) -> bytes:
    return _message(NLMSG_DONE, seq, struct.pack("=i", -errno), flags)


def test_an_interrupted_dump_is_begun_again() -> None:
    def script(attempt: int, seq: int) -> list[bytes]:
        interrupted = NLM_F_MULTI | (NLM_F_DUMP_INTR if attempt < 3 else 0)
        return [_message(ENTRY, seq, bytes([attempt] * 4)), _done(seq, flags=interrupted)]

    kernel = ScriptedKernel(script)
    assert [m.payload for m in _socket(kernel).dump(DUMP)] == [b"\3\3\3\3"]
    assert kernel.requests == 3


def test_a_dump_that_is_never_whole_ends_as_an_error() -> None:
    def script(_: int, seq: int) -> list[bytes]:
        return [_message(ENTRY, seq, b"abcd", NLM_F_MULTI | NLM_F_DUMP_INTR), _done(seq)]

    kernel = ScriptedKernel(script)
    with pytest.raises(KernelError) as caught:
        _socket(kernel).dump(DUMP)
    assert (caught.value.errno, kernel.requests) == (EINTR, DUMP_TRIES)


def test_a_dump_that_fails_at_its_end_is_an_error() -> None:
    kernel = ScriptedKernel(lambda _, seq: [_message(ENTRY, seq, b"abcd"), _done(seq, EPERM)])
    with pytest.raises(KernelError) as caught:
        _socket(kernel).dump(DUMP)
    assert caught.value.errno == EPERM


def test_announcements_and_late_answers_are_no_part_of_a_dump() -> None:
    def script(_: int, seq: int) -> list[bytes]:
        announced = _message(LINK, seq, b"else", 0, port=77)
        late = _message(ENTRY, seq - 1, b"late")
        return [late + announced, _message(ENTRY, seq, b"mine") + announced, _done(seq)]

    assert [m.payload for m in _socket(ScriptedKernel(script)).dump(DUMP)] == [b"mine"]


def test_a_datagram_that_does_not_fit_is_an_error_and_never_half_read() -> None:
    kernel = ScriptedKernel(lambda _, seq: [_message(ENTRY, seq, bytes(1 << 20))])
    with pytest.raises(KernelError) as caught:
        _socket(kernel).dump(DUMP)
    assert caught.value.errno == EMSGSIZE


def test_what_another_process_sends_is_ignored() -> None:
    kernel = ScriptedKernel(lambda _, seq: [_message(ENTRY, seq, b"mine"), _done(seq)])
    kernel.waiting.append((_message(ENTRY, 1, b"lies"), 4711))
    assert [m.payload for m in _socket(kernel).dump(DUMP)] == [b"mine"]
