"""What a supervisor, a probe and a collector hear of a real agent, under all that the systemd unit takes away.

No systemd here: what the unit grants is read from it and applied by hand; the rest of its
settings are judged by ``systemd-analyze``.
"""

import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.agents import cluster, until
from tests.kit.kernels import NEEDS_ROOT

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))

UNIT = Path(__file__).parents[2] / "deploy/tulled.service"
NO_NEW_CODE = "import ctypes, os, sys; ctypes.CDLL(None).prctl(65, 1, 0, 0, 0); os.execvp(sys.argv[1], sys.argv[1:])"
"""What MemoryDenyWriteExecute does.  Source: PR_SET_MDWE of linux/prctl.h; kernels before 6.3 take no notice."""
MOST_EXPOSED = 3.5


def confinement() -> list[str]:
    """The words in front of a command that leave it what the unit leaves."""
    granted = re.findall(r"^CapabilityBoundingSet=(.*)", UNIT.read_text(), re.MULTILINE)[0].lower().split()
    bounding = ",".join(["-all", *(f"+{name.removeprefix('cap_')}" for name in granted)])
    setpriv = ["setpriv", "--no-new-privs", "--inh-caps=-all", f"--bounding-set={bounding}"]
    return [*setpriv, sys.executable, "-c", NO_NEW_CODE]


def asked(path: Path, target: str) -> tuple[int, str]:
    """Status and body of one page."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head, _, body = b"".join(iter(lambda: sock.recv(65536), b"")).partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_the_unit_is_sound_and_not_much_exposed() -> None:
    command = ["systemd-analyze", "security", "--offline=yes", str(UNIT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    exposure = float(re.findall(r"Overall exposure level for \S+ (\d+\.\d)", done.stdout)[0])
    assert exposure <= MOST_EXPOSED


def test_a_confined_agent_tells_the_truth_to_whoever_asks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with cluster(tmp_path) as site, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(str(tmp_path / "notify"))
        supervisor.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "600000")
        node = site.node(1)
        http = node.root / "run/tulle/http.sock"
        node.start(before=confinement())
        heard = ""
        while "READY=1" not in heard:
            heard += supervisor.recv(4096).decode() + "\n"
        assert (node.root / "run/flannel/subnet.env").exists(), "ready means ready for pods"
        node.converge(0)
        assert asked(http, "/healthz") == (200, "tulled is running\n")
        assert asked(http, "/readyz") == (200, "tulled is ready\n")
        while not {"WATCHDOG=1", "STATUS=10.244.1.0/24, 0 peers"} <= set(heard.split("\n")):
            heard += supervisor.recv(4096).decode() + "\n"

        node.ip("link del flannel.1")
        until(lambda: 'tulle_repairs_total{kind="link"} 1' in asked(http, "/metrics")[1], "the repair is counted")
        assert 'tulle_device_transmit_bytes_total{device="flannel.1"}' in asked(http, "/metrics")[1]

        node.converge(0)
        node.ip("link set eth0 name eth9")
        until(lambda: "underlay: --iface eth0: no such device" in asked(http, "/readyz")[1], "the underlay is missed")
        node.ip("link set eth9 name eth0")
        until(lambda: asked(http, "/readyz")[0] == 200, "and found again", lambda: node.log)

        node.stop(signal.SIGTERM)
        supervisor.settimeout(0)
        rest = b""
        while not rest.endswith(b"STOPPING=1"):
            rest = supervisor.recv(4096)
