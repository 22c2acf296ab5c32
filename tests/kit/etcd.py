"""A real etcd on loopback: random ports, a folder of its own, ended by its pid.

    with etcd(tmp_path) as server:
        store = open_store(server.url, SystemClock())
        server.kill(); server.start()          # the same data, the same ports

``NEEDS_ETCD`` skips, by name, where the program is not installed.
"""

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

PATIENCE_S = 30.0
PREFIX = "/coreos.com/network"
HAVE_ETCD = shutil.which("etcd") is not None and shutil.which("etcdctl") is not None
QUICK = ("--heartbeat-interval", "50", "--election-timeout", "500")
"""With these the shortest TTL is one second."""
REASON = "etcd and etcdctl are not installed (Debian: etcd-server, etcd-client)"
NEEDS_ETCD = pytest.mark.skipif(not HAVE_ETCD, reason=REASON)


def _free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Etcd:
    """One member.  ``flags`` are added to its command line, ``ctl`` to etcdctl's."""

    folder: Path
    host: str = "127.0.0.1"
    scheme: str = "http"
    flags: Sequence[str] = ()
    before: Sequence[str] = ()
    """Words in front of every command, to run it in a namespace."""
    ctl_flags: Sequence[str] = ()
    name: str = "kit"
    peers: Mapping[str, int] = field(default_factory=dict[str, int])
    """The other members' peer ports, by name."""
    port: int = field(default_factory=_free_port)
    peer_port: int = field(default_factory=_free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The store's URL."""
        return f"etcd://{self.endpoint}{PREFIX}"

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> str:
        path = self.folder / "etcd.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, *, wait: bool = True) -> None:
        """Start it on what its folder holds."""
        client, peer = f"{self.scheme}://{self.endpoint}", f"http://127.0.0.1:{self.peer_port}"
        members = ",".join(
            f"{name}=http://127.0.0.1:{port}" for name, port in {**self.peers, self.name: self.peer_port}.items()
        )
        command = [*self.before, "etcd", "--name", self.name, "--data-dir", str(self.data), "--logger", "zap"]
        command += ["--listen-client-urls", client, "--advertise-client-urls", client]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        command += ["--initial-cluster", members, *QUICK, *self.flags]
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "etcd.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.wait()

    def wait(self) -> None:
        """Until it answers."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert self.process is not None
            if self.process.poll() is not None:
                raise AssertionError(f"etcd ended: {self.log[-2000:]}")
            if self._ask("endpoint", "health").returncode == 0:
                return
            time.sleep(0.02)
        raise AssertionError(f"etcd did not answer: {self.log[-2000:]}")

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(signal.SIGCONT)
            process.kill()
            process.wait(timeout=PATIENCE_S)

    def wipe(self) -> None:
        """Forget everything; it must not be running."""
        assert self.process is None
        shutil.rmtree(self.data, ignore_errors=True)

    def restore(self, backup: str) -> None:
        """Begin with what ``snapshot save`` wrote; it must not be running."""
        self.wipe()
        peer, tool = f"http://127.0.0.1:{self.peer_port}", "etcdutl" if shutil.which("etcdutl") else "etcdctl"
        command = [tool, "snapshot", "restore", backup, "--name", self.name, "--data-dir", str(self.data)]
        command += ["--initial-cluster", f"{self.name}={peer}", "--initial-advertise-peer-urls", peer]
        subprocess.run(command, check=True, capture_output=True, timeout=PATIENCE_S, env=_environment())

    def ctl(self, *words: str) -> str:
        """What etcdctl says."""
        done = self._ask(*words)
        assert done.returncode == 0, f"etcdctl {' '.join(words)}: {done.stderr}"
        return done.stdout

    def _ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [*self.before, "etcdctl", "--endpoints", f"{self.scheme}://{self.endpoint}", *self.ctl_flags, *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=_environment()
        )

    def json(self, *words: str) -> dict[str, Any]:
        return json.loads(self.ctl(*words, "-w", "json"))

    def json_list(self, *words: str) -> list[dict[str, Any]]:
        return json.loads(self.ctl(*words, "-w", "json"))

    def put(self, tail: str, value: str, *flags: str) -> None:
        """Write a key below the prefix, as any client may."""
        self.ctl("put", *flags, "--", f"{PREFIX}/{tail}", value)

    def get(self, tail: str) -> str:
        """The value of a key below the prefix."""
        return self.ctl("get", "--print-value-only", f"{PREFIX}/{tail}").rstrip("\n")

    def keys(self, tail: str = "") -> list[str]:
        """The keys below the prefix that begin with ``tail``."""
        listed = self.ctl("get", "--prefix", "--keys-only", f"{PREFIX}/{tail}").split()
        return [key.removeprefix(f"{PREFIX}/") for key in listed]

    def lease(self, ttl_s: int) -> str:
        """A new etcd lease, for ``put … --lease``."""
        return self.ctl("lease", "grant", str(ttl_s)).split()[1]

    def enable_users(self, password: str) -> None:
        """Authentication on: ``root``, and ``node``, who may do what a node needs."""
        for words in (
            ("user", "add", f"root:{password}"),
            ("user", "add", f"node:{password}"),
            ("role", "add", "node"),
            ("role", "grant-permission", "--prefix", "node", "readwrite", f"{PREFIX}/"),
            ("user", "grant-role", "node", "node"),
            ("auth", "enable"),
        ):
            self.ctl(*words)
        self.ctl_flags = (*self.ctl_flags, "--user", f"root:{password}")

    def leads(self) -> bool:
        """Is this member the leader?"""
        (status,) = self.json_list("endpoint", "status")
        return status["Status"]["leader"] == status["Status"]["header"]["member_id"]

    def revision(self) -> int:
        return self.json("get", "none")["header"]["revision"]

    def compact(self) -> None:
        """Forget the history up to now."""
        self.ctl("compact", str(self.revision()))


@contextmanager
def etcd(folder: Path, **settings: Any) -> Generator[Etcd]:
    """A running member, ended at the end."""
    server = Etcd(folder / "etcd", **settings)
    try:
        server.start()
        yield server
    finally:
        server.kill()


@contextmanager
def etcd_members(folder: Path, count: int = 3) -> Generator[list[Etcd]]:
    """A cluster of so many members, all running and agreed; ended at the end."""
    members = [Etcd(folder / f"member{number}", name=f"member{number}") for number in range(count)]
    for member in members:
        member.peers = {other.name: other.peer_port for other in members}
    try:
        for member in members:
            member.start(wait=False)
        for member in members:
            member.wait()
        yield members
    finally:
        for member in members:
            member.kill()


@cache
def shared_etcd() -> Etcd:
    """One member for the whole session, for tests that need no more than a prefix of their own."""
    running = ExitStack()
    atexit.register(running.close)
    folder = running.enter_context(TemporaryDirectory(prefix="tulle-etcd-"))
    return running.enter_context(etcd(Path(folder)))


def _environment() -> dict[str, str]:
    return {**os.environ, "ETCDCTL_API": "3"}
