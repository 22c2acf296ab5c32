"""What a bridge costs: requests and responses between pods on a bridge and without one, alternated in one run.

Two labs, one of each kind, side by side.  A TCP connection between two pods of a node, and one across
nodes: microseconds from one byte sent to one byte received, both ends on one CPU.  Within a pod, over loopback,
is what the two programs and TCP take: ``ratio`` is of what is above that, the way itself.  Needs root.

    python -m bench.pod_modes [--rounds N] [--json]
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tulle.kernel import netns

MODES = {"bridge": (), "routed": ("--routed",)}
ADDRESSES = {"pod1": "127.0.0.1", "pod2": "10.244.1.3", "pod4": "10.244.2.3"}
PAIRS = {"loopback": ("pod1", "pod1"), "same node": ("pod1", "pod2"), "across nodes": ("pod1", "pod4")}
EXCHANGES = 4000


def name_of(mode: str) -> str:
    return f"{mode[:3]}{os.getpid()}"


@contextmanager
def labs() -> Generator[None]:
    """One lab of each mode."""
    try:
        for mode, flags in MODES.items():
            lab("up", "--name", name_of(mode), "-q", *flags)
        yield
    finally:
        for mode in MODES:
            lab("down", "--name", name_of(mode))


def lab(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "tulle", "lab", *words], check=True, stdout=subprocess.DEVNULL)


def exchange(mode: str, source: str, target: str) -> float:
    """The median round trip in µs of one connection."""
    inner, outer = (Path(f"/run/netns/tulle-{name_of(mode)}-{pod}") for pod in (target, source))
    with netns.run_in(inner, lambda: socket.create_server((ADDRESSES[target], 0))) as server:
        address = server.getsockname()
        child = os.fork()
        if child == 0:
            _echo(server)
        try:
            with netns.run_in(outer, lambda: socket.create_connection(address, timeout=10)) as client:
                return _round_trips(client)
        finally:
            os.waitpid(child, 0)


def _echo(server: socket.socket) -> None:
    os.sched_setaffinity(0, {0})
    connection, _ = server.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while byte := connection.recv(1):
        connection.sendall(byte)
    os._exit(0)


def _round_trips(client: socket.socket) -> float:
    os.sched_setaffinity(0, {0})
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found: list[float] = []
    for _ in range(EXCHANGES):
        started = time.perf_counter()
        client.sendall(b".")
        client.recv(1)
        found.append((time.perf_counter() - started) * 1e6)
    return statistics.median(found)


def measure(rounds: int) -> dict[str, dict[str, float]]:
    """Medians over the rounds, µs."""
    found: dict[tuple[str, str], list[float]] = {(way, mode): [] for way in PAIRS for mode in MODES}
    for _ in range(rounds):
        for way, pods in PAIRS.items():
            for mode in MODES:
                found[way, mode].append(exchange(mode, *pods))
    return {way: {mode: statistics.median(found[way, mode]) for mode in MODES} for way in PAIRS}


def _way(report: dict[str, dict[str, float]], way: str, mode: str) -> float:
    return report[way][mode] - report["loopback"][mode]


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.pod_modes", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    with labs():
        report = measure(args.rounds)
    if args.json:
        print(json.dumps(report, indent=2))
        return 0
    print(f"{'round trip, µs':14} {'bridge':>8} {'routed':>8} {'ratio':>7}")
    for way, row in report.items():
        ratio = "" if way == "loopback" else f"{_way(report, way, 'routed') / _way(report, way, 'bridge'):7.2f}"
        print(f"{way:14} {row['bridge']:8.1f} {row['routed']:8.1f} {ratio}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
