"""What a frame's headers say at one sighting, and what changed since the one before."""

from collections.abc import Iterable

from tulle.trace.journey import Inner, Outer
from tulle.trace.probe_packet import describe
from tulle.trace.sightings import Sighting
from tulle.wire.frames import Udp


def outer_of(sighting: Sighting) -> Outer | None:
    """The tunnel's headers; None when the frame is not in a tunnel."""
    layers = sighting.layers
    packet = layers.outer_packet
    if layers.outer is None or layers.vxlan is None or packet is None or not isinstance(packet.payload, Udp):
        return None
    return Outer(
        src=str(packet.source),
        dst=str(packet.destination),
        ttl=packet.ttl,
        udp=(packet.payload.source_port, packet.payload.destination_port),
        vni=layers.vxlan.vni,
        csum="partial" if sighting.capture.csum_partial else None,
        smac=layers.outer.source,
        dmac=layers.outer.destination,
    )


def inner_of(sighting: Sighting) -> Inner:
    """The packet itself, in the tunnel or not."""
    frame, packet = sighting.layers.frame, sighting.layers.packet
    partial = sighting.capture.csum_partial and not sighting.encapsulated
    return Inner(
        src=str(packet.source),
        dst=str(packet.destination),
        ttl=packet.ttl,
        smac=frame.source,
        dmac=frame.destination,
        text=describe(packet),
        csum="partial" if partial else None,
    )


def changes(before: Sighting, after: Sighting) -> tuple[str, ...]:
    """The fields that differ, e.g. ``+outer``, ``ttl 64→63``, ``dmac 4e:…→02:…``; empty: nothing did."""
    return (*_wrapping(before, after), *_inner(inner_of(before), inner_of(after)), *_outer(before, after))


def _wrapping(before: Sighting, after: Sighting) -> Iterable[str]:
    if before.encapsulated != after.encapsulated:
        yield "+outer" if after.encapsulated else "−outer"


def _inner(old: Inner, new: Inner) -> Iterable[str]:
    if old.ttl != new.ttl:
        yield f"ttl {old.ttl}→{new.ttl}"
    if old.src != new.src:
        yield f"src {old.src}→{new.src}"
    if old.dst != new.dst:
        yield f"dst {old.dst}→{new.dst}"
    if old.smac != new.smac:
        yield f"smac {old.smac}→{new.smac}"
    if old.dmac != new.dmac:
        yield f"dmac {old.dmac}→{new.dmac}"


def _outer(before: Sighting, after: Sighting) -> Iterable[str]:
    old, new = outer_of(before), outer_of(after)
    if old is None or new is None:
        return
    for name, was, now in (
        ("src", old.src, new.src),
        ("dst", old.dst, new.dst),
        ("ttl", str(old.ttl), str(new.ttl)),
        ("smac", old.smac, new.smac),
        ("dmac", old.dmac, new.dmac),
    ):
        if was != now:
            yield f"outer {name} {was}→{now}"
