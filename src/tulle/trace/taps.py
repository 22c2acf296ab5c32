"""Taps: packet sockets that capture into the kernel and are read after the burst.

One per namespace, bound to all its devices: the kernel says with each frame which device it was
on, and what is not there yet when the trace begins is seen too.  A reader that wakes for every
packet would cost more than the network it measures, so nobody reads before the probe's fate is
sealed.  Source: packet(7), Documentation/networking/timestamping.rst.
"""

import ctypes
import os
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import TracebackType
from typing import Final

from tulle.errors import KernelError
from tulle.trace.filters import SNAP_LENGTH, Instruction, encoded
from tulle.trace.sightings import PACKET_TYPES, Capture
from tulle.trace.spaces import Spaces, inside
from tulle.trace.stamps import SO_TIMESTAMPNS, TIMESPEC, stamp_of
from tulle.trace.topology import DeviceKey, NetnsId, Topology

LARGEST: Final = 10_000
"""Frames that one trace keeps."""
BUFFER: Final = 8 << 20
_ETH_P_ALL: Final = 3
_SO_ATTACH_FILTER, _SO_RCVBUFFORCE = 26, 33
_SOL_PACKET, _PACKET_STATISTICS, _PACKET_AUXDATA = 263, 6, 8
_CSUM_NOT_READY: Final = 1 << 3
"""TP_STATUS_CSUMNOTREADY: the checksum is left to the NIC.  Source: include/uapi/linux/if_packet.h."""
_AUXDATA: Final = struct.Struct("=IIIHHHH")
_SOCKADDR_LL: Final = struct.Struct("=HHiHBB8s")
_ANCILLARY: Final = socket.CMSG_SPACE(TIMESPEC.size) + socket.CMSG_SPACE(_AUXDATA.size)
_ETHERNET: Final = frozenset({1, 772})
"""ARPHRD_ETHER, and loopback, whose frames look the same."""


class Taps:
    """Open taps in some namespaces.  Close them, or use them as a context manager."""

    def __init__(
        self, spaces: Spaces, where: Iterable[NetnsId], topology: Topology, program: Sequence[Instruction]
    ) -> None:
        """Filtered from the first frame on.  Raises KernelError: not allowed, or no packet sockets in this kernel."""
        self._topology = topology
        self._sockets: dict[NetnsId, socket.socket] = {}
        self._left = LARGEST
        self._lost = 0
        try:
            for netns in where:
                self._sockets[netns] = _open(spaces.descriptor(netns), program)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "Taps":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def read(self) -> tuple[Capture, ...]:
        """What was captured since the last time; at most ``LARGEST`` frames over the taps' life."""
        return tuple(capture for netns, tap in self._sockets.items() for capture in self._drain(netns, tap))

    @property
    def lost(self) -> int:
        """Frames that passed the filter and are not in what ``read`` gave: the buffer or the limit was too small."""
        for tap in self._sockets.values():
            _, dropped = struct.unpack("=II", tap.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8))  # reading resets it
            self._lost += dropped
        return self._lost

    def close(self) -> None:
        """Closing a packet socket waits for the kernel's readers, so all are closed at once."""
        taps, self._sockets = list(self._sockets.values()), {}
        if taps:
            with ThreadPoolExecutor(len(taps)) as pool:
                list(pool.map(socket.socket.close, taps))

    def _drain(self, netns: NetnsId, tap: socket.socket) -> Iterator[Capture]:
        while True:
            try:
                data, ancillary, _, (name, _, kind, hardware, _) = tap.recvmsg(SNAP_LENGTH, _ANCILLARY)
            except BlockingIOError:
                return
            except OSError:
                continue  # ENETDOWN: a device of this namespace went down; it is told once
            device = self._topology.named(netns, name)
            if device is None:
                continue
            if self._left == 0:
                self._lost += 1
                continue
            self._left -= 1
            yield _capture(device.key, kind, hardware, data, ancillary)


def _open(descriptor: int, program: Sequence[Instruction]) -> socket.socket:
    """Bound to no protocol until the filter is on: nothing unfiltered ever gets in."""
    try:
        with inside(descriptor):
            tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, 0)
    except OSError as error:
        raise KernelError(error.errno or 0, "packet socket") from error
    try:
        _attach(tap, encoded(program))
        _enlarge(tap)
        tap.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        tap.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        _bind(tap)
    except OSError as error:
        tap.close()
        raise KernelError(error.errno or 0, "packet socket") from error
    return tap


def _attach(tap: socket.socket, program: bytes) -> None:
    code = ctypes.create_string_buffer(program, len(program))
    tap.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(program) // 8, ctypes.addressof(code)))


def _enlarge(tap: socket.socket) -> None:
    """As far as we may: beyond the host's limit only root of the host."""
    tap.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    with suppress(PermissionError):
        tap.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, BUFFER)


def _bind(tap: socket.socket) -> None:
    """To every device: Python's own ``bind`` takes only one by name."""
    address = _SOCKADDR_LL.pack(socket.AF_PACKET, socket.htons(_ETH_P_ALL), 0, 0, 0, 0, b"")
    if ctypes.CDLL(None, use_errno=True).bind(tap.fileno(), address, len(address)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _capture(
    device: DeviceKey, kind: int, hardware: int, data: bytes, ancillary: Sequence[tuple[int, int, bytes]]
) -> Capture:
    t_ns, status, length = 0, 0, len(data)
    for level, name, value in ancillary:
        if (level, name) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            t_ns = stamp_of(value)
        elif (level, name) == (_SOL_PACKET, _PACKET_AUXDATA):
            status, length, *_ = _AUXDATA.unpack(value[: _AUXDATA.size])
    return Capture(
        device=device,
        t_ns=t_ns,
        pkttype=PACKET_TYPES[min(kind, len(PACKET_TYPES) - 1)],
        length=length,
        data=data,
        csum_partial=bool(status & _CSUM_NOT_READY),
        link_layer=hardware in _ETHERNET,
    )
