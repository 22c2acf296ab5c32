"""What is known about a walk that stopped: the scene that the rules of the diagnosis look at.

Pure.  A rule takes a scene and gives a finding, or None when its evidence is not complete.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tulle.model.network import IPAddress
from tulle.trace.decided import Decision, NodeFacts
from tulle.trace.journey import Direction, Drop, Finding
from tulle.trace.places import Places
from tulle.trace.probe_packet import Probe
from tulle.trace.sightings import Question, Sighting
from tulle.trace.steps import Numbered
from tulle.trace.topology import Device, NetnsId, Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that is known about a walk that failed."""

    topology: Topology
    probe: Probe
    walk: Sequence[Numbered]
    decided: Mapping[NetnsId, Sequence[Decision]]
    drop: Drop | None
    cast: Places
    facts: Mapping[NetnsId, NodeFacts]
    questions: Sequence[Question]
    send_error: str
    direction: Direction = "request"

    @property
    def last(self) -> Sighting | None:
        return self.walk[-1].sighting if self.walk else None

    @property
    def netns(self) -> NetnsId:
        """Where it stopped; the source when nothing was seen."""
        return self.last.device.netns if self.last else self.cast.source

    @property
    def device(self) -> Device | None:
        return self.walk[-1].device if self.walk else None

    @property
    def target(self) -> IPAddress:
        """Where the packet was going when it was last seen; where it should have gone when it never was."""
        if self.last is not None:
            return self.last.layers.packet.destination
        return self.probe.target if self.direction == "request" else self.probe.source

    def decision(self, kind: str) -> Decision | None:
        return next((answer for answer in self.decided.get(self.netns, ()) if answer.kind == kind), None)

    def unanswered(self, netns: NetnsId, ip: IPAddress | None = None) -> Question | None:
        """A question asked in ``netns`` (about ``ip``) that no tap saw an answer to."""
        mine = [q for q in self.questions if q.device.netns == netns and (ip is None or q.ip == ip)]
        answered = {q.ip for q in self.questions if q.answer}
        return next((q for q in mine if q.answer is None and q.outgoing and q.ip not in answered), None)

    def finding(
        self, fault: str, rule: str, decision: Decision | None = None, *, repair: str = "", **facts: object
    ) -> Finding:
        asked = (decision.reason.ask, decision.reason.text) if decision else ("", "")
        return self.shown(fault, rule, *asked, repair=repair, **facts)

    def shown(self, fault: str, rule: str, evidence: str, answer: str, *, repair: str = "", **facts: object) -> Finding:
        """A finding whose ``evidence`` is a command and ``answer`` what it says."""
        named = {"node": self.cast.name(self.netns), **{name: str(value) for name, value in facts.items()}}
        return Finding(
            id=fault,
            rule=rule,
            node=named["node"],
            facts=named,
            evidence=evidence,
            answer=answer,
            repair=repair,
        )

    @property
    def netfilter(self) -> bool:
        return self.drop is not None and self.drop.reason == "NETFILTER_DROP"


Rule = Callable[[Scene], Finding | None]
