"""One socket's requests, sent by a process: the loop has other work while the kernel makes a pair of devices."""

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from errno import EIO, ENOBUFS

from tulle.errors import DecodeError, KernelError
from tulle.kernel.netlink_socket import NetlinkSocket, Overflow
from tulle.kernel.sender import Sender
from tulle.wire.netlink import NLMSG_ERROR, Ack, Message, Request, decode_ack


@dataclass(slots=True, eq=False)
class _Job:
    """Requests on their way, numbered ``first`` to ``last``; the last one's answer completes ``answered``."""

    requests: Sequence[Request]
    first: int
    answered: "asyncio.Future[list[Ack]]"
    answers: dict[int, Ack] = field(default_factory=dict[int, Ack])
    number: int = 0
    """What the sender calls it."""

    @property
    def last(self) -> int:
        return self.first + len(self.requests) - 1

    def encode(self) -> bytes:
        numbered = enumerate(self.requests, self.first)
        return b"".join([request.encode(number, ack=number == self.last) for number, request in numbered])


class Apart:
    """Carries out the requests of one socket: ``sender`` sends them, the loop reads the answers."""

    def __init__(self, sender: Sender, sock: NetlinkSocket) -> None:
        """Nobody else asks anything by ``sock`` while requests are on their way."""
        self._sender, self._socket = sender, sock
        self._waiting: deque[_Job] = deque()
        self._sent = 0
        self._loop: asyncio.AbstractEventLoop | None = None

    def is_ready(self) -> bool:
        """Does the sender take requests now?  Else it is for the loop to send them."""
        return self._sender.is_ready()

    @property
    def would_wait(self) -> bool:
        """Is the kernel at work for somebody, whom a change would wait for wherever it is sent from?"""
        return self._sender.unanswered > 0

    def close(self) -> None:
        """Close the socket."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._socket.fileno())
        self._socket.close()

    async def execute(self, requests: Sequence[Request], carried: int | None = None) -> list[Ack]:
        """As ``NetlinkSocket.execute``, of few requests, once it is ready.  Raises KernelError.

        ``carried``: the descriptor that the requests call ``CARRIED``.  Who is cancelled meanwhile is told when all
        is done: it may be to be undone.
        """
        job = _Job(requests, self._sent + 1, self._listen().create_future())
        self._sent = job.last
        self._waiting.append(job)
        descriptors = (self._socket.fileno(),) if carried is None else (self._socket.fileno(), carried)
        job.number = self._sender.send(job.encode(), descriptors, lambda errno: self._fail(job, errno))
        try:
            return await job.answered
        except asyncio.CancelledError:
            while job in self._waiting:
                job.answered = self._listen().create_future()
                with suppress(asyncio.CancelledError, KernelError):
                    await job.answered
            raise

    def _listen(self) -> asyncio.AbstractEventLoop:
        """Answers are read by the loop that runs now."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop = loop
            loop.add_reader(self._socket.fileno(), self._read)
        return loop

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

    def _fail(self, job: _Job, errno: int) -> None:
        self._end(job, KernelError(errno, job.requests[0].subject, "whoever sends requests for the agent failed"))

    def _end(self, job: _Job, error: KernelError | None = None) -> None:
        if job not in self._waiting:
            return
        self._waiting.remove(job)
        self._sender.answered(job.number)
        if job.answered.done():
            return
        if error is not None:
            job.answered.set_exception(error)
        else:
            numbers = range(job.first, job.first + len(job.requests))
            job.answered.set_result([job.answers.get(number) or Ack(0, number) for number in numbers])
