"""A netlink socket: send requests in batches, read dumps, follow multicast groups.

The kernel works while the request is sent and the answers wait in the receive buffer, so plain
calls cost the event loop only what the kernel itself takes.  Source: netlink(7).
"""

import ctypes
import fcntl
import select
import socket
import struct
import threading
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from errno import EINTR, EMSGSIZE, ENOBUFS, ENODEV, ENXIO, ETIMEDOUT
from pathlib import Path
from typing import Final

from tulle.errors import KernelError, TulleError
from tulle.kernel.netns import inside
from tulle.wire.netlink import (
    HEADER,
    NLM_F_DUMP_INTR,
    NLMSG_DONE,
    NLMSG_ERROR,
    Ack,
    Message,
    Request,
    batches,
    decode_ack,
    decode_messages,
)
from tulle.wire.rtnetlink.parts import RTM_DELROUTE, RTM_NEWROUTE

NETLINK_ROUTE: Final = 0
NETLINK_NETFILTER: Final = 12
SOL_NETLINK: Final = 270
NETLINK_ADD_MEMBERSHIP, NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 1, 10, 11, 12
SO_ATTACH_FILTER: Final = 26
SO_RCVBUFFORCE: Final = 33
BPF_LDW, BPF_LDH, BPF_LDB, BPF_JEQ = 0x20, 0x28, 0x30, 0x15
KIND_AT: Final = 4
"""``nlmsg_type`` in a message."""
TAKE_OR_LEAVE: Final = ((0x06, 0, 0, 0xFFFFFFFF), (0x06, 0, 0, 0))
"""How a filter ends: BPF_RET of the whole message, and of nothing.  Source: include/uapi/linux/bpf_common.h."""
IFREQ: Final = struct.Struct("16si20x")
SIOCGIFNAME, SIOCGIFINDEX = 0x8910, 0x8933
"""``struct ifreq`` begins with name and index.  Source: include/uapi/linux/if.h, include/uapi/linux/sockios.h."""
RECEIVE_BUFFER: Final = 4 << 20
RECEIVE_SIZE: Final = 64 << 10
"""Twice the largest datagram that the kernel makes of a dump; acknowledgements are small."""
DUMP_TRIES: Final = 8
ANSWER_TIMEOUT_S: Final = 10.0


class _Room(threading.local):
    """Where this thread receives a datagram, of whichever socket: it is copied out before anything else is received.

    A pod's socket lives for one call, and new memory has to be cleared, and faulted in page by page.
    """

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(RECEIVE_SIZE))


_ROOM: Final = _Room()


class Overflow(TulleError):
    """The receive buffer overflowed (ENOBUFS): some messages are lost, and nobody knows which."""


