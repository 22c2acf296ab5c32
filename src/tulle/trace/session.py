"""One trace from beginning to end: find the devices, open the taps, send, read, ask, correlate.

The rim's composition: everything that decides is pure and elsewhere.  The order is the point.
The first probe meets whatever a first packet meets, with all taps open; only afterwards, with
the taps closed, the same probe measures what the looking cost.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from tulle import __version__
from tulle.trace.answerer import Answerer
from tulle.trace.correlate import Findings, correlate, trail_of_walk, walk_of
from tulle.trace.decided import Answers, Decision, NodeFacts, Query, queries
from tulle.trace.decisions import Questioner
from tulle.trace.discover import discover
from tulle.trace.filters import tap_filter
from tulle.trace.flow import Flow
from tulle.trace.journey import Direction, Journey, Overhead
from tulle.trace.order import UNKNOWN, Order, cast_of, flow_of
from tulle.trace.places import Places
from tulle.trace.probe_packet import Probe
from tulle.trace.prober import Outcome, Prober
from tulle.trace.sightings import Capture, Seen, recognise
from tulle.trace.spaces import Spaces
from tulle.trace.stamps import Stamps
from tulle.trace.taps import Taps
from tulle.trace.topology import NetnsId, Topology, are_joined, on_the_way
from tulle.trace.tracepoints import EventSource, named, open_tracepoints
from tulle.trace.trail import Events, drop_in
from tulle.wire.frames import IcmpError

PLAIN_PROBES: Final = 3
"""Untapped probes after the trace; the median is printed."""
LONGEST_S: Final = 60.0
"""A trace ends then, however many probes are still to be sent."""
PAUSE_S: Final = 0.002
"""Between two probes, so that the one before has left every queue."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shot:
    """One probe and all that was caught of it."""

    probe: Probe
    outcome: Outcome
    captures: tuple[Capture, ...]
    events: Events
    answers: Answers
    facts: Mapping[NetnsId, NodeFacts]
    seen: Seen


