"""How long a lab takes: from the start of the ``tulle`` process to its exit, agents converged, pods attached.

Two nodes with four pods, and fifty with two hundred; real agents, one process each; on a switch,
and dual stack behind a router.  Beside it the time of ``down``, the memory of all agents
(proportional set size) and of one (resident set size), and how long ``tulle --version`` takes.

    python -m bench.lab [--times N] [--json]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tulle.lab.pods import find_plugin

LAB = f"bench{os.getpid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """One lab to measure, and how long it may take to be ready."""

    nodes: int
    pods: int
    times: int
    limit_s: float
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        more = ", dual stack, router" if self.flags else ""
        return f"{self.nodes} nodes, {self.nodes * self.pods} pods{more}"

    @property
    def words(self) -> tuple[str, ...]:
        return ("--nodes", str(self.nodes), "--pods", str(self.pods), *self.flags)


def sizes(times: int) -> tuple[Size, ...]:
    few, routed = max(1, times // 3), ("--ipv6", "--underlay", "router")
    return (
        Size(nodes=2, pods=2, times=times, limit_s=1.5),
        Size(nodes=2, pods=2, times=few, limit_s=1.5, flags=routed),
        Size(nodes=50, pods=4, times=few, limit_s=10),
        Size(nodes=50, pods=4, times=few, limit_s=10, flags=routed),
    )


def tulle(*words: str) -> tuple[float, str]:
    """Seconds of wall time, and what was printed."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "tulle", "lab", *words], check=True, capture_output=True, text=True)
    return time.monotonic() - started, done.stdout


def version_s(times: int) -> float:
    """The median of ``tulle --version``, from the start of the process to its end."""
    found: list[float] = []
    for _ in range(times):
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "tulle", "--version"], check=True, capture_output=True)
        found.append(time.monotonic() - started)
    return statistics.median(found)


def memory_mib(pid: int, field: str) -> float:
    """``Rss``, or ``Pss``: of pages shared with others only this process's part.  Source: proc(5), smaps_rollup."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024


def measure(size: Size) -> dict[str, float | int | str]:
    ups, downs, together, one = list[float](), list[float](), list[float](), list[float]()
    for _ in range(size.times):
        try:
            elapsed, printed = tulle("up", "--name", LAB, *size.words, "--json")
            ups.append(elapsed)
            agents = [node["agent_pid"] for node in json.loads(printed)["nodes"]]
            together.append(sum(memory_mib(agent, "Pss") for agent in agents))
            one.append(max(memory_mib(agent, "Rss") for agent in agents))
        finally:
            downs.append(tulle("down", "--name", LAB)[0])
    return {
        "lab": str(size),
        "times": size.times,
        "up_s_median": statistics.median(ups),
        "up_s_max": max(ups),
        "limit_s": size.limit_s,
        "down_s_median": statistics.median(downs),
        "agents_pss_mib": statistics.median(together),
        "largest_agent_rss_mib": max(one),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.lab", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=9, help="of the small lab; the others a third of it")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    rows = [measure(size) for size in sizes(args.times)]
    facts = {"version_s": version_s(args.times), "plugin": Path(find_plugin()[-1]).name, "labs": rows}
    if args.json:
        print(json.dumps(facts, indent=2))
        return 0
    print(f"tulle --version: {facts['version_s']:.3f} s; pods attached by {facts['plugin']}")
    print(f"{'lab':40} {'ready, s':>8} {'worst':>6} {'limit':>6} {'down, s':>8} {'agents, MiB':>12} {'one, MiB':>9}")
    for row in rows:
        print(
            f"{row['lab']:40} {row['up_s_median']:8.2f} {row['up_s_max']:6.2f} {row['limit_s']:6} "
            f"{row['down_s_median']:8.2f} {row['agents_pss_mib']:12.0f} {row['largest_agent_rss_mib']:9.1f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
