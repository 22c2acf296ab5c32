"""The plugin's two shims, one of them built for three machines, and agents that are not what they should be.

A ``Shim`` is executed as the runtime does it: environment, stdin, stdout, exit code.  A ``FakeAgent``
serves the socket below a root of the test's own; what it does with a connection is a function.
"""

import json
import os
import shutil
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import pytest

import tulle
from hatch_build import build

PACKAGE = Path(tulle.__file__).parent
BINARY = PACKAGE / "bin" / "tulle-cni"
NO_BINARY = None if BINARY.exists() else "src/tulle/bin/tulle-cni is not compiled: install gcc and musl-tools"
COMMANDS = {"c": (str(BINARY),), "python": (sys.executable, "-I", "-S", str(PACKAGE / "cni" / "shim.py"))}
CROSS = {
    "arm64": ("aarch64-linux-gnu-gcc", "qemu-aarch64-static"),
    "armv7": ("arm-linux-gnueabihf-gcc", "qemu-arm-static"),
}
"""The binary for other machines: who compiles it, and who runs it here."""
CONF = b'{"cniVersion":"1.0.0","name":"net","type":"tulle"}'
TIMEOUT_S = 30


def cross_built(machine: str, folder: Path) -> tuple[str, ...]:
    """The words that run the binary of one of CROSS, compiled into ``folder``.  Skips where that cannot be done."""
    compiler, emulator = CROSS[machine]
    for program in (compiler, emulator):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    target = folder / machine / "tulle-cni"
    if not target.exists():
        reason = build(PACKAGE.parents[1], target, [[compiler]])
        assert not reason, reason
    return emulator, str(target)


@dataclass(frozen=True)
class Done:
    """How one execution ended."""

    code: int
    stdout: bytes
    stderr: bytes
    elapsed_s: float

    @property
    def answer(self) -> dict[str, Any]:
        """The one JSON object on stdout, with nothing after it but the line's end."""
        assert self.stdout.endswith(b"}\n"), self
        found: dict[str, Any] = json.loads(self.stdout)
        return found

    @property
    def error(self) -> int:
        """The code of the error object, which is complete."""
        assert self.code != 0, self
        assert isinstance(self.answer["msg"], str)
        assert isinstance(self.answer["cniVersion"], str)
        code: int = self.answer["code"]
        return code


@dataclass(frozen=True)
class Shim:
    """One of the two, with a root of its own."""

    command: tuple[str, ...]
    root: Path

    def environment(self, verb: str) -> dict[str, str]:
        return {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": "/run/netns/none",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            "TULLE_ROOT": str(self.root),
        }

    def run(self, verb: str, stdin: bytes = CONF, **changes: str) -> Done:
        return self.execute({**self.environment(verb), **changes}, stdin=stdin)

    def execute(
        self, environment: dict[str, str], *words: str, stdin: IO[bytes] | bytes = CONF, stdout: int = subprocess.PIPE
    ) -> Done:
        started = time.monotonic()
        with subprocess.Popen(
            [*self.command, *words],
            env=environment,
            stdin=subprocess.PIPE if isinstance(stdin, bytes) else stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
        ) as process:
            out, err = process.communicate(stdin if isinstance(stdin, bytes) else None, TIMEOUT_S)
        return Done(process.returncode, out or b"", err, time.monotonic() - started)

    @property
    def socket(self) -> Path:
        return self.root / "run/tulle/agent.sock"

    @property
    def tombstones(self) -> list[Path]:
        """What DELs were left, on disk and in /run."""
        places = [self.root / "var/lib/tulle/tombstones", self.root / "run/tulle/tombstones"]
        return [path for place in places if place.is_dir() for path in sorted(place.iterdir())]


@dataclass
class FakeAgent:
    """What was asked, in order: the bodies of the frames."""

    asked: list[bytes] = field(default_factory=list[bytes])


Behaviour = Callable[[socket.socket], None]


def answering(code: int, stdout: bytes) -> Behaviour:
    """A whole answer."""
    return lambda sock: sock.sendall(frame(bytes((code,)) + stdout))


def saying(data: bytes) -> Behaviour:
    """Some bytes, then the end."""
    return lambda sock: sock.sendall(data)


def silent(sock: socket.socket) -> None:
    """Nothing, until the other side has enough."""
    with suppress(OSError):
        sock.recv(1)


def frame(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


@contextmanager
def fake_agent(path: Path, behaviour: Behaviour) -> Generator[FakeAgent]:
    """Serve ``path`` until the block ends."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with listening(path) as server:
        agent = FakeAgent()
        thread = threading.Thread(target=_serve, args=(server, agent, behaviour), daemon=True)
        thread.start()
        yield agent
        server.shutdown(socket.SHUT_RDWR)
        thread.join(TIMEOUT_S)


@contextmanager
def listening(path: Path) -> Generator[socket.socket]:
    """A bound, listening socket; longer paths than an address holds are bound from inside their folder."""
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        server.bind(f"/proc/self/fd/{folder}/{path.name}")
        server.listen(16)
        yield server
    finally:
        os.close(folder)
        server.close()


def _serve(server: socket.socket, agent: FakeAgent, behaviour: Behaviour) -> None:
    while True:
        try:
            sock, _ = server.accept()
        except OSError:
            return
        with sock, suppress(OSError):
            agent.asked.append(_request(sock))
            behaviour(sock)


def _request(sock: socket.socket) -> bytes:
    (length,) = struct.unpack(">I", sock.recv(4, socket.MSG_WAITALL))
    return sock.recv(length, socket.MSG_WAITALL)
