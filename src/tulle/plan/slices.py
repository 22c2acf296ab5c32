"""A plan for everything, worked out piece by piece, so that whoever plans can let others run in between.

Ten thousand peers make thirty thousand objects; comparing them in one go takes longer than an
event may have to wait.  What ``diff`` has to know beside the objects that it compares, the
wanted devices and their addresses, is in every piece.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from types import MappingProxyType
from typing import Final, NamedTuple

from tulle.model.change import Conflict, Plan, Step, subject_of
from tulle.model.objects import Address, FdbEntry, KernelObject, Link, Neighbor, ObjectKey, Route
from tulle.model.state import KernelState
from tulle.plan.diff import rank

SLICE: Final = 200
"""So many objects are compared in about 2 ms."""
_ENTRIES: Final = (Route, Neighbor, FdbEntry)
"""What there is one of for each peer."""


class Part(NamedTuple):
    """What a piece of the plan compares."""

    desired: KernelState
    observed: KernelState


def slices(desired: KernelState, observed: KernelState, size: int = SLICE) -> Iterator[Part]:
    """Parts that together hold every object of both states, each at most ``size`` of the many kinds."""
    few = Part(_few(desired), _few(observed))
    devices = {link.name for link in desired.each(Link)}
    ground = Part(*(KernelState.of(obj for obj in state if _is_ground(obj, devices)) for state in few))
    yield few
    for page in _pages(desired, size):
        there = {key: found for key in page if (found := observed.get(key)) is not None}
        yield Part(_joint(ground.desired, page), _joint(ground.observed, there))
    for page in _pages(observed, size):
        unwanted = {key: obj for key, obj in page.items() if key not in desired}
        yield Part(ground.desired, _joint(ground.observed, unwanted))


def joined(plans: Iterable[Plan], desired: KernelState) -> Plan:
    """The plans of all parts as one: what several say is said once, in the order of a single ``diff``."""
    joint = Joint(desired)
    for plan in plans:
        joint.add(plan)
    return joint.plan()


class Joint:
    """Joins the plans of parts as they come, so that nothing linear is left for the end.

    Of the many kinds each object is in one part only; hashing all of them would cost more than comparing them did.
    """

    def __init__(self, desired: KernelState) -> None:
        self._desired = desired
        self._steps: dict[tuple[int, int], list[Step]] = {}
        self._said: set[Step] = set()
        self._conflicts: dict[Conflict, None] = {}
        self._strangers: dict[KernelObject, None] = {}

    def add(self, plan: Plan) -> None:
        """Take in the plan of one more part."""
        for step in plan.steps:
            if not isinstance(subject_of(step), _ENTRIES):
                if step in self._said:
                    continue
                self._said.add(step)
            self._steps.setdefault(rank(step, self._desired), []).append(step)
        self._conflicts.update(dict.fromkeys(plan.conflicts))
        self._strangers.update(dict.fromkeys(plan.strangers))

    def plan(self) -> Plan:
        """The whole."""
        steps = chain.from_iterable(self._steps[order] for order in sorted(self._steps))
        return Plan(tuple(steps), tuple(self._conflicts), tuple(self._strangers))


def _few(state: KernelState) -> KernelState:
    return KernelState.of(obj for obj in state if not isinstance(obj, _ENTRIES))


def _is_ground(obj: KernelObject, devices: set[str]) -> bool:
    return (isinstance(obj, Link) and obj.name in devices) or (isinstance(obj, Address) and obj.device in devices)


def _pages(state: KernelState, size: int) -> Iterator[dict[ObjectKey, KernelObject]]:
    entries = (item for item in state.objects.items() if isinstance(item[1], _ENTRIES))
    while page := dict(islice(entries, size)):
        yield page


def _joint(ground: KernelState, page: dict[ObjectKey, KernelObject]) -> KernelState:
    return KernelState(MappingProxyType({**ground.objects, **page}))
