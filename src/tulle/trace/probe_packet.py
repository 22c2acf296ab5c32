"""What the probe is made of, and how a captured frame is told to be it.

Pure.  A probe is known by the 16 bytes of its id in the payload, which survive NAT; its reply
by the same id (echo), by the reversed addresses and ports (a server that answers in its own
words, a SYN-ACK, a RST), or by the start of the probe that an ICMP error quotes.
"""

from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Literal, TypeAlias

from tulle.model.network import IPAddress
from tulle.trace.journey import Direction
from tulle.wire.frames import (
    TCP_SYN,
    Echo,
    Ethernet,
    IcmpError,
    Ipv4,
    Ipv6,
    Ports,
    Tcp,
    Transport,
    Udp,
    Vxlan,
)

Protocol: TypeAlias = Literal["icmp", "udp", "tcp"]
ID_BYTES: Final = 16
PAYLOAD_BYTES: Final = 56
"""As ping: with ICMP over IPv4 the frame has 98 bytes."""
HEADER_BYTES: Final[dict[Protocol, int]] = {"icmp": 8, "udp": 8, "tcp": 20}
IP_HEADER_BYTES: Final = {4: 20, 6: 40}
LEAST_SIZE: Final = IP_HEADER_BYTES[6] + HEADER_BYTES["tcp"] + ID_BYTES
"""A packet of this size has room for the id, whatever it is."""
PROTOCOL_NUMBERS: Final[dict[tuple[Protocol, int], int]] = {
    ("icmp", 4): 1,
    ("icmp", 6): 58,
    ("udp", 4): 17,
    ("udp", 6): 17,
    ("tcp", 4): 6,
    ("tcp", 6): 6,
}
_REDIRECT: Final = 5
"""ICMP: a packet about the probe that is not its fate.  Source: RFC 792."""
IpPacket: TypeAlias = Ipv4 | Ipv6


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """One probe.  ``ident`` is ICMP's identifier or the source port; ``sequence`` ICMP's or TCP's sequence number.

    ``size`` is the whole IP packet's, at least ``LEAST_SIZE``; None: as ping's.
    """

    protocol: Protocol
    source: IPAddress
    target: IPAddress
    id: bytes
    ident: int
    sequence: int
    port: int = 0
    size: int | None = None

    @property
    def family(self) -> int:
        return self.source.version

    @property
    def number(self) -> int:
        """The IP protocol number."""
        return PROTOCOL_NUMBERS[self.protocol, self.family]

    @property
    def payload(self) -> bytes:
        headers = IP_HEADER_BYTES[self.family] + HEADER_BYTES[self.protocol]
        length = PAYLOAD_BYTES if self.size is None else self.size - headers
        return self.id + bytes((0x10 + at) & 0xFF for at in range(length - ID_BYTES))

    @property
    def digest(self) -> str:
        """Over what no hop may change: addresses, protocol, identifiers, the first 32 payload bytes."""
        fixed = self.source.packed + self.target.packed + bytes([self.number])
        fixed += self.ident.to_bytes(2, "big") + self.sequence.to_bytes(4, "big") + self.port.to_bytes(2, "big")
        return "sha256:" + sha256(fixed + self.payload[:32]).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """A captured frame split where a tunnel splits it.  ``outer`` is None when there is no tunnel."""

    frame: Ethernet
    packet: IpPacket
    outer: Ethernet | None = None
    vxlan: Vxlan | None = None

    @property
    def outer_packet(self) -> IpPacket | None:
        payload = self.outer.payload if self.outer else None
        return payload if isinstance(payload, Ipv4 | Ipv6) else None


def layers(frame: Ethernet) -> Layers | None:
    """The innermost IP packet of ``frame``, and the outer frame when it is VXLAN; None: no IP in it."""
    match frame.payload:
        case Ipv4(payload=Udp(payload=Vxlan() as vxlan)) | Ipv6(payload=Udp(payload=Vxlan() as vxlan)):
            if isinstance(vxlan.inner.payload, Ipv4 | Ipv6):
                return Layers(frame=vxlan.inner, packet=vxlan.inner.payload, outer=frame, vxlan=vxlan)
            return None
        case Ipv4() | Ipv6() as packet:
            return Layers(frame=frame, packet=packet)
        case _:
            return None


def direction_of(packet: IpPacket, probe: Probe) -> Direction | None:
    """Whether ``packet`` is the probe, its reply, or neither."""
    carried = packet.payload
    match carried:
        case Echo(payload=payload, request=request) if _has_id(payload, probe):
            return "request" if request else "reply"
        case IcmpError(type=kind, quoted=Ipv4() | Ipv6() as quoted) if kind != _REDIRECT:
            return "reply" if direction_of(quoted, probe) == "request" else None
        case Udp(payload=bytes() as payload) if probe.protocol == "udp" and _has_id(payload, probe):
            asks = carried.destination_port == probe.port or carried.source_port == probe.ident
            return "request" if asks else "reply"
        case Tcp(payload=payload) if probe.protocol == "tcp" and carried.flags & TCP_SYN and _has_id(payload, probe):
            return "request"
        case Udp() | Tcp() if _is_answer(packet, carried, probe):
            return "reply"
        case _:
            return "request" if _is_cut_probe(packet, carried, probe) else None


