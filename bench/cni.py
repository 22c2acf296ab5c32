"""How long the plugin takes, executed as a runtime does it: the compiled shim, a warm agent, everything included.

One node of a lab without pods.  ADD and DEL alone, one after another; then forty of each, twenty at a
time; then CHECK, STATUS and VERSION.  Milliseconds from the start of the process to its end.  Needs root.

    python -m bench.cni [--times N] [--chain FOLDER] [--json]

``--chain``: where the plugins ``bridge`` and ``host-local`` are, which then do the same beside it, on a bridge and
a subnet of their own.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tulle.kernel import netns
from tulle.lab.pods import find_plugin

LAB = f"cni{os.getpid()}"
NODE = Path(f"/run/netns/tulle-{LAB}-node1")
CROWD, AT_ONCE = 40, 20
CONF = {"cniVersion": "1.1.0", "name": "bench", "type": "tulle", "bridge": "cbr0"}


Report = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Plugin:
    """The command, and the root of the node that it serves."""

    command: tuple[str, ...]
    root: Path
    conf: Path
    folder: Path = Path("/opt/cni/bin")

    def execute(self, verb: str, pod: str, **extra: object) -> tuple[float, bytes]:
        """Milliseconds, and stdout.  Runs in the calling thread's namespace."""
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": pod,
            "CNI_NETNS": f"/run/netns/{pod}",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(self.folder),
            "TULLE_ROOT": str(self.root),
        }
        self_conf = self.conf
        if extra:
            self_conf = self.conf.with_name(f"{pod}.json")
            self_conf.write_text(json.dumps({**CONF, **extra}))
        with self_conf.open("rb") as stdin, tempfile.TemporaryFile() as stdout:
            actions = [(os.POSIX_SPAWN_DUP2, stdin.fileno(), 0), (os.POSIX_SPAWN_DUP2, stdout.fileno(), 1)]
            started = time.perf_counter()
            pid = os.posix_spawn(self.command[0], self.command, environment, file_actions=actions)
            _, status = os.waitpid(pid, 0)
            elapsed = (time.perf_counter() - started) * 1e3
            stdout.seek(0)
            answer = stdout.read()
        if status:
            raise SystemExit(f"{verb} {pod} failed: {answer.decode()}")
        return elapsed, answer


@contextmanager
def node(command: tuple[str, ...], folder: Path) -> Generator[Plugin]:
    """A node with its agent."""
    words = ("--name", LAB, "--nodes", "1", "--pods", "1", "--json")
    tulle("up", *words)
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
    """``AT_ONCE`` at a time; ``all`` is how long they take together."""

    def wait(_: int) -> None:
        time.sleep(0.05)  # so that every thread is made, and in the node, before the clock starts

    def execute(name: str) -> float:
        return plugin.execute(verb, name)[0]

    with ThreadPoolExecutor(AT_ONCE, initializer=lambda: netns.enter(NODE)) as threads:
        list(threads.map(wait, range(AT_ONCE)))
        started = time.perf_counter()
        found = list(threads.map(execute, names))
        return {**summary(found), "all": (time.perf_counter() - started) * 1e3}


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


def compare(plugin: Plugin, times: int) -> Report:
    """ADD and DEL, alone and in a crowd."""
    with pods(times) as names:
        alone = one_by_one(plugin, "ADD", names), one_by_one(plugin, "DEL", names)
    with pods(CROWD) as names:
        crowd = at_once(plugin, "ADD", names), at_once(plugin, "DEL", names)
    return {"ADD": alone[0], "DEL": alone[1], f"{CROWD} ADDs": crowd[0], f"{CROWD} DELs": crowd[1]}


def measure(plugin: Plugin, times: int) -> Report:
    """Every verb."""
    report = compare(plugin, times)
    with pods(max(1, times // 4)) as names:
        report["CHECK"] = checked(plugin, names)
    for verb in ("STATUS", "VERSION"):
        report[verb] = one_by_one(plugin, verb, ["none"] * times)
    return report


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
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    report: dict[str, Report] = {}
    with tempfile.TemporaryDirectory() as folder, node(find_plugin(), Path(folder)) as plugin:
        report["tulle"] = measure(plugin, args.times)
        if args.chain:
            report["chain"] = compare(chain(plugin, args.chain), args.times)
    if args.json:
        print(json.dumps(report, indent=2))
        return 0
    for name, rows in report.items():
        print(f"{name:10} {'p50 ms':>8} {'p99':>8} {'all':>8}")
        for verb, row in rows.items():
            print(f"{verb:10} {row['p50']:8.2f} {row['p99']:8.2f} " + (f"{row['all']:8.1f}" if "all" in row else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
