"""Echo requests from the namespace that this process is in, for labs on machines without ``ping``.

A raw socket: its identifier is ours, and no sysctl has to allow it.  Source: RFC 792, RFC 4443 §4.
"""

import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

from tulle.model.network import IPAddress
from tulle.wire.frames_encode import internet_checksum

ECHO: Final = struct.Struct("!BBHHH")
REQUEST4, REPLY4, REQUEST6, REPLY6 = 8, 0, 128, 129
PAYLOAD: Final = bytes(range(0x10, 0x48))
"""56 bytes, as ping sends: an Ethernet frame of 98 over IPv4."""
HEADER: Final = {4: 20, 6: 40}
"""Bytes of an IP header without options."""
NEVER_FRAGMENT: Final = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
"""IP_MTU_DISCOVER and IPV6_MTU_DISCOVER.  Source: linux/in.h, linux/in6.h."""
PMTUDISC_DO: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo:
    """One echo: ``rtt_ns`` is None when no reply came in time; ``error`` when it could not even be sent."""

    sequence: int
    rtt_ns: int | None = None
    error: str = ""


class Wanted(NamedTuple):
    """What tells the reply to a request from every other packet."""

    version: int
    ident: int
    sequence: int


def ping(
    target: IPAddress, count: int, timeout_s: float, *, interval_s: float = 0.2, mtu: int | None = None
) -> Iterator[Echo]:
    """Send ``count`` echo requests one after another, each given ``timeout_s``; yields each as it ends.

    With ``mtu`` each is a packet of exactly that many bytes that may not be fragmented on its way.
    """
    payload = PAYLOAD if mtu is None else bytes(mtu - HEADER[target.version] - ECHO.size)
    family, protocol = (
        (socket.AF_INET, socket.IPPROTO_ICMP) if target.version == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    )
    ident = int.from_bytes(os.urandom(2), "big")
    with socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as wire:
        if mtu is not None:
            wire.setsockopt(*NEVER_FRAGMENT[target.version], PMTUDISC_DO)
        for sequence in range(1, count + 1):
            started = time.monotonic()
            wanted = Wanted(target.version, ident, sequence)
            yield _echo(wire, target, encode_request(*wanted, payload), wanted, timeout_s)
            if sequence < count:
                time.sleep(max(0.0, interval_s - (time.monotonic() - started)))


def encode_request(version: int, ident: int, sequence: int, payload: bytes = PAYLOAD) -> bytes:
    """An echo request.  Over IPv6 the kernel fills in the checksum (RFC 3542 §3.1)."""
    kind = REQUEST4 if version == 4 else REQUEST6
    if version == 6:
        return ECHO.pack(kind, 0, 0, ident, sequence) + payload
    checksum = internet_checksum(ECHO.pack(kind, 0, 0, ident, sequence) + payload)
    return ECHO.pack(kind, 0, checksum, ident, sequence) + payload


def is_reply(version: int, datagram: bytes, ident: int, sequence: int) -> bool:
    """Is ``datagram``, as a raw socket gives it (over IPv4 with its header), the reply to our request?"""
    start = (datagram[0] & 0x0F) * 4 if version == 4 and datagram else 0
    if len(datagram) < start + ECHO.size:
        return False
    kind, _, _, their_ident, their_sequence = ECHO.unpack_from(datagram, start)
    wanted = REPLY4 if version == 4 else REPLY6
    return bool((kind, their_ident, their_sequence) == (wanted, ident, sequence))


def _echo(wire: socket.socket, target: IPAddress, request: bytes, wanted: Wanted, timeout_s: float) -> Echo:
    sent_ns = time.monotonic_ns()
    deadline_ns = sent_ns + int(timeout_s * 1e9)
    try:
        wire.connect((str(target), 0))  # where there is no route, this is what says so
        wire.send(request)
        while (left_ns := deadline_ns - time.monotonic_ns()) > 0:
            if not select.select([wire], [], [], left_ns / 1e9)[0]:
                break
            if is_reply(wanted.version, wire.recv(65536), wanted.ident, wanted.sequence):
                return Echo(sequence=wanted.sequence, rtt_ns=time.monotonic_ns() - sent_ns)
    except OSError as error:
        return Echo(sequence=wanted.sequence, error=error.strerror or str(error))
    return Echo(sequence=wanted.sequence)
