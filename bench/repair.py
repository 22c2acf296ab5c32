"""How long pods are cut off when something on a node is damaged, agent running.

A lab of two nodes; pod1 sends a numbered datagram to pod4 every 5 ms; each kind of damage is done
several times on node1.  Two figures for each: the time from the injury until the first datagram
that was sent after it arrives, and the datagrams lost, as milliseconds.  Needs root.

    python -m bench.repair [--times N] [--json]
"""

import argparse
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tulle.kernel.netns import inside

LAB = f"repair{os.getpid()}"
PERIOD_S = 0.005
PORT = 9907
NODE = f"tulle-{LAB}-node1"
QUIET_S = 0.15
LIMIT_S = 5.0


def ip(*words: str) -> None:
    subprocess.run(["ip", "-n", NODE, *words], check=True)


def in_node(*words: str) -> str:
    return subprocess.run(["ip", "netns", "exec", NODE, *words], check=True, capture_output=True, text=True).stdout


def peer_mac() -> str:
    return in_node("ip", "neighbour", "show", "10.244.2.0", "dev", "flannel.1").split("lladdr ")[1].split()[0]


def change_mac() -> None:
    ip("link", "set", "dev", "flannel.1", "address", "02:00:00:00:be:ef")


DAMAGES: dict[str, Callable[[], object]] = {
    "route deleted": lambda: ip("route", "del", "10.244.2.0/24"),
    "neighbour deleted": lambda: ip("neighbour", "del", "10.244.2.0", "dev", "flannel.1"),
    "FDB entry deleted": lambda: in_node("bridge", "fdb", "del", peer_mac(), "dev", "flannel.1"),
    "ip addr del on flannel.1": lambda: ip("addr", "del", "10.244.1.0/32", "dev", "flannel.1"),
    "flannel.1 down": lambda: ip("link", "set", "flannel.1", "down"),
    "flannel.1 down and up": lambda: (ip("link", "set", "flannel.1", "down"), ip("link", "set", "flannel.1", "up")),
    "flannel.1 MAC changed": change_mac,
    "flannel.1 deleted": lambda: ip("link", "del", "flannel.1"),
    "nft table deleted": lambda: in_node("nft", "delete", "table", "inet", "tulle"),
    "ip_forward off": lambda: in_node("sh", "-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"),
}
"""What is done to node1.  The kernel announces none of the IPv4 routes that three of them lose."""


@dataclass
class Stream:
    """Numbered datagrams from pod1 to pod4, and when each was sent and received (CLOCK_MONOTONIC, ns)."""

    sent: list[int] = field(default_factory=list[int])
    received: dict[int, int] = field(default_factory=dict[int, int])
    running: bool = True

    def send(self, sender: socket.socket, target: str) -> None:
        due = time.monotonic()
        while self.running:
            number = len(self.sent)
            self.sent.append(time.monotonic_ns())
            try:
                sender.sendto(struct.pack("=Q", number), (target, PORT))
            except OSError:
                pass  # the node's route is gone: that datagram is lost, which is the point
            due += PERIOD_S
            time.sleep(max(0.0, due - time.monotonic()))

    def receive(self, receiver: socket.socket) -> None:
        receiver.settimeout(0.2)
        while self.running:
            try:
                data = receiver.recv(64)
            except TimeoutError:
                continue
            self.received[struct.unpack("=Q", data)[0]] = time.monotonic_ns()

    def outage(self, injured_ns: int) -> tuple[float, float] | None:
        """(ms until the first datagram sent after the injury arrives, ms of datagrams lost); None: not yet whole."""
        first = next((n for n, sent in enumerate(self.sent) if sent >= injured_ns), len(self.sent))
        tail = range(max(first, len(self.sent) - int(QUIET_S / PERIOD_S)), len(self.sent) - 2)
        if len(self.sent) - first < QUIET_S / PERIOD_S or any(n not in self.received for n in tail):
            return None
        lost = [n for n in range(first, len(self.sent) - 2) if n not in self.received]
        back = next(n for n in range((lost[-1] if lost else first - 1) + 1, len(self.sent)) if n in self.received)
        return (self.received[back] - injured_ns) / 1e6, len(lost) * PERIOD_S * 1e3


@contextmanager
def lab() -> Iterator[None]:
    command = [sys.executable, "-m", "tulle", "lab"]
    subprocess.run([*command, "up", "--name", LAB], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run([*command, "down", "--name", LAB], check=False, capture_output=True)


@contextmanager
def stream() -> Iterator[Stream]:
    with ExitStack() as stack:
        with inside(Path(f"/run/netns/tulle-{LAB}-pod1")):
            sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with inside(Path(f"/run/netns/tulle-{LAB}-pod4")):
            receiver = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        receiver.bind(("", PORT))
        flow = Stream()
        threads = [
            threading.Thread(target=flow.send, args=(sender, "10.244.2.3")),
            threading.Thread(target=flow.receive, args=(receiver,)),
        ]
        for thread in threads:
            thread.start()
        try:
            yield flow
        finally:
            flow.running = False
            for thread in threads:
                thread.join()


def measure(flow: Stream, damage: Callable[[], object]) -> tuple[float, float]:
    """One injury, until the stream is whole again.  Raises SystemExit when it stays broken."""
    time.sleep(QUIET_S)
    injured_ns = time.monotonic_ns()
    damage()
    deadline = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline:
        time.sleep(0.02)
        outage = flow.outage(injured_ns)
        if outage is not None:
            return outage
    raise SystemExit(f"not repaired within {LIMIT_S} s")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.repair", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    rows: dict[str, list[tuple[float, float]]] = {}
    with lab(), stream() as flow:
        time.sleep(0.5)
        for name, damage in DAMAGES.items():
            rows[name] = [measure(flow, damage) for _ in range(args.times)]
    report = {
        name: {
            "until_whole_ms": {"median": statistics.median(t), "max": max(t)},
            "lost_ms": {"median": statistics.median(lost), "max": max(lost)},
        }
        for name, (t, lost) in ((name, tuple(zip(*outages, strict=True))) for name, outages in rows.items())
    }
    if args.json:
        print(json.dumps(report, indent=2))
        return 0
    print(f"{'damage on node1':28} {'whole again, ms':>22} {'datagrams lost, ms':>22}   ({args.times} times)")
    for name, row in report.items():
        whole, lost = row["until_whole_ms"], row["lost_ms"]
        print(
            f"{name:28} {whole['median']:10.0f} max {whole['max']:6.0f} {lost['median']:11.0f} max {lost['max']:6.0f}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
