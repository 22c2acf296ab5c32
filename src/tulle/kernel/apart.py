"""A thread for what takes the kernel long: the loop has other work while a pair of devices is made."""

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from errno import EIO, ENOBUFS
from queue import SimpleQueue
from typing import TypeAlias

from tulle.errors import DecodeError, KernelError
from tulle.kernel.netlink_socket import NetlinkSocket, Overflow
from tulle.wire.netlink import NLMSG_ERROR, Ack, Message, Request, decode_ack


@dataclass(slots=True)
class _Job:
    """Requests on their way, numbered ``first`` to ``last``; the last one's answer completes ``answered``."""

    requests: Sequence[Request]
    first: int
    answered: "asyncio.Future[list[Ack]]"
    answers: dict[int, Ack] = field(default_factory=dict[int, Ack])

    @property
    def last(self) -> int:
        return self.first + len(self.requests) - 1

    def encode(self) -> bytes:
        numbered = enumerate(self.requests, self.first)
        return b"".join([request.encode(number, ack=number == self.last) for number, request in numbered])


_Work: TypeAlias = Callable[[], object]


class Apart:
    """Carries requests out one after another: the kernel makes one device at a time anyway.

    The thread does nothing but send, during which Python runs elsewhere; the answers are read on the loop.  So a
    request costs two turns of the interpreter's lock and no wake-up of its own.
    """

    def __init__(self, netns: int | None) -> None:
        """``netns``: a namespace's descriptor, the caller's as before; None: the namespace of the calling thread.

        Socket and thread are there from the first request on.
        """
        self._netns = netns
        self._socket: NetlinkSocket | None = None
        self._thread: threading.Thread | None = None
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self._sent = 0
        self._waiting: deque[_Job] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def execute(self, requests: Sequence[Request]) -> list[Ack]:
        """As ``NetlinkSocket.execute``, of few requests.  Raises KernelError.

        Who is cancelled meanwhile is told when all is done: it may be to be undone.
        """
        sock = self._opened()
        job = _Job(requests, self._sent + 1, asyncio.get_running_loop().create_future())
        self._sent = job.last
        self._waiting.append(job)
        data = job.encode()
        self._work.put(lambda: self._send(sock, data, job))
        try:
            return await job.answered
        except asyncio.CancelledError:
            done = threading.Event()
            self._work.put(done.set)
            done.wait()
            raise

    def close(self) -> None:
        """End the thread, when all that was asked is done."""
        if self._thread is not None and self._socket is not None:
            self._work.put(None)
            self._thread.join()
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._thread = self._socket = self._loop = None

    def _opened(self) -> NetlinkSocket:
        """Raises KernelError."""
        if self._socket is None:
            self._socket = NetlinkSocket.open(self._netns)
            self._thread = threading.Thread(target=self._run, name="make devices", daemon=True)
            self._thread.start()
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            loop.add_reader(self._socket.fileno(), self._read, self._socket)
            self._loop = loop
        return self._socket

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()

    def _send(self, sock: NetlinkSocket, data: bytes, job: _Job) -> None:
        """In the thread."""
        try:
            sock.send(data, job.requests[0].subject)
        except KernelError as error:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                job.answered.get_loop().call_soon_threadsafe(self._fail, job, error)

    def _read(self, sock: NetlinkSocket) -> None:
        try:
            for message in sock.receive():
                self._note(message)
        except (Overflow, DecodeError, KernelError) as error:
            errno = ENOBUFS if isinstance(error, Overflow) else EIO
            for job in tuple(self._waiting):
                self._fail(job, KernelError(errno, job.requests[0].subject, str(error)))

    def _note(self, message: Message) -> None:
        job = next((job for job in self._waiting if job.first <= message.seq <= job.last), None)
        if job is None or message.kind != NLMSG_ERROR:
            return
        job.answers[message.seq] = decode_ack(message)
        if message.seq == job.last:
            self._waiting.remove(job)
            if not job.answered.done():
                numbers = range(job.first, job.last + 1)
                job.answered.set_result([job.answers.get(number) or Ack(0, number) for number in numbers])

    def _fail(self, job: _Job, error: KernelError) -> None:
        if job in self._waiting:
            self._waiting.remove(job)
        if not job.answered.done():
            job.answered.set_exception(error)
