"""The processes that a lab starts: forked from this warmed one, each in its namespace.

A fork waits until its number is in the lab's state before it does anything, so that none can
outlive a killed ``up`` unrecorded.  What one does with its life is its order's business: an agent
lives it here, an etcd becomes another program.
"""

import gc
import os
import select
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

from tulle.agent.notify import READY
from tulle.errors import EXIT_COULD_NOT, EXIT_YES, ProcessFailed, TulleError
from tulle.kernel.netns import enter
from tulle.lab.processes import be_mortal, identify, undisturbed
from tulle.lab.state import Process

EAR: Final = ".ready"
COMM: Final = Path("/proc/self/comm")
UCRED: Final = struct.Struct("=iII")
"""pid, uid, gid.  Source: unix(7)."""
Life: TypeAlias = Callable[[], None]
"""Serve, say so by sd_notify, log to stderr, return when told to end; or become a program that does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One process to start: its life, the namespace and the log for it, and ``what`` messages call it."""

    name: str
    what: str
    netns: Path
    log: Path
    life: Life


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked:
    """A forked process.  ``last_words`` carries why it ended; it closes with it, or when it becomes another program."""

    what: str
    process: Process
    last_words: socket.socket

    def reason(self, wait_s: float = 0) -> str:
        """Why it ended, in one line, to whoever asks; "" when it did not say, or lives on for ``wait_s``."""
        if not select.select([self.last_words], [], [], wait_s)[0]:
            return ""
        return self.last_words.recv(4096, socket.MSG_PEEK).decode(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Brood:
    """Processes that were forked together, by name.  ``ear`` hears each say that it is ready (sd_notify)."""

    children: Mapping[str, Forked]
    ear: socket.socket
    begin: Callable[[], None]
    """Let them begin, once: their numbers are in the state."""

    def as_they_serve(self, timeout_s: float) -> Generator[str]:
        """The names, each once its process serves.

        Raises ProcessFailed: one ended instead, or some said nothing for ``timeout_s``; KeyboardInterrupt: a terminal
        ended one, which hears of it before it is on its own, and perhaps before we do.
        """
        waiting = {child.process.pid: name for name, child in self.children.items()}
        poller = select.poll()
        poller.register(self.ear, select.POLLIN)
        with ExitStack() as open_files:
            ends = {_pidfd(child, open_files): child for child in self.children.values()}
            for fd in ends:
                poller.register(fd, select.POLLIN)
            while waiting:
                events = poller.poll(timeout_s * 1000)
                if not events:
                    slow = self.children[min(waiting.values())]
                    raise ProcessFailed(slow.what, f"not ready after {timeout_s:g} s")
                for fd, _ in events:
                    if fd in ends:
                        if _was_interrupted(fd):
                            raise KeyboardInterrupt
                        raise ProcessFailed(ends[fd].what, ends[fd].reason() or "ended at once")
                    name = waiting.pop(_hear(self.ear), None)
                    if name is not None:
                        yield name


@contextmanager
def forked(orders: Sequence[Order], home: Path) -> Generator[Brood]:
    """Fork one process per order; a socket in ``home`` hears from them.

    Call it while no other thread runs.  One that was not let begin ends with the block; the
    others live on.
    """
    gate, key = os.pipe2(os.O_CLOEXEC)
    gc.collect()
    gc.freeze()  # what is imported stays shared with every child
    children: dict[str, Forked] = {}
    try:
        with _listening(home / EAR) as ear:
            for order in orders:
                parents = (key, ear.fileno(), *(child.last_words.fileno() for child in children.values()))
                children[order.name] = _fork(order, gate, parents)
            yield Brood(children=children, ear=ear, begin=lambda: _open_gate(key, len(orders)))
    finally:
        gc.unfreeze()
        for fd in (gate, key):
            os.close(fd)
        for child in children.values():
            child.last_words.close()


@contextmanager
def _listening(path: Path) -> Generator[socket.socket]:
    """A socket that is told the sender's number by the kernel.  Source: unix(7), SO_PASSCRED."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as ear:
        path.unlink(missing_ok=True)
        ear.bind(str(path))
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        os.environ["NOTIFY_SOCKET"] = str(path)
        try:
            yield ear
        finally:
            del os.environ["NOTIFY_SOCKET"]
            path.unlink(missing_ok=True)


def _hear(ear: socket.socket) -> int:
    """Who said that it is ready; 0: something else was said."""
    message, credentials, _, _ = ear.recvmsg(256, socket.CMSG_SPACE(UCRED.size))
    if message != READY.encode() or not credentials:
        return 0
    pid, _, _ = UCRED.unpack(credentials[0][2][: UCRED.size])
    return int(pid)


def _pidfd(child: Forked, open_files: ExitStack) -> int:
    """A descriptor that can be read once the child has ended.  Nobody has waited for it, so its number is its own."""
    fd = os.pidfd_open(child.process.pid)
    open_files.callback(os.close, fd)
    return fd


def _was_interrupted(pidfd: int) -> bool:
    found = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    return found is not None and (found.si_code, found.si_status) == (os.CLD_KILLED, signal.SIGINT)


def _open_gate(key: int, children: int) -> None:
    os.write(key, b"!" * children)


def _fork(order: Order, gate: int, parents: Sequence[int]) -> Forked:
    """Fork one; the descriptors ``parents`` are not for the child, and the gate would never see the parent's end."""
    words, mouth = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    with undisturbed():
        pid = os.fork()
        if pid == 0:
            for fd in parents:
                os.close(fd)
            _live(order, gate, mouth)
    mouth.close()
    process = identify(pid)
    assert process is not None, "a child that waits for us cannot have ended"
    return Forked(what=order.what, process=process, last_words=words)


def _live(order: Order, gate: int, mouth: socket.socket) -> NoReturn:
    """The child's whole life.  Never returns into the parent's stack."""
    code = EXIT_COULD_NOT
    try:
        os.setsid()  # first: what the terminal says from here on is not for a child
        be_mortal()
        if not os.read(gate, 1):
            os._exit(code)
        _detach(order.log)
        enter(order.netns)
        order.life()
        code = EXIT_YES
    except TulleError as error:
        print(f"tulled: {error}", file=sys.stderr)
        _say(mouth, str(error))
    except BaseException as error:  # noqa: BLE001  # a child's last frame: there is nobody above to tell
        traceback.print_exc()
        _say(mouth, f"{type(error).__name__}: {error}")
    finally:
        sys.stderr.flush()
        os._exit(code)


def _detach(log: Path) -> None:
    """No terminal, no pipe of whoever started the lab: output goes to the log."""
    log.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with open(os.devnull, "rb") as nothing, open(log, "ab") as out:
        os.dup2(nothing.fileno(), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    COMM.write_text("tulled")


def _say(mouth: socket.socket, line: str) -> None:
    with suppress(OSError):
        mouth.sendall(line.encode()[:4000])
