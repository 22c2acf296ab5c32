"""Play a story: let its faults befall the world, judge all the way, then let it heal and judge the end."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from unittest.mock import patch

from tests.kit import virtual_time
from tests.simulation.faults import Faults
from tests.simulation.laws import PATIENT_TTL_S, Laws
from tests.simulation.story import Story
from tests.simulation.world import LawBroken, World, telling
from tulle.kernel import turn

SETTLE_S: Final = 150.0
"""After the last fault everybody reaches everybody within this: a silent watch is noticed after 24 s, a deaf
kernel at the next audit, a refused step after 60 s at most."""
HOLD_S: Final = 3_600.0
STEP_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Told:
    """How a story went."""

    broken: LawBroken | None
    log: tuple[str, ...]
    digest: str


def play(story: Story) -> Told:
    """The story from its beginning to its end, or to the first law that it breaks."""
    with patch.object(turn, "LENGTH_S", float("inf")):  # how fast this machine is must not tell in the story
        try:
            return virtual_time.run(_played(story))
        except virtual_time.Stuck as stuck:
            return Told(LawBroken(f"L4: {stuck} (seed {story.seed})"), (), "")


async def _played(story: Story) -> Told:
    world = World(story)
    laws = Laws(world)
    world.judge = laws
    with telling(world):
        stage = Stage(world, laws)
        try:
            await stage.play()
        except LawBroken:
            pass
        finally:
            stage.end()
    return Told(world.broken, tuple(world.log), world.digest)


class Stage:
    """One world, its faults, and the laws that it is held to."""

    def __init__(self, world: World, laws: Laws) -> None:
        self._world, self._laws, self._faults = world, laws, Faults(world, laws)
        self._tasks = list[asyncio.Task[None]]()

    async def play(self) -> None:
        """Raises LawBroken as soon as there is one."""
        world = self._world
        begin_s = world.now_s
        for node in (*world.nodes, *world.flannelds):
            node.start()
        for fault in world.story.faults:
            await self._until(begin_s + fault.at_s)
            world.said(f"--- {fault}")
            self._tasks.append(asyncio.create_task(self._faults.befall(fault)))
        await self._while(lambda: any(not task.done() for task in self._tasks))
        for task in self._tasks:
            task.result()
        world.said("--- all is well from now on")
        world.upset_s = world.now_s
        await self._until(world.now_s + SETTLE_S + world.story.ttl_s)
        self._laws.all_reach_each_other()
        self._stop_if_broken()
        await self._until(world.now_s + world.story.ttl_s)
        if self._somebody_holds() and world.story.ttl_s >= PATIENT_TTL_S:
            await self._until(world.now_s + HOLD_S + SETTLE_S)
        self._laws.all_reach_each_other()
        self._laws.nothing_is_left_over()
        self._stop_if_broken()
        await self._laws.restarts_change_nothing()
        self._laws.check()
        self._stop_if_broken()

    def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        for node in (*self._world.nodes, *self._world.flannelds):
            node.kill()

    def _somebody_holds(self) -> bool:
        return any(node.node is not None and node.node.reconciler.intent.book.held for node in self._world.living)

    async def _until(self, when_s: float) -> None:
        await self._while(lambda: self._world.now_s < when_s)

    async def _while(self, condition: Callable[[], bool]) -> None:
        while condition():
            self._laws.check()
            self._stop_if_broken()
            await asyncio.sleep(STEP_S)

    def _stop_if_broken(self) -> None:
        if self._world.broken is not None:
            raise self._world.broken
