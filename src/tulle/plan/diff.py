"""The least change that turns our part of the observed state into the desired one.

Used by the agent, the CNI attachment and the lab alike.  What is not ours is never in a step:
it is a ``Conflict`` when it holds a key that we want, and a stranger when it sits on a link
of ours.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from operator import itemgetter
from typing import Final, TypeAlias

from tulle.model.change import Change, Conflict, Create, Delete, Plan, Step
from tulle.model.objects import (
    RTPROT_BOOT,
    Address,
    BridgeKind,
    ChainAccept,
    FdbEntry,
    IptablesRules,
    KernelObject,
    Link,
    LinkKind,
    Neighbor,
    NftElement,
    NftTable,
    NftTableKey,
    ObjectKey,
    Route,
    Sysctl,
    VxlanKind,
)
from tulle.model.state import KernelState, Scope, object_device
from tulle.ownership import Judge, Standing
from tulle.plan.compare import Gap, gap

_LINK_ORDER: Final[Mapping[type[LinkKind], int]] = {BridgeKind: 0, VxlanKind: 1}
_ORDER: Final[Sequence[type[KernelObject]]] = (
    *(Sysctl, Address, Neighbor, FdbEntry, Route),
    *(NftTable, IptablesRules, ChainAccept, NftElement),
)
_PLACE: Final[Mapping[type[KernelObject], int]] = {
    kind: len(_LINK_ORDER) + 1 + 2 * number for number, kind in enumerate(_ORDER)
}

Pair: TypeAlias = tuple[KernelObject, KernelObject, Gap]
"""A wanted object, the observed one of its key, and how far that is from it."""


def diff(desired: KernelState, observed: KernelState, judge: Judge, scope: Scope | None = None) -> Plan:
    """Plan the least change for the keys in ``scope`` (None: all of them).

    ``apply(plan)`` over ``observed`` gives ``desired`` on our part, and the next diff is
    empty.  Nothing is planned on a device that somebody else's holds the name of.  Cost: linear
    in the scope's size; what is as wanted is compared, and not looked at again.
    """
    if scope is not None:
        desired, observed = scope.restrict(desired), scope.restrict(observed)
    there = observed.objects
    found = [(wanted, there.get(key)) for key, wanted in desired.objects.items()]
    missing = [wanted for wanted, holder in found if holder is None]
    pairs = [(wanted, holder, gap(wanted, holder)) for wanted, holder in found if holder is not None]
    unwanted = _unwanted(pairs, observed, judge) if len(pairs) < len(there) else []
    conflicts = _conflicts(pairs, judge)
    strange = set[str]()
    if conflicts:
        strange = {conflict.wanted.name for conflict in conflicts if isinstance(conflict.wanted, Link)}
        taken = {conflict.key for conflict in conflicts}
        missing = [obj for obj in missing if object_device(obj) not in strange]
        pairs = [pair for pair in pairs if pair[0].key not in taken and object_device(pair[0]) not in strange]
    disturbed = _disturbed(pairs, observed)
    steps = [*map(Create, missing), *_towards(pairs, disturbed, judge)]
    for obj, standing in unwanted:
        is_doomed = standing is Standing.OURS and object_device(obj) not in strange
        if is_doomed and not (disturbed and disturbed.takes(obj)):
            steps.append(Delete(obj))
    strangers = _strangers(unwanted, desired, observed, judge) if unwanted else ()
    few = scope is not None and not scope.everything  # a set of keys, without an order
    if few:
        conflicts = tuple(sorted(conflicts, key=lambda conflict: repr(conflict.key)))
        strangers = tuple(sorted(strangers, key=lambda stranger: repr(stranger.key)))
    return Plan(in_order(steps, desired, by_name=few), conflicts, strangers)


def in_order(steps: Sequence[Step], desired: KernelState, *, by_name: bool = False) -> tuple[Step, ...]:
    """The steps as they have to be carried out on the way to ``desired``: make before break.

    ``by_name``: of those of one rank, the lower name first.  A peer's three have three ranks, and need no name.
    """
    if len(steps) < 2:
        return tuple(steps)
    ranked = [(rank(step, desired), step) for step in steps]
    if by_name and len({place for place, _ in ranked}) < len(ranked):
        ranked.sort(key=lambda each: (each[0], repr(each[1].key)))
    else:
        ranked.sort(key=itemgetter(0))
    return tuple([step for _, step in ranked])


def _towards(pairs: Sequence[Pair], disturbed: "_Disturbed | None", judge: Judge) -> list[Step]:
    """What makes of those that are there those that are wanted."""
    steps: list[Step] = [] if disturbed is None else [Delete(link) for link in disturbed.rebuilt.values()]
    for wanted, found, distance in pairs:
        if disturbed is not None and disturbed.takes(found):
            steps.append(Create(wanted))
        elif distance is Gap.REBUILD:
            steps += (Delete(found), Create(wanted))
        elif distance is Gap.SETTABLE or (_bears_no_mark(found) and judge(found) is Standing.OURS):
            steps.append(Change(found, wanted))
    return steps


def _unwanted(pairs: Sequence[Pair], observed: KernelState, judge: Judge) -> list[tuple[KernelObject, Standing]]:
    """What is there though nobody wants it, and whose it is."""
    wanted = {id(holder) for _, holder, _ in pairs}  # to look their keys up again would take as long as the rest
    return [(obj, judge(obj)) for obj in observed if id(obj) not in wanted]


def _bears_no_mark(found: KernelObject) -> bool:
    """A route that flannel wrote: adopted by our protocol number, by which it is known when its lease goes."""
    return isinstance(found, Route) and found.protocol == RTPROT_BOOT


def _conflicts(pairs: Sequence[Pair], judge: Judge) -> tuple[Conflict, ...]:
    """The wanted keys that a foreign object holds with another value."""
    differing = [(wanted, holder) for wanted, holder, distance in pairs if distance is not Gap.NONE]
    return tuple([Conflict(wanted, holder) for wanted, holder in differing if not _is_own(judge(holder))])


@dataclass(frozen=True, slots=True)
class _Disturbed:
    """Devices on which this plan makes things go that it does not name, and that the kernel does not announce."""

    rebuilt: Mapping[str, Link]
    """Made anew: all on them goes."""
    flushed: frozenset[str]
    """Given another MAC: even permanent neighbours go."""
    bare: frozenset[str]
    """Without an IPv4 address for a moment: IPv4's routes and neighbours go."""
    replaced: frozenset[NftTableKey]
    """Written anew: the elements of their sets go."""

    def takes(self, obj: KernelObject) -> bool:
        """Is ``obj`` gone once the plan has touched what it lives on?"""
        if isinstance(obj, Link):
            return obj.name in self.rebuilt
        if isinstance(obj, NftElement):
            return NftTableKey(obj.family, obj.table) in self.replaced
        device = object_device(obj)
        if device in self.rebuilt or (isinstance(obj, Neighbor) and device in self.flushed):
            return True
        match obj:
            case Route(dst=IPv4Network()) | Neighbor(ip=IPv4Address()):
                return device in self.bare
            case _:
                return False


