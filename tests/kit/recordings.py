"""Recorded journeys taken apart again: the captures that their hops cite, and the probe that the first of them shows.

The recordings are of real labs (``pictures.recorded``); what was captured there is the oracle for what is
recognised here.
"""

from base64 import b64decode

from tulle.trace.journey import Journey
from tulle.trace.probe_packet import ID_BYTES, Layers, Probe, Protocol, layers
from tulle.trace.sightings import PACKET_TYPES, Capture
from tulle.trace.topology import DeviceKey, NetnsId
from tulle.wire.frames import Echo, Tcp, Udp
from tulle.wire.frames_decode import decode_frame

PORTS = frozenset({8472, 4789})
PROTOCOLS: tuple[Protocol, ...] = ("icmp", "udp", "tcp")


def captures_of(journey: Journey) -> list[Capture]:
    """The captures that ``journey`` cites, in its order; a namespace is a number that stands for its name here."""
    known: dict[tuple[str, str], NetnsId] = {}
    found: list[Capture] = []
    for hop in journey.hops:
        if hop.n is None or hop.t_ns is None or hop.len is None or hop.ifindex is None:
            continue
        netns = known.setdefault((hop.node, hop.netns), NetnsId(1000 + len(known)))
        outer = hop.outer.csum if hop.outer else hop.inner.csum if hop.inner else None
        found.append(
            Capture(
                device=DeviceKey(netns, hop.ifindex),
                t_ns=hop.t_ns,
                pkttype=next(word for word in PACKET_TYPES if word == hop.pkttype),
                length=hop.len,
                data=b64decode(hop.frame),
                csum_partial=outer == "partial",
            )
        )
    return found


def probe_of(journey: Journey) -> Probe:
    """The probe, read from the first frame."""
    packet = layers_of(captures_of(journey)[0]).packet
    load = packet.payload
    payload = load.payload if isinstance(load, Echo | Udp | Tcp) else b""
    assert isinstance(payload, bytes)
    match load:
        case Echo(ident=ident, sequence=sequence):
            numbers = ident, sequence, 0
        case Udp(source_port=source, destination_port=port):
            numbers = source, 1, port
        case Tcp(source_port=source, destination_port=port, sequence=sequence):
            numbers = source, sequence, port
        case _:
            raise AssertionError(f"no probe in {packet}")
    return Probe(
        protocol=next(word for word in PROTOCOLS if word == journey.packet.proto),
        source=packet.source,
        target=packet.destination,
        id=payload[:ID_BYTES],
        ident=numbers[0],
        sequence=numbers[1],
        port=numbers[2],
    )


def layers_of(capture: Capture) -> Layers:
    """The captured frame, split where a tunnel splits it."""
    found = layers(decode_frame(memoryview(capture.data), wire_len=capture.length, vxlan_ports=PORTS))
    assert found is not None
    return found
