"""A journey as a picture before it is drawn: boxes, stations, legs, badges, beats, with their places.

Pure, and the one layout that SVG and HTML share: they draw what is here and decide nothing.
A ``Beat`` is a hop's moment in the animation, in the walk's own order; what the walk did not
reach stands here as ghosts, which carry step numbers but no names, since nobody saw a device.
Lengths are user units of a picture ``WIDTH`` wide; y grows downwards.
"""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias

from tulle.trace.journey import Direction, Hop, HopKind

WIDTH: Final = 960
Lane: TypeAlias = Literal["pod", "nic", "wire"]
"""Where a station stands: under its pod, under the tunnel, or between the nodes."""
Side: TypeAlias = Literal["source", "wire", "target"]


class Said(NamedTuple):
    """One text in both languages."""

    en: str
    zh: str


class Point(NamedTuple):
    """A place in the picture, in its own units; y grows downwards."""

    x: int
    y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle with a name: a node, a pod in it, or the underlay.  ``reached`` False: drawn hatched."""

    kind: Literal["node", "pod", "underlay"]
    name: Said
    detail: str
    x: int
    y: int
    width: int
    height: int
    side: Side
    reached: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Station:
    """A device that the packet was seen on.

    ``label`` is which side of the line its name stands on, ``room`` how wide it may be.
    """

    name: str
    detail: str
    kind: HopKind
    at: Point
    side: Side
    lane: Lane
    label: Literal["left", "right", "below"]
    room: int
    ghost: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Badge:
    """A step's number on the path.  ``state`` says what stands behind it: a sighting, a decision, nothing."""

    step: str
    at: Point
    direction: Direction
    state: Literal["seen", "decided", "unseen", "ghost"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """The line between two beats of one walk.  ``wrapped``: inside the tunnel's headers; ``reached`` False: hatched.

    ``again``: the reply on a line that the request is drawn on already.
    """

    path: tuple[Point, ...]
    direction: Direction
    wrapped: bool = False
    reached: bool = True
    again: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """One hop's moment: along ``path`` to its last point, wrapped or not, and what is said meanwhile."""

    hop: Hop
    path: tuple[Point, ...]
    wrapped: bool
    where: Said
    text: Said
    numbers: str
    """Bytes, TTL and the measured times, as far as they were measured."""

    @property
    def at(self) -> Point:
        return self.path[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One of the kernel's entries that decided: ``key`` → ``value``.  ``found`` False: it has none."""

    kind: str
    key: str
    value: str
    found: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The entries that decided on one side of the picture."""

    x: int
    y: int
    width: int
    height: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Where the packet ended early."""

    at: Point
    direction: Direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Everything that a picture of a walk shows.  ``floor`` is the y below which only captions stand."""

    height: int
    floor: int
    title: str
    subtitle: Said
    tunnel: str
    """What the envelope says: ``node1 → node2 · UDP 8472 · VNI 1``; "" without a tunnel."""
    tunnel_at: Point
    boxes: tuple[Box, ...]
    stations: tuple[Station, ...]
    cards: tuple[Card, ...]
    legs: tuple[Leg, ...]
    badges: tuple[Badge, ...]
    beats: tuple[Beat, ...]
    stop: Stop | None
    delivered: bool
    verdict: tuple[Said, ...]
    """How it ended, in one or two sentences, then the finding."""
    repair: str

    def walk(self, direction: Direction) -> tuple[Beat, ...]:
        """The beats of one direction."""
        return tuple(beat for beat in self.beats if beat.hop.direction == direction)
