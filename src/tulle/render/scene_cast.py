"""Who stands in the picture and in which order: the devices of both walks, merged, and the ghosts.

Pure.  A ghost is a step that a lost walk did not reach.  Each side's devices are listed from
the pod to the wire, so that request and reply share their stations however they went.
"""

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias

from tulle.render.scene import Lane, Side
from tulle.trace.journey import Hop, HopKind, Journey

Key: TypeAlias = tuple[str, str, str]
"""A device: node, namespace, name.  A ghost's name is its step."""
GHOST: Final = "ghost"
_STEPS: Final[tuple[tuple[str, HopKind], ...]] = (
    ("1", "pod"),
    ("2", "bridge"),
    ("3a", "decision"),
    ("3b", "vxlan"),
    ("3c", "underlay"),
    ("4", "wire"),
    ("5", "wire"),
    ("6a", "underlay"),
    ("6b", "vxlan"),
    ("6c", "bridge"),
    ("7", "veth"),
    ("8", "pod"),
)


def key_of(hop: Hop) -> Key:
    """The station that ``hop`` happened at."""
    return hop.node, hop.netns, hop.dev or f"{GHOST} {hop.step}"


def is_ghost(hop: Hop) -> bool:
    """A step that the walk did not reach (a wire without a tap is no ghost: the packet did cross it)."""
    return hop.t_source == GHOST


def side_of(journey: Journey, hop: Hop) -> Side:
    """Which part of the picture ``hop`` belongs to.  One node's picture has its two pods on the two sides."""
    if journey.source.node != journey.target.node:
        if hop.node == journey.source.node:
            return "source"
        return "target" if hop.node == journey.target.node else "wire"
    if journey.target.role == "pod" and hop.netns == journey.target.pod:
        return "target"
    if hop.kind == "veth" and hop.netns == "root" and journey.target.role == "pod":
        return "target" if (hop.dir == "tx") == (hop.direction == "request") else "source"
    return "source"


def lane_of(journey: Journey, hop: Hop) -> Lane:
    """Which line of its side it stands on."""
    if side_of(journey, hop) == "wire":
        return "wire"
    return "pod" if hop.netns != "root" or hop.kind in ("veth", "bridge") else "nic"


def stations(journey: Journey, hops: Sequence[Hop], side: Side) -> tuple[Hop, ...]:
    """One hop for each device of ``side``, from the pod (of the wire: from the source) on; decisions have no device."""
    found: list[Hop] = []
    for direction in ("request", "reply"):
        mine = [hop for hop in hops if hop.direction == direction and _stands(journey, hop, side)]
        outwards = (direction == "request") == (side != "target")
        found = _merged(found, mine if outwards else mine[::-1])
    return tuple(found)


def _stands(journey: Journey, hop: Hop, side: Side) -> bool:
    return hop.kind != "decision" and side_of(journey, hop) == side


def _merged(known: list[Hop], more: Iterable[Hop]) -> list[Hop]:
    """``known`` with what is new in ``more``, each after the one that it followed there."""
    merged, at = list(known), 0
    for hop in more:
        keys = [key_of(other) for other in merged]
        if key_of(hop) in keys:
            at = keys.index(key_of(hop)) + 1
        else:
            merged.insert(at, hop)
            at += 1
    return merged


def ghosts(journey: Journey) -> tuple[Hop, ...]:
    """The steps that a lost request would still have had."""
    if journey.verdict.status != "lost":
        return ()
    expected = _expected(journey)
    names = [step for step, _ in expected]
    seen = [names.index(hop.step) for hop in journey.walk("request") if hop.step in names]
    return tuple(_ghost(journey, step, kind) for step, kind in expected[max(seen, default=-1) + 1 :])


def _expected(journey: Journey) -> list[tuple[str, HopKind]]:
    same_node = journey.source.node == journey.target.node
    left_out = {"3a", "3b", "3c", "4", "5", "6a", "6b", "6c"} if same_node else set[str]()
    if not _through_tunnel(journey):
        left_out |= {"3b", "6b"}
    if journey.source.role == "node":
        left_out |= {"1", "2"}
    if journey.target.role == "node":
        left_out |= {"6b", "6c", "7", "8"}
    return [(step, kind) for step, kind in _STEPS if step not in left_out]


def _through_tunnel(journey: Journey) -> bool:
    """Would this packet be wrapped?  A packet to a node's own address, or one that left without, is not."""
    steps = {hop.step for hop in journey.walk("request")}
    return journey.overlay is not None and journey.target.role == "pod" and ("3b" in steps or "3c" not in steps)


def _ghost(journey: Journey, step: str, kind: HopKind) -> Hop:
    here = step in ("1", "2", "3a", "3b", "3c")
    end = journey.source if here else journey.target
    return Hop(
        n=None,
        step=step,
        direction="request",
        dir="tx",
        node="underlay" if kind == "wire" else end.node,
        netns=end.pod if kind == "pod" else "" if kind == "wire" else "root",
        kind=kind,
        t_source=GHOST,
        observed=False,
    )
