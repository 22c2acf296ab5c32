"""Numbered datagrams between two namespaces, one every 5 ms, and which of them arrived when."""

import socket
import struct
import threading
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from tulle.kernel.netns import inside

PERIOD_S = 0.005
PORT = 9907
QUIET_S = 0.15


@dataclass
class Stream:
    """When each datagram was sent and received (CLOCK_MONOTONIC, ns)."""

    sent: list[int] = field(default_factory=list[int])
    received: dict[int, int] = field(default_factory=dict[int, int])
    running: bool = True

    def send(self, sender: socket.socket, target: str) -> None:
        due = time.monotonic()
        while self.running:
            number = len(self.sent)
            self.sent.append(time.monotonic_ns())
            with suppress(OSError):  # the node's route is gone: that datagram is lost, which is the point
                sender.sendto(struct.pack("=Q", number), (target, PORT))
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

    def lost_since(self, started_ns: int) -> int:
        """How many of the datagrams sent after ``started_ns`` have not arrived (the last few are still under way)."""
        return sum(sent >= started_ns and n not in self.received for n, sent in enumerate(self.sent[:-4]))


@contextmanager
def stream(source: Path, sink: Path, target: str) -> Generator[Stream]:
    """Datagrams from the namespace ``source`` to ``target`` (IPv4 or IPv6), which is in the namespace ``sink``."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with ExitStack() as stack:
        with inside(source):
            sender = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        with inside(sink):
            receiver = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        if family is socket.AF_INET6:
            receiver.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # IPv4's may be beside it
        receiver.bind(("", PORT))
        flow = Stream()
        threads = [
            threading.Thread(target=flow.send, args=(sender, target)),
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
