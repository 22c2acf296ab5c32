"""A process that sends requests: the loop has other work while the kernel makes a pair of devices (docs/adr/0030).

Its program is the CNI plugin's binary, told to (``csrc/send.c``).  Each packet on the line to it is one job: a number
and the requests as bytes; with it come the socket to send them through and, where they name one, the descriptor of
a namespace.  The kernel's answers wait in that socket.  What comes back on the line is what could not be sent.
"""

import asyncio
import socket
import struct
import subprocess
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from errno import EIO
from pathlib import Path
from typing import Final, TypeAlias

import tulle

PROGRAM: Final = Path(tulle.__file__).parent / "bin" / "tulle-cni"
CARRIED: Final = 10
"""What requests call the descriptor that comes with them: its number in that process."""
ROOM: Final = 32
"""So many jobs fit the line's buffer, whatever pods need."""
PATIENCE_S: Final = 10.0
"""The kernel may be busy for others, but not for so long."""
JOB: Final = struct.Struct("=I")
REFUSAL: Final = struct.Struct("=II")
"""A job's number, and why it was not sent: an errno."""

Failed: TypeAlias = Callable[[int], None]
"""Hears the errno of a job that nobody will answer."""


class Sender:
    """One process for all namespaces of an agent, since the kernel changes devices one at a time.

    When it ends by itself, the jobs on their way fail, and another is started for the next; but not after one that
    ended before it had done anything.
    """

    def __init__(self, program: Path = PROGRAM) -> None:
        self._program: Path | None = program
        self._running: _Running | None = None

    @property
    def unanswered(self) -> int:
        """So many jobs are on their way, to whichever namespace."""
        return 0 if self._running is None else len(self._running.jobs)

    def is_ready(self) -> bool:
        """Does it take a job now?  It is started when it does not run yet."""
        if self._running is not None and self._running.is_over:
            self._end(self._running)
        if self._running is None and self._program is not None:
            try:
                self._running = _Running(self._program)
            except OSError:
                self._program = None  # not built, or for another machine
        return self._running is not None and len(self._running.jobs) < ROOM

    def send(self, requests: bytes, descriptors: tuple[int, ...], failed: Failed) -> int:
        """Give it a job, after ``is_ready``; the number is for ``answered``.

        ``descriptors``: the socket, and what the requests call ``CARRIED``.
        """
        if self._running is None:
            raise AssertionError("nobody asked whether it is ready")
        return self._running.send(requests, descriptors, failed)

    def answered(self, number: int) -> None:
        """The kernel has carried out this job."""
        if self._running is not None:
            self._running.answered(number)

    def close(self) -> None:
        """End it; what it has begun is done then."""
        if self._running is not None:
            self._end(self._running)
        self._program = None

    def _end(self, running: "_Running") -> None:
        self._running = None
        running.close()
        if not running.has_served:
            self._program = None


@dataclass(frozen=True, slots=True)
class _Job:
    """What is on its way since ``since_s``."""

    since_s: float
    failed: Failed


class _Running:
    """The process from its start to its end, and what it has to do: oldest first."""

    def __init__(self, program: Path) -> None:
        """Start it.  Raises OSError."""
        self.jobs: dict[int, _Job] = {}
        self.has_served = self.is_over = False
        self._last = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._line.setblocking(False)
            with theirs:
                self.process = subprocess.Popen([program, "--send"], stdin=theirs.fileno(), env={})
        except BaseException:
            self._line.close()
            raise

    def send(self, requests: bytes, descriptors: tuple[int, ...], failed: Failed) -> int:
        number = self._last = self._last % 0xFFFFFFFF + 1
        loop = self._listen()
        self.jobs[number] = _Job(loop.time(), failed)
        try:
            socket.send_fds(self._line, (JOB.pack(number), requests), descriptors)
        except ConnectionError:
            self.close()
        except OSError as error:
            self._fail(number, error.errno or EIO)
        if self._watch is None and not self.is_over:
            self._watch = loop.call_later(PATIENCE_S, self._look)
        return number

    def answered(self, number: int) -> None:
        if self.jobs.pop(number, None) is not None:
            self.has_served = True

    def close(self) -> None:
        """Hang up, and wait for the end: what it is at is done then, and the rest fails."""
        if self.is_over:
            return
        self.is_over = True
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._line.fileno())
        if self._watch is not None:
            self._watch.cancel()
        self._line.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE_S)
        for number in tuple(self.jobs):
            self._fail(number, EIO)

    def _listen(self) -> asyncio.AbstractEventLoop:
        """What comes back is heard by the loop that runs now."""
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            self._loop, self._watch = loop, None
            loop.add_reader(self._line.fileno(), self._read)
        return loop

    def _read(self) -> None:
        try:
            packet = self._line.recv(REFUSAL.size)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if len(packet) == REFUSAL.size:
            self._fail(*REFUSAL.unpack(packet))
        else:
            self.close()

    def _look(self) -> None:
        """Has a job waited for too long?  Then the process is killed; once it is gone, what it had fails."""
        self._watch = None
        if not self.jobs or self._loop is None:
            return
        oldest = next(iter(self.jobs.values()))
        left_s = oldest.since_s + PATIENCE_S - self._loop.time()
        if left_s > 0:
            self._watch = self._loop.call_later(left_s, self._look)
        else:
            self.process.kill()

    def _fail(self, number: int, errno: int) -> None:
        job = self.jobs.pop(number, None)
        if job is not None:
            job.failed(errno)
