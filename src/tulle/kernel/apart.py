"""Sending requests from a thread: the loop has other work while the kernel makes a pair of devices."""

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


class Sender:
    """A thread that sends, from the first request on: while the kernel works, Python runs elsewhere.

    It does nothing else, so that a request costs two turns of the interpreter's lock.  One for all namespaces: the
    kernel changes devices one at a time anyway.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._work: SimpleQueue[_Work | None] = SimpleQueue()
        self.unanswered = 0
        """So many requests are under way, of whichever socket."""

    def do(self, work: _Work) -> None:
        """Soon, in the thread, after all that it was given before."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="make devices", daemon=True)
            self._thread.start()
        self._work.put(work)

    def finish(self) -> None:
        """Wait until all that it was given is done."""
        done = threading.Event()
        self.do(done.set)
        done.wait()

    def close(self) -> None:
        """End the thread, when all that it was given is done."""
        if self._thread is not None:
            self._work.put(None)
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()


class Apart:
    """Carries out the requests of one socket: ``sender`` sends them, the loop reads the answers."""

    def __init__(self, sender: Sender, sock: NetlinkSocket) -> None:
        """Nothing else is asked by ``sock`` while requests are on their way."""
        self._sender, self._socket = sender, sock
        self._waiting: deque[_Job] = deque()
        self._sent = 0

    @property
    def would_wait(self) -> bool:
        """Is the kernel at work for somebody, whom a change would wait for wherever it is sent from?"""
        return self._sender.unanswered > 0

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    async def execute(self, requests: Sequence[Request]) -> list[Ack]:
        """As ``NetlinkSocket.execute``, of few requests.  Raises KernelError.

        Who is cancelled meanwhile is told when all is done: it may be to be undone.
        """
        loop = asyncio.get_running_loop()
        job = _Job(requests, self._sent + 1, loop.create_future())
        self._sent = job.last
        if not self._waiting:
            loop.add_reader(self._socket.fileno(), self._read)
        self._waiting.append(job)
        self._sender.unanswered += 1
        data = job.encode()
        self._sender.do(lambda: self._send(data, job))
        try:
            return await job.answered
        except asyncio.CancelledError:
            self._sender.finish()
            self._read()
            raise

    def _send(self, data: bytes, job: _Job) -> None:
        """In the thread."""
        try:
            self._socket.send(data, job.requests[0].subject)
        except KernelError as error:
            with suppress(RuntimeError):  # the loop has ended, and nobody waits
                job.answered.get_loop().call_soon_threadsafe(self._end, job, error)

    def _read(self) -> None:
        try:
            for message in self._socket.receive():
                self._note(message)
        except (Overflow, DecodeError, KernelError) as error:
            errno = ENOBUFS if isinstance(error, Overflow) else EIO
            for job in tuple(self._waiting):
                self._end(job, KernelError(errno, job.requests[0].subject, str(error)))

    def _note(self, message: Message) -> None:
        job = next((job for job in self._waiting if job.first <= message.seq <= job.last), None)
        if job is None or message.kind != NLMSG_ERROR:
            return
        job.answers[message.seq] = decode_ack(message)
        if message.seq == job.last:
            self._end(job)

    def _end(self, job: _Job, error: KernelError | None = None) -> None:
        if job not in self._waiting:
            return
        self._waiting.remove(job)
        self._sender.unanswered -= 1
        if not self._waiting:
            job.answered.get_loop().remove_reader(self._socket.fileno())
        if job.answered.done():
            return
        if error is not None:
            job.answered.set_exception(error)
        else:
            numbers = range(job.first, job.first + len(job.requests))
            job.answered.set_result([job.answers.get(number) or Ack(0, number) for number in numbers])
