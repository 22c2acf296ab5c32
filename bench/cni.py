"""How long the plugin takes, executed as a runtime does it: the compiled shim, a warm agent, everything included.

One node of a lab without pods.  ADD and DEL alone, one after another; then forty of each, twenty at a
time; then CHECK, STATUS and VERSION.  Milliseconds from the start of the process to its end.  Needs root.

    python -m bench.cni [--times N] [--chain FOLDER] [--leases N] [--json]

``--chain``: where the plugins ``bridge`` and ``host-local`` are, which then do the same beside it, on a bridge and
a subnet of their own.  ``--leases``: ADDs one after another while the agent takes in so many leases that it finds in
its store all at once; how many ADDs, and how many seconds, that took.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from bench.audit import lease
from tulle.agent.control import ask
from tulle.kernel import netns
from tulle.kernel.system import SystemClock
from tulle.lab.folder import lab_folder
from tulle.lab.pods import find_plugin
from tulle.model.lease import Lease
from tulle.store.open import open_store

LAB = f"cni{os.getpid()}"
NODE = Path(f"/run/netns/tulle-{LAB}-node1")
CROWD, AT_ONCE = 40, 20
NETWORK = "10.0.0.0/8"
FIRST_PEER, MOST_PODS = 100, 250
SETTLED_S = 2.0
"""So long the kernel is at work with what two hundred DELs have removed: that is not a crowd's to wait for."""
MORE = ("all", "adds", "seconds")
"""What a row may have beside its p50 and p99."""
CONF = {"cniVersion": "1.1.0", "name": "bench", "type": "tulle", "bridge": "cbr0"}


Report = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Call:
    """One execution that was begun at ``started``; what it prints goes to the file ``stdout``."""

    about: str
    pid: int
    stdout: int
    started: float

    def ended(self, status: int) -> tuple[float, bytes]:
        """Milliseconds, and what it printed.  Raises SystemExit: the plugin failed."""
        elapsed = (time.perf_counter() - self.started) * 1e3
        answer = os.pread(self.stdout, 1 << 20, 0)
        os.close(self.stdout)
        if status:
            raise SystemExit(f"{self.about} failed: {answer.decode()}")
        return elapsed, answer


@dataclass(frozen=True)
class Plugin:
    """The command, and the root of the node that it serves."""

    command: tuple[str, ...]
    root: Path
    conf: Path
    folder: Path = Path("/opt/cni/bin")

    def start(self, verb: str, pod: str, **extra: object) -> Call:
        """Execute it, in the calling thread's namespace."""
        conf = self.conf.with_name(f"{pod}.json") if extra else self.conf
        if extra:
            conf.write_text(json.dumps({**CONF, **extra}))
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": pod,
            "CNI_NETNS": f"/run/netns/{pod}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.folder),
            "TULLE_ROOT": str(self.root),
        }
        stdin, stdout = os.open(conf, os.O_RDONLY), os.memfd_create(pod)
        actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)]
        started = time.perf_counter()
        pid = os.posix_spawn(self.command[0], self.command, environment, file_actions=actions)
        os.close(stdin)
        return Call(f"{verb} {pod}", pid, stdout, started)

    def execute(self, verb: str, pod: str, **extra: object) -> tuple[float, bytes]:
        """Milliseconds, and stdout."""
        call = self.start(verb, pod, **extra)
        return call.ended(os.waitpid(call.pid, 0)[1])


@contextmanager
def node(command: tuple[str, ...], folder: Path) -> Generator[Plugin]:
    """A node with its agent."""
    layout = folder / "lab.toml"
    layout.write_text(f'network = "{NETWORK}"\n')
    tulle("up", "--name", LAB, "--nodes", "1", "--pods", "1", "--json", str(layout))
    try:
        conf = folder / "conf.json"
        conf.write_text(json.dumps(CONF))
        yield Plugin(command, root_of(NODE), conf)
    finally:
        tulle("down", "--name", LAB)


def tulle(*words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", "tulle", "lab", *words], check=True, capture_output=True, text=True
    ).stdout


def root_of(namespace: Path) -> Path:
    """The root that the agent in ``namespace`` was given, from its socket."""
    listening = netns.run_in(namespace, lambda: Path("/proc/thread-self/net/unix").read_text())
    (path,) = {line.split()[-1] for line in listening.splitlines() if line.endswith("/run/tulle/agent.sock")}
    return Path(path.removesuffix("/run/tulle/agent.sock"))


@contextmanager
def pods(count: int) -> Generator[list[str]]:
    """Empty namespaces."""
    names = [f"bench-{os.getpid()}-{number}" for number in range(count)]
    made: list[str] = []
    try:
        for name in names:
            netns.create(name)
            made.append(name)
        yield names
    finally:
        for name in made:
            netns.delete(name)


def one_by_one(plugin: Plugin, verb: str, names: Sequence[str]) -> dict[str, float]:
    return summary(netns.run_in(NODE, lambda: [plugin.execute(verb, name)[0] for name in names]))


