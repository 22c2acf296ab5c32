"""How long a lab takes: from the start of the ``tulle`` process to its exit, agents converged, pods attached.

Two nodes with four pods, and fifty with two hundred; real agents, one process each.  Beside it the
time of ``down`` and the memory that the agents take (proportional set size).

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

LAB = f"bench{os.getpid()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """One lab to measure, and how long it may take to be ready."""

    nodes: int
    pods: int
    times: int
    limit_s: float

    def __str__(self) -> str:
        return f"{self.nodes} nodes, {self.nodes * self.pods} pods"


def sizes(times: int) -> tuple[Size, ...]:
    return (
        Size(nodes=2, pods=2, times=times, limit_s=1.5),
        Size(nodes=50, pods=4, times=max(1, times // 3), limit_s=10),
    )


def tulle(*words: str) -> tuple[float, str]:
    """Seconds of wall time, and what was printed."""
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "tulle", "lab", *words], check=True, capture_output=True, text=True)
    return time.monotonic() - started, done.stdout


def memory_mib(pids: Sequence[int]) -> float:
    """What these processes take together; shared pages are counted once, by parts.  Source: proc(5), smaps_rollup."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1])
    return total / 1024


def measure(size: Size) -> dict[str, object]:
    ups: list[float] = []
    downs: list[float] = []
    memory: list[float] = []
    for _ in range(size.times):
        words = ("--name", LAB, "--nodes", str(size.nodes), "--pods", str(size.pods), "--json")
        try:
            elapsed, printed = tulle("up", *words)
            ups.append(elapsed)
            memory.append(memory_mib([node["agent_pid"] for node in json.loads(printed)["nodes"]]))
        finally:
            downs.append(tulle("down", "--name", LAB)[0])
    return {
        "times": size.times,
        "up_s": {"median": statistics.median(ups), "max": max(ups)},
        "limit_s": size.limit_s,
        "down_s": {"median": statistics.median(downs), "max": max(downs)},
        "agents_pss_mib": statistics.median(memory),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.lab", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=9, help="of the small lab; the large one a third of it")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    report = {str(size): measure(size) for size in sizes(args.times)}
    if args.json:
        print(json.dumps(report, indent=2))
        return 0
    print(f"{'lab':22} {'ready, s':>18} {'limit':>6} {'gone again, s':>18} {'agents, MiB':>12}")
    for name, row in report.items():
        up, down = row["up_s"], row["down_s"]
        assert isinstance(up, dict)
        assert isinstance(down, dict)
        print(
            f"{name:22} {up['median']:8.2f} max {up['max']:5.2f} {row['limit_s']:6} "
            f"{down['median']:8.2f} max {down['max']:5.2f} {row['agents_pss_mib']:12.0f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
