"""Real agents in real namespaces, without the lab: two or three nodes on a switch, one store, pods by hand.

    with cluster(tmp_path, nodes=2, pods=True) as site:     # pod1 | node1 - switch - node2 | pod2
        site.start()
        site.node(1).ip("route del 10.244.2.0/24")

Node n is 192.168.64.(10+n) on ``eth0`` and gets 10.244.n.0/24 by reservation (fd64::(10+n) and
fd10:244:0:n::/64 with ``ipv6``); pod n is 10.244.n.2 on the node's bridge ``cbr0``.
"""

import asyncio
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any, TypeVar

from tests.kit.enter import enter
from tests.kit.topology import Net
from tulle.agent.control import AgentAnswer, ask
from tulle.kernel.system import SystemClock
from tulle.model.lease import Lease, LeaseKey
from tulle.store.open import open_store
from tulle.store.ports import Administration
from tulle.wire.leases import lease_key

T = TypeVar("T")

PATIENCE_S = 20.0
QUIET_AUDIT = ("--audit-period", "3600")
"""For tests that prove a repair by its event."""


@dataclass
class Node:
    """One node: its namespace, its files, its agent."""

    net: Net
    number: int
    root: Path
    store_url: str
    process: subprocess.Popen[bytes] | None = None
    flags: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return f"node{self.number}"

    @property
    def socket(self) -> Path:
        return self.root / "run/tulle/agent.sock"

    @property
    def log(self) -> str:
        """What the agent has logged so far."""
        path = self.root / "agent.log"
        return path.read_text() if path.exists() else ""

    def command(self, *flags: str) -> list[str]:
        """The agent's command line in its namespace."""
        agent = [sys.executable, "-m", "tulle", "agent", "--root", str(self.root), "--store", self.store_url]
        return [*enter(self.net.full(self.name)), *agent, "--iface", "eth0", *flags]

    def start(self, *flags: str, before: Sequence[str] = ()) -> None:
        """Start the agent, without waiting for anything.  ``before``: words in front of its command (strace …)."""
        self.flags = flags or self.flags
        with (self.root / "agent.log").open("ab") as log:
            self.process = subprocess.Popen(
                [*before, *self.command(*self.flags)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )

    def run(self, *flags: str, timeout_s: float = PATIENCE_S) -> subprocess.CompletedProcess[str]:
        """An agent that is expected to end by itself."""
        return subprocess.run(
            self.command(*flags), capture_output=True, text=True, timeout=timeout_s, check=False, env=_environment()
        )

    def stop(self, number: int = signal.SIGTERM) -> float:
        """End the agent; the seconds that it took."""
        process = self.process
        assert process is not None
        self.process = None
        started = time.monotonic()
        process.send_signal(number)
        process.wait(timeout=PATIENCE_S)
        return time.monotonic() - started

    def ask(self, verb: str, **fields: object) -> dict[str, Any]:
        """The agent's answer to one question.  Raises AgentAnswer while it does not listen yet."""
        if self.process is not None and self.process.poll() is not None:
            raise AssertionError(f"the agent of {self.name} ended: {self.log}")
        return ask(self.socket, {"verb": verb, **fields}, timeout_s=PATIENCE_S)

    def status(self) -> dict[str, Any]:
        return self.ask("status")

    def tulle(self, *words: str, lang: str = "en") -> subprocess.CompletedProcess[str]:
        """``tulle WORDS --root …`` as an operator types it."""
        command = [sys.executable, "-m", "tulle", *words, "--root", str(self.root), "--lang", lang]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=PATIENCE_S, check=False, env=_environment()
        )

    def leave(self, *flags: str) -> subprocess.CompletedProcess[str]:
        """``tulle leave`` as an operator types it on the node."""
        words = [sys.executable, "-m", "tulle", "leave", "--root", str(self.root), "--store", self.store_url, *flags]
        command = [*enter(self.net.full(self.name)), *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False, env=_environment()
        )

    def converge(self, peers: int) -> None:
        """Wait until the agent answers and is converged with ``peers`` peers."""
        until(lambda: self._answers(peers), f"{self.name} with {peers} peers", lambda: self.log)

    def sh(self, *argv: str) -> str:
        return self.net.run(self.name, *argv)

    def ip(self, *commands: str) -> None:
        self.net.ip(self.name, *commands)

    def json(self, *argv: str) -> list[dict[str, Any]]:
        """What a tool with JSON output says about this node."""
        return json.loads(self.sh(*argv) or "[]")

    def _answers(self, peers: int) -> bool:
        try:
            answer = self.ask("wait", peers=peers, timeout_s=2)
        except AgentAnswer:
            return False
        return bool(answer["done"]) and answer["peers"] == peers