def at_once(plugin: Plugin, verb: str, names: Sequence[str]) -> dict[str, float]:
    """``AT_ONCE`` at a time; ``all`` is how long they take together.

    One thread starts the next as soon as one has ended: threads of ours would wait for each other.
    """

    def execute() -> dict[str, float]:
        running: dict[int, Call] = {}
        found: list[float] = []
        waiting = iter(names)
        began = time.perf_counter()
        while len(found) < len(names):
            for name in islice(waiting, AT_ONCE - len(running)):
                call = plugin.start(verb, name)
                running[call.pid] = call
            pid, status = os.waitpid(-1, 0)
            found.append(running.pop(pid).ended(status)[0])
        return {**summary(found), "all": (time.perf_counter() - began) * 1e3}

    return netns.run_in(NODE, execute)


def checked(plugin: Plugin, names: Sequence[str]) -> dict[str, float]:
    """CHECK of pods that are attached, with the result of their ADD."""

    def check(name: str) -> float:
        _, result = plugin.execute("ADD", name)
        took, _ = plugin.execute("CHECK", name, prevResult=json.loads(result))
        plugin.execute("DEL", name)
        return took

    return summary(netns.run_in(NODE, lambda: [check(name) for name in names]))


def summary(found: Sequence[float]) -> dict[str, float]:
    ordered = sorted(found)
    return {"p50": statistics.median(ordered), "p99": ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]}


def compare(plugin: Plugin, names: Sequence[str], times: int) -> Report:
    """ADD and DEL, alone and in a crowd."""
    alone = one_by_one(plugin, "ADD", names[:times]), one_by_one(plugin, "DEL", names[:times])
    time.sleep(SETTLED_S)
    crowd = at_once(plugin, "ADD", names[:CROWD]), at_once(plugin, "DEL", names[:CROWD])
    return {"ADD": alone[0], "DEL": alone[1], f"{CROWD} ADDs": crowd[0], f"{CROWD} DELs": crowd[1]}


def measure(plugin: Plugin, names: Sequence[str], times: int) -> Report:
    """Every verb."""
    report = compare(plugin, names, times)
    report["CHECK"] = checked(plugin, names[: max(1, times // 4)])
    for verb in ("STATUS", "VERSION"):
        report[verb] = one_by_one(plugin, verb, ["none"] * times)
    return report


def while_it_digests(plugin: Plugin, names: Sequence[str], leases: int) -> dict[str, float]:
    """ADDs beside the agent's work on a store that has got ``leases`` leases while it was held."""
    agent = plugin.root / "run/tulle/agent.sock"
    tulle("pause", "node1", "--name", LAB)
    asyncio.run(reserve([lease(number) for number in range(FIRST_PEER, FIRST_PEER + leases)]))
    tulle("resume", "node1", "--name", LAB)

    def execute() -> list[float]:
        found: list[float] = []
        for name in names:
            found.append(plugin.execute("ADD", name)[0])
            if ask(agent, {"verb": "wait", "peers": leases, "timeout_s": 0}, 60)["done"]:
                break
        return found

    began = time.perf_counter()
    found = netns.run_in(NODE, execute)
    seconds = time.perf_counter() - began
    one_by_one(plugin, "DEL", names[: len(found)])
    return {**summary(found), "adds": len(found), "seconds": seconds}


async def reserve(leases: Sequence[Lease]) -> None:
    store = open_store(f"sqlite://{lab_folder(os.environ, os.geteuid()).store(LAB)}", SystemClock())
    try:
        await store.reserve(leases)
    finally:
        await store.close()


def chain(plugin: Plugin, folder: Path) -> Plugin:
    """What flannel's plugin executes, executed directly."""
    bridge = {
        "cniVersion": "1.0.0",
        "name": "bench-chain",
        "type": "bridge",
        "bridge": "chain0",
        "isDefaultGateway": True,
        "hairpinMode": True,
        "mtu": 1450,
        "ipam": {"type": "host-local", "subnet": "10.99.0.0/24", "dataDir": str(plugin.root / "chain")},
    }
    conf = plugin.conf.with_name("chain.json")
    conf.write_text(json.dumps(bridge))
    return Plugin((str(folder / "bridge"),), plugin.root, conf, folder)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.cni", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--chain", type=Path, metavar="FOLDER", help="measure the plugins in FOLDER too")
    parser.add_argument("--leases", type=int, default=0, metavar="N", help="ADD while the agent digests N leases")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    report: dict[str, Report] = {}
    count = MOST_PODS if args.leases else max(args.times, CROWD)
    with (
        tempfile.TemporaryDirectory() as folder,
        node(find_plugin(), Path(folder)) as plugin,
        pods(count) as names,  # the same for all: the kernel takes its time to end one, and holds up others meanwhile
    ):
        report["tulle"] = measure(plugin, names, args.times)
        if args.chain:
            report["chain"] = compare(chain(plugin, args.chain), names, args.times)
        if args.leases:
            report["tulle"][f"{args.leases} leases"] = while_it_digests(plugin, names, args.leases)
    if args.json:
        print(json.dumps(report, indent=2))
        return 0
    for name, rows in report.items():
        print(f"{name:14} {'p50 ms':>8} {'p99':>8} {'all':>8}")
        for verb, row in rows.items():
            rest = [
                f"{row[word]:8.1f}" if word == "all" else f"{row[word]:8.1f} {word}" for word in MORE if word in row
            ]
            print(f"{verb:14} {row['p50']:8.2f} {row['p99']:8.2f} " + "".join(rest))
    return 0


if __name__ == "__main__":
    sys.exit(main())
