"""How long pods are cut off when something on a node is damaged, and what a quiet agent costs.

Two nodes with real agents; pod1 sends a numbered datagram to pod2 every 5 ms; each kind of damage
is done several times on node 1, whose audit is an hour away.  Three figures for each: the time
until the kernel holds everything again, the time from the injury until the first datagram that
was sent after it arrives, and the datagrams lost, as milliseconds.  Then a minute in which nothing
happens: the agent's CPU time, and what the kernel announced.  Needs root.

    python -m bench.repair [--times N] [--quiet SECONDS] [--json]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.kit.agents import QUIET_AUDIT, Cluster, Node, cluster, until
from tests.kit.damage import ANNOUNCED, Damage
from tests.kit.stream import QUIET_S, Stream, stream
from tests.kit.watching import announcements, cpu_s

LIMIT_S = 5.0
WORDS = ("whole_ms", "back_ms", "lost_ms")


@contextmanager
def scene(*flags: str) -> Generator[tuple[Cluster, Stream]]:
    """Two converged nodes and the datagrams."""
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), pods=True) as site:
        site.start(*flags)
        with stream(site.net.path("pod1"), site.net.path("pod2"), "10.244.2.2") as flow:
            until(lambda: len(flow.received) > 20, "the datagrams arrive")
            yield site, flow


def measure(node: Node, flow: Stream, damage: Damage) -> tuple[float, float, float]:
    """One injury: ms until the last change that the agent makes, until the datagrams are back, of datagrams lost."""
    time.sleep(QUIET_S)
    repairs = node.status()["repairs"]
    injured_ns = time.monotonic_ns()
    damage.do(node)
    done_ns = _repaired(node, repairs)
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        time.sleep(0.02)
        outage = flow.outage(injured_ns)
        if outage is not None:
            return (done_ns - injured_ns) / 1e6, *outage
    raise SystemExit(f"{damage.what}: not repaired within {LIMIT_S:g} s")


def _repaired(node: Node, before: int) -> int:
    """When the agent had made its last repair of those that follow; by asking it, which costs it a millisecond."""
    last, seen_ns, count = time.monotonic(), time.monotonic_ns(), before
    while time.monotonic() - last < QUIET_S:
        now = node.status()["repairs"]
        if now != count:
            last, seen_ns, count = time.monotonic(), time.monotonic_ns(), now
        time.sleep(0.002)
    return seen_ns


def quiet(seconds: float) -> dict[str, float]:
    """An untouched node with its usual audits: its agent's CPU time, and the messages that its namespace announced."""
    with tempfile.TemporaryDirectory() as folder, cluster(Path(folder), pods=True) as site:
        site.start()
        node = site.node(1)
        assert node.process is not None
        time.sleep(1)
        with announcements(site.net.path("node1")) as heard:
            before = cpu_s(node.process.pid)
            time.sleep(seconds)
            return {"seconds": seconds, "cpu_s": cpu_s(node.process.pid) - before, "announced": len(heard())}


def summary(figures: Sequence[float]) -> dict[str, float]:
    ordered = sorted(figures)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {"median": statistics.median(ordered), "p99": p99, "max": ordered[-1]}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.repair", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--quiet", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    report: dict[str, Any] = {"damage": {}}
    with scene(*QUIET_AUDIT) as (site, flow):
        for damage in ANNOUNCED:
            rows = [measure(site.node(1), flow, damage) for _ in range(args.times)]
            report["damage"][damage.what] = dict(zip(WORDS, map(summary, zip(*rows, strict=True)), strict=True))
    report["quiet"] = quiet(args.quiet)
    print(json.dumps(report, indent=2) if args.json else _table(report, args.times))
    return 0


def _table(report: dict[str, Any], times: int) -> str:
    head = f"{'damage on node 1, ms':40} {'whole again':>22} {'datagrams back':>22} {'lost':>22}"
    lines = [head, f"{'':40}" + f"{'median    p99    max':>23}" * 3 + f"   ({times} times)"]
    for what, row in report["damage"].items():
        figures = "".join(f"{row[w]['median']:9.0f}{row[w]['p99']:7.0f}{row[w]['max']:7.0f}" for w in WORDS)
        lines.append(f"{what:40}{figures}")
    idle = report["quiet"]
    lines.append(f"quiet for {idle['seconds']:g} s: {idle['cpu_s']:.2f} s of CPU, {idle['announced']:g} announcements")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
