"""Mappings and sets of which the next version costs what changes, not what there is.

What a node knows of ten thousand peers are values: whoever holds one keeps it as it was.  To copy a dict of that size
for one key takes longer than all that the kernel does for a peer.  So a version is a base, which it shares with the
version before it, under a layer of what differs.  When the layer is no longer thin, or somebody asks for everything,
the two become one base, which nobody sees from outside.
"""

from collections.abc import Collection, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from collections.abc import Set as AbstractSet
from enum import Enum
from types import MappingProxyType
from typing import Final, TypeVar, cast, overload

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

THIN: Final = 64
SHARE: Final = 32
"""A layer of so many keys, or of this part of the base, is still thin: to copy it takes some microseconds."""
MANY: Final = 64
"""So many at once are quicker changed in a copy of everything."""


class _Mark(Enum):
    GONE = "gone"
    """In the base, but in this version no more."""
    SILENT = "silent"
    """The layer does not say."""


class Layered(Mapping[K, V]):
    """An immutable mapping, equal to a dict of the same items.

    To ask for one key costs at most twice what it does of a dict, the first look at everything a copy of it.
    """

    __slots__ = ("_base", "_layer", "_size")

    def __init__(self, base: Mapping[K, V] = MappingProxyType({})) -> None:
        """``base`` is taken over, not copied: nobody may change it any more."""
        self._base = base
        self._layer: dict[K, V | _Mark] = {}
        self._size = len(base)

    def updated(self, gone: Collection[K], made: Mapping[K, V]) -> "Layered[K, V]":
        """This mapping less ``gone``, then with ``made``; a key that is not there is ignored."""
        if not made and not any(key in self for key in gone):
            return self
        if len(made) > MANY:
            whole = self.copy()
            for key in gone:
                whole.pop(key, None)
            whole.update(made)
            return Layered(whole)
        after = Layered[K, V](self._base)
        base, layer = self._base, self._layer.copy()
        size = self._size
        for key in gone:
            if _holds(layer, base, key):
                size -= 1
                if key in base:
                    layer[key] = _Mark.GONE
                else:
                    del layer[key]
        for key, value in made.items():
            size += not _holds(layer, base, key)
            layer[key] = value
        after._layer, after._size = layer, size
        if len(layer) > max(THIN, len(base) // SHARE):
            after._whole()
        return after

    def _whole(self) -> Mapping[K, V]:
        """All of it as one base."""
        layer = self._layer
        if layer:
            whole = copied(self._base)
            for key, value in layer.items():
                if value is _Mark.GONE:
                    del whole[key]
                else:
                    whole[key] = cast("V", value)
            self._base, self._layer = whole, {}
        return self._base

    @overload
    def get(self, key: K, default: None = None, /) -> V | None: ...
    @overload
    def get(self, key: K, default: V, /) -> V: ...
    @overload
    def get(self, key: K, default: D, /) -> V | D: ...
    def get(self, key: K, default: V | D | None = None, /) -> V | D | None:
        found = self._layer.get(key, _Mark.SILENT) if self._layer else _Mark.SILENT
        if found is _Mark.SILENT:
            return self._base.get(key, default)
        return default if found is _Mark.GONE else cast("V", found)

    def __getitem__(self, key: K) -> V:
        found = self.get(key, _Mark.GONE)
        if found is _Mark.GONE:
            raise KeyError(key)
        return cast("V", found)

    def __contains__(self, key: object) -> bool:
        return _holds(self._layer, self._base, key) if self._layer else key in self._base

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[K]:
        return iter(self._whole())

    def keys(self) -> KeysView[K]:
        return self._whole().keys()

    def values(self) -> ValuesView[V]:
        return self._whole().values()

    def items(self) -> ItemsView[K, V]:
        return self._whole().items()

    def copy(self) -> dict[K, V]:
        """A dict of its own."""
        return copied(self._whole())

    def __repr__(self) -> str:
        return f"Layered({self._whole()!r})"


class LayeredSet(AbstractSet[K]):
    """An immutable set; ``|`` with a few costs what these are."""

    __slots__ = ("_members",)

    def __init__(self, members: Iterable[K] = ()) -> None:
        self._members: Layered[K, None] = Layered(dict.fromkeys(members))

    def __or__(self, other: AbstractSet[D]) -> "LayeredSet[K | D]":
        fresh = [member for member in other if member not in self._members]
        if not fresh:
            return cast("LayeredSet[K | D]", self)
        both = LayeredSet[K | D]()
        both._members = cast("Layered[K | D, None]", self._members).updated((), dict.fromkeys(fresh))
        return both

    __ror__ = __or__

    def __contains__(self, member: object) -> bool:
        return member in self._members

    def __iter__(self) -> Iterator[K]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"LayeredSet({list(self._members)!r})"


def updated(mapping: Mapping[K, V], gone: Collection[K], made: Mapping[K, V]) -> Mapping[K, V]:
    """The next version of ``mapping``, which stays as it is: less ``gone``, then with ``made``.

    Cost: linear in what changes where ``mapping`` came from here.
    """
    layered = mapping if isinstance(mapping, Layered) else Layered(mapping)
    return layered.updated(gone, made)


def copied(mapping: Mapping[K, V]) -> dict[K, V]:
    """``dict(mapping)`` of a proxy would hash every key, a hundred times the work of the copy itself."""
    return mapping.copy() if isinstance(mapping, MappingProxyType | Layered) else dict(mapping)


def _holds(layer: Mapping[K, V | _Mark], base: Mapping[K, V], key: object) -> bool:
    said = cast("Mapping[object, V | _Mark]", layer).get(key, _Mark.SILENT)
    return key in base if said is _Mark.SILENT else said is not _Mark.GONE
