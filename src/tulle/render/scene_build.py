"""From a journey to its ``Scene``: the one place where hops become beats, legs and badges.

Pure; geometry is ``scene_layout``'s, words are ``scene_words``'.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tulle.render import scene_words as words
from tulle.render.scene import WIDTH, Badge, Beat, Box, Card, Leg, Point, Said, Scene, Side, Station, Stop
from tulle.render.scene_cast import ghosts, is_ghost, lane_of, side_of, stations
from tulle.render.scene_layout import (
    MARGIN,
    NODE_TOP,
    NODE_WIDTH,
    POD_HEIGHT,
    POD_TOP,
    WIRE_HEIGHT,
    Plan,
    card,
    lane_x,
    on,
    plan,
    split,
)
from tulle.render.scene_moves import Move, moves_of
from tulle.render.walk_times import legs as timed
from tulle.trace.journey import Direction, End, Hop, Journey

CAPTION_HEIGHT: Final = 116
_BADGE_STEP: Final = 25
"""Between two badges that would stand on one another."""
LABEL: Final = 106
"""Room for a device's name beside its lane."""
WIRE_LENGTH: Final = lane_x("target", "nic") - lane_x("source", "nic")


def scene_of(journey: Journey) -> Scene:
    """The picture of ``journey``; the same journey gives the same scene."""
    return _Builder.of(journey).scene()