def _disturbed(pairs: Sequence[Pair], observed: KernelState) -> _Disturbed | None:
    """None: nothing is."""
    rebuilt: dict[str, Link] = {}
    flushed: set[str] = set()
    replaced: set[ObjectKey] = set()
    tables: set[NftTableKey] = set()
    for obj, there, distance in pairs:
        if distance is Gap.NONE:
            continue
        match obj, there, distance:
            case Link(), Link(), Gap.REBUILD:
                rebuilt[obj.name] = there
            case Link(), Link(mac=mac), _ if obj.mac not in {None, mac}:
                flushed.add(obj.name)
            case Address(), Address(), Gap.REBUILD:
                replaced.add(obj.key)
            case NftTable(), NftTable(), _:
                tables.add(obj.key)
            case _:
                pass  # nothing lives on it
    if not (rebuilt or flushed or replaced or tables):
        return None
    bare = _without_address(observed, replaced) if replaced else frozenset[str]()
    return _Disturbed(rebuilt, frozenset(flushed), bare, frozenset(tables))


def _without_address(observed: KernelState, replaced: AbstractSet[ObjectKey]) -> frozenset[str]:
    """The devices all of whose IPv4 addresses are ``replaced``."""
    addresses = [address for address in observed.each(Address) if address.interface.version == 4]
    kept = {address.device for address in addresses if address.key not in replaced}
    return frozenset(address.device for address in addresses) - kept


def _own_links(desired: KernelState, observed: KernelState, judge: Judge) -> set[str]:
    """The links that we want and that are ours."""
    wanted = (link.name for link in desired.each(Link))
    return {name for name in wanted if (found := observed.link(name)) and _is_own(judge(found))}


def _strangers(
    unwanted: Sequence[tuple[KernelObject, Standing]], desired: KernelState, observed: KernelState, judge: Judge
) -> tuple[KernelObject, ...]:
    """Foreign objects on a link of ours; and, wherever it is, what looks like flannel's."""
    foreign = [obj for obj, standing in unwanted if standing is Standing.FOREIGN]
    unclaimed = [obj for obj, standing in unwanted if standing is Standing.UNCLAIMED and _bears_no_mark(obj)]
    own_links = _own_links(desired, observed, judge) if foreign else set[str]()
    return (*[obj for obj in foreign if object_device(obj) in own_links], *unclaimed)


def _is_own(standing: Standing) -> bool:
    return standing is Standing.OURS or standing is Standing.KEPT


def rank(step: Step, desired: KernelState) -> tuple[int, int]:
    """Make before break: what must go first (rebuilds), then what is made, then what is removed.

    Neighbours are made before FDB entries and removed after them, since they are how a later run
    recognises ours; but one that changes its MAC waits until the new MAC leads somewhere.  A device that is there
    has its sysctls before anything is changed on it: it comes up with them.
    """
    match step:
        case Delete(obj=obj) if isinstance(obj, Link):
            return (0, 0)
        case Delete(obj=obj) if obj.key in desired:
            return (1, 0)
        case Change(after=Neighbor()):
            return (2, _PLACE[Route])
        case Change(after=Link()):
            return (2, _PLACE[Sysctl] + 1)
        case Delete(obj=obj):
            return (3, -_dependency_order(obj))
        case Create(obj=obj) | Change(after=obj):
            return (2, _dependency_order(obj))


def _dependency_order(obj: KernelObject) -> int:
    """What is needed comes first: devices (bridges, then tunnels, then their ports), then what lives on them."""
    if isinstance(obj, Link):
        return _LINK_ORDER.get(type(obj.kind), len(_LINK_ORDER))
    return _PLACE[type(obj)]