def trace(order: Order, spaces: Spaces) -> tuple[Journey, ...]:
    """One journey per probe, in their order.

    Raises ConfigError: an end has no address of this family; KernelError: not allowed to look.
    """
    session = _Session.prepare(order, spaces)
    with Stamps(spaces, session.where) as stamps:
        shots, notes = session.observed()
        plain = session.untapped() if any(shot.outcome.received for shot in shots) else None
    notes += () if stamps.proven else ("stamps:",)
    return tuple(session.journey(shot, plain, notes) for shot in shots)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Session:
    order: Order
    spaces: Spaces
    topology: Topology
    places: Places
    flow: Flow

    @classmethod
    def prepare(cls, order: Order, spaces: Spaces) -> "_Session":
        topology = discover(spaces, order.source, order.source if order.target is None else order.target)
        with Questioner(spaces, topology) as questioner:
            places = cast_of(order, spaces, topology, questioner)
        flow = flow_of(order, spaces, topology, places)
        return cls(order=order, spaces=spaces, topology=topology, places=places, flow=flow)

    @property
    def where(self) -> tuple[NetnsId, ...]:
        """The namespaces that are tapped: those between the ends; all that is reached when an end cannot be seen."""
        between = on_the_way(self.topology, self.places.source, self.places.target)
        return tuple(netns for netns in between if netns in self.spaces)

    def observed(self) -> tuple[tuple[_Shot, ...], tuple[str, ...]]:
        """The probes with everything open: what was caught of each, and what could not be looked at."""
        program = tap_filter(self.flow, self.topology.vxlan_ports())
        points, note = open_tracepoints(self.flow)
        with points, Taps(self.spaces, self.where, self.topology, program) as taps:
            shots = tuple(self._shots(taps, points))
            return shots, tuple(self._notes(taps.lost, note, len(shots)))

    def _shots(self, taps: Taps, points: EventSource) -> Iterator[_Shot]:
        with Questioner(self.spaces, self.topology) as questioner:
            known: dict[Query, tuple[Decision, ...]] = {}
            deadline = time.monotonic() + max(LONGEST_S, self.order.timeout_s)
            for number in range(1, self.order.count + 1):
                if number > 1:
                    time.sleep(PAUSE_S)
                if time.monotonic() > deadline:
                    return
                yield self._shot(number, taps, points, questioner, known)

    def _shot(
        self,
        number: int,
        taps: Taps,
        points: EventSource,
        questioner: Questioner,
        known: dict[Query, tuple[Decision, ...]],
    ) -> _Shot:
        points.start()
        probe, outcome = self._send(number)
        events = points.stop()
        captures = tuple(self._relevant(taps.read()))
        seen = recognise(captures, probe, self.topology.vxlan_ports())
        asked = tuple(self._queries(seen, probe))
        if not outcome.received:
            known.clear()  # what failed is asked about afresh
        answers: dict[tuple[Direction, NetnsId], tuple[Decision, ...]] = {
            (direction, query.netns): self._decided(query, questioner, known) for direction, query in asked
        }
        facts = {query.netns: questioner.facts(query) for _, query in asked if not _came_back(seen, self.places.source)}
        return _Shot(
            probe=probe,
            outcome=outcome,
            captures=captures,
            events=self._named(seen, events),
            answers=answers,
            facts=facts,
            seen=seen,
        )

    def _named(self, seen: Seen, events: Events) -> Events:
        """With names for the places of drops, when the probe or its reply was dropped: reading them takes time."""
        for direction in ("request", "reply"):
            walk = walk_of(self.topology, self.places, seen, direction)
            if drop_in(trail_of_walk(walk, events), 0):
                return named(events)
        return events

    def _decided(
        self, query: Query, questioner: Questioner, known: dict[Query, tuple[Decision, ...]]
    ) -> tuple[Decision, ...]:
        if query not in known:
            known[query] = questioner.decide(query)
        return known[query]

    def _send(self, number: int) -> tuple[Probe, Outcome]:
        target = self.places.target
        answerer = Answerer.open(self.spaces.descriptor(target), self.flow) if target in self.spaces else None
        try:
            with Prober(self.spaces.descriptor(self.places.source), self.flow, number) as prober:
                prober.send()
                return prober.probe, prober.wait(self.order.timeout_s, answerer)
        finally:
            if answerer is not None:
                answerer.close()

    def untapped(self) -> int | None:
        """The median round trip of the same probe with nothing looking; None: none came back."""
        times = [self._send(number)[1].rtt_ns for number in range(1, PLAIN_PROBES + 1)]
        known = sorted(ns for ns in times if ns is not None)
        return known[len(known) // 2] if known else None

    def _relevant(self, captures: tuple[Capture, ...]) -> Iterator[Capture]:
        """Without what a namespace sends to itself, unless that is what was asked for."""
        talks_to_itself = self.places.source == self.places.target
        for capture in captures:
            device = self.topology.device(capture.device)
            if talks_to_itself or device is None or not device.loopback:
                yield capture

    def _queries(self, seen: Seen, probe: Probe) -> Iterator[tuple[Direction, Query]]:
        for direction in ("request", "reply"):
            walk = walk_of(self.topology, self.places, seen, direction)
            if not walk and (direction == "request" or self._reached(seen)):
                yield direction, self._unsent(direction, probe)
            for query in queries(walk, self.topology):
                yield direction, query

    def _reached(self, seen: Seen) -> bool:
        """Did a tap in the target's own namespace see the probe?"""
        return any(sighting.device.netns == self.places.target for sighting in seen.sightings)

    def _unsent(self, direction: Direction, probe: Probe) -> Query:
        """What is asked about a packet that no tap saw: where its own namespace would send it."""
        if direction == "request":
            return Query(netns=self.places.source, source=probe.source, target=probe.target, arrived_by=None)
        return Query(netns=self.places.target, source=probe.target, target=probe.source, arrived_by=None)

    def journey(self, shot: _Shot, plain_ns: int | None, notes: tuple[str, ...]) -> Journey:
        """What the evidence of one probe tells."""
        found = Findings(
            topology=self.topology,
            places=self.places,
            probe=shot.probe,
            seen=shot.seen,
            answers=shot.answers,
            facts=shot.facts,
            events=shot.events,
            send_error=shot.outcome.error,
            received=shot.outcome.received,
            overhead=Overhead(rtt_traced_ns=_round_trip(shot.seen, self.places.source), rtt_plain_ns=plain_ns),
            notes=notes,
        )
        created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return replace(correlate(found), created=created, tool=f"tulle {__version__}")

    def _notes(self, lost: int, note: str, sent: int) -> Iterator[str]:
        if sent < self.order.count:
            yield f"cut:n={sent}"
        if note:
            yield f"tracepoints:reason={note}"
        if lost:
            yield f"overflow:n={lost}"
        target = self.places.target
        if target != UNKNOWN and not are_joined(self.topology, self.places.source, target):
            yield "unjoined:"


def _round_trip(seen: Seen, source: NetnsId) -> int | None:
    """First transmission to last receipt at the source's own devices; None: no reply came back there."""
    mine = [sighting for sighting in seen.sightings if sighting.device.netns == source]
    sent = [sighting.t_ns for sighting in mine if sighting.direction == "request" and sighting.outgoing]
    back = [sighting.t_ns for sighting in mine if sighting.direction == "reply" and not sighting.outgoing]
    return max(back) - min(sent) if sent and back else None


def _came_back(seen: Seen, source: NetnsId) -> bool:
    """Did the target itself answer, as far as the taps saw?"""
    return any(
        sighting.direction == "reply"
        and sighting.device.netns == source
        and not isinstance(sighting.layers.packet.payload, IcmpError)
        for sighting in seen.sightings
    )
