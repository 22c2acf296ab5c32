"""A kernel in memory, with switches for what goes wrong.

It passes the same contract suite as ``LinuxKernel``.  What the kernel does by itself is in
``fake_machine``; this module is the port, and the ways to break it: refuse a step, lose an
announcement, overflow, meddle behind tulle's back.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field

from tulle.errors import KernelError
from tulle.kernel.fake_machine import Machine
from tulle.model.change import Create, Delete, Outcome, Plan, Step
from tulle.model.network import DroppingChain, IPNetwork, PacketFilters
from tulle.model.objects import (
    FilterObject,
    KernelObject,
    Link,
    LinkKey,
    NftElement,
    NftTableKey,
    ObjectKey,
    OtherKind,
    Sysctl,
    SysctlKey,
)
from tulle.model.state import KernelState, Scope, object_device

RULES = "the packet filter's rules"
"""In the place of a device's name, which has no blanks."""


@dataclass
class Changes(AsyncIterator[Scope]):
    """What was announced and not read yet, as one scope."""

    _waiting: Scope = field(default_factory=Scope)
    _some: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, scope: Scope) -> None:
        self._waiting |= scope
        self._some.set()

    async def __anext__(self) -> Scope:
        await self._some.wait()
        self._some.clear()
        scope, self._waiting = self._waiting, Scope()
        return scope


class FakeKernel:
    """``kernel.port.Kernel`` without a kernel.

    ``calls`` is every step that reached it, refused ones too: how a test shows that nothing was
    changed.  ``deaf`` loses all announcements while it is set.
    """

    def __init__(self, objects: Iterable[KernelObject] = (), chains: Iterable[DroppingChain] = ()) -> None:
        """``objects`` are there from the start as they are, beside a loopback device."""
        self.calls: list[Step] = []
        self.deaf = False
        self.filters = PacketFilters()
        self._readers: list[Changes] = []
        self._failures: dict[int, int] = {}
        self._meddled = 0
        self._machine = Machine(self._announce, chains)
        for obj in (Link(name="lo", kind=OtherKind(), mtu=65536, up=True, master="", alias=""), *objects):
            self._machine.plant(obj)

    @property
    def objects(self) -> Mapping[ObjectKey, KernelObject]:
        """All that it holds now."""
        return self._machine.objects

    @property
    def changed(self) -> int:
        """How often somebody tried to change it."""
        return len(self.calls) + self._meddled

    # -- switches ---------------------------------------------------------------------

    def fail(self, errno: int, *, after: int = 0) -> None:
        """Refuse one step with ``errno``: the next, or the one after ``after`` more."""
        self._failures[len(self.calls) + after] = errno

    def overflow(self) -> None:
        """The socket of every reader of ``changes`` overflows."""
        for reader in self._readers:
            reader.tell(Scope.all())

    def meddle(self, *steps: Step) -> None:
        """Somebody else changes the namespace.  Raises KernelError."""
        for step in steps:
            self._meddled += 1
            self._machine.carry_out(step)

    # -- the port ---------------------------------------------------------------------

    async def observe(self, scope: Scope) -> KernelState:
        await asyncio.sleep(0)
        found = [obj for obj in self._machine.objects.values() if _shown(obj, scope)]
        absent = (key for key in scope.keys if isinstance(key, SysctlKey) and key not in self._machine.objects)
        return KernelState.of([*found, *(Sysctl(key.path, None) for key in absent)])

    async def apply(self, plan: Plan) -> tuple[Outcome, ...]:
        failed: dict[str, KernelError] = {}
        outcomes: list[Outcome] = []
        for step in plan.steps:
            await asyncio.sleep(0)
            error = failed.get(_hangs_on(step)) or self._try(step)
            if error is not None and isinstance(step, Create) and isinstance(step.key, LinkKey):
                failed[step.key.name] = error
            if error is not None and isinstance(_subject(step), FilterObject):
                failed[RULES] = error
            outcomes.append(Outcome(step, error))
        return tuple(outcomes)

    async def dropping_chains(
        self,
        networks: tuple[IPNetwork, ...] = (),  # noqa: ARG002  which chains drop is planted, not worked out
        tunnels: tuple[str, ...] = (),  # noqa: ARG002
    ) -> tuple[DroppingChain, ...]:
        await asyncio.sleep(0)
        return self._machine.chains

    async def packet_filters(self) -> PacketFilters:
        await asyncio.sleep(0)
        return self.filters

    def changes(self) -> AsyncIterator[Scope]:
        reader = Changes()
        self._readers.append(reader)
        return reader

    def close(self) -> None:
        self._readers.clear()

    # -- inside -----------------------------------------------------------------------

    def _try(self, step: Step) -> KernelError | None:
        self.calls.append(step)
        injected = self._failures.pop(len(self.calls) - 1, None)
        if injected is not None:
            return KernelError(injected, step, "injected")
        try:
            self._machine.carry_out(step)
        except KernelError as error:
            return None if isinstance(step, Delete) and error.target_missing else error
        return None

    def _announce(self, scope: Scope) -> None:
        if not self.deaf:
            for reader in self._readers:
                reader.tell(scope)


def _shown(obj: KernelObject, scope: Scope) -> bool:
    if isinstance(obj, NftElement) and NftTableKey(obj.family, obj.table) in scope.keys:
        return True
    if isinstance(obj, Sysctl | FilterObject | NftElement):
        return obj.key in scope.keys
    return scope.covers(obj)


def _hangs_on(step: Step) -> str:
    """Whose failure is the step's too: its device's; for rules that go, that of those which replace them."""
    obj = _subject(step)
    return RULES if isinstance(step, Delete) and isinstance(obj, FilterObject) else object_device(obj) or ""


def _subject(step: Step) -> KernelObject:
    return step.obj if isinstance(step, Create | Delete) else step.after
