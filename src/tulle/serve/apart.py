"""Work done apart: in a forked child of this process, so that it may join namespaces, fail, and be interrupted.

The server itself never leaves the namespaces it was started in, and has one thread; a child is
warm, since it has imported what its parent has (``docs/adr/0006``), and what it held (taps, a
tracing instance) goes with it.
"""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, NoReturn

from tulle.lab.processes import POLITE, undisturbed

GRACE_S: Final = 5.0
"""For a child that is told to stop to clean up."""
MOST_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How a piece of work ended: its exit code (negative: the signal that ended it), what it printed, what it said."""

    code: int
    out: bytes
    err: str


async def apart(work: Callable[[], int]) -> Done:
    """Do ``work`` in a child, whose standard output and error are kept; its exit code is what it returns.

    Cancelled, it interrupts the child, as Ctrl-C does, and returns once that is gone.
    """
    out, out_end = os.pipe2(os.O_CLOEXEC)
    err, err_end = os.pipe2(os.O_CLOEXEC)
    sys.stdout.flush()
    sys.stderr.flush()
    with undisturbed():
        pid = os.fork()
        if pid == 0:
            _be_apart(work, out_end, err_end)
    os.close(out_end)
    os.close(err_end)
    ended = asyncio.ensure_future(_ended(pid))
    try:
        said = await asyncio.gather(_everything(out), _everything(err))
        return Done(code=await asyncio.shield(ended), out=said[0], err=said[1].decode(errors="replace"))
    finally:
        await _put_away(pid, ended)


async def _put_away(pid: int, ended: "asyncio.Future[int]") -> None:
    """Return only once the child is gone, however often we are told to hurry."""
    for number, patience_s in ((signal.SIGINT, GRACE_S), (signal.SIGKILL, None)):
        if not ended.done():
            with suppress(ProcessLookupError):
                os.kill(pid, number)  # a child of ours that nobody waited for: the number is still its own
            await asyncio.wait((ended,), timeout=patience_s)


async def _ended(pid: int) -> int:
    """The exit code of a child, once it has ended."""
    loop, handle = asyncio.get_running_loop(), os.pidfd_open(pid)
    over = loop.create_future()
    loop.add_reader(handle, lambda: over.done() or over.set_result(None))
    try:
        await over
    finally:
        loop.remove_reader(handle)
        os.close(handle)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])  # noqa: ASYNC222  # it has ended: nothing is waited for


async def _everything(end: int) -> bytes:
    """What comes out of a pipe until it is closed; more than ``MOST_BYTES`` is left out."""
    loop, reader = asyncio.get_running_loop(), asyncio.StreamReader()
    transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(end, "rb"))
    said = bytearray()
    try:
        while part := await reader.read(1 << 16):
            said += part[: MOST_BYTES - len(said)]
    finally:
        transport.close()
    return bytes(said)


def _be_apart(work: Callable[[], int], out: int, err: int) -> NoReturn:
    """The child's whole life.  Never returns into the parent's stack."""
    code = 1
    try:
        gc.freeze()  # nothing of the parent's is to be finalised here
        signal.set_wakeup_fd(-1)  # the parent's loop is the parent's
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, POLITE)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for fd, number in ((nothing, 0), (out, 1), (err, 2)):
            os.dup2(fd, number)
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", encoding="utf-8") for fd in (1, 2))  # pipes, whatever was there
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # nobody's connection waits for us to end
        code = work()
        sys.stdout.flush()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException as error:  # noqa: BLE001  # a child's last frame: there is nobody above to tell
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(code)
