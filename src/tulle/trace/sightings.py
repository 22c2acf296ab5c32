"""From captured frames to sightings of the probe, and of the questions asked beside it.

Pure.  A tap hands over ``Capture`` values as the kernel stamped them; a frame that is not the
probe, its reply or an ARP or neighbour message is nobody's business and is left out.
"""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tulle.errors import DecodeError
from tulle.model.network import IPAddress, MacAddress
from tulle.trace.journey import Direction
from tulle.trace.probe_packet import Layers, Probe, direction_of, layers
from tulle.trace.topology import DeviceKey
from tulle.wire.frames import ARP_REQUEST, Arp, Ethernet, Ipv6, NeighborDiscovery
from tulle.wire.frames_decode import decode_frame, decode_packet

PacketType: TypeAlias = Literal["host", "broadcast", "multicast", "otherhost", "outgoing", "loopback"]
PACKET_TYPES: Final[tuple[PacketType, ...]] = ("host", "broadcast", "multicast", "otherhost", "outgoing", "loopback")
"""By the kernel's number.  Source: include/uapi/linux/if_packet.h."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """One frame at one tap.  ``t_ns`` is wall-clock time; ``length`` the frame's, of which ``data`` may be the start.

    ``csum_partial``: the checksum is left to the NIC.  ``link_layer`` False: the device has no Ethernet header (tun).
    """

    device: DeviceKey
    t_ns: int
    pkttype: PacketType
    length: int
    data: bytes
    csum_partial: bool = False
    link_layer: bool = True

    @property
    def outgoing(self) -> bool:
        return self.pkttype == "outgoing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """The probe or its reply, seen at one tap."""

    capture: Capture
    direction: Direction
    layers: Layers

    @property
    def device(self) -> DeviceKey:
        return self.capture.device

    @property
    def encapsulated(self) -> bool:
        return self.layers.outer is not None

    @property
    def outgoing(self) -> bool:
        return self.capture.outgoing

    @property
    def t_ns(self) -> int:
        return self.capture.t_ns


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An ARP or neighbour message at one tap.  ``answer`` is the MAC in a reply, None in a request."""

    device: DeviceKey
    t_ns: int
    outgoing: bool
    type: Literal["arp", "nd"]
    ip: IPAddress
    asker: IPAddress
    answer: MacAddress | None


@dataclass(frozen=True, slots=True)
class Seen:
    """All that the taps saw of one probe, in time order."""

    sightings: tuple[Sighting, ...]
    questions: tuple[Question, ...]


def recognise(captures: Iterable[Capture], probe: Probe, vxlan_ports: AbstractSet[int]) -> Seen:
    """What of ``captures`` belongs to ``probe``.  A frame that does not decode is left out: it cannot be ours."""
    sightings: list[Sighting] = []
    questions: list[Question] = []
    for capture in captures:
        frame = _decode(capture, vxlan_ports)
        if frame is None:
            continue
        found = layers(frame)
        direction = direction_of(found.packet, probe) if found else None
        if found is not None and direction is not None:
            sightings.append(Sighting(capture=capture, direction=direction, layers=found))
        elif (question := _question(capture, frame)) is not None:
            questions.append(question)
    sightings.sort(key=lambda sighting: sighting.t_ns)
    questions.sort(key=lambda question: question.t_ns)
    return Seen(tuple(_once(sightings)), tuple(questions))


def _once(sightings: Iterable[Sighting]) -> Iterable[Sighting]:
    """Without repeats of one packet at one place (a retransmission); a loop, whose TTL falls, stays."""
    known: set[tuple[DeviceKey, bool, bool, str, int]] = set()
    for sighting in sightings:
        ttl = sighting.layers.packet.ttl
        place = sighting.device, sighting.outgoing, sighting.encapsulated, sighting.direction, ttl
        if place not in known:
            known.add(place)
            yield sighting


def _decode(capture: Capture, vxlan_ports: AbstractSet[int]) -> Ethernet | None:
    data = memoryview(capture.data)
    try:
        if capture.link_layer:
            return decode_frame(data, wire_len=capture.length, vxlan_ports=vxlan_ports)
        packet = decode_packet(data, wire_len=capture.length, vxlan_ports=vxlan_ports)
    except DecodeError:
        return None
    nobody = MacAddress("")
    return Ethernet(
        destination=nobody, source=nobody, ethertype=0x86DD if packet.source.version == 6 else 0x0800, payload=packet
    )


def _question(capture: Capture, frame: Ethernet) -> Question | None:
    match frame.payload:
        case Arp(operation=operation) as arp:
            asks = operation == ARP_REQUEST
            return Question(
                device=capture.device,
                t_ns=capture.t_ns,
                outgoing=capture.outgoing,
                type="arp",
                ip=arp.target_ip if asks else arp.sender_ip,
                asker=arp.sender_ip if asks else arp.target_ip,
                answer=None if asks else arp.sender_mac,
            )
        case Ipv6(payload=NeighborDiscovery() as message) as packet:
            return Question(
                device=capture.device,
                t_ns=capture.t_ns,
                outgoing=capture.outgoing,
                type="nd",
                ip=message.target,
                asker=packet.destination if message.advertisement else packet.source,
                answer=(message.mac or frame.source) if message.advertisement else None,
            )
        case _:
            return None
