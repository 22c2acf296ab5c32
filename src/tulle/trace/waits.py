"""The questions that a packet waited for: ARP, or neighbour discovery in IPv6, between its arrival and its departure.

Pure.  A first packet meets an empty neighbour table, and most of its time is spent waiting; what it
waited for stands beside the hop that waited.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from tulle.trace.journey import Hop, Reason
from tulle.trace.sightings import Question
from tulle.trace.steps import Numbered


def with_waits(
    hops: Sequence[Hop], walk: Sequence[Numbered], questions: Sequence[Question], start_ns: int
) -> tuple[Hop, ...]:
    """``hops`` with the answered question for the neighbour that each was sent to, if it was asked meanwhile."""
    places = iter(walk)
    since_ns: int | None = None
    done: list[Hop] = []
    for hop in hops:
        place = next(places, None) if hop.n is not None else None
        if place is not None and not place.sighting.outgoing:
            since_ns = place.sighting.t_ns
        wait = _wait(hop, place, questions, since_ns, start_ns) if place is not None else None
        done.append(hop if wait is None else replace(hop, why=(*hop.why, wait)))
    return tuple(done)


def _wait(
    hop: Hop, place: Numbered, questions: Sequence[Question], since_ns: int | None, start_ns: int
) -> Reason | None:
    neighbors = {reason.facts.get("ip") for kind in ("neigh", "underlay-neigh") if (reason := hop.reason(kind))}
    left_ns, netns = place.sighting.t_ns, place.sighting.device.netns
    mine = [
        question
        for question in questions
        if question.device.netns == netns
        and str(question.ip) in neighbors
        and question.t_ns <= left_ns
        and (since_ns is None or question.t_ns >= since_ns)
    ]
    asked = next((question for question in mine if question.answer is None and question.outgoing), None)
    answered = next((question for question in mine if question.answer is not None), None)
    if asked is None or answered is None:
        return None
    waited_ns = answered.t_ns - asked.t_ns
    words = f"who-has {asked.ip} tell {asked.asker}"
    if asked.type == "nd":  # in tcpdump's words as well
        words = f"neighbor solicitation, who has {asked.ip}, from {asked.asker}"
    return Reason(
        kind=asked.type,
        text=f"{words} → {answered.answer} (+{waited_ns / 1000:.1f} µs)",
        source="tap",
        facts={"ip": str(asked.ip), "mac": str(answered.answer), "t_ns": str(asked.t_ns - start_ns)},
    )


def first_askers(questions: Iterable[Question]) -> tuple[Question, ...]:
    """Each question once, where it was seen first: at its asker."""
    known: dict[tuple[str, object, object], Question] = {}
    for question in questions:
        if question.answer is None:
            known.setdefault((question.type, question.ip, question.asker), question)
    return tuple(known.values())
