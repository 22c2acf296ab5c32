"""One packet's way through the kernel's own eyes: tracepoint events joined by the skb's address.

Pure.  The events are host-wide, so an event is the probe's only when its skb left the probe's
device at the moment that the tap there saw the probe, and only until that skb is freed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tulle.model.network import IPAddress
from tulle.trace.journey import Drop
from tulle.trace.sightings import Sighting

EventKind: TypeAlias = Literal["xmit", "netif_rx", "receive", "free", "consume"]
_JOIN_WINDOW_NS: Final = 500_000
"""Between the tap's stamp and the driver's hand-over lies only the traffic control layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkbEvent:
    """One tracepoint event about an skb.  ``device`` is a bare name: the kernel does not say whose namespace's.

    ``reason`` and ``place`` are of ``free`` only: the drop reason's name and the freeing function.
    """

    t_ns: int
    kind: EventKind
    skb: int
    device: str = ""
    length: int = 0
    reason: str = ""
    place: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LookupEvent:
    """A routing decision as it happened: ``text`` is the kernel's line, ``device`` what it chose ("" none)."""

    t_ns: int
    source: IPAddress
    target: IPAddress
    table: int
    device: str
    gateway: str
    error: int
    text: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Events:
    """What the tracepoints said during one probe, in time order; empty without root."""

    skbs: tuple[SkbEvent, ...] = ()
    lookups: tuple[LookupEvent, ...] = ()


NO_EVENTS: Final = Events()


def trail_of(walk: Sequence[Sighting], device: str, events: Events) -> tuple[SkbEvent, ...]:
    """The events of the skb that ``walk`` begins with; ``device`` is the name of the device that it left by."""
    first = _departure(walk[0], device, events) if walk else None
    return tuple(_until_freed(first, events.skbs)) if first else ()


def trail_along(walk: Sequence[Sighting], devices: Sequence[str], events: Events) -> tuple[SkbEvent, ...]:
    """The events of the packet on the whole of ``walk``, over the copies that the kernel makes of it.

    IPv6 copies a packet to make room for a header: the skb is consumed and another one goes on, which is
    joined anew where a tap saw it leave next.  ``devices`` are the names of the devices of ``walk``.
    """
    found: list[SkbEvent] = []
    for sighting, device in zip(walk, devices, strict=True):
        first = _departure(sighting, device, events)
        if first is not None and first not in found and _has_ended(found, first.t_ns):
            found += _until_freed(first, events.skbs)
    return tuple(found)


def _has_ended(found: Sequence[SkbEvent], t_ns: int) -> bool:
    return not found or (found[-1].kind == "consume" and found[-1].t_ns <= t_ns)


def _departure(sighting: Sighting, device: str, events: Events) -> SkbEvent | None:
    """The transmission that the tap saw: of that device, that length, at that moment."""
    if not sighting.outgoing:
        return None
    start, length = sighting.t_ns, sighting.capture.length
    return next(
        (
            event
            for event in events.skbs
            if event.kind == "xmit"
            and event.device == device
            and event.length == length
            and 0 <= event.t_ns - start < _JOIN_WINDOW_NS
        ),
        None,
    )


def _until_freed(first: SkbEvent, events: Iterable[SkbEvent]) -> Iterable[SkbEvent]:
    for event in events:
        if event.skb == first.skb and event.t_ns >= first.t_ns:
            yield event
            if event.kind in ("free", "consume"):
                return


def drop_in(trail: Sequence[SkbEvent], start_ns: int) -> Drop | None:
    """Where the kernel freed this packet as undeliverable; None: it did not, or there are no events."""
    last = trail[-1] if trail else None
    if last is None or last.kind != "free":
        return None
    return Drop(reason=last.reason, place=last.place, t_ns=last.t_ns - start_ns)


def receipt(trail: Sequence[SkbEvent], device: str, after_ns: int, before_ns: int | None) -> int | None:
    """When the stack received the packet on ``device``, strictly between two stamps; None: no such event."""
    return next(
        (
            event.t_ns
            for event in trail
            if event.kind == "receive"
            and event.device == device
            and after_ns < event.t_ns
            and (before_ns is None or event.t_ns < before_ns)
        ),
        None,
    )


def lookups_between(events: Events, target: IPAddress, after_ns: int, before_ns: int | None) -> tuple[LookupEvent, ...]:
    """Look-ups for ``target`` between two stamps of the packet itself."""
    return tuple(
        event
        for event in events.lookups
        if event.target == target and after_ns <= event.t_ns and (before_ns is None or event.t_ns <= before_ns)
    )
