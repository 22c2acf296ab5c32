"""A change to the kernel as values: steps, plans, what became of each step, and what stood in the way."""

from dataclasses import dataclass
from typing import TypeAlias

from tulle.errors import KernelError
from tulle.model.objects import KernelObject, ObjectKey


@dataclass(frozen=True, slots=True)
class Create:
    """Make an object whose key nobody holds; the kernel refuses (EEXIST) if somebody does by now."""

    obj: KernelObject

    @property
    def key(self) -> ObjectKey:
        return self.obj.key


@dataclass(frozen=True, slots=True)
class Change:
    """Turn ``before`` into ``after`` in place: same key, no moment without either."""

    before: KernelObject
    after: KernelObject

    @property
    def key(self) -> ObjectKey:
        return self.after.key


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove ``obj``; that it is already gone is success."""

    obj: KernelObject

    @property
    def key(self) -> ObjectKey:
        return self.obj.key


Step: TypeAlias = Create | Change | Delete


def subject_of(step: Step) -> KernelObject:
    """The object that a step is about, as it shall be."""
    return step.after if isinstance(step, Change) else step.obj


@dataclass(frozen=True, slots=True)
class Conflict:
    """A foreign object holds a key that we want: reported and tried again, never replaced."""

    wanted: KernelObject
    holder: KernelObject

    @property
    def key(self) -> ObjectKey:
        return self.wanted.key


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in the order in which they are to be applied, make before break.

    ``strangers`` are foreign objects that sit on a link of ours: reported, kept.
    """

    steps: tuple[Step, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    strangers: tuple[KernelObject, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.steps)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step: done when ``error`` is None."""

    step: Step
    error: KernelError | None = None
