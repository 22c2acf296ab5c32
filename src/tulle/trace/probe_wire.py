"""The probe as bytes for a raw socket, and whether what such a socket received is its reply.

Pure.  A raw IPv4 socket adds the IP header and hands it over, a raw IPv6 socket does only the
first; of ICMPv6 the kernel puts in the checksum as well.  Source: raw(7), RFC 3542 §3.
"""

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from tulle.errors import DecodeError
from tulle.model.network import IPAddress
from tulle.trace.probe_packet import Probe, direction_of
from tulle.wire.frames import IPPROTO_ICMP, IPPROTO_ICMPV6, TCP_SYN, Echo, Ipv4, Ipv6, Tcp
from tulle.wire.frames_decode import decode_packet
from tulle.wire.frames_encode import encode_packet, encode_segment

TTL: Final = 64
_WINDOW: Final = 65535
_IPV4_HEADER: Final = 20
_IPV6_HEADER: Final = struct.Struct("!IHBB")


def encode_probe(probe: Probe) -> bytes:
    """What is handed to the socket: a payload (UDP), a whole message (ICMP), a whole segment (TCP)."""
    match probe.protocol:
        case "udp":
            return probe.payload
        case "icmp":
            return _echo(probe)
        case "tcp":
            return encode_segment(_syn(probe), probe.source, probe.target)


def is_reply(data: bytes, sender: IPAddress, probe: Probe) -> bool:
    """Is ``data``, received by a raw socket from ``sender``, the reply to ``probe``, or an ICMP error about it?"""
    whole = data if probe.family == 4 else _headed(data, sender, probe)
    try:
        return direction_of(decode_packet(memoryview(whole)), probe) == "reply"
    except DecodeError:
        return False


def _syn(probe: Probe) -> Tcp:
    return Tcp(
        source_port=probe.ident,
        destination_port=probe.port,
        sequence=probe.sequence,
        acknowledgement=0,
        flags=TCP_SYN,
        window=_WINDOW,
        payload=probe.payload,
    )


def _echo(probe: Probe) -> bytes:
    echo = Echo(request=True, ident=probe.ident, sequence=probe.sequence & 0xFFFF, payload=probe.payload)
    match probe.source, probe.target:
        case IPv4Address() as source, IPv4Address() as target:
            packet = Ipv4(source=source, destination=target, protocol=IPPROTO_ICMP, ttl=TTL, payload=echo)
            return encode_packet(packet)[_IPV4_HEADER:]
        case IPv6Address() as source, IPv6Address() as target:
            number = IPPROTO_ICMPV6
            packet6 = Ipv6(
                source=source, destination=target, protocol=number, next_header=number, hop_limit=TTL, payload=echo
            )
            return encode_packet(packet6)[_IPV6_HEADER.size + 32 :]
        case _:
            raise ValueError(f"addresses of two families: {probe.source} {probe.target}")


def _headed(data: bytes, sender: IPAddress, probe: Probe) -> bytes:
    """``data`` behind an IPv6 header like the one that it came with, as far as a raw socket tells."""
    header = _IPV6_HEADER.pack(6 << 28, len(data), probe.number, TTL)
    return header + sender.packed + probe.source.packed + data
