"""The real peer: flannel's daemon in a namespace.  ``$TULLE_FLANNELD`` names another one than the pinned."""

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.kit.agents import until
from tests.kit.enter import enter
from tests.kit.peers import needs_peers, peer
from tests.kit.topology import Net

BINARY = os.environ.get("TULLE_FLANNELD") or peer("flanneld")
NEEDS_FLANNELD = needs_peers() if BINARY else needs_peers("flanneld")


@dataclass
class Flanneld:
    """One flanneld on one node; its subnet.env is where that node's tulled looks for it."""

    net: Net
    name: str
    root: Path
    endpoint: str
    tools: Path | None = None
    """A folder of programs that it finds before all others."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def subnet_file(self) -> Path:
        return self.root / "run/flannel/subnet.env"

    @property
    def log(self) -> str:
        path = self.root / "flanneld.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self, *flags: str) -> None:
        """Start it, and wait until it has taken its place."""
        assert BINARY is not None
        self.subnet_file.parent.mkdir(parents=True, exist_ok=True)
        before = self.log.count("Wrote subnet file")
        command = [*enter(self.net.full(self.name)), BINARY, "--etcd-endpoints", self.endpoint]
        command += ["--iface", "eth0", "--subnet-file", str(self.subnet_file), *flags]
        with (self.root / "flanneld.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self._environment()
            )
        until(self.subnet_file.exists, f"{self.name}: subnet.env", lambda: self.log)
        until(lambda: self.log.count("Wrote subnet file") > before, f"{self.name}: a place", lambda: self.log)

    def _environment(self) -> dict[str, str]:
        places = [str(self.tools)] if self.tools is not None else []
        return {**os.environ, "PATH": os.pathsep.join([*places, os.environ.get("PATH", os.defpath)])}

    def stop(self, number: int = signal.SIGKILL) -> None:
        """End it; its data path stays."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(number)
            process.wait(timeout=20)
