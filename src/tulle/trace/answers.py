"""What the kernel's answers say, as ``ip`` and ``bridge`` would print them.

Pure: messages in, words and facts out.  ``decisions`` asks.
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Final

from tulle.model.objects import RTPROT_TULLE, RTPROT_TULLE_POD
from tulle.trace.asking import Answer
from tulle.trace.journey import Reason, ReasonKind
from tulle.wire.rtnetlink.neighbors import NeighborMessage, decode_neighbor
from tulle.wire.rtnetlink.parts import RTM_NEWNEIGH
from tulle.wire.rtnetlink.routes import RT_TABLE_LOCAL, RT_TABLE_MAIN, RouteMessage

PROTOCOLS: Final[Mapping[int, str]] = {
    RTPROT_TULLE: "tulle",
    RTPROT_TULLE_POD: "tulle",
    1: "redirect",
    2: "kernel",
    3: "boot",
    4: "static",
    8: "gated",
    9: "ra",
    11: "zebra",
    12: "bird",
    16: "dhcp",
    17: "mrouted",
    18: "keepalived",
    42: "babel",
    186: "bgp",
    187: "isis",
    188: "ospf",
    189: "rip",
    192: "eigrp",
}
"""Who wrote a route.  Source: include/uapi/linux/rtnetlink.h, iproute2's rt_protos."""
STATES: Final[Mapping[int, str]] = {
    0x01: "INCOMPLETE",
    0x02: "REACHABLE",
    0x04: "STALE",
    0x08: "DELAY",
    0x10: "PROBE",
    0x20: "FAILED",
    0x40: "NOARP",
    0x80: "PERMANENT",
}


def author(protocol: int) -> str:
    """Who wrote a route of this protocol number."""
    return PROTOCOLS.get(protocol, str(protocol))


def route_text(route: RouteMessage, device: str) -> str:
    """As ``ip route`` prints it; ``device`` is the name of its ``oif``."""
    prefix = "default" if route.dst.prefixlen == 0 else str(route.dst)
    if route.dst.prefixlen == route.dst.max_prefixlen:
        prefix = str(route.dst.network_address)
    return " ".join(
        [
            *([] if route.kind == "unicast" else [route.kind]),
            prefix,
            *([f"via {route.gateway}"] if route.gateway else []),
            *([f"dev {device}"] if device else []),
            *(["onlink"] if route.onlink else []),
            *([f"table {route.table}"] if route.table not in (RT_TABLE_MAIN, RT_TABLE_LOCAL) else []),
        ]
    )


def route_facts(route: RouteMessage, device: str) -> dict[str, str]:
    """The parts of a route by name."""
    facts = {"dst": str(route.dst), "dev": device, "type": route.kind}
    return facts | ({"via": str(route.gateway)} if route.gateway else {})


def reason_of(
    kind: ReasonKind, text: str, ask: str, answer: Answer, owner: str, facts: dict[str, str], *, found: bool = True
) -> Reason:
    return Reason(
        kind=kind, text=text, owner=owner, ask=ask, found=found, raw=b64encode(answer.raw).decode(), facts=facts
    )


def first_neighbor(answer: Answer) -> NeighborMessage | None:
    return next((decode_neighbor(message) for message in answer.messages if message.kind == RTM_NEWNEIGH), None)


def state_of(entry: NeighborMessage) -> str:
    return STATES.get(entry.state, f"state {entry.state:#x}")


def refusal(answer: Answer) -> str:
    """The kernel's own words, else the errno's name."""
    return answer.reason or answer.error or "no answer"
