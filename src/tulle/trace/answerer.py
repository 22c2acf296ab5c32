"""A short-lived server on the probe's port in the target's namespace, so that there is a reply to follow."""

import socket
from contextlib import suppress

from tulle.trace.flow import Flow
from tulle.trace.spaces import inside

_LARGEST = 2048


class Answerer:
    """Polled by the prober while it waits: no thread, and nothing that could outlive the trace."""

    def __init__(self, opened: socket.socket, *, listening: bool) -> None:
        self._socket, self._listening = opened, listening

    @classmethod
    def open(cls, descriptor: int, flow: Flow) -> "Answerer | None":
        """None: ICMP needs none; or the port is taken, and whoever has it will answer; or the address is not there."""
        if flow.protocol == "icmp":
            return None
        family = socket.AF_INET6 if flow.target.version == 6 else socket.AF_INET
        kind = socket.SOCK_STREAM if flow.protocol == "tcp" else socket.SOCK_DGRAM
        with inside(descriptor):
            opened = socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            opened.bind((str(flow.target), flow.port))
            if flow.protocol == "tcp":
                opened.listen(16)
        except OSError:
            opened.close()
            return None
        return cls(opened, listening=flow.protocol == "tcp")

    def close(self) -> None:
        self._socket.close()

    def fileno(self) -> int:
        return self._socket.fileno()

    def answer(self) -> None:
        """Send back what came.  Of TCP the kernel itself answers the SYN."""
        with suppress(OSError):
            if self._listening:
                self._socket.accept()[0].close()
            else:
                data, sender = self._socket.recvfrom(_LARGEST)
                self._socket.sendto(data, sender)
