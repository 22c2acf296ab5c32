"""The kernel's receive stamps, switched on for as long as a trace lasts.

A kernel stamps packets only while some socket asks for it, and switches that on in its own time.
A packet that comes before is stamped when it is *read*, which looks like any other stamp and is a
lie; so a trace waits until a datagram to ourselves proves that stamping is on.
"""

import socket
import struct
import time
from collections.abc import Iterable
from contextlib import suppress
from types import TracebackType
from typing import Final

from tulle.trace.spaces import Spaces, inside
from tulle.trace.topology import NetnsId

SO_TIMESTAMPNS: Final = 64
"""SO_TIMESTAMPNS_NEW (Linux 5.1): two 64-bit numbers on every machine."""
TIMESPEC: Final = struct.Struct("=qq")
_LONGEST_WAIT_S: Final = 0.2
_PAUSE_S: Final = 0.0005


class Stamps:
    """Stamping, on while this is open; use it as a context manager.

    ``proven`` False: no namespace has a loopback device that is up, so it could only be asked for.
    """

    def __init__(self, spaces: Spaces, where: Iterable[NetnsId]) -> None:
        self._sockets: list[socket.socket] = []
        self.proven = any(self._proven_in(spaces.descriptor(netns)) for netns in where)

    def __enter__(self) -> "Stamps":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for opened in self._sockets:
            opened.close()

    def _proven_in(self, descriptor: int) -> bool:
        with inside(descriptor):
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        self._sockets.append(opened)
        with suppress(OSError):  # loopback is down here
            opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            opened.bind(("127.0.0.1", 0))
            return _wait(opened)
        return False


def _wait(opened: socket.socket) -> bool:
    """Raises OSError: nothing comes back here."""
    deadline = time.monotonic() + _LONGEST_WAIT_S
    while time.monotonic() < deadline:
        opened.sendto(b"?", opened.getsockname())
        time.sleep(_PAUSE_S)
        before_ns = time.time_ns()
        _, ancillary, _, _ = opened.recvmsg(1, 64)
        if any(stamp_of(value) < before_ns for _, _, value in ancillary):
            return True
    return False


def stamp_of(value: bytes) -> int:
    """Nanoseconds from a kernel's ``timespec``."""
    seconds, nanoseconds = TIMESPEC.unpack_from(value)
    return int(seconds * 1_000_000_000 + nanoseconds)
