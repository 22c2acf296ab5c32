"""One node whose plugin is executed as a runtime executes it: shim, socket, the plugin's end of the agent, pods.

    with plugin_node(tmp_path) as node:
        node.start()
        pod = node.new_pod()
        node.run("ADD", pod)

The process behind the socket is the agent's plugin and nothing else: it has no lease to keep and
knows its subnets from the beginning.  Namespaces are called ``tullet-<random>`` and go with the node.
"""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from tests.kit.enter import enter
from tests.kit.shims import COMMANDS, NO_BINARY, Done, Shim
from tulle.agent.control import ControlServer
from tulle.cni.attach import PodNetwork
from tulle.cni.server import CniServer
from tulle.cni.service import serving
from tulle.cni.spares import SPARE
from tulle.kernel import netns
from tulle.wire.subnet_env import SubnetEnv, format_subnet_env

NETWORK = PodNetwork(subnet=IPv4Network("10.244.1.0/24"), subnet6=None, mtu=1450)
CONF: dict[str, Any] = {"cniVersion": "1.1.0", "name": "net", "type": "tulle", "bridge": "cbr0"}
PATIENCE_S = 20.0


@dataclass
class PluginNode:
    """The node.  ``network`` is what its agent knows from its next start on."""

    netns: Path
    root: Path
    network: PodNetwork | None = NETWORK
    path: str | None = None
    """CNI_PATH; None: the usual folder."""
    shim: str = "python" if NO_BINARY else "c"
    pods: list[str] = field(default_factory=list[str])
    pid: int | None = None

    # -- the agent ---------------------------------------------------------------------

    def start(self) -> None:
        """Start the process behind the socket, and wait until it serves."""
        self.fork_agent()
        self.wait_until(self.answers, "the agent")

    def fork_agent(self, before: Callable[[], object] = lambda: None) -> None:
        """Start the process behind the socket; ``before`` is the first that it does."""
        pid = os.fork()
        if pid == 0:
            try:
                before()
                netns.enter(self.netns)
                asyncio.run(_serve(self.root, self.network))
            finally:
                os._exit(1)
        self.pid = pid

    @property
    def agent(self) -> int:
        """Its pid."""
        assert self.pid is not None, "none was started"
        return self.pid

    def answers(self) -> bool:
        """A socket that is there may not be listened to yet."""
        with socket.socket(socket.AF_UNIX) as sock, suppress(OSError):
            sock.connect(str(self.socket))
            return True
        return False

    def stop(self, how: int = signal.SIGKILL) -> None:
        """End it, by default without a word."""
        if self.pid is not None:
            os.kill(self.pid, how)
            os.waitpid(self.pid, 0)
        self.pid = None

    def has_ended(self) -> bool:
        """Is it dead, and all that was its own gone?  It is not reaped."""
        return os.waitid(os.P_PID, self.agent, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def has_died(self) -> bool:
        """Was it killed?  One that was is reaped, and its socket removed; one that lives answers."""
        if not self.has_ended() and self.run("STATUS").code == 0:
            return False
        os.waitpid(self.agent, 0)  # on its way, its sockets may be closed already
        self.pid = None
        self.socket.unlink(missing_ok=True)
        return True

    def restart(self) -> None:
        self.stop()
        self.socket.unlink(missing_ok=True)
        self.start()

    def leave_word(self, command: str) -> None:
        """Write what an agent writes for the time without it."""
        path = self.root / "var/lib/tulle/cni-offline"
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(b"".join(word.encode() + b"\0" for word in command.split()))

    def write_subnet_env(self) -> None:
        assert self.network is not None
        subnet, six = self.network.subnet, self.network.subnet6
        env = SubnetEnv.of(subnet, subnet, six, six, self.network.mtu, ip_masq=False)
        path = self.root / "run/flannel/subnet.env"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(format_subnet_env(env))

    # -- the runtime -------------------------------------------------------------------

    def new_pod(self) -> str:
        """A container's id, which is also the name of its new namespace."""
        name = f"tullet-{secrets.token_hex(4)}"
        netns.create(name)
        self.pods.append(name)
        return name

    def remove_pod(self, name: str) -> None:
        netns.delete(name)

    def run(self, verb: str, pod: str = "", *, path: str | None = None, ifname: str = "eth0", **conf: Any) -> Done:
        """Execute the plugin.  ``conf`` are keys of the configuration; ``path`` another namespace than the pod's."""
        shim = Shim(COMMANDS[self.shim], self.root)
        environment = self.environment(verb, pod, path, ifname)
        stdin = json.dumps({**CONF, **conf}).encode()
        return netns.run_in(self.netns, lambda: shim.execute(environment, stdin=stdin))

    def environment(self, verb: str, pod: str = "", path: str | None = None, ifname: str = "eth0") -> dict[str, str]:
        """The variables of an execution."""
        shim = Shim(COMMANDS[self.shim], self.root)
        return {
            **shim.environment(verb),
            "CNI_CONTAINERID": pod,
            "CNI_NETNS": f"/run/netns/{pod}" if path is None else path,
            "CNI_IFNAME": ifname,
            **({} if self.path is None else {"CNI_PATH": self.path}),
        }

    def add(self, pod: str, **conf: Any) -> dict[str, Any]:
        """The result of an ADD that succeeds."""
        done = self.run("ADD", pod, **conf)
        assert done.code == 0, done
        return done.answer

    # -- what there is -----------------------------------------------------------------

    @property
    def socket(self) -> Path:
        return self.root / "run/tulle/agent.sock"

    @property
    def addresses(self) -> dict[str, str]:
        """Owner's container by address, of the files on disk."""
        folder = self.root / "var/lib/cni/networks/net"
        if not folder.is_dir():
            return {}
        files = [path for path in folder.iterdir() if path.name[0].isdigit() or ":" in path.name]
        return {path.name: path.read_bytes().decode(errors="replace").partition("\r\n")[0] for path in files}

    @property
    def records(self) -> list[dict[str, Any]]:
        folder = self.root / "var/lib/tulle/attachments/net"
        return [json.loads(path.read_text()) for path in folder.glob("*.json")] if folder.is_dir() else []

    @property
    def devices(self) -> frozenset[str]:
        """The node's ends of pods' pairs."""
        found: list[dict[str, Any]] = json.loads(self.ip("-j link show type veth") or "[]")
        return frozenset(link["ifname"] for link in found)

    def ip(self, words: str, pod: str | None = None) -> str:
        """``ip`` in the node, or in a pod."""
        name = self.netns.name if pod is None else pod
        return subprocess.run([*enter(name), "ip", *words.split()], check=True, capture_output=True, text=True).stdout

    def forward(self) -> None:
        """The node forwards IPv4, as an agent has it."""
        netns.run_in(self.netns, lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))

    def bridge(self, words: str) -> str:
        """``bridge`` in the node."""
        command = [*enter(self.netns.name), "bridge", *words.split()]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def nft(self, words: str, given: str = "") -> str:
        """``nft`` in the node; what a table that is not there prints is nothing."""
        command = [*enter(self.netns.name), "nft", *words.split()]
        return subprocess.run(command, check=False, input=given, capture_output=True, text=True).stdout

    def nft_settles(self, reached: Callable[[str], bool]) -> None:
        """Wait until the guard's table is as it should be."""
        self.wait_until(lambda: reached(self.nft("list table bridge tulle")), "the guard's table")

    def is_clean(self) -> bool:
        """No address, no record, no pair, no file that somebody began."""
        return not self.addresses and not self.records and not self.devices and not self.unfinished

    @property
    def unfinished(self) -> frozenset[Path]:
        """Files that nobody completed, of everything that is kept for pods; spares are nobody's."""
        folders = (
            "var/lib/cni/networks/net",
            "var/lib/tulle/attachments/net",
            "var/lib/tulle/tombstones",
            "run/tulle/tombstones",
        )
        return frozenset(path for folder in folders for path in (self.root / folder).glob(".*") if path.name != SPARE)

    def wait_until(self, reached: Callable[[], object], what: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while not reached():
            assert time.monotonic() < end, f"waited {PATIENCE_S} s for {what}"
            time.sleep(0.01)


@contextmanager
def plugin_node(root: Path) -> Generator[PluginNode]:
    """A node without an agent; ``start`` gives it one."""
    name = f"tullet-{secrets.token_hex(4)}"
    node = PluginNode(netns.create(name), root)
    try:
        node.ip("link set lo up")
        yield node
    finally:
        node.stop()
        for pod in node.pods:
            netns.delete(pod)
        netns.delete(name)


async def _serve(root: Path, network: PodNetwork | None) -> None:
    async with serving(root, lambda: network) as plugin:
        watch = asyncio.create_task(_follow_kernel(plugin), name="follow the kernel")
        server = ControlServer(root / "run/tulle/agent.sock", plugin.handle, {})
        await server.start()
        try:
            await asyncio.Event().wait()
        finally:
            watch.cancel()
            await server.close()


async def _follow_kernel(plugin: CniServer) -> None:
    async for scope in plugin.site.kernel.changes():
        plugin.kernel_changed(scope)
