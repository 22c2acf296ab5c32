"""The lab's agents: real ones, forked from this warmed process, one per node and in its namespace.

A fork waits until its number is in the lab's state before it does anything, so that no agent
can outlive a killed ``up`` unrecorded.  What an agent does is ``agent/``'s business.
"""

import gc
import os
import select
import socket
import struct
import sys
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

from tulle.agent.notify import READY
from tulle.agent.options import AgentOptions
from tulle.errors import EXIT_COULD_NOT, EXIT_YES, ProcessFailed, TulleError
from tulle.kernel.netns import enter
from tulle.lab.processes import be_mortal, identify, undisturbed
from tulle.lab.state import Process

LOG_FILE: Final = "var/log/tulled.log"
EAR: Final = ".ready"
COMM: Final = Path("/proc/self/comm")
UCRED: Final = struct.Struct("=iII")
"""pid, uid, gid.  Source: unix(7)."""
Serve: TypeAlias = Callable[[AgentOptions], None]
"""Be an agent with these options, log to stderr, return when told to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One agent to start: its node, its options, and the namespace that it lives in."""

    node: str
    netns: Path
    options: AgentOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Forked:
    """A forked agent.  ``last_words`` carries why it ended, and ends with it."""

    process: Process
    last_words: socket.socket

    def reason(self, wait_s: float = 0) -> str:
        """Why it ended, in one line, to whoever asks; "" when it did not say, or lives on for ``wait_s``."""
        if not select.select([self.last_words], [], [], wait_s)[0]:
            return ""
        return self.last_words.recv(4096, socket.MSG_PEEK).decode(errors="replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Brood:
    """Agents that were forked together, by node.  ``ear`` hears each say that it is ready (sd_notify)."""

    agents: Mapping[str, Forked]
    ear: socket.socket
    begin: Callable[[], None]
    """Let them begin, once: their numbers are in the state."""

    def as_they_serve(self, timeout_s: float) -> Generator[str]:
        """The nodes, each once its agent has a lease and answers.

        Raises ProcessFailed: one ended instead, or some said nothing for ``timeout_s``.
        """
        nodes = {agent.process.pid: node for node, agent in self.agents.items()}
        pipes = {agent.last_words.fileno(): node for node, agent in self.agents.items()}
        poller = select.poll()
        for fd in (self.ear.fileno(), *pipes):
            poller.register(fd, select.POLLIN)
        while nodes:
            events = poller.poll(timeout_s * 1000)
            if not events:
                raise ProcessFailed(f"agent of {min(nodes.values())}", f"not ready after {timeout_s:g} s")
            for fd, _ in events:
                if fd in pipes:
                    reason = self.agents[pipes[fd]].reason()
                    raise ProcessFailed(f"agent of {pipes[fd]}", reason or "ended at once")
                node = nodes.pop(_hear(self.ear), None)
                if node is not None:
                    yield node


@contextmanager
def forked(orders: Sequence[Order], serve: Serve, home: Path) -> Generator[Brood]:
    """Fork one process per order; a socket in ``home`` hears from them.

    Call it while no other thread runs.  An agent that was not let begin ends with the block;
    the others live on.
    """
    gate, key = os.pipe2(os.O_CLOEXEC)
    gc.collect()
    gc.freeze()  # what is imported stays shared with every agent
    agents: dict[str, Forked] = {}
    try:
        with _listening(home / EAR) as ear:
            for order in orders:
                parents = (key, ear.fileno(), *(agent.last_words.fileno() for agent in agents.values()))
                agents[order.node] = _fork(order, serve, gate, parents)
            yield Brood(agents=agents, ear=ear, begin=lambda: _open_gate(key, len(orders)))
    finally:
        gc.unfreeze()
        for fd in (gate, key):
            os.close(fd)
        for agent in agents.values():
            agent.last_words.close()


def log_file(root: Path) -> Path:
    """Where the agent of the node with this root writes its log."""
    return root / LOG_FILE


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


def _open_gate(key: int, agents: int) -> None:
    os.write(key, b"!" * agents)


def _fork(order: Order, serve: Serve, gate: int, parents: Sequence[int]) -> Forked:
    """Fork one; the descriptors ``parents`` are not for the child, and the gate would never see the parent's end."""
    words, mouth = socket.socketpair()
    sys.stdout.flush()
    sys.stderr.flush()
    with undisturbed():
        pid = os.fork()
        if pid == 0:
            for fd in parents:
                os.close(fd)
            _be_agent(order, serve, gate, mouth)
    mouth.close()
    process = identify(pid)
    assert process is not None, "a child that waits for us cannot have ended"
    return Forked(process=process, last_words=words)


def _be_agent(order: Order, serve: Serve, gate: int, mouth: socket.socket) -> NoReturn:
    """The child's whole life.  Never returns into the parent's stack."""
    code = EXIT_COULD_NOT
    try:
        os.setsid()  # first: what the terminal says from here on is not for an agent
        be_mortal()
        if not os.read(gate, 1):
            os._exit(code)
        _detach(log_file(order.options.root))
        enter(order.netns)
        serve(order.options)
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
