"""Questions to one namespace's rtnetlink, with the raw answers kept as evidence.

Synchronous and read-only: a trace asks a handful of questions and waits for each.  The socket
is opened inside the namespace and used from outside.
"""

import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from tulle.errors import KernelError
from tulle.trace.spaces import inside
from tulle.wire.netlink import NLMSG_DONE, NLMSG_ERROR, Message, Request, decode_ack, decode_messages

_SOL_NETLINK: Final = 270
_NETLINK_EXT_ACK: Final = 11
_NETLINK_GET_STRICT_CHK: Final = 12
_ANSWER_S: Final = 2.0
_LARGEST: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: the messages, their datagrams, the errno of a refusal (0: none) and the kernel's own text."""

    messages: tuple[Message, ...]
    raw: bytes
    errno: int = 0
    reason: str = ""

    @property
    def error(self) -> str:
        """The errno's name, "" without one."""
        return errno.errorcode.get(self.errno, str(self.errno)) if self.errno else ""


class Rtnetlink:
    """A conversation with one namespace.  Close it, or use it as a context manager."""

    def __init__(self, netns_descriptor: int) -> None:
        with inside(netns_descriptor):
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        self._socket.settimeout(_ANSWER_S)
        for option in (_NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            with suppress(OSError):  # kernels before 4.12 and 4.20
                self._socket.setsockopt(_SOL_NETLINK, option, 1)
        self._seq = 0

    def __enter__(self) -> "Rtnetlink":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def ask(self, request: Request) -> Answer:
        """One question, one answer; a refusal is an answer.  Raises KernelError: the socket itself failed."""
        return self._converse([request], ends_with_done=False)[0]

    def ask_all(self, requests: Sequence[Request]) -> tuple[Answer, ...]:
        """Several questions in one send, each answered with one message or a refusal, in their order."""
        return tuple(
            answer
            for start in range(0, len(requests), 64)
            for answer in self._converse(requests[start : start + 64], ends_with_done=False)
        )

    def dump(self, request: Request) -> Answer:
        """Everything of a kind."""
        return self._converse([request], ends_with_done=True)[0]

    def _converse(self, requests: Sequence[Request], *, ends_with_done: bool) -> list[Answer]:
        first = self._seq + 1
        self._seq += len(requests)
        sent = b"".join(request.encode(first + at) for at, request in enumerate(requests))
        waiting: dict[int, list[Message]] = {first + at: [] for at in range(len(requests))}
        raws = dict.fromkeys(waiting, b"")
        answers: dict[int, Answer] = {}
        try:
            self._socket.send(sent)
            while len(answers) < len(requests):
                datagram = self._socket.recv(_LARGEST)
                for message in decode_messages(datagram):
                    if message.seq in waiting:
                        waiting[message.seq].append(message)
                        raws[message.seq] = raws[message.seq] + datagram if ends_with_done else datagram
                        if _is_last(message, ends_with_done):
                            answers[message.seq] = _answer(waiting[message.seq], raws[message.seq])
        except OSError as error:
            raise KernelError(error.errno or errno.ETIMEDOUT, requests[0].subject or "rtnetlink", str(error)) from error
        return [answers[first + at] for at in range(len(requests))]


def _is_last(message: Message, ends_with_done: bool) -> bool:
    return message.kind in (NLMSG_DONE, NLMSG_ERROR) or not ends_with_done


def _answer(messages: Sequence[Message], raw: bytes) -> Answer:
    last = messages[-1]
    if last.kind == NLMSG_ERROR:
        refused = decode_ack(last)
        return Answer(tuple(messages[:-1]), raw, refused.errno, refused.reason)
    kept = messages[:-1] if last.kind == NLMSG_DONE else messages
    return Answer(tuple(kept), raw)