def describe(packet: IpPacket) -> str:
    """What the packet carries, in the field's words: ``ICMP echo request seq 1``, ``TCP 40000→80 SYN``."""
    match packet.payload:
        case Echo(request=request, sequence=sequence):
            return f"{_icmp(packet.source.version)} echo {'request' if request else 'reply'} seq {sequence}"
        case IcmpError(type=kind, code=code, info=info):
            text = icmp_error_text(kind, code, packet.source.version)
            return f"{text}, MTU {info}" if info and (kind, code) in _TOO_BIG[packet.source.version] else text
        case Udp(source_port=source, destination_port=destination):
            return f"UDP {source}→{destination}"
        case Tcp(source_port=source, destination_port=destination, flags=flags):
            return f"TCP {source}→{destination} {tcp_flags(flags)}"
        case _:
            return f"IP protocol {packet.protocol}"


def tcp_flags(flags: int) -> str:
    """The flags that are set, by name, lowest bit first.  Source: RFC 9293 §3.1."""
    names = ("FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR")
    return " ".join(name for bit, name in enumerate(names) if flags >> bit & 1) or "none"


_TOO_BIG: Final = {4: {(3, 4)}, 6: {(2, 0)}}
"""Errors that name the next hop's MTU.  Source: RFC 1191 §4, RFC 4443 §3.2."""
_UNREACHABLE4: Final = {
    0: "network unreachable",
    1: "host unreachable",
    2: "protocol unreachable",
    3: "port unreachable",
    4: "fragmentation needed",
    9: "network prohibited",
    10: "host prohibited",
    13: "administratively prohibited",
}
_UNREACHABLE6: Final = {
    0: "no route",
    1: "administratively prohibited",
    3: "address unreachable",
    4: "port unreachable",
    5: "source address failed policy",
    6: "route rejected",
}


def icmp_error_text(kind: int, code: int, family: int) -> str:
    """An ICMP error's name.  Source: RFC 792, RFC 1812 §5.2.7, RFC 4443 §3."""
    unreachable = (3, _UNREACHABLE4) if family == 4 else (1, _UNREACHABLE6)
    if kind == unreachable[0]:
        what = unreachable[1].get(code, f"unreachable code {code}")
    elif kind == (11 if family == 4 else 3):
        what = "time exceeded"
    elif family == 6 and kind == 2:
        what = "packet too big"
    else:
        what = f"error type {kind} code {code}"
    return f"{_icmp(family)} {what}"


def _icmp(family: int) -> str:
    return "ICMP" if family == 4 else "ICMPv6"


def _has_id(payload: bytes, probe: Probe) -> bool:
    return payload[:ID_BYTES] == probe.id


def _is_answer(packet: IpPacket, carried: Udp | Tcp, probe: Probe) -> bool:
    """From the port that was asked to the probe's.  One matching address is enough: NAT may have changed the other."""
    if isinstance(carried, Udp) != (probe.protocol == "udp") or packet.protocol != probe.number:
        return False
    if isinstance(carried, Tcp) and carried.acknowledgement not in _acknowledgements(probe):
        return False
    ports = (carried.source_port, carried.destination_port) == (probe.port, probe.ident)
    return ports and (packet.source == probe.target or packet.destination == probe.source)


def _acknowledgements(probe: Probe) -> tuple[int, int]:
    """A SYN counts one; a listener leaves the SYN's data unread, a RST counts it too.  Source: RFC 9293 §3.10.7."""
    return (probe.sequence + 1) & 0xFFFFFFFF, (probe.sequence + 1 + len(probe.payload)) & 0xFFFFFFFF


def _is_cut_probe(packet: IpPacket, carried: Transport, probe: Probe) -> bool:
    """A quote may end 8 bytes after the IP header: the tuple has to do."""
    if (packet.source, packet.destination, packet.protocol) != (probe.source, probe.target, probe.number):
        return False
    match carried:
        case Echo(request=True, ident=ident, sequence=sequence):
            return len(carried.payload) < ID_BYTES and (ident, sequence) == (probe.ident, probe.sequence & 0xFFFF)
        case Udp(source_port=source, destination_port=destination, payload=bytes() as payload):
            return len(payload) < ID_BYTES and (source, destination) == (probe.ident, probe.port)
        case Tcp(source_port=source, destination_port=destination, flags=flags, sequence=sequence):
            opens = bool(flags & TCP_SYN) and sequence == probe.sequence  # what follows an answer is not the probe
            return opens and (source, destination) == (probe.ident, probe.port)
        case Ports(source_port=source, destination_port=destination):
            return (source, destination) == (probe.ident, probe.port)
        case _:
            return False