@dataclass
class Cluster:
    """The nodes, and what they share."""

    net: Net
    store: Path
    nodes: list[Node] = field(default_factory=list[Node])

    def node(self, number: int) -> Node:
        return self.nodes[number - 1]

    def start(self, *flags: str) -> None:
        """Start every agent, and wait until all know each other and have converged."""
        for node in self.nodes:
            node.start(*flags)
        for node in self.nodes:
            node.converge(len(self.nodes) - 1)

    def delete(self, key: str) -> None:
        """Delete a lease from the store."""
        asyncio.run(_with_store(self.store, lambda store: store.delete(LeaseKey(key))))

    def plant(self, key: str, value: bytes) -> None:
        """Write any value under any key, past every check that a client of the store makes."""
        with self._forging() as (db, revision):
            row = (key, value, revision, revision)
            db.execute("INSERT OR REPLACE INTO lease (key, value, created, modified) VALUES (?, ?, ?, ?)", row)
            db.execute("INSERT INTO event (revision, key, value, created) VALUES (?, ?, ?, ?)", (revision, *row[:3]))

    def lose(self, key: str) -> None:
        """Take a lease away without a word, as a store that was wiped and is another one now."""
        with self._forging() as (db, revision):
            db.execute("DELETE FROM lease WHERE key = ?", (key,))
            db.execute("DELETE FROM event")
            db.execute("UPDATE fact SET value = ? WHERE name = 'cluster_id'", (f"made at {revision}",))

    @contextmanager
    def _forging(self) -> Generator[tuple[sqlite3.Connection, int]]:
        """The database, at a new revision; watchers wake when the block has ended."""
        with closing(sqlite3.connect(self.store)) as db, db:
            (revision,) = db.execute("SELECT value + 1 FROM fact WHERE name = 'revision'").fetchone()
            db.execute("UPDATE fact SET value = ? WHERE name = 'revision'", (revision,))
            yield db, revision
        os.truncate(self.store, self.store.stat().st_size)  # watchers wake by the file, after the commit

    def steal(self, number: int) -> None:
        """Give the subnet of node ``number`` to a node that is not here."""
        stolen = replace(_reservation(number, ipv6=False), public_ip=IPv4Address("192.168.64.99"))

        async def story(store: Administration) -> None:
            await store.delete(stolen.key)
            await store.reserve([stolen])

        asyncio.run(_with_store(self.store, story))


@contextmanager
def cluster(
    folder: Path, *, nodes: int = 2, pods: bool = False, ipv6: bool = False, config: dict[str, object] | None = None
) -> Generator[Cluster]:
    """The namespaces, the network's configuration and the reservations; agents are started by the test."""
    with Net() as net:
        site = Cluster(net, folder / "leases.db")
        net.add("switch")
        net.ip("switch", "link add br0 type bridge forward_delay 0", "link set br0 up")
        for number in range(1, nodes + 1):
            site.nodes.append(_node(site, folder, number, ipv6=ipv6))
            if pods:
                add_pod(net, number, ipv6=ipv6)
        asyncio.run(_fill(site, nodes, ipv6=ipv6, config=config))
        try:
            yield site
        finally:
            for node in site.nodes:
                if node.process is not None:
                    node.process.send_signal(signal.SIGCONT)
                    node.stop(signal.SIGKILL)


def add_pod(net: Net, number: int, *, ipv6: bool = False) -> None:
    """Pod ``number`` on node ``number``, on a bridge as the plugin makes it."""
    node, pod = f"node{number}", f"pod{number}"
    net.add(pod)
    net.veth((pod, "eth0"), (node, "vethpod"))
    net.ip(
        node,
        "link add cbr0 type bridge forward_delay 0",
        "link set cbr0 up",
        f"addr add 10.244.{number}.1/24 dev cbr0",
        "link set vethpod master cbr0",
    )
    net.ip(pod, "link set eth0 mtu 1430", f"addr add 10.244.{number}.2/24 dev eth0")
    net.ip(pod, f"route add default via 10.244.{number}.1")
    if ipv6:
        net.ip(node, f"addr add fd10:244:0:{number}::1/64 dev cbr0 nodad")
        net.ip(pod, f"addr add fd10:244:0:{number}::2/64 dev eth0 nodad")
        net.ip(pod, f"route add default via fd10:244:0:{number}::1")


def until(condition: Callable[[], T], what: str, explain: Callable[[], object] = lambda: "") -> T:
    """The first true value of ``condition``.  Raises AssertionError, with ``explain``, when there is none in time."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"not in {PATIENCE_S:g} s: {what}\n{explain()}")


def _node(site: Cluster, folder: Path, number: int, *, ipv6: bool) -> Node:
    net, name = site.net, f"node{number}"
    net.add(name)
    net.veth((name, "eth0"), ("switch", f"port{number}"))
    net.ip("switch", f"link set port{number} master br0")
    net.ip(name, f"addr add 192.168.64.1{number}/24 dev eth0")
    if ipv6:
        net.ip(name, f"addr add fd64::1{number}/64 dev eth0 nodad")
    root = folder / name
    root.mkdir()
    return Node(net, number, root, f"sqlite://{site.store}")


async def _fill(site: Cluster, nodes: int, *, ipv6: bool, config: dict[str, object] | None) -> None:
    shared: dict[str, object] = {"Network": "10.244.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}}
    if ipv6:
        shared |= {"EnableIPv6": True, "IPv6Network": "fd10:244::/48", "IPv6SubnetLen": 64}

    async def story(store: Administration) -> None:
        await store.write_network_config(json.dumps(shared | (config or {})).encode())
        await store.reserve([_reservation(number, ipv6=ipv6) for number in range(1, nodes + 1)])

    await _with_store(site.store, story)


async def _with_store(path: Path, work: Callable[[Administration], Awaitable[None]]) -> None:
    store = open_store(f"sqlite://{path}", SystemClock())
    try:
        await work(store)
    finally:
        await store.close()


def _reservation(number: int, *, ipv6: bool) -> Lease:
    subnet = IPv4Network(f"10.244.{number}.0/24")
    subnet6 = IPv6Network(f"fd10:244:0:{number}::/64") if ipv6 else None
    return Lease(
        key=lease_key(subnet, subnet6),
        subnet=subnet,
        subnet6=subnet6,
        public_ip=IPv4Address(f"192.168.64.1{number}"),
        public_ip6=IPv6Address(f"fd64::1{number}") if ipv6 else None,
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TULLE_LANG": "en"}


def only(rows: Iterable[dict[str, Any]], **wanted: object) -> list[dict[str, Any]]:
    """The rows in which every wanted field has its value."""
    return [row for row in rows if all(row.get(name) == value for name, value in wanted.items())]
