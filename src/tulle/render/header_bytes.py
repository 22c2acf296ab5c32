"""The header bytes of a captured frame, field by field, and which of them changed since the sighting before.

Pure.  A field is known by its layer and name, inner and outer apart, so that the inner headers
are compared with themselves when a tunnel's come in front of them.  The payload is not shown.
Sources: the headers' own definitions, as in ``wire.frames_decode``, which reads values where
this keeps places.
"""

from base64 import b64decode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from tulle.trace.journey import Hop
from tulle.wire.frames import (
    ETH_P_IPV4,
    ETH_P_IPV6,
    ETH_P_VLAN,
    IPPROTO_ICMP,
    IPPROTO_ICMPV6,
    IPPROTO_TCP,
    IPPROTO_UDP,
)

Layout: TypeAlias = Sequence[tuple[str, int]]
"""Fields in order, each with its number of bytes."""

_ETH: Final[Layout] = (("destination", 6), ("source", 6), ("type", 2))
_VLAN: Final[Layout] = (("tag", 2), ("type", 2))
_IPV4: Final[Layout] = (
    ("version, length", 1),
    ("tos", 1),
    ("total length", 2),
    ("id", 2),
    ("flags, offset", 2),
    ("ttl", 1),
    ("protocol", 1),
    ("checksum", 2),
    ("source", 4),
    ("destination", 4),
)
_IPV6: Final[Layout] = (
    ("version, class, flow", 4),
    ("payload length", 2),
    ("next header", 1),
    ("hop limit", 1),
    ("source", 16),
    ("destination", 16),
)
_UDP: Final[Layout] = (("source port", 2), ("destination port", 2), ("length", 2), ("checksum", 2))
_TCP: Final[Layout] = (
    ("source port", 2),
    ("destination port", 2),
    ("sequence", 4),
    ("acknowledgement", 4),
    ("offset, flags", 2),
    ("window", 2),
    ("checksum", 2),
    ("urgent", 2),
)
_ICMP: Final[Layout] = (("type", 1), ("code", 1), ("checksum", 2), ("id", 2), ("sequence", 2))
_VXLAN: Final[Layout] = (("flags", 4), ("vni", 3), ("reserved", 1))
_TRANSPORT: Final[dict[int, tuple[str, Layout]]] = {
    IPPROTO_UDP: ("UDP", _UDP),
    IPPROTO_TCP: ("TCP", _TCP),
    IPPROTO_ICMP: ("ICMP", _ICMP),
    IPPROTO_ICMPV6: ("ICMPv6", _ICMP),
}


@dataclass(frozen=True, slots=True)
class HeaderField:
    """One field.  ``state`` is against the sighting before: the same, another value, or not there before."""

    name: str
    data: bytes
    state: str = "same"


@dataclass(frozen=True, slots=True)
class Header:
    """One layer of a frame; ``outer`` when it is the tunnel's."""

    layer: str
    outer: bool
    fields: tuple[HeaderField, ...]


def headers_of(hop: Hop, before: Hop | None) -> tuple[Header, ...]:
    """The headers in ``hop``'s captured frame, marked against those of ``before`` (None: nothing is marked)."""
    mine = tuple(_headers(hop))
    if before is None or not before.frame:
        return mine
    known = {(h.outer, h.layer, field.name): field.data for h in _headers(before) for field in h.fields}
    return tuple(
        Header(header.layer, header.outer, tuple(_marked(header, field, known) for field in header.fields))
        for header in mine
    )


def _marked(header: Header, field: HeaderField, known: dict[tuple[bool, str, str], bytes]) -> HeaderField:
    was = known.get((header.outer, header.layer, field.name))
    state = "new" if was is None else "same" if was == field.data else "changed"
    return HeaderField(field.name, field.data, state)


def _headers(hop: Hop) -> Iterator[Header]:
    """All layers down to the transport; a header that the capture cut ends the list."""
    data = memoryview(b64decode(hop.frame))
    if hop.outer is not None:
        outer, data = _frame(data, outer=True)
        yield from outer
        vxlan, data = _take(data, "VXLAN", _VXLAN, outer=True)
        if vxlan is None or not outer or outer[-1].layer != "UDP":
            return
        yield vxlan
    yield from _frame(data, outer=False)[0]


def _frame(data: memoryview, *, outer: bool) -> tuple[list[Header], memoryview]:
    """Ethernet, IP, transport, as far as they are there, and what follows them."""
    found: list[Header] = []
    wanted: tuple[str, Layout] | None = ("Ethernet", _ETH)
    while wanted is not None:
        name, layout = wanted
        header, data = _take(data, name, layout, outer=outer)
        if header is None:
            break
        found.append(header)
        wanted = _next(header, data)
    return found, data


def _next(header: Header, data: memoryview) -> tuple[str, Layout] | None:
    """What ``header`` says that follows it; None: nothing that is taken apart here."""
    match header.layer:
        case "Ethernet" | "VLAN":
            kind = int.from_bytes(header.fields[-1].data, "big")
            options = max(0, (data[0] & 15) * 4 - 20) if data else 0
            ipv4 = ("IPv4", (*_IPV4, ("options", options)) if options else _IPV4)
            return {ETH_P_VLAN: ("VLAN", _VLAN), ETH_P_IPV4: ipv4, ETH_P_IPV6: ("IPv6", _IPV6)}.get(kind)
        case "IPv4":
            return _TRANSPORT.get(header.fields[6].data[0])
        case "IPv6":
            return _TRANSPORT.get(header.fields[2].data[0])
        case _:
            return None


def _take(data: memoryview, name: str, layout: Layout, *, outer: bool) -> tuple[Header | None, memoryview]:
    """The header at the start of ``data`` and what follows; None when the capture ends inside it."""
    if len(data) < sum(size for _, size in layout):
        return None, data
    fields: list[HeaderField] = []
    for field, size in layout:
        fields.append(HeaderField(field, bytes(data[:size])))
        data = data[size:]
    return Header(name, outer, tuple(fields)), data
