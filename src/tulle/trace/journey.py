"""What a trace found, as values: the journey, its hops, the reasons beside them, the verdict.

The result of ``correlate``, what ``json`` writes and reads, and all that a rendering needs: a
rendering looks at nothing else, so a recorded journey draws the same bytes anywhere.  The
fields are those of the JSON form ``tulle.trace/1`` (documented in ``docs/trace.md``); times
are integer nanoseconds after the first sighting.
"""

from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

SCHEMA: Final = "tulle.trace/1"

Direction: TypeAlias = Literal["request", "reply"]
HopKind: TypeAlias = Literal["pod", "veth", "bridge", "vxlan", "underlay", "device", "wire", "decision"]
"""What the hop's device is to the packet; ``wire`` and ``decision`` have no device of their own."""
ReasonKind: TypeAlias = Literal[
    "route", "neigh", "fdb", "bridge-fdb", "underlay-route", "underlay-neigh", "link", "lookup", "arp", "nd"
]
Status: TypeAlias = Literal["delivered", "no-reply", "lost"]
"""``delivered``: request and reply arrived; ``no-reply``: only the request did; ``lost``: it did not arrive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """One of the two ends.  ``role`` is ``pod`` or ``node``; ``node`` labels the node that it is on."""

    pod: str
    ip: str
    node: str
    role: str = "pod"
    ns: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlay:
    """The tunnel that the packet went through (or should have): the device's own settings."""

    backend: str
    vni: int | None
    port: int | None
    mtu: int
    device: str
    nodes: tuple[str, ...] = ()
    """The outer addresses, sender's first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockDomain:
    """Nodes whose times may be compared, since they share one clock."""

    id: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockFact:
    """How times on different nodes compare.  ``shared``: one kernel, one clock."""

    domains: tuple[ClockDomain, ...]
    offset_ns: int = 0
    method: str = "shared"


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketFact:
    """The probe.  ``len`` is the frame that leaves the source; ``digest`` covers what no hop may change."""

    id: str
    proto: str
    digest: str
    len: int
    family: int = 4
    port: int | None = None
    source_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    """The tunnel's headers on one sighting.  ``csum``: ``partial`` when it is left to the NIC."""

    src: str
    dst: str
    ttl: int
    udp: tuple[int, int]
    vni: int
    csum: str | None = None
    smac: str = ""
    dmac: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    """The packet itself on one sighting; ``text`` says what it carries, e.g. ``ICMP echo request seq 1``."""

    src: str
    dst: str
    ttl: int
    smac: str = ""
    dmac: str = ""
    text: str = ""
    csum: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """One answer of the kernel that explains a hop.

    ``ask`` is the command that puts the same question; ``text`` the answer as ``ip`` or
    ``bridge`` prints it, or the kernel's refusal; ``raw`` the answer's bytes in base64, as they
    came from ``source``.  ``found`` False: the kernel has no such entry.  ``facts`` are the
    parts of the answer by name: ``dst``, ``via``, ``dev``, ``mac``, ``ip``, ``port``, ``state`` …
    """

    kind: ReasonKind
    text: str
    owner: str = ""
    source: str = "rtnetlink"
    ask: str = ""
    found: bool = True
    raw: str = ""
    facts: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """One step of the walk: a sighting of the frame, a decision, or a place where nothing was seen.

    ``n`` counts sightings over both directions.  ``t_shared_with`` is the ``n`` of the sighting whose
    stamp this one shares: the frame was here at some time since then.  ``frame`` is what the tap
    captured, in base64.
    ``observed`` False: expected here by position, but no evidence.
    """

    n: int | None
    step: str
    direction: Direction
    node: str
    netns: str
    kind: HopKind
    dev: str = ""
    dir: str = ""
    ifindex: int | None = None
    t_ns: int | None = None
    t_source: str | None = None
    t_shared_with: int | None = None
    len: int | None = None
    pkttype: str | None = None
    outer: Outer | None = None
    inner: Inner | None = None
    diff: tuple[str, ...] = ()
    why: tuple[Reason, ...] = ()
    observed: bool = True
    frame: str = ""

    def reason(self, kind: ReasonKind) -> Reason | None:
        """The answer of this kind beside the hop."""
        return next((reason for reason in self.why if reason.kind == kind), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Something that happened beside the walk: a question for a neighbour and who answered it (None: nobody).

    ``type`` is ``arp``, or for IPv6 ``nd``, neighbour discovery.
    """

    type: str
    dev: str
    q: str
    node: str
    t_ns: int
    answered_by: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """The kernel's own word on where and why this very packet was freed."""

    reason: str
    place: str
    t_ns: int
    source: str = "skb:kfree_skb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A diagnosis.  ``rule`` names its sentence, ``facts`` fill it in; ``id`` is the fault catalogue's or "".

    ``evidence`` is a command and ``answer`` what it says; ``repair`` a command, "" when there is no single one.
    """

    id: str
    rule: str
    node: str
    facts: dict[str, str]
    evidence: str
    answer: str
    repair: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """How it ended.  ``stopped_at`` is the step of the last hop that left evidence, None when it arrived;
    ``stopped_on`` the node, namespace and device where a tap saw the packet last.

    ``direction`` says which walk that was; ``icmp`` what an ICMP error said and who sent it.
    """

    status: Status
    direction: Direction = "request"
    stopped_at: str | None = None
    stopped_on: str = ""
    drop: Drop | None = None
    finding: Finding | None = None
    icmp: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Overhead:
    """Round trips with and without taps, first transmit to last receive at the source's device; None: not measured."""

    rtt_traced_ns: int | None
    rtt_plain_ns: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Journey:
    """One probe's request and reply."""

    source: End
    target: End
    packet: PacketFact
    hops: tuple[Hop, ...]
    verdict: Verdict
    overhead: Overhead
    clock: ClockFact
    overlay: Overlay | None = None
    side: tuple[Side, ...] = ()
    notes: tuple[str, ...] = ()
    """What could not be looked at, e.g. that there are no tracepoints without root."""
    mode: str = "probe"
    created: str = ""
    tool: str = ""

    def walk(self, direction: Direction) -> tuple[Hop, ...]:
        """The hops of one direction, in their order."""
        return tuple(hop for hop in self.hops if hop.direction == direction)

    def sightings(self, direction: Direction) -> tuple[Hop, ...]:
        return tuple(hop for hop in self.walk(direction) if hop.n is not None)
