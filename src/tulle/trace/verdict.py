"""How a journey ended: arrived, or where and, as far as the evidence goes, why not.

Pure.  "Seen at the target" is not "accepted by the target": the tap's packet type and the
kernel's own drop belong to the answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tulle.trace.decided import Decision, NodeFacts
from tulle.trace.diagnose import diagnose
from tulle.trace.journey import Direction, Drop, Hop, Verdict
from tulle.trace.places import Places
from tulle.trace.probe_packet import Probe, describe
from tulle.trace.scene import Scene
from tulle.trace.sightings import Question
from tulle.trace.steps import Numbered
from tulle.trace.topology import NetnsId, Topology
from tulle.wire.frames import IcmpError


@dataclass(frozen=True, slots=True)
class Walk:
    """One direction: its sightings with steps, the hops that they became, the answers about it, and its drop."""

    direction: Direction
    places: tuple[Numbered, ...]
    hops: tuple[Hop, ...]
    decided: Mapping[NetnsId, Sequence[Decision]]
    drop: Drop | None
    cast: Places
    received: bool = False
    """The prober's own socket got it (the kernel may free what only a raw socket wanted as "no socket")."""

    @property
    def arrived(self) -> bool:
        """The target's own stack took it: received there, for it, out of any tunnel, and not dropped after."""
        if self.received:
            return True
        last = self.places[-1].sighting if self.places else None
        return (
            last is not None
            and last.device.netns == self.cast.target
            and not last.outgoing
            and not last.encapsulated
            and last.capture.pkttype == "host"
            and self.drop is None
        )

    @property
    def error(self) -> str:
        """The ICMP error that this packet is, and who sent it; "" when it is none."""
        if not self.places or not isinstance(self.places[0].sighting.layers.packet.payload, IcmpError):
            return ""
        packet = self.places[0].sighting.layers.packet
        return f"{describe(packet)} from {packet.source}"


def judge(
    topology: Topology,
    probe: Probe,
    request: Walk,
    reply: Walk,
    facts: Mapping[NetnsId, NodeFacts],
    questions: Sequence[Question],
    send_error: str,
) -> Verdict:
    """The verdict over both walks."""
    arrived = request.arrived or _answered(topology, request, reply)
    if arrived and reply.arrived:
        return Verdict(status="delivered", icmp=reply.error)
    failed = reply if arrived else request
    scene = Scene(
        topology=topology,
        probe=probe,
        walk=failed.places,
        decided=failed.decided,
        drop=failed.drop,
        cast=failed.cast,
        facts=facts,
        questions=tuple(questions),
        send_error=send_error if failed is request else "",
        direction=failed.direction,
    )
    last = next((hop for hop in reversed(failed.hops) if hop.n is not None), None)
    return Verdict(
        status="no-reply" if arrived else "lost",
        direction=failed.direction,
        stopped_at=next((hop.step for hop in reversed(failed.hops) if hop.step), None),
        stopped_on=f"{last.node} {last.netns} {last.dev}".strip() if last else "",
        drop=failed.drop,
        finding=diagnose(scene),
        icmp=reply.error if failed is request else "",
        note=send_error,
    )


def _answered(topology: Topology, request: Walk, reply: Walk) -> bool:
    """The target itself answered, be it "port unreachable": then it has taken the request.

    Of a target that cannot be seen, its answer is the evidence; an ICMP error may be another's.
    """
    if request.cast.target not in topology.namespaces:
        return bool(reply.places) and not reply.error
    starts_there = bool(reply.places) and reply.places[0].sighting.device.netns == request.cast.target
    return starts_there and bool(request.places)
