"""Is an overlay needed at all?  The probe's packets, and what an answer, an error or silence says.  Pure.

A cloud's fabric carries plain packets to and from pods, or it does not.  To find out, an echo
request to a pod-side address of the peer is sent *past* the tunnel, to the next hop towards the
peer's own address; its source is our own underlay address, which no reverse-path filter of the
peer objects to.  The reply comes back from the pod-side address, plain too: one round trip shows
that the fabric carries such destinations there, and such sources back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from tulle.errors import DecodeError
from tulle.model.network import IPAddress, IPNetwork, MacAddress
from tulle.wire.frames import IPPROTO_ICMP, IPPROTO_ICMPV6, Echo, Ethernet, IcmpError, Ipv4, Ipv6
from tulle.wire.frames_decode import decode_frame
from tulle.wire.frames_encode import encode_frame

ETHERTYPE: Final = {4: 0x0800, 6: 0x86DD}
TTL: Final = 64


class Verdict(Enum):
    """What is known of plain routes to a peer."""

    PLAIN = "plain"
    """They would work."""
    REFUSED = "refused"
    """They do not, here."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A peer in one family: its own address, and the pod-side addresses that it may answer for."""

    subnet: IPNetwork
    public_ip: IPAddress

    @property
    def inside(self) -> tuple[IPAddress, IPAddress]:
        """Its VTEP's address, and its bridge's."""
        return self.subnet.network_address, self.subnet.network_address + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the probe leaves this host: device, the MACs of both ends of the first hop, our address."""

    device: str
    own_mac: MacAddress
    next_mac: MacAddress
    source: IPAddress


@dataclass(frozen=True, slots=True)
class Answer:
    """One packet about a probe: ``inside`` for whom it was, ``sender`` who sent it, ``error`` what it complains of."""

    inside: IPAddress
    sender: IPAddress
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What is known of one peer, and by what."""

    target: Target
    verdict: Verdict
    evidence: str


def probe_frame(way: Way, inside: IPAddress, ident: int, token: bytes) -> bytes:
    """An echo request to ``inside``, as it leaves the device of ``way``."""
    echo = Echo(request=True, ident=ident, sequence=0, payload=token)
    return encode_frame(
        Ethernet(
            destination=way.next_mac,
            source=way.own_mac,
            ethertype=ETHERTYPE[inside.version],
            payload=_packet(way.source, inside, echo),
        )
    )


def read_answer(frame: bytes, ident: int, token: bytes) -> Answer | None:
    """What ``frame`` says about a probe; None: it is about something else."""
    try:
        packet = decode_frame(memoryview(frame)).payload
    except DecodeError:
        return None
    if not isinstance(packet, Ipv4 | Ipv6):
        return None
    match packet.payload:
        case Echo(request=False, ident=answered, payload=payload) if answered == ident and payload.startswith(token):
            return Answer(packet.source, packet.source)
        case IcmpError(type=kind, code=code, quoted=(Ipv4() | Ipv6()) as quoted):
            echo = quoted.payload
            if isinstance(echo, Echo) and echo.request and echo.ident == ident:
                return Answer(quoted.destination, packet.source, _complaint(packet, kind, code))
            return None
        case _:
            return None


def judge(target: Target, way: Way | None, answers: Sequence[Answer]) -> Finding:
    """The verdict on one peer from all that was heard.  ``way`` None: its next hop is not known."""
    about = [answer for answer in answers if answer.inside in target.inside]
    if way is None:
        return _finding(target, Verdict.UNKNOWN, f"no way to {target.public_ip}, or its next hop does not answer")
    for answer in about:
        if not answer.error:
            text = f"{answer.sender} answered without the tunnel, by {way.next_mac} on {way.device}"
            return _finding(target, Verdict.PLAIN, text)
    for answer in about:
        if answer.sender == target.public_ip:
            text = f"it arrived, and nobody there has the address yet ({answer.error})"
            return _finding(target, Verdict.UNKNOWN, text)
    if about:
        return _finding(target, Verdict.REFUSED, f"{about[0].sender} says: {about[0].error}")
    if not any(answer.inside == target.public_ip and not answer.error for answer in answers):
        return _finding(target, Verdict.UNKNOWN, f"{target.public_ip} itself does not answer an echo request")
    text = f"{target.public_ip} answers, and {target.inside[0]} and {target.inside[1]} past the tunnel do not"
    return _finding(target, Verdict.REFUSED, text)


def overall(findings: Iterable[Finding]) -> Verdict:
    """Whether plain routes would do for all: one refusal is enough for no, and nothing known is not yes."""
    verdicts = {finding.verdict for finding in findings} or {Verdict.UNKNOWN}
    return next(found for found in (Verdict.REFUSED, Verdict.UNKNOWN, Verdict.PLAIN) if found in verdicts)


def _finding(target: Target, verdict: Verdict, evidence: str) -> Finding:
    return Finding(target=target, verdict=verdict, evidence=evidence)


def _packet(source: IPAddress, destination: IPAddress, echo: Echo) -> Ipv4 | Ipv6:
    match source, destination:
        case IPv4Address(), IPv4Address():
            return Ipv4(source=source, destination=destination, protocol=IPPROTO_ICMP, ttl=TTL, payload=echo)
        case IPv6Address(), IPv6Address():
            number = IPPROTO_ICMPV6
            return Ipv6(
                source=source, destination=destination, protocol=number, next_header=number, hop_limit=TTL, payload=echo
            )
        case _:
            raise ValueError(f"addresses of two families: {source} {destination}")


UNREACHABLE: Final = {
    (4, 3): {0: "net", 1: "host", 9: "net", 10: "host", 13: "prohibited"},
    (6, 1): {0: "net", 3: "host"},
}
"""What is unreachable, by family and type, then code.  Source: RFC 792, RFC 1812 §5.2.7, RFC 4443 §3.1."""


def _complaint(packet: Ipv4 | Ipv6, kind: int, code: int) -> str:
    version = 4 if isinstance(packet, Ipv4) else 6
    what = UNREACHABLE.get((version, kind), {}).get(code, f"code {code}")
    return f"{what} unreachable" if (version, kind) in UNREACHABLE else f"ICMP type {kind}, code {code}"
