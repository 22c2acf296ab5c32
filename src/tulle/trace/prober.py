"""The probe's sender: sockets inside the source's namespace.

The kernel stamps the probe as it leaves the source's device and its reply as it arrives there, so
that a round trip is the network's and not Python's.  A raw socket is used for ICMP and for TCP
(one SYN that carries the id; nothing is ever connected), a plain one for UDP.
"""

import errno
import os
import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from ipaddress import ip_address
from types import TracebackType
from typing import Final

from tulle.errors import KernelError
from tulle.model.network import IPAddress
from tulle.trace.answerer import Answerer
from tulle.trace.flow import Flow
from tulle.trace.probe_packet import ID_BYTES, Probe
from tulle.trace.probe_wire import TTL, encode_probe, is_reply
from tulle.trace.spaces import inside
from tulle.trace.stamps import stamp_of

_SO_TIMESTAMPING_NEW: Final = 65
_TIMESTAMPS: Final = 1 << 1 | 1 << 3 | 1 << 4 | 1 << 11
"""SOF_TIMESTAMPING_TX_SOFTWARE, _RX_SOFTWARE, _SOFTWARE, _OPT_TSONLY.  Source: include/uapi/linux/net_tstamp.h."""
_ANCILLARY: Final = 512
_LARGEST: Final = 65536
_NEVER_FRAGMENT: Final = {4: (socket.IPPROTO_IP, 10, 2), 6: (socket.IPPROTO_IPV6, 23, 2)}
"""IP_MTU_DISCOVER and IPV6_MTU_DISCOVER, PMTUDISC_DO.  Source: linux/in.h, linux/in6.h."""
_ANSWERS: Final = frozenset(
    {errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES, errno.EPROTO, errno.EMSGSIZE}
)
"""What a connected UDP socket reports when an ICMP error came back."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the sender itself learnt.

    ``rtt_ns`` is by the kernel's stamps; ``error`` the errno's name when sending was refused.
    """

    received: bool = False
    rtt_ns: int | None = None
    error: str = ""


def source_address(descriptor: int, target: IPAddress) -> IPAddress | None:
    """The address that this namespace would send to ``target`` from; None: it has no route there."""
    family = socket.AF_INET6 if target.version == 6 else socket.AF_INET
    with inside(descriptor), socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as plain:
        try:
            plain.connect((str(target), 9))
        except OSError:
            return None
        return ip_address(str(plain.getsockname()[0]))


class Prober:
    """One probe, sent once.  Close it, or use it as a context manager."""

    def __init__(self, descriptor: int, flow: Flow, sequence: int, token: Callable[[int], bytes] = os.urandom) -> None:
        """Open what is needed in the namespace.  Raises KernelError."""
        self._stack = ExitStack()
        self._sent_ns: int | None = None
        self._received_ns: int | None = None
        self.refused = ""
        family = socket.AF_INET6 if flow.source.version == 6 else socket.AF_INET
        try:
            with inside(descriptor):
                ident = self._reserve(family, flow, token)
            if flow.size is not None:
                self._socket.setsockopt(*_NEVER_FRAGMENT[flow.source.version])
            self.probe = Probe(
                protocol=flow.protocol,
                source=flow.source,
                target=flow.target,
                id=token(ID_BYTES),
                ident=ident,
                sequence=sequence if flow.protocol != "tcp" else int.from_bytes(token(4), "big"),
                port=flow.port,
                size=flow.size,
            )
        except OSError as error:
            self._stack.close()
            raise KernelError(error.errno or 0, f"{flow.protocol} probe from {flow.source}") from error

    def _reserve(self, family: int, flow: Flow, token: Callable[[int], bytes]) -> int:
        """The sockets; the ICMP identifier or source port that goes with them."""
        if flow.protocol == "udp":
            self._socket = self._open(family, socket.SOCK_DGRAM, 0)
            self._socket.bind((str(flow.source), 0))
            with suppress(OSError):  # no route: sending says so
                self._socket.connect((str(flow.target), flow.port))
            return int(self._socket.getsockname()[1])
        if flow.protocol == "icmp":
            number = socket.IPPROTO_ICMPV6 if family == socket.AF_INET6 else socket.IPPROTO_ICMP
            self._socket = self._open(family, socket.SOCK_RAW, number)
            self._socket.bind((str(flow.source), 0))
            return int.from_bytes(token(2), "big")
        self._socket = self._open(family, socket.SOCK_RAW, socket.IPPROTO_TCP)
        self._socket.bind((str(flow.source), 0))
        holder = self._stack.enter_context(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC))
        holder.bind((str(flow.source), 0))  # so that nobody else uses the port meanwhile
        return int(holder.getsockname()[1])

    def _open(self, family: int, kind: int, number: int) -> socket.socket:
        opened = self._stack.enter_context(
            socket.socket(family, kind | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK, number)
        )
        opened.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPING_NEW, _TIMESTAMPS)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, TTL)
        else:
            opened.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, TTL)
        return opened

    def __enter__(self) -> "Prober":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def send(self) -> str:
        """Send the probe; the errno's name when the kernel refuses, else ""."""
        try:
            self._socket.sendto(encode_probe(self.probe), (str(self.probe.target), self._port()))
        except OSError as error:
            self.refused = errno.errorcode.get(error.errno or 0, str(error.errno))
        return self.refused

    def _port(self) -> int:
        return self.probe.port if self.probe.protocol == "udp" else 0

    def wait(self, seconds: float, answerer: Answerer | None = None) -> Outcome:
        """Until the reply is there, or the time is over; ``answerer`` answers meanwhile."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        if answerer is not None:
            poll.register(answerer, select.POLLIN)
        received = False
        while not received and not self.refused and (left := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                if answerer is not None and descriptor == answerer.fileno():
                    answerer.answer()
                else:
                    received = self._read() or received
        self._read_transmit_stamp()
        return Outcome(received=received, rtt_ns=self._rtt() if received else None, error=self.refused)

    def _rtt(self) -> int | None:
        if self._sent_ns is None or self._received_ns is None:
            return None
        return self._received_ns - self._sent_ns

    def _read(self) -> bool:
        """Whatever is there; True: the reply was among it."""
        self._read_transmit_stamp()
        while True:
            try:
                data, ancillary, _, address = self._socket.recvmsg(_LARGEST, _ANCILLARY)
            except BlockingIOError:
                return False
            except OSError as error:
                return error.errno in _ANSWERS
            if self._is_reply(data, str(address[0])):
                self._received_ns = _stamp(ancillary)
                return True

    def _is_reply(self, data: bytes, sender: str) -> bool:
        if self.probe.protocol == "udp":
            return True  # the socket is connected
        return is_reply(data, ip_address(sender.partition("%")[0]), self.probe)

    def _read_transmit_stamp(self) -> None:
        """The stamp of our own transmission comes back through the error queue."""
        with suppress(OSError):
            while True:
                _, ancillary, _, _ = self._socket.recvmsg(_LARGEST, _ANCILLARY, socket.MSG_ERRQUEUE)
                self._sent_ns = self._sent_ns or _stamp(ancillary)


def _stamp(ancillary: list[tuple[int, int, bytes]]) -> int | None:
    for level, name, value in ancillary:
        if (level, name) == (socket.SOL_SOCKET, _SO_TIMESTAMPING_NEW):
            return stamp_of(value) or None
    return None
