"""Processes that outlive the command which started them: known by number *and* start time, held, ended politely.

A number alone may belong to somebody else by now; a pidfd, checked against the start time after
it was opened, cannot.
"""

import os
import select
import signal
import time
from collections.abc import Generator, Iterable
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tulle.lab.state import Process

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
POLITE: Final = (signal.SIGINT, signal.SIGTERM)
HOLDING_S: Final = 5.0
"""For a process that is told to stop to come out of whatever it asked the kernel."""


def boot_id() -> str:
    """A name of this boot: processes and namespaces of another one are gone."""
    return BOOT_ID.read_text().strip()


def identify(pid: int) -> Process | None:
    """The living process ``pid``; None: there is none, or it is a zombie.  Source: proc(5), /proc/PID/stat."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else Process(pid=pid, started=int(fields[19]))


def is_alive(process: Process) -> bool:
    """Is it still there, and still the same?"""
    return identify(process.pid) == process


def is_held(process: Process) -> bool:
    """Was it stopped by a signal, whole?  Its threads stop one by one.  Source: proc(5), state T."""
    try:
        states = [
            file.read_text().rpartition(")")[2].split()[0] for file in Path(f"/proc/{process.pid}/task").glob("*/stat")
        ]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return bool(states) and set(states) == {"T"} and is_alive(process)


def hold(process: Process) -> bool:
    """Stop it where it is, and return once it does nothing more; False: it was held, or is gone."""
    if is_held(process) or not _tell(process, signal.SIGSTOP):
        return False
    deadline = time.monotonic() + HOLDING_S
    while not is_held(process) and time.monotonic() < deadline:
        time.sleep(0.001)  # only a parent is told that a process has stopped
    return True


def let_go(process: Process) -> bool:
    """Let a held process go on; False: it was not held, or is gone."""
    return is_held(process) and _tell(process, signal.SIGCONT)


@contextmanager
def undisturbed() -> Generator[None]:
    """Hold SIGINT and SIGTERM back for a short while, from this thread and the processes that it forks.

    A forked child that met one before it called ``be_mortal`` would clean up as if it were us.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, POLITE)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def be_mortal() -> None:
    """In a forked child: SIGINT and SIGTERM end it, also those held back since the fork."""
    for number in POLITE:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, POLITE)


def end_all(processes: Iterable[Process], grace_s: float) -> tuple[Process, ...]:
    """End them with SIGTERM, those left after ``grace_s`` with SIGKILL; returns those that needed it.

    A process that is already gone, or whose number is another's now, is left alone.  Returns
    once all have ended.
    """
    handles = {fd: process for process in processes if (fd := _open(process)) is not None}
    try:
        _signal(handles, signal.SIGTERM)
        _signal(handles, signal.SIGCONT)  # one that is held hears nothing before it may go on
        stubborn = _ended(set(handles), grace_s)
        _signal(stubborn, signal.SIGKILL)
        _ended(stubborn, 5.0)
        return tuple(handles[fd] for fd in stubborn)
    finally:
        for fd in handles:
            os.close(fd)


def _tell(process: Process, number: signal.Signals) -> bool:
    """Send one signal to exactly this process; False: it is gone."""
    fd = _open(process)
    if fd is None:
        return False
    try:
        _signal([fd], number)
    finally:
        os.close(fd)
    return True


def _open(process: Process) -> int | None:
    """A pidfd of exactly this process."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    if is_alive(process):
        return fd
    os.close(fd)
    return None


def _signal(handles: Iterable[int], number: signal.Signals) -> None:
    for fd in handles:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(fd, number)


def _ended(waiting: set[int], seconds: float) -> set[int]:
    """Wait until each has ended or the time is over; returns those still running."""
    poller, left = select.poll(), set(waiting)
    for fd in left:
        poller.register(fd, select.POLLIN)
    deadline = time.monotonic() + seconds
    while left and (remaining := deadline - time.monotonic()) > 0:
        for fd, _ in poller.poll(remaining * 1000):
            poller.unregister(fd)
            left.discard(fd)
    return left
