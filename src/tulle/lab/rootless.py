"""A lab without root: a process of the user's holds a user namespace, in which the lab is root.

The holder only waits; whoever works on the lab joins its user and mount namespaces.  The
lab's namespaces have their names in a folder that only that mount namespace shows.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from tulle.errors import ProcessFailed, TulleError
from tulle.kernel.netns import enter, enter_user_namespace
from tulle.lab.processes import be_mortal, identify, undisturbed
from tulle.lab.state import Process


def start_holder(record: Callable[[Process], None]) -> Process:
    """Start the holder; it lives on only once ``record`` has returned.

    Raises ProcessFailed: user namespaces are forbidden here.
    """
    gate, key = os.pipe2(os.O_CLOEXEC)
    answer, voice = os.pipe2(os.O_CLOEXEC)
    try:
        with undisturbed():
            pid = os.fork()
            if pid == 0:
                os.close(key)
                _hold(gate, voice)
        os.close(voice)
        reply = os.read(answer, 4096).decode()
        process = identify(pid)
        if reply != "ready" or process is None:
            os.waitpid(pid, 0)
            raise ProcessFailed("a lab without root", reply or "its first process ended at once")
        record(process)
        os.write(key, b"!")
        return process
    finally:
        for fd in (gate, key, answer):
            os.close(fd)


def enter_holder(pid: int) -> None:
    """Join the user, mount and network namespaces of the holder ``pid``.  Idempotent; needs a process with one thread.

    Raises ProcessFailed: the holder is gone.
    """
    here, there = Path("/proc/self/ns"), Path(f"/proc/{pid}/ns")
    folder = Path.cwd()
    try:
        if os.path.samestat((here / "user").stat(), (there / "user").stat()):
            return
        for kind in ("user", "mnt", "net"):  # the first gives the power to join the others
            enter(there / kind)
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessFailed(
            "lab", "the process that holds its namespaces is gone: 'tulle lab down' cleans up"
        ) from None
    os.chdir(folder)  # joining a mount namespace moves a process to its root


def _hold(gate: int, voice: int) -> NoReturn:
    """The holder's whole life: it is there, until it is told to end."""
    try:
        be_mortal()
        os.setsid()
        enter_user_namespace()
        os.write(voice, b"ready")
    except (TulleError, OSError) as error:
        os.write(voice, str(error).encode())
        os._exit(1)
    if os.read(gate, 1):
        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(nothing, fd)
        Path("/proc/self/comm").write_text("tulle-lab")
        while True:
            signal.pause()
    os._exit(1)
