"""A journey as a capture file and back: every sighting a packet, every tap an interface.

Pure.  What packets cannot hold (decisions, reasons, the verdict) lies beside them in a block of
local use, as the journey's JSON without its frames: the frames are the packets.  Other readers
skip that block.
"""

from base64 import b64decode, b64encode
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final

from tulle.errors import DecodeError
from tulle.model.network import IPAddress
from tulle.trace.journey import Hop, Journey
from tulle.trace.json import decode_journey, encode_journey
from tulle.wire.pcapng import (
    LINK_ETHERNET,
    LINK_RAW_IP,
    LOCAL_USE,
    Interface,
    LocalBlock,
    Packet,
    Reception,
    Section,
)
from tulle.wire.pcapng_decode import decode_sections
from tulle.wire.pcapng_encode import encode_section

JOURNEY_BLOCK: Final = LOCAL_USE | 0x74756C
""""tul"."""
_MARK: Final = b"tulle.trace/1\n"
_RECEPTIONS: Final[dict[str, Reception]] = {
    "host": "unicast",
    "broadcast": "broadcast",
    "multicast": "multicast",
    "otherhost": "promiscuous",
}


def encode_capture(journey: Journey) -> bytes:
    """The journey as a pcapng file; the same journey gives the same bytes."""
    seen = _sightings(journey)
    taps = dict.fromkeys(tap_name(hop) for hop in seen)
    order = {name: at for at, name in enumerate(taps)}
    start = _start_ns(journey)
    return encode_section(
        Section(
            interfaces=tuple(_interface(name, [hop for hop in seen if tap_name(hop) == name]) for name in taps),
            packets=tuple(_packet(hop, order[tap_name(hop)], start, len(seen)) for hop in seen),
            names=_names(journey),
            comment=_verdict(journey),
            application=journey.tool,
            blocks=(_block(journey),),
        )
    )


def decode_capture(data: bytes) -> Journey:
    """The journey in a file that ``encode_capture`` made.

    Raises DecodeError: not pcapng, no journey in it, or its packets are not the journey's.
    """
    for section in decode_sections(data):
        for block in section.blocks:
            if block.type == JOURNEY_BLOCK and block.body.startswith(_MARK):
                bare = decode_journey(block.body[len(_MARK) :].rstrip(b"\0"))
                return _filled(bare, section)
    raise DecodeError("pcapng", reason="no journey in it: not written by tulle trace --pcap")


def tap_name(hop: Hop) -> str:
    """``node1:flannel.1``; in a pod ``node1/pod1:eth0``, between the nodes ``switch:port1``."""
    if hop.netns == "root":
        return f"{hop.node}:{hop.dev}"
    return f"{hop.netns}:{hop.dev}" if hop.node == "underlay" else f"{hop.node}/{hop.netns}:{hop.dev}"


def _sightings(journey: Journey) -> list[Hop]:
    return [hop for hop in journey.hops if hop.n is not None]


def _block(journey: Journey) -> LocalBlock:
    bare = replace(journey, hops=tuple(replace(hop, frame="") if hop.n is not None else hop for hop in journey.hops))
    return LocalBlock(type=JOURNEY_BLOCK, body=_MARK + encode_journey(bare))


def _filled(bare: Journey, section: Section) -> Journey:
    """``bare`` with its frames, which are the section's packets in order."""
    if len(section.packets) != len(_sightings(bare)):
        raise DecodeError("pcapng", sightings=len(_sightings(bare)), packets=len(section.packets))
    packets = iter(section.packets)
    hops = tuple(
        replace(hop, frame=b64encode(next(packets).data).decode()) if hop.n is not None else hop for hop in bare.hops
    )
    return replace(bare, hops=hops)


def _interface(name: str, hops: list[Hop]) -> Interface:
    steps = dict.fromkeys(f"{'reply ' if hop.direction == 'reply' else ''}step {hop.step}" for hop in hops if hop.step)
    return Interface(
        name=name,
        description=", ".join([*steps, f"netns {hops[0].netns}"]),
        link_type=LINK_RAW_IP if hops[0].inner is not None and not hops[0].inner.dmac else LINK_ETHERNET,
    )


def _packet(hop: Hop, interface: int, start_ns: int, count: int) -> Packet:
    data = b64decode(hop.frame)
    step = f" step {hop.step}" if hop.step else ""
    since = f" +{(hop.t_ns or 0) / 1000:.1f}us"
    tie = f" (stamp of hop {hop.t_shared_with})" if hop.t_shared_with is not None else ""
    return Packet(
        interface=interface,
        t_ns=start_ns + (hop.t_ns or 0),
        length=max(hop.len or 0, len(data)),
        data=data,
        direction="out" if hop.dir == "tx" else "in",
        reception=_RECEPTIONS.get(hop.pkttype or "", ""),
        comment=f"hop {hop.n}/{count}{step} {tap_name(hop)} {hop.dir.upper()}{since}{tie}",
    )


def _start_ns(journey: Journey) -> int:
    """When the journey was recorded, as far as it says; the stamps themselves are relative."""
    try:
        created = datetime.fromisoformat(journey.created)
    except ValueError:
        return 0
    return int(created.replace(tzinfo=created.tzinfo or UTC).timestamp()) * 1_000_000_000


def _names(journey: Journey) -> dict[IPAddress, str]:
    """Pods and nodes by their addresses."""
    ends = [(journey.source.ip, journey.source.pod), (journey.target.ip, journey.target.pod)]
    outer = journey.overlay.nodes if journey.overlay is not None else ()
    ends += list(zip(outer, (journey.source.node, journey.target.node), strict=False))
    found: dict[IPAddress, str] = {}
    for text, name in ends:
        try:
            found.setdefault(ip_address(text), name)
        except ValueError:
            continue
    return found


def _verdict(journey: Journey) -> str:
    verdict = journey.verdict
    parts = [f"{journey.source.pod} -> {journey.target.pod}: {verdict.status}"]
    if verdict.stopped_at or verdict.stopped_on:
        parts.append(f"stopped at step {verdict.stopped_at or '-'}, {verdict.stopped_on}")
    if verdict.drop is not None:
        parts.append(f"dropped in {verdict.drop.place}: {verdict.drop.reason}")
    if verdict.finding is not None:
        parts.append(f"{verdict.finding.id} {verdict.finding.rule}".strip())
    return "; ".join(parts)
