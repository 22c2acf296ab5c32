"""The lines that a walk is drawn on: from station to station, with the decisions in the middle between theirs.

Pure.  A ``Move`` is one hop and the way to it, so that a walk's moves are one line without a gap.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tulle.render.scene import Point
from tulle.render.scene_cast import Key, key_of
from tulle.render.scene_layout import POD_HEIGHT, POD_TOP, Plan, along, lane_x, split
from tulle.trace.journey import Hop


@dataclass(frozen=True, slots=True)
class Move:
    """One hop of a walk with the way to it; ``between`` are the stations that the line joins."""

    hop: Hop
    path: tuple[Point, ...]
    wrapped: bool
    between: frozenset[Key]


def moves_of(hops: Sequence[Hop], places: Plan, known: Sequence[Hop]) -> tuple[Move, ...]:
    """The way to each hop: from station to station, decisions in the middle between theirs.

    A decision that nothing follows stands on the way that the stations of ``known`` would have led on.
    """
    done: list[Move] = []
    before: Hop | None = None
    waiting: list[Hop] = []
    for hop in hops:
        if hop.kind == "decision":
            waiting.append(hop)
            continue
        done += _stretch(before, waiting, hop, places)
        before, waiting = hop, []
    if waiting:
        done += _stretch(before, waiting, _onward(before, known), places)[: len(waiting)]
    return tuple(done)


def _onward(before: Hop | None, known: Sequence[Hop]) -> Hop | None:
    """The station after ``before`` on the known way."""
    keys = [key_of(hop) for hop in known]
    at = keys.index(key_of(before)) + 1 if before is not None and key_of(before) in keys else len(keys)
    return known[at] if at < len(known) else None


def _stretch(before: Hop | None, decisions: Sequence[Hop], after: Hop | None, places: Plan) -> list[Move]:
    """From one station to the next, by way of the decisions between them."""
    path = _way(before, after, places)
    wrapped = any(hop is not None and hop.outer is not None for hop in (before, after))
    between = frozenset(key_of(hop) for hop in (before, after) if hop is not None)
    done: list[Move] = []
    spots = along(path, len(decisions)) if before is not None else [path[0], *along(path, len(decisions) - 1)]
    for hop, point in zip(decisions, spots, strict=False):
        head, path = split(path, point)
        done.append(Move(hop, head, before is not None and before.outer is not None, between))
    if after is not None:
        done.append(Move(after, path if before is not None or decisions else path[-1:], wrapped, between))
    return done


def _way(before: Hop | None, after: Hop | None, places: Plan) -> tuple[Point, ...]:
    if before is not None and after is not None:
        return places.path(before, after)
    if after is not None:
        end = places.at(after)
        return (Point(end.x, end.y - 44), end)
    if before is not None:
        start = places.at(before)
        return (start, Point(start.x, start.y + 36))
    return (Point(lane_x("source", "nic"), POD_TOP + POD_HEIGHT),)
