"""``KernelState``: one network namespace's objects by key, and ``Scope``, the part of it that a pass looks at.

Desired state, observed state, lab topology and pod attachment are all this one type, which is
why one ``diff`` and one ``apply`` serve them all.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, TypeVar

from tulle.model.layered import updated
from tulle.model.objects import (
    Address,
    ChainAccept,
    FdbEntry,
    IptablesRules,
    KernelObject,
    Link,
    LinkKey,
    Neighbor,
    NftElement,
    NftTable,
    ObjectKey,
    Route,
    Sysctl,
    device_of,
)

T = TypeVar("T", bound=KernelObject)

_WITHOUT_NUMBER: Final = (Sysctl, NftTable, ChainAccept, IptablesRules, NftElement)
"""Kinds of which a namespace may hold any number: looked at by key only."""
_ON_A_DEVICE: Final = (Route, Address, Neighbor, FdbEntry)


def object_device(obj: KernelObject) -> str | None:
    """The device that ``obj`` lives on and vanishes with; None when there is none."""
    return obj.device if isinstance(obj, _ON_A_DEVICE) else device_of(obj.key)


@dataclass(frozen=True, slots=True)
class KernelState:
    """Objects by key.  Build one with ``KernelState.of``; changing means making another."""

    objects: Mapping[ObjectKey, KernelObject]

    @classmethod
    def of(cls, objects: Iterable[KernelObject] = ()) -> "KernelState":
        """A state that holds ``objects``; a later one of the same key wins."""
        return cls(MappingProxyType({obj.key: obj for obj in objects}))

    def __len__(self) -> int:
        return len(self.objects)

    def __iter__(self) -> Iterator[KernelObject]:
        return iter(self.objects.values())

    def __contains__(self, key: object) -> bool:
        return key in self.objects

    def get(self, key: ObjectKey) -> KernelObject | None:
        return self.objects.get(key)

    def link(self, name: str) -> Link | None:
        """The device called ``name``; None when there is none."""
        found = self.objects.get(LinkKey(name))
        return found if isinstance(found, Link) else None

    def each(self, kind: type[T]) -> Iterator[T]:
        """The objects of one type."""
        return (obj for obj in self.objects.values() if isinstance(obj, kind))

    def merged(self, other: "KernelState") -> "KernelState":
        """Both together; ``other`` wins where the keys are equal."""
        return self.changed((), other)

    def without(self, keys: Collection[ObjectKey]) -> "KernelState":
        """This state less ``keys``; a key that is not there is ignored."""
        return self.changed(keys, ())

    def changed(self, gone: Collection[ObjectKey], made: Iterable[KernelObject]) -> "KernelState":
        """This state less ``gone``, then with ``made``.  Cost: linear in what changes."""
        return KernelState(updated(self.objects, gone, {obj.key: obj for obj in made}))


@dataclass(frozen=True, slots=True)
class Scope:
    """Which keys a pass looks at: all of them, or some keys and everything that lives on some devices.

    ``everything`` means every link, address, route, neighbour and FDB entry.  Sysctls and the
    packet filter's rules are without number and looked at only when ``keys`` names them, also
    under ``everything``.  Dirty keys accumulate by ``|``; an empty scope is false.
    """

    keys: frozenset[ObjectKey] = frozenset()
    devices: frozenset[str] = frozenset()
    everything: bool = False

    @classmethod
    def all(cls, keys: Iterable[ObjectKey] = ()) -> "Scope":
        return cls(frozenset(keys), everything=True)

    @classmethod
    def of(cls, keys: Iterable[ObjectKey] = (), devices: Iterable[str] = ()) -> "Scope":
        return cls(frozenset(keys), frozenset(devices))

    def __or__(self, other: "Scope") -> "Scope":
        return Scope(self.keys | other.keys, self.devices | other.devices, self.everything or other.everything)

    def __bool__(self) -> bool:
        return self.everything or bool(self.keys) or bool(self.devices)

    def names(self, key: ObjectKey) -> bool:
        """Is ``key`` one of those that are looked at, whether or not there is an object?"""
        return self.everything or key in self.keys

    def covers(self, obj: KernelObject) -> bool:
        """Is ``obj`` in the part that is looked at?  A device's own link counts as living on it."""
        if self.everything or obj.key in self.keys:
            return True
        if isinstance(obj, Link):
            return obj.name in self.devices
        return object_device(obj) in self.devices

    def including(self, desired: KernelState) -> "Scope":
        """This scope with the key of every desired object that it covers, and of the devices that its objects live on.

        A route that we want through a dirty device may be held by somebody else's route
        through another one, and a device's name by another kind of device: naming the keys makes
        the observer look there too.
        """
        if self.everything:
            return Scope(self.keys | {obj.key for obj in desired if isinstance(obj, _WITHOUT_NUMBER)}, everything=True)
        covered = self.restrict(desired)
        devices = {*map(object_device, covered), *map(device_of, self.keys)}
        links = {LinkKey(device) for device in devices if device is not None}
        wanted = {key for key in links if key in desired}
        return Scope(self.keys | covered.objects.keys() | wanted, self.devices)

    def restrict(self, state: KernelState) -> KernelState:
        """The covered part of ``state``."""
        if self.everything:
            return state
        if not self.devices:
            found = ((key, state.objects.get(key)) for key in self.keys)
            return KernelState(MappingProxyType({key: obj for key, obj in found if obj is not None}))
        return KernelState.of(obj for obj in state if self.covers(obj))
