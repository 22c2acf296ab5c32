"""Where everything in the picture stands: lanes, rows, the wire below, and the lines between two stations.

Pure geometry.  On each side the pod's lane (pod, veth, bridge) hangs from the top outside, the
NIC's lane (tunnel, NIC) stands on the bottom inside, and the wire runs below both.  A line
between two lanes of a node is horizontal where the pod's lane ends, and below the card; down to the wire and along
it otherwise.  A line never turns more than once between two neighbours.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tulle.render.scene import WIDTH, Card, Entry, Lane, Point, Side
from tulle.render.scene_cast import Key, key_of, lane_of, side_of, stations
from tulle.trace.journey import Hop, Journey

MARGIN: Final = 16
NODE_TOP: Final = 78
NODE_WIDTH: Final = 420
POD_TOP: Final = NODE_TOP + 34
POD_HEIGHT: Final = 66
PITCH: Final = 60
WIRE_HEIGHT: Final = 90
LEAST_ROWS: Final = 3
_UNDER_CARD: Final = 1
"""The last row that the card stands beside: the NIC's lane of a node without a pod begins below it."""
_LANES: Final[Mapping[Lane, int]] = {"pod": 190, "nic": 340, "wire": 340}


@dataclass(frozen=True, slots=True)
class Plan:
    """The places of one journey's stations.  ``rows`` is how many a node has; ``wire`` whether there is one below."""

    journey: Journey
    places: Mapping[Key, Point]
    rows: int
    wire: bool

    @property
    def same_node(self) -> bool:
        return self.journey.source.node == self.journey.target.node

    @property
    def node_bottom(self) -> int:
        return row_y(self.rows - 1) + 44

    @property
    def wire_y(self) -> int:
        return self.node_bottom + 18 + 26

    @property
    def floor(self) -> int:
        return self.node_bottom + (18 + WIRE_HEIGHT if self.wire else 0)

    def at(self, hop: Hop) -> Point:
        """Where a sighting, or a ghost, stands."""
        return self.places[key_of(hop)]

    def path(self, before: Hop, after: Hop) -> tuple[Point, ...]:
        """The line from one station to the next."""
        start, end = self.at(before), self.at(after)
        if start.x == end.x or start.y == end.y:
            return (start, end)
        lanes = {lane_of(self.journey, before): start, lane_of(self.journey, after): end}
        same_side = side_of(self.journey, before) == side_of(self.journey, after)
        if same_side and "pod" in lanes and len(lanes) == 2:
            y = max(lanes["pod"].y, row_y(LEAST_ROWS - 1))
        else:
            y = max(start.y, end.y, self.wire_y if self._crosses(before, after) else 0)
        corners = (Point(start.x, y), Point(end.x, y))
        return tuple(dict.fromkeys((start, *corners, end)))

    def _crosses(self, before: Hop, after: Hop) -> bool:
        """From node to node with no station of the wire between."""
        sides = {side_of(self.journey, before), side_of(self.journey, after)}
        return not self.same_node and sides == {"source", "target"}


def row_y(row: int) -> int:
    """The height of a row: the pod's is 0."""
    return POD_TOP + POD_HEIGHT // 2 + (14 if row else 0) + row * PITCH


def lane_x(side: Side, lane: Lane) -> int:
    """The line that a lane runs on."""
    return WIDTH - _LANES[lane] if side == "target" else _LANES[lane]


def plan(journey: Journey, hops: Sequence[Hop]) -> Plan:
    """The places of all devices in ``hops``, ghosts included."""
    sides: dict[Side, tuple[Hop, ...]] = {side: stations(journey, hops, side) for side in ("source", "target", "wire")}
    same_node = journey.source.node == journey.target.node
    ends: tuple[Side, ...] = ("source", "target")
    above: dict[Side, dict[Key, int]] = {side: _pod_lane(journey, sides[side]) for side in ends}
    below: dict[Side, list[Hop]] = {
        side: [hop for hop in sides[side] if lane_of(journey, hop) == "nic"] for side in ends
    }
    rows = max(LEAST_ROWS, *(_last_row(above[side], below[side]) + 1 + len(below[side]) for side in ends))
    draft = Plan(journey, {}, rows, wire=not same_node)
    places = _along_the_wire(sides["wire"], draft.wire_y)
    for side, lane in above.items():
        places |= {key: Point(lane_x(side, "pod"), row_y(row)) for key, row in lane.items()}
        start = rows - len(below[side])
        places |= {key_of(hop): Point(lane_x(side, "nic"), row_y(start + at)) for at, hop in enumerate(below[side])}
    return Plan(journey, places, rows, wire=not same_node)


def _last_row(above: Mapping[Key, int], below: Sequence[Hop]) -> int:
    """The last row that is the pod's lane's; the line to the NIC's lane has it for itself."""
    if not above:
        return _UNDER_CARD
    return max(*above.values(), LEAST_ROWS - 1 if below else 0)


def _pod_lane(journey: Journey, hops: Sequence[Hop]) -> dict[Key, int]:
    """The rows of the pod's lane.  Its last station stands below the card: the line to the NIC's lane starts there."""
    lane = [hop for hop in hops if lane_of(journey, hop) == "pod"]
    first = 0 if any(hop.netns != "root" for hop in lane) else 1
    rows = {key_of(hop): first + at for at, hop in enumerate(lane)}
    if lane and lane[-1].netns == "root" and journey.source.node != journey.target.node:
        rows[key_of(lane[-1])] = max(LEAST_ROWS - 1, rows[key_of(lane[-1])])
    return rows


def _along_the_wire(hops: Sequence[Hop], y: int) -> dict[Key, Point]:
    left, right = lane_x("source", "nic"), lane_x("target", "nic")
    step = (right - left) / (len(hops) + 1)
    return {key_of(hop): Point(round(left + step * (at + 1)), y) for at, hop in enumerate(hops)}


def along(path: Sequence[Point], count: int) -> list[Point]:
    """``count`` points spread over the path's longest stretch, in the path's order: where decisions stand."""
    pairs = list(pairwise(path)) or [(path[0], path[0])]
    a, b = max(pairs, key=lambda pair: abs(pair[0].x - pair[1].x) + abs(pair[0].y - pair[1].y))
    shares = [(at, count + 1) for at in range(1, count + 1)]
    return [Point(a.x + (b.x - a.x) * at // of, a.y + (b.y - a.y) * at // of) for at, of in shares]


def split(path: Sequence[Point], at: Point) -> tuple[tuple[Point, ...], tuple[Point, ...]]:
    """``path`` before and after ``at``, which lies on it."""
    for index, stretch in enumerate(pairwise(path)):
        if on(stretch, at):
            head, tail = (*path[: index + 1], at), (at, *path[index + 1 :])
            return tuple(dict.fromkeys(head)), tuple(dict.fromkeys(tail))
    return tuple(path), (at,)


def on(path: Sequence[Point], at: Point) -> bool:
    """Does ``at`` lie on the path?"""
    return any(
        min(a.x, b.x) <= at.x <= max(a.x, b.x) and min(a.y, b.y) <= at.y <= max(a.y, b.y) for a, b in pairwise(path)
    )


def card(side: Side, entries: Sequence[Entry], *, same_node: bool) -> Card | None:
    """The box for the entries of one side, in the corner that its lanes leave free."""
    if not entries:
        return None
    width = 190
    x = (WIDTH - width) // 2 if same_node else MARGIN + 220 if side == "source" else WIDTH - MARGIN - 220 - width
    height = 14 + 36 * len(entries)
    return Card(x=x, y=NODE_TOP + 12, width=width, height=height, entries=tuple(entries))