@dataclass(frozen=True, slots=True)
class _Builder:
    journey: Journey
    rest: tuple[Hop, ...]
    """The ghosts."""
    plan: Plan
    moves: tuple[Move, ...]
    """Both walks, then the ghosts."""

    @classmethod
    def of(cls, journey: Journey) -> "_Builder":
        rest = ghosts(journey)
        places = plan(journey, (*journey.hops, *rest))
        there = (*journey.walk("request"), *rest)
        back = journey.walk("reply")
        moves = (
            *moves_of(there, places, ()),
            *moves_of(back, places, [hop for hop in there if hop.kind != "decision"][::-1]),
        )
        return cls(journey, rest, places, moves)

    def scene(self) -> Scene:
        journey = self.journey
        delivered = journey.verdict.status == "delivered"
        floor = self.plan.floor + 12
        return Scene(
            height=floor + CAPTION_HEIGHT + MARGIN,
            floor=floor,
            title=words.title(journey),
            subtitle=words.subtitle(journey),
            tunnel=words.tunnel(journey),
            tunnel_at=Point((lane_x("source", "nic") + lane_x("target", "nic")) // 2, self.plan.wire_y + 53),
            boxes=tuple(self._boxes()),
            stations=tuple(self._stations()),
            cards=tuple(self._cards()),
            legs=tuple(self._legs()),
            badges=tuple(_apart(self._badges())),
            beats=tuple(self._beats()),
            stop=None if delivered else self._stop(),
            delivered=delivered,
            verdict=words.verdict(journey),
            repair=journey.verdict.finding.repair if journey.verdict.finding else "",
        )

    def _boxes(self) -> Iterable[Box]:
        source, target = self.journey.source, self.journey.target
        bottom, reached = self.plan.node_bottom, {hop.node for hop in self.journey.hops}
        outer = self.journey.overlay.nodes if self.journey.overlay and self.journey.overlay.nodes else ("", "")
        ends: list[tuple[Side, End, str]] = [("source", source, outer[0]), ("target", target, outer[-1])]
        for side, end, address in ends[:1] if self.plan.same_node else ends:
            yield Box(
                kind="node",
                name=words.plain(end.node),
                detail=end.ip if end.role == "node" else address,
                x=MARGIN if side == "source" else WIDTH - MARGIN - NODE_WIDTH,
                y=NODE_TOP,
                width=WIDTH - 2 * MARGIN if self.plan.same_node else NODE_WIDTH,
                height=bottom - NODE_TOP,
                side=side,
                reached=end.node in reached,
            )
        for side, end, _ in ends:
            if end.role == "pod":
                yield self._pod(side, end)
        if self.plan.wire:
            yield self._underlay("underlay" in reached)

    def _pod(self, side: Side, end: End) -> Box:
        width = 202
        inside = lane_x(side, "pod") + (42 if side == "source" else -42)
        seen = any(hop.netns == end.pod for hop in self.journey.hops) or side == "source"
        return Box(
            kind="pod",
            name=words.plain(end.pod),
            detail=end.ip,
            x=inside - width if side == "source" else inside,
            y=POD_TOP,
            width=width,
            height=POD_HEIGHT,
            side=side,
            reached=seen,
        )

    def _underlay(self, reached: bool) -> Box:
        names = dict.fromkeys(hop.netns for hop in self.journey.hops if hop.node == "underlay" and hop.netns)
        return Box(
            kind="underlay",
            name=Said("underlay", "底层网络"),
            detail=" ".join(names),
            x=MARGIN,
            y=self.plan.node_bottom + 18,
            width=WIDTH - 2 * MARGIN,
            height=WIRE_HEIGHT,
            side="wire",
            reached=reached,
        )

    def _stations(self) -> Iterable[Station]:
        everything = (*self.journey.hops, *self.rest)
        nics = dict(zip((self.journey.source.node, self.journey.target.node), self._outer(), strict=False))
        for side in ("source", "wire", "target"):
            mine = stations(self.journey, everything, side)
            for hop in mine:
                lane = lane_of(self.journey, hop)
                yield Station(
                    name=hop.dev,
                    detail=nics.get(hop.node, "") if lane == "nic" and hop.kind == "underlay" else "",
                    kind=hop.kind,
                    at=self.plan.at(hop),
                    side=side,
                    lane=lane,
                    label="below" if side == "wire" else "left" if side == "source" else "right",
                    room=WIRE_LENGTH // (len(mine) + 1) - 6 if side == "wire" else LABEL,
                    ghost=is_ghost(hop),
                )

        yield from self._switches()

    def _switches(self) -> Iterable[Station]:
        """A bridge that switched the frame itself: its own device saw nothing, its table decided."""
        for move in self.moves:
            entry = move.hop.reason("bridge-fdb") if move.hop.kind == "decision" else None
            routed = move.hop.reason("route") is not None
            if entry is not None and entry.facts.get("bridge") and not routed and move.hop.direction == "request":
                yield Station(
                    name=entry.facts["bridge"],
                    detail="",
                    kind="bridge",
                    at=move.path[-1],
                    side="source",
                    lane="pod",
                    label="below",
                    room=LABEL,
                )

    def _outer(self) -> tuple[str, ...]:
        return self.journey.overlay.nodes if self.journey.overlay is not None else ()

    def _cards(self) -> Iterable[Card]:
        request = self.journey.walk("request")
        sides: tuple[Side, ...] = ("source", "target")
        for side in sides:
            mine = [hop for hop in request if self.plan.same_node or side_of(self.journey, hop) == side]
            found = card(side, words.entries(mine), same_node=self.plan.same_node)
            if found is not None and not (self.plan.same_node and side == "target"):
                yield found

    def _legs(self) -> Iterable[Leg]:
        drawn = {move.between for move in self.moves if move.hop.direction == "request"}
        for move in self.moves:
            if len(move.path) > 1:
                yield Leg(
                    path=move.path,
                    direction=move.hop.direction,
                    wrapped=move.wrapped,
                    reached=not is_ghost(move.hop),
                    again=move.hop.direction == "reply" and (move.between in drawn or len(move.between) < 2),
                )
        yield from self._unreached_reply()

    def _unreached_reply(self) -> Iterable[Leg]:
        """What is left of the request's own way home, where the reply stopped on it."""
        verdict = self.journey.verdict
        back = [move for move in self.moves if move.hop.direction == "reply"]
        if verdict.status != "no-reply" or not back:
            return
        there = [move for move in self.moves if move.hop.direction == "request"]
        end = back[-1].path[-1]
        met = next((at for at, move in enumerate(there) if on(move.path, end)), 0)
        for at in range(met, 0, -1):
            path = there[at].path[::-1]
            rest = split(path, end)[1] if at == met else path
            if len(rest) > 1:
                yield Leg(path=rest, direction="reply", wrapped=there[at].wrapped, reached=False)

    def _badges(self) -> Iterable[Badge]:
        for move in self.moves:
            hop = move.hop
            if hop.step:
                state = "ghost" if is_ghost(hop) else "decided" if hop.kind == "decision" else "seen"
                yield Badge(
                    step=hop.step,
                    at=move.path[-1],
                    direction=hop.direction,
                    state=state if hop.observed or is_ghost(hop) else "unseen",
                )

    def _beats(self) -> Iterable[Beat]:
        directions: tuple[Direction, ...] = ("request", "reply")
        times = {id(leg.hop): leg for way in directions for leg in timed(self.journey.walk(way))}
        for move in self.moves:
            if not is_ghost(move.hop):
                yield Beat(
                    hop=move.hop,
                    path=move.path,
                    wrapped=move.wrapped,
                    where=words.where(move.hop),
                    text=words.caption(self.journey, move.hop),
                    numbers=words.numbers(move.hop, times.get(id(move.hop))),
                )

    def _stop(self) -> Stop:
        direction = self.journey.verdict.direction
        walked = [move for move in self.moves if not is_ghost(move.hop)]
        mine = [move for move in walked if move.hop.direction == direction] or walked
        at = mine[-1].path[-1] if mine else Point(lane_x("source", "pod"), POD_TOP + POD_HEIGHT // 2)
        return Stop(at=at, direction=direction)


def _apart(badges: Iterable[Badge]) -> Iterable[Badge]:
    """No badge on another of the same walk: the later one moves along."""
    taken: set[tuple[Direction, Point]] = set()
    for badge in badges:
        at = badge.at
        while (badge.direction, at) in taken:
            at = Point(at.x + _BADGE_STEP, at.y)
        taken.add((badge.direction, at))
        yield Badge(step=badge.step, at=at, direction=badge.direction, state=badge.state)
