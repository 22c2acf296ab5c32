"""A node that joins: how soon the others' kernels hold the way to it, and what a start among many costs.

Real agents in namespaces of their own.  First N leases are in the store and a node starts: time until its
kernel holds all of them, CPU time, and the requests that etcd served for it.  Then leases are written one
by one: milliseconds from the moment that the write was sent, and from the store's answer, until the kernel
has announced route, neighbour and FDB entry; and the memory at the end.  On etcd beside flanneld where that is there
(``--flanneld`` or $TULLE_FLANNELD name another than the pinned one), and on SQLite.  Needs root.

    python -m bench.new_lease [--leases 5000] [--times 100] [--flanneld PATH] [--json]
"""

import argparse
import asyncio
import json
import re
import select
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

from bench.etcd import fill, numbered
from tests.kit import flanneld
from tests.kit.agents import QUIET_AUDIT, cluster, until
from tests.kit.etcd import HAVE_ETCD, Etcd
from tests.kit.mixed import mixed
from tests.kit.watching import cpu_s
from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.kernel.netns import run_in
from tulle.kernel.system import SystemClock
from tulle.model.lease import Lease
from tulle.model.objects import RTPROT_BOOT, RTPROT_TULLE
from tulle.store.open import open_store
from tulle.store.ports import Store
from tulle.wire.netlink import Message
from tulle.wire.rtnetlink.neighbors import decode_neighbor
from tulle.wire.rtnetlink.parts import RTM_NEWNEIGH, RTM_NEWROUTE, RTNLGRP_IPV4_ROUTE, RTNLGRP_NEIGH
from tulle.wire.rtnetlink.routes import decode_route

CONFIG = '{"Network":"10.0.0.0/8","SubnetLen":24,"EnableNFTables":true,"Backend":{"Type":"vxlan"}}'
START_S = 120.0
ARRIVAL_S = 10.0
PAUSE_S = 0.05
"""Between two leases: longer than anybody gathers changes before looking again."""


class Ear(Thread):
    """When a namespace's kernel announced what: ``heard`` by destination or MAC, seconds of ``perf_counter``."""

    def __init__(self, namespace: Path) -> None:
        super().__init__(daemon=True)
        self._socket = NetlinkSocket.open(
            namespace, groups=(RTNLGRP_NEIGH, RTNLGRP_IPV4_ROUTE), receive_buffer=64 << 20
        )
        self.heard: dict[str, float] = {}
        self.routes = 0
        self._over = Event()

    def run(self) -> None:
        poll = select.poll()
        poll.register(self._socket.fileno(), select.POLLIN)
        while not self._over.is_set():
            if poll.poll(100):
                now = time.perf_counter()
                for message in self._socket.receive():
                    self._note(message, now)

    def _note(self, message: Message, now: float) -> None:
        if message.kind == RTM_NEWROUTE:
            route = decode_route(message)
            self.routes += route.protocol in {RTPROT_TULLE, RTPROT_BOOT}
            self.heard[str(route.dst)] = now
        elif message.kind == RTM_NEWNEIGH:
            entry = decode_neighbor(message)
            self.heard[str(entry.lladdr if entry.flags else entry.dst)] = now

    def since(self, lease: Lease) -> float | None:
        """When the last of the three was announced; None: not all were."""
        assert lease.subnet is not None
        parts = (str(lease.subnet), str(lease.subnet.network_address), str(lease.vtep_mac))
        times = [self.heard.get(part) for part in parts]
        return None if None in times else max(found for found in times if found is not None)

    def close(self) -> None:
        self._over.set()
        self.join()
        self._socket.close()


@contextmanager
def ear(namespace: Path) -> Generator[Ear]:
    listening = Ear(namespace)
    listening.start()
    try:
        yield listening
    finally:
        listening.close()


def started(start: Callable[[], int], node: Ear, count: int) -> dict[str, float]:
    """Start an agent (``start`` answers with its pid), and wait until ``count`` routes were announced."""
    began = time.perf_counter()
    pid = start()
    while node.routes < count:
        if time.perf_counter() - began > START_S:
            raise SystemExit(f"bench.new_lease: {node.routes} of {count} routes within {START_S:g} s")
        time.sleep(0.005)
    return {"pid": pid, "s": time.perf_counter() - began, "cpu_s": cpu_s(pid)}


def memory(pid: int) -> dict[str, float]:
    """Resident, and with its share of what others map too.  Source: proc_pid_smaps(5)."""
    rollup = dict(re.findall(r"(\w+): +(\d+) kB", Path(f"/proc/{pid}/smaps_rollup").read_text()))
    return {"rss_mb": int(rollup["Rss"]) / 1024, "pss_mb": int(rollup["Pss"]) / 1024}


async def arrivals(store: Store, ears: dict[str, Ear], first: int, times: int) -> dict[str, list[tuple[float, float]]]:
    """For each listener: milliseconds since a write was sent, and since it was answered (0: before)."""
    late: dict[str, list[tuple[float, float]]] = {name: [] for name in ears}
    for number in range(first, first + times):
        lease = numbered(number)
        sent = time.perf_counter()
        await store.create(lease, 86_400.0)
        answered = time.perf_counter()
        for name, node in ears.items():
            there = await _arrival(node, lease)
            late[name].append(((there - sent) * 1e3, max(0.0, there - answered) * 1e3))
        await asyncio.sleep(PAUSE_S)
    return late


