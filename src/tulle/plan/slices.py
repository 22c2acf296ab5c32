"""A plan for everything, worked out piece by piece, so that whoever plans can let others run in between.

Ten thousand peers make thirty thousand objects; comparing them in one go takes longer than an
event may have to wait.  What ``diff`` has to know beside the objects that it compares, the
wanted devices and their addresses, is in every piece.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple

from tulle.model.change import Plan
from tulle.model.objects import Address, FdbEntry, KernelObject, Link, Neighbor, ObjectKey, Route
from tulle.model.state import KernelState
from tulle.plan.diff import in_order

SLICE: Final = 500
"""So many objects are compared in about 5 ms."""
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
    plans = tuple(plans)
    steps = dict.fromkeys(step for plan in plans for step in plan.steps)
    conflicts = dict.fromkeys(conflict for plan in plans for conflict in plan.conflicts)
    strangers = dict.fromkeys(stranger for plan in plans for stranger in plan.strangers)
    return Plan(in_order(steps, desired), tuple(conflicts), tuple(strangers))


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
