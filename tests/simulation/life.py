"""One life of a node's process: suspended, resumed, killed at any await."""

import asyncio
from collections.abc import AsyncIterator, Callable
from random import Random

from tulle.kernel.fake import FakeKernel
from tulle.model.change import Outcome, Plan
from tulle.model.network import DroppingChain, IPNetwork, PacketFilters
from tulle.model.state import KernelState, Scope

NS = 1_000_000_000
WALL_NS = 1_700_000_000 * NS


class Life:
    """Whether this process runs.  Everything that it asks of the world goes through ``passes``."""

    def __init__(self) -> None:
        self._running = asyncio.Event()
        self._running.set()
        self.killed = False

    def suspend(self) -> None:
        self._running.clear()

    def resume(self) -> None:
        self._running.set()

    def kill(self) -> None:
        """From now on it does nothing at all, not even to clean up."""
        self.killed = True
        self._running.set()

    async def passes(self) -> None:
        """Go on when the process runs.  Raises CancelledError: it was killed."""
        await self._running.wait()
        if self.killed:
            raise asyncio.CancelledError


class LifeClock:
    """``seams.Clock`` of one life; timers that ran out in suspension are noticed after it."""

    def __init__(self, life: Life, skew_s: float) -> None:
        self._life, self._skew_ns = life, int(skew_s * NS)

    def boottime_ns(self) -> int:
        return round(asyncio.get_running_loop().time() * NS)

    def wall_ns(self) -> int:
        return WALL_NS + self._skew_ns + self.boottime_ns()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._life.passes()


class LifeRandom:
    """``seams.Random`` out of the story's chance."""

    def __init__(self, random: Random) -> None:
        self._random = random

    def below(self, bound: int) -> int:
        return self._random.randrange(bound)

    def token(self, size: int) -> bytes:
        return self._random.randbytes(size)


class LifeKernel:
    """``kernel.port.Kernel`` of one life on a node's kernel, which outlives it.

    ``watch`` hears of each plan before it is carried out.
    """

    def __init__(self, kernel: FakeKernel, life: Life, random: Random, watch: Callable[[Plan], None]) -> None:
        self._kernel, self._life, self._random, self._watch = kernel, life, random, watch

    async def observe(self, scope: Scope) -> KernelState:
        await self._moment()
        return await self._kernel.observe(scope)

    async def apply(self, plan: Plan) -> tuple[Outcome, ...]:
        await self._moment()
        self._watch(plan)
        return await self._kernel.apply(plan)

    async def dropping_chains(
        self, networks: tuple[IPNetwork, ...] = (), tunnels: tuple[str, ...] = ()
    ) -> tuple[DroppingChain, ...]:
        await self._moment()
        return await self._kernel.dropping_chains(networks, tunnels)

    async def packet_filters(self) -> PacketFilters:
        await self._moment()
        return await self._kernel.packet_filters()

    def changes(self) -> AsyncIterator[Scope]:
        return self._kernel.changes()

    def close(self) -> None:
        self._kernel.close()

    async def _moment(self) -> None:
        await self._life.passes()
        await asyncio.sleep(self._random.uniform(0.0001, 0.005))
        await self._life.passes()