async def _arrival(node: Ear, lease: Lease) -> float:
    deadline = time.perf_counter() + ARRIVAL_S
    while (found := node.since(lease)) is None:
        if time.perf_counter() > deadline:
            raise SystemExit(f"bench.new_lease: {lease.key} did not arrive")
        await asyncio.sleep(0.002)
    return found


def served(server: Etcd) -> int:
    """Requests that etcd has answered so far, and watches that it has begun."""
    with urllib.request.urlopen(f"http://{server.endpoint}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    counted = [line for line in lines if line.startswith("grpc_server_started_total") and "etcdserverpb" in line]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in counted)


def on_etcd(folder: Path, leases: int, times: int) -> dict[str, Any]:
    with mixed(folder, config=CONFIG) as site:
        net = site.cluster.net

        def in_switch(work: Callable[[], Any]) -> Any:
            return run_in(net.path("switch"), work)

        def with_store(work: Callable[[Store], Any]) -> Any:
            async def story() -> Any:
                store = open_store(site.server.url, SystemClock())
                try:
                    return await work(store)
                finally:
                    await store.close()

            return in_switch(lambda: asyncio.run(story()))

        def tulle() -> int:
            site.tulle.start(*QUIET_AUDIT)
            assert site.tulle.process is not None
            return site.tulle.process.pid

        def flannel() -> int:
            site.flannel.start()
            assert site.flannel.process is not None
            return site.flannel.process.pid

        with_store(lambda store: fill(store, leases, first=1))
        report: dict[str, Any] = {}
        with ear(net.path("node1")) as one, ear(net.path("node2")) as two:
            sides = {"tulle, etcd": (tulle, one)} | ({"flanneld, etcd": (flannel, two)} if flanneld.BINARY else {})
            for name, (start, node) in sides.items():
                before = in_switch(lambda: served(site.server))
                report[name] = started(start, node, leases)
                report[name]["etcd_requests"] = in_switch(lambda: served(site.server)) - before
            ears = {name: node for name, (_, node) in sides.items()}
            late = with_store(lambda store: arrivals(store, ears, leases + 1, times))
        return {name: figures | memory(int(figures["pid"])) | _summary(late[name]) for name, figures in report.items()}


def on_sqlite(folder: Path, leases: int, times: int) -> dict[str, Any]:
    with cluster(folder, nodes=1, config=json.loads(CONFIG)) as site:
        node = site.node(1)

        def tulle() -> int:
            node.start(*QUIET_AUDIT)
            assert node.process is not None
            return node.process.pid

        async def story(work: Callable[[Store], Any]) -> Any:
            store = open_store(node.store_url, SystemClock())
            try:
                return await work(store)
            finally:
                await store.close()

        asyncio.run(story(lambda store: fill(store, leases, first=1)))
        with ear(site.net.path("node1")) as one:
            figures = started(tulle, one, leases)
            until(lambda: node.status()["converged"], "converged")
            late = asyncio.run(story(lambda store: arrivals(store, {"tulle": one}, leases + 1, times)))
        return {"tulle, SQLite": figures | memory(int(figures["pid"])) | _summary(late["tulle"])}


def _summary(late: list[tuple[float, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for what, column in zip(("sent", "answered"), zip(*late, strict=True), strict=True):
        ordered = sorted(column)
        found[f"since_{what}_p50_ms"] = statistics.median(ordered)
        found[f"since_{what}_p99_ms"] = ordered[max(0, int(len(ordered) * 0.99) - 1)]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.new_lease", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--leases", type=int, default=5_000)
    parser.add_argument("--times", type=int, default=100)
    parser.add_argument("--flanneld", metavar="PATH")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    flanneld.BINARY = args.flanneld or flanneld.BINARY
    report: dict[str, Any] = {}
    for side in (on_etcd, on_sqlite) if HAVE_ETCD else (on_sqlite,):
        with tempfile.TemporaryDirectory() as folder:
            report |= side(Path(folder), args.leases, args.times)
    if args.json:
        print(json.dumps({"leases": args.leases, "times": args.times, **report}))
        return 0
    print(f"{args.leases} leases at the start, then {args.times} one by one; ms until the kernel holds one: p50 p99")
    print(
        f"{'':16}{'start s':>9}{'CPU s':>8}{'RSS MB':>8}{'PSS MB':>8}{'requests':>10}{'since sent':>16}{'answered':>16}"
    )
    for name, row in report.items():
        late = "".join(f"{row[f'since_{w}_p50_ms']:9.1f}{row[f'since_{w}_p99_ms']:7.1f}" for w in ("sent", "answered"))
        memory = f"{row['rss_mb']:8.1f}{row['pss_mb']:8.1f}"
        print(f"{name:16}{row['s']:9.2f}{row['cpu_s']:8.2f}{memory}{row.get('etcd_requests', '-'):>10}{late}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