class NetlinkSocket:
    """One socket of one namespace, wherever its user's thread is.  Not for two threads at once."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._portid: int = sock.getsockname()[0]
        self._seq = 0

    @classmethod
    def open(
        cls,
        netns: Path | int | None = None,
        *,
        protocol: int = NETLINK_ROUTE,
        groups: Iterable[int] = (),
        receive_buffer: int | None = RECEIVE_BUFFER,
    ) -> "NetlinkSocket":
        """Open in ``netns`` (None: where this thread is), subscribed to the multicast ``groups``.

        ``receive_buffer`` None: of the host's usual size, for who asks about a few objects.

        Raises KernelError; ConfigError: no such namespace.
        """
        try:
            with nullcontext() if netns is None else inside(netns):
                sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
            if receive_buffer is not None:
                _enlarge(sock, receive_buffer)
            for option in (NETLINK_CAP_ACK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK):
                with suppress(OSError):  # before 4.12, 4.20: answers without reasons, dumps without filters
                    sock.setsockopt(SOL_NETLINK, option, 1)
            sock.setblocking(False)
            sock.bind((0, 0))
        except OSError as error:
            raise KernelError(error.errno or 0, "netlink socket") from error
        opened = cls(sock)
        opened.subscribe(groups)
        return opened

    def subscribe(self, groups: Iterable[int]) -> None:
        """Follow multicast groups too; one that this kernel lacks announces nothing.

        A socket that follows groups is for ``receive``: what is announced while it asks something is not kept.
        """
        for group in groups:
            with suppress(OSError):
                self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)

    def hear_only(self, kind: int) -> None:
        """Of what the groups announce, only messages of this type: the kernel drops the others, and nobody is woken."""
        self._filter(((BPF_LDH, 0, 0, KIND_AT), (BPF_JEQ, 0, 1, _loaded("=H", kind)), *TAKE_OR_LEAVE))

    def hear_of(self, index: int) -> None:
        """Of what the groups of devices and addresses announce, only what is about the device with this number.

        ``struct ifinfomsg`` and ``struct ifaddrmsg`` have it in one place.
        """
        self._filter(((BPF_LDW, 0, 0, HEADER.size + 4), (BPF_JEQ, 0, 1, _loaded("=i", index)), *TAKE_OR_LEAVE))

    def hear_nothing_of_table(self, table: int) -> None:
        """Of what the groups announce, no route of this table, whose number is below 256 (``rtm_table``)."""
        self._filter(
            (
                (BPF_LDH, 0, 0, KIND_AT),
                (BPF_JEQ, 1, 0, _loaded("=H", RTM_NEWROUTE)),
                (BPF_JEQ, 0, 2, _loaded("=H", RTM_DELROUTE)),
                (BPF_LDB, 0, 0, HEADER.size + 4),
                (BPF_JEQ, 1, 0, table),
                *TAKE_OR_LEAVE,
            )
        )

    def _filter(self, steps: Sequence[tuple[int, int, int, int]]) -> None:
        """Let the kernel run this program on each message; where that cannot be had there is only more to read."""
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in steps))
        program = struct.pack("@HP", len(steps), ctypes.addressof(code))
        with suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

    @property
    def portid(self) -> int:
        """Which socket this is: announcements of what was done through it may carry it."""
        return self._portid

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> "NetlinkSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def execute(self, requests: Sequence[Request]) -> list[Ack]:
        """Carry out ``requests`` in order, one answer for each; a refused one does not stop the others.

        Sent in batches with one acknowledgement at the end of each, which a refusal does not need.
        """
        answers: list[Ack] = []
        for batch in batches(requests):
            answers += self._execute_batch(batch)
        return answers

    def _execute_batch(self, batch: Sequence[Request]) -> list[Ack]:
        first = self._seq + 1
        self._seq += len(batch)
        last = self._seq
        data = [request.encode(seq) for seq, request in enumerate(batch[:-1], first)]
        self.send(b"".join((*data, batch[-1].encode(last, ack=True))), batch[0].subject)
        refused: dict[int, Ack] = {}
        for message in self._answers(batch[-1]):
            if message.kind != NLMSG_ERROR or not first <= message.seq <= last:
                continue
            ack = refused[message.seq] = decode_ack(message)
            if message.seq == last:
                return [refused.get(seq) or Ack(0, seq) for seq in range(first, last)] + [ack]
        raise AssertionError("answers end only by being complete")

    def transact(self, begin: Request, requests: Sequence[Request], end: Request) -> list[Ack]:
        """Carry out all of ``requests`` or, when one is refused, none; one answer for each.  Raises KernelError.

        Where the kernel refuses the whole, as one that lacks what it is about, every answer says so.
        """
        first = self._seq + 2
        self._seq += len(requests) + 2
        last = self._seq - 1
        numbered = [request.encode(first + n, ack=first + n == last) for n, request in enumerate(requests)]
        self.send(b"".join((begin.encode(first - 1), *numbered, end.encode(self._seq))), requests[0].subject)
        acks = {seq: Ack(0, seq) for seq in range(first, last + 1)}
        for message in self._answers(requests[-1]):
            if message.kind != NLMSG_ERROR or message.pid != self._portid:
                continue
            ack = decode_ack(message)
            if message.seq in {first - 1, self._seq} and ack.errno:
                return [Ack(ack.errno, seq, ack.reason) for seq in acks]
            if message.seq in acks:
                acks[message.seq] = ack
            if message.seq == last:
                return list(acks.values())
        raise AssertionError("answers end only by being complete")

    def run(self, request: Request) -> None:
        """Carry out one request.  Raises KernelError."""
        ack = self.execute([request])[0]
        if ack.errno:
            raise KernelError(ack.errno, request.subject, ack.reason)

    def ask(self, request: Request) -> Message:
        """The one message that answers ``request``.  Raises KernelError."""
        self._seq += 1
        self.send(request.encode(self._seq), request.subject)
        for message in self._answers(request):
            if not self._is_answer(message):
                continue
            if message.kind == NLMSG_ERROR:
                ack = decode_ack(message)
                raise KernelError(ack.errno, request.subject, ack.reason)
            return message
        raise AssertionError("answers end only by being complete")

    def index_of(self, name: str) -> int | None:
        """The number of the device called ``name``, at most 15 bytes; None when there is none.  Raises KernelError.

        Asked by ioctl: a message waits for the lock of all changes, and its answer is as long as a device has
        properties.  But for a device that is missing the kernel looks for a module first.  Source: netdevice(7),
        net/core/dev_ioctl.c (dev_load).
        """
        found = self._ifreq(SIOCGIFINDEX, IFREQ.pack(name.encode(), 0), f"link {name}")
        return None if found is None else found[1]

    def name_of(self, index: int) -> str | None:
        """The name of the device with this number; None when there is none.  Raises KernelError."""
        found = self._ifreq(SIOCGIFNAME, IFREQ.pack(b"", index), f"link {index}")
        return None if found is None else found[0].rstrip(b"\0").decode(errors="replace")

    def _ifreq(self, question: int, ifreq: bytes, subject: str) -> tuple[bytes, int] | None:
        try:
            name, index = IFREQ.unpack(fcntl.ioctl(self._socket, question, ifreq))
        except OSError as error:
            if error.errno in {ENODEV, ENXIO}:
                return None
            raise KernelError(error.errno or 0, subject) from error
        return name, index

    def dump(self, request: Request) -> list[Message]:
        """Everything that answers a dump, consistent: begun again when the kernel's table changed meanwhile.

        Raises KernelError, also when it never came to rest.
        """
        for _ in range(DUMP_TRIES):
            found = self._dump_once(request)
            if found is not None:
                return found
        raise KernelError(EINTR, request.subject, "changes faster than it can be read")

    def _dump_once(self, request: Request) -> list[Message] | None:
        self._seq += 1
        self.send(request.encode(self._seq), request.subject)
        found: list[Message] = []
        whole = True
        for message in self._answers(request):
            if not self._is_answer(message):
                continue
            whole = whole and not message.flags & NLM_F_DUMP_INTR
            if message.kind in {NLMSG_ERROR, NLMSG_DONE}:
                ack = decode_ack(message)
                if ack.errno:
                    raise KernelError(ack.errno, request.subject, ack.reason)
                return found if whole else None
            found.append(message)
        raise AssertionError("answers end only by being complete")

    def pages(self, request: Request) -> Generator[list[Message], None, None]:
        """A dump, datagram by datagram, so that the caller can let others run in between.

        Nothing else may use the socket before the end; an iterator that is given up reads on to it.
        Raises KernelError; EINTR when the table changed meanwhile and all has to be read again.
        """
        self._seq += 1
        self.send(request.encode(self._seq), request.subject)
        pages = self._pages(request)
        try:
            yield from pages
        finally:
            for _ in pages:
                pass

    def _pages(self, request: Request) -> Generator[list[Message], None, None]:
        interrupted = False
        while True:
            buffer = self._read(request.subject)
            if buffer is None:
                self._wait(request.subject)
                continue
            page = [message for message in decode_messages(buffer) if self._is_answer(message)]
            interrupted = interrupted or any(message.flags & NLM_F_DUMP_INTR for message in page)
            if not page or page[-1].kind not in {NLMSG_ERROR, NLMSG_DONE}:
                yield page
                continue
            ack = decode_ack(page.pop())
            yield page
            if ack.errno or interrupted:
                reason = ack.reason if ack.errno else "changed while it was read"
                raise KernelError(ack.errno or EINTR, request.subject, reason)
            return

    def send(self, data: bytes, subject: object) -> None:
        """Requests as bytes; the kernel has carried them out when this returns.  Raises KernelError."""
        try:
            self._socket.sendto(data, (0, 0))
        except OSError as error:
            raise KernelError(error.errno or 0, subject) from error

    def receive(self, enough: int = 4096) -> list[Message]:
        """What was announced, or what answers ``send``, and was not read yet; empty when nothing waits.

        When there are ``enough``, the rest waits in the buffer, so that others can run.  Raises Overflow after a loss.
        """
        found: list[Message] = []
        while len(found) < enough and (buffer := self._read("multicast")) is not None:
            found += decode_messages(buffer)
        return found

    def drain(self) -> bool:
        """Throw away what waits; True once nothing does.

        After a loss the kernel delivers nothing more, and says nothing of it, until the last
        waiting message has been read.
        """
        for _ in range(1024):
            try:
                if self._read("multicast") is None:
                    return True
            except Overflow:
                pass
        return False

    def _is_answer(self, message: Message) -> bool:
        """To the last request, not an announcement or what remained of an earlier one."""
        return message.seq == self._seq and message.pid == self._portid

    def _answers(self, request: Request) -> Iterator[Message]:
        while True:
            buffer = self._read(request.subject)
            if buffer is None:
                self._wait(request.subject)
                continue
            yield from decode_messages(buffer)

    def _wait(self, subject: object) -> None:
        """Until something can be read.  Requests are answered before ``sendto`` returns: this is for lost answers."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if not poll.poll(ANSWER_TIMEOUT_S * 1000):
            raise KernelError(ETIMEDOUT, subject, "the kernel does not answer")

    def _read(self, subject: object) -> bytes | None:
        """One datagram of the kernel's; None when nothing waits."""
        buffer = _ROOM.buffer
        try:
            size, sender = self._socket.recvfrom_into(buffer, 0, socket.MSG_TRUNC)
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno == ENOBUFS:
                raise Overflow(f"{subject}: netlink receive buffer overflowed") from error
            raise KernelError(error.errno or 0, subject) from error
        if size > RECEIVE_SIZE:
            raise KernelError(EMSGSIZE, subject, f"an answer of {size} bytes")
        return bytes(buffer[:size]) if sender[0] == 0 else b""  # only the kernel speaks here


def _loaded(layout: str, number: int) -> int:
    """What a filter's program finds where a message has ``number``: it reads as networks do, the host as it does."""
    return int.from_bytes(struct.pack(layout, number), "big")


def _enlarge(sock: socket.socket, size: int) -> None:
    try:
        sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
