"""One namespace behind the kernel's port, fake or real, for tests that must hold on both.

A ``World`` begins with ``lo`` and ``eth0`` (up, 192.168.64.11/24 and fd64::11/64).  Its methods are
plain calls, so that a test reads as a story.  Real namespaces are called ``tullet-<random>`` and go
with the world.
"""

import asyncio
import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_interface
from pathlib import Path

from tulle.kernel import netns
from tulle.kernel.fake import FakeKernel
from tulle.kernel.linux import LinuxKernel
from tulle.kernel.port import Kernel
from tulle.model.change import Change, Create, Outcome, Plan, Step
from tulle.model.network import MacAddress, Vni
from tulle.model.objects import Address, Link, ObjectKey, VethKind, VxlanKind
from tulle.model.state import KernelState, Scope

UNDERLAY = IPv4Address("192.168.64.11")
DEADLINE_S = 5.0
NEEDS_ROOT = "a namespace of its own needs root" if os.geteuid() != 0 else None
"""Why the real kernel cannot be tested here; None when it can."""


def _is_root_of_the_host() -> bool:
    """Whether nobody above has more power: every user of the machine is one in this user namespace."""
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


NEEDS_HOST_ROOT = None if _is_root_of_the_host() else "needs root of the host: tracepoints, other users, disks"
"""Why what a user namespace does not give cannot be tested here; None when it can."""

NO_TCPDUMP = (
    "tcpdump is not installed"
    if shutil.which("tcpdump") is None
    else "tcpdump cannot be another user here: needs root of the host"
    if os.geteuid() == 0 and NEEDS_HOST_ROOT is not None
    else None
)
"""Why no other eye can look at packets here; None when one can."""

BEGINNING: tuple[Step, ...] = (
    Create(Link(name="eth0", kind=VethKind(peer="far0"))),
    Change(Link(name="far0", kind=VethKind(), up=False), Link(name="far0", kind=VethKind())),
    Create(Address(device="eth0", interface=ip_interface("192.168.64.11/24"))),
    Create(Address(device="eth0", interface=ip_interface("fd64::11/64"), nodad=True)),
)


def vtep(name: str = "flannel.1", *, vni: int = 1, mac: str = "02:00:0a:f4:01:00", learning: bool = False) -> Link:
    """A VXLAN device over ``eth0`` as the backend wants it."""
    kind = VxlanKind(vni=Vni(vni), port=8472, local=UNDERLAY, underlay="eth0", learning=learning)
    return Link(name=name, kind=kind, mtu=1450, mac=MacAddress(mac))


@dataclass
class World:
    """A namespace: ``kernel`` is tulle's way in, ``meddler`` somebody else's."""

    kernel: Kernel
    meddler: Callable[[Step], None]
    runner: asyncio.Runner
    name: str = "fake"
    _changes: AsyncIterator[Scope] | None = field(default=None, repr=False)

    def observe(self, *keys: ObjectKey) -> KernelState:
        """The objects of ``keys``; without any, all that a namespace holds."""
        return self.see(Scope.of(keys) if keys else Scope.all())

    def see(self, scope: Scope) -> KernelState:
        return self.runner.run(self.kernel.observe(scope))

    def apply(self, *steps: Step) -> tuple[Outcome, ...]:
        return self.runner.run(self.kernel.apply(Plan(steps)))

    def do(self, *steps: Step) -> None:
        """Apply ``steps``, none of which may be refused."""
        for outcome in self.apply(*steps):
            if outcome.error is not None:
                raise outcome.error

    def errno(self, step: Step) -> int:
        """What the kernel answers to one step; 0: done."""
        (outcome,) = self.apply(step)
        return outcome.error.errno if outcome.error is not None else 0

    def listen(self) -> None:
        """Subscribe to changes from now on."""

        async def subscribe() -> AsyncIterator[Scope]:
            await asyncio.sleep(0)
            return self.kernel.changes()

        self._changes = self.runner.run(subscribe())

    def heard(self, enough: Callable[[Scope], bool]) -> Scope:
        """What was announced since ``listen``, once that is ``enough``.  Raises TimeoutError."""
        changes = self._changes
        assert changes is not None

        async def hear() -> Scope:
            heard = Scope()
            async with asyncio.timeout(DEADLINE_S):
                while not enough(heard):
                    heard |= await anext(changes)
            return heard

        return self.runner.run(hear())

    def meddle(self, *steps: Step) -> None:
        """Somebody else changes the namespace."""
        for step in steps:
            self.meddler(step)


@contextmanager
def fake_world() -> Generator[World]:
    kernel = FakeKernel()
    with asyncio.Runner() as runner:
        world = World(kernel, kernel.meddle, runner)
        world.do(*BEGINNING)
        yield world
        kernel.close()


@contextmanager
def real_world() -> Generator[World]:
    name = f"tullet-{secrets.token_hex(4)}"
    path = netns.create(name)
    kernel, other = LinuxKernel.open(path), LinuxKernel.open(path)
    try:
        with asyncio.Runner() as runner:

            def meddle(step: Step) -> None:
                (outcome,) = runner.run(other.apply(Plan((step,))))
                if outcome.error is not None:
                    raise outcome.error

            world = World(kernel, meddle, runner, name)
            world.do(*BEGINNING)
            runner.run(_settle(kernel))
            yield world
            kernel.close()
    finally:
        other.close()
        netns.delete(name)


async def _settle(kernel: Kernel) -> None:
    """Wait until the pair's link-local addresses are there, so that they do not appear in mid-test."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            state = await kernel.observe(Scope.of(devices=["eth0"]))
            if any(found.interface.is_link_local for found in state.each(Address)):
                return
            await asyncio.sleep(0.01)
