"""The least change that turns our part of the observed state into the desired one.

Used by the agent, the CNI attachment and the lab alike.  What is not ours is never in a step:
it is a ``Conflict`` when it holds a key that we want, and a stranger when it sits on a link
of ours.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from tulle.model.change import Change, Conflict, Create, Delete, Plan, Step
from tulle.model.objects import (
    Address,
    BridgeKind,
    ChainAccept,
    FdbEntry,
    KernelObject,
    Link,
    LinkKey,
    LinkKind,
    Neighbor,
    NftTable,
    Route,
    Sysctl,
    VxlanKind,
)
from tulle.model.state import KernelState, Scope, object_device
from tulle.ownership import Judge, Standing
from tulle.plan.compare import Gap, gap

_LINK_ORDER: Final[Mapping[type[LinkKind], int]] = {BridgeKind: 0, VxlanKind: 1}
_ORDER: Final[Sequence[type[KernelObject]]] = (Sysctl, Address, Neighbor, FdbEntry, Route, NftTable, ChainAccept)


def diff(desired: KernelState, observed: KernelState, judge: Judge, scope: Scope | None = None) -> Plan:
    """Plan the least change for the keys in ``scope`` (None: all of them).

    ``apply(plan)`` over ``observed`` gives ``desired`` on our part, and the next diff is
    empty.  Nothing is planned on a device that somebody else's holds the name of.  Cost: linear
    in the scope's size.
    """
    if scope is not None:
        desired, observed = scope.restrict(desired), scope.restrict(observed)
    conflicts = _conflicts(desired, observed, judge)
    taken = {conflict.key for conflict in conflicts}
    strange = {key.name for key in taken if isinstance(key, LinkKey)}
    wanted = [obj for obj in desired if obj.key not in taken and object_device(obj) not in strange]
    rebuilt, flushed = _disturbed_devices(wanted, observed)
    standing_still = [obj for obj in observed if not _disturbed(obj, rebuilt, flushed)]
    survivors = KernelState.of(standing_still)
    steps: list[Step] = [Delete(obj) for obj in observed if isinstance(obj, Link) and obj.name in rebuilt]
    for obj in wanted:
        steps += _steps_towards(obj, survivors.get(obj.key))
    unwanted = (obj for obj in standing_still if obj.key not in desired and object_device(obj) not in strange)
    steps += [Delete(obj) for obj in unwanted if judge(obj) is Standing.OURS]
    ordered = sorted(steps, key=lambda step: _rank(step, desired))
    return Plan(tuple(ordered), conflicts, _strangers(observed, desired, judge))


def _steps_towards(wanted: KernelObject, found: KernelObject | None) -> tuple[Step, ...]:
    if found is None:
        return (Create(wanted),)
    match gap(wanted, found):
        case Gap.NONE:
            return ()
        case Gap.SETTABLE:
            return (Change(found, wanted),)
        case Gap.REBUILD:
            return (Delete(found), Create(wanted))


def _conflicts(desired: KernelState, observed: KernelState, judge: Judge) -> tuple[Conflict, ...]:
    """The wanted keys that a foreign object holds with another value."""
    pairs = ((wanted, observed.get(wanted.key)) for wanted in desired)
    return tuple(
        Conflict(wanted, holder)
        for wanted, holder in pairs
        if holder is not None
        and judge(holder) in {Standing.FOREIGN, Standing.KERNEL}
        and gap(wanted, holder) is not Gap.NONE
    )


def _disturbed_devices(desired: Sequence[KernelObject], observed: KernelState) -> tuple[frozenset[str], frozenset[str]]:
    """Devices that this plan rebuilds (all on them goes), and whose MAC it changes (neighbours go).

    The kernel announces neither loss: a changed VXLAN MAC flushes even permanent neighbours.
    """
    rebuilt: set[str] = set()
    flushed: set[str] = set()
    for wanted in desired:
        found = observed.link(wanted.name) if isinstance(wanted, Link) else None
        if not isinstance(wanted, Link) or found is None:
            continue
        if gap(wanted, found) is Gap.REBUILD:
            rebuilt.add(wanted.name)
        elif wanted.mac not in {None, found.mac}:
            flushed.add(wanted.name)
    return frozenset(rebuilt), frozenset(flushed)


def _disturbed(obj: KernelObject, rebuilt: frozenset[str], flushed: frozenset[str]) -> bool:
    if isinstance(obj, Link):
        return obj.name in rebuilt
    device = object_device(obj)
    return device in rebuilt or (isinstance(obj, Neighbor) and device in flushed)


def _strangers(observed: KernelState, desired: KernelState, judge: Judge) -> tuple[KernelObject, ...]:
    """Foreign objects on a link that we want and that is ours."""
    own = {link.name for link in desired.each(Link) if (found := observed.link(link.name)) and _is_own(judge(found))}
    return tuple(
        obj
        for obj in observed
        if object_device(obj) in own and obj.key not in desired and judge(obj) is Standing.FOREIGN
    )


def _is_own(standing: Standing) -> bool:
    return standing in {Standing.OURS, Standing.KEPT}


def _rank(step: Step, desired: KernelState) -> tuple[int, int]:
    """Make before break: what must go first (rebuilds), then what is made, then what is removed.

    Neighbours are made before FDB entries and removed after them, since they are how a later run
    recognises ours; but one that changes its MAC waits until the new MAC leads somewhere.
    """
    match step:
        case Delete(obj=obj) if isinstance(obj, Link):
            return (0, 0)
        case Delete(obj=obj) if obj.key in desired:
            return (1, 0)
        case Change(after=Neighbor()):
            return (2, _place(Route))
        case Delete(obj=obj):
            return (3, -_dependency_order(obj))
        case Create(obj=obj) | Change(after=obj):
            return (2, _dependency_order(obj))


def _dependency_order(obj: KernelObject) -> int:
    """What is needed comes first: devices (bridges, then tunnels, then their ports), then what lives on them."""
    if isinstance(obj, Link):
        return _LINK_ORDER.get(type(obj.kind), len(_LINK_ORDER))
    return _place(type(obj))


def _place(kind: type[KernelObject]) -> int:
    return len(_LINK_ORDER) + 1 + _ORDER.index(kind)
