"""The world changes between the look and the act: looked at again at once, and only once."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from ipaddress import IPv4Address

from tests.kit import virtual_time
from tests.kit.cluster import OWN, bare_host, intent, lease, snapshot
from tests.kit.virtual_time import SeededRandom, VirtualClock, eventually
from tulle.agent.reconciler import Reconciler
from tulle.agent.retries import RETRY_FIRST_S
from tulle.kernel.fake import FakeKernel
from tulle.model.change import Create, Outcome, Plan
from tulle.model.objects import Neighbor
from tulle.model.state import Scope
from tulle.plan.underlay import UnderlayWish

UNRESOLVED = Neighbor(device="flannel.1", ip=IPv4Address("10.244.2.0"), mac=None, permanent=False)
"""What the kernel makes of its own accord when a packet asks for a neighbour that is not there."""


class RacedKernel(FakeKernel):
    """Before a neighbour is made, a packet has asked for it, as often as ``races`` says."""

    races = 1

    async def apply(self, plan: Plan) -> tuple[Outcome, ...]:
        makes = any(isinstance(step, Create) and step.key == UNRESOLVED.key for step in plan.steps)
        raced = plan
        if makes and self.races:
            self.races -= 1
            first = tuple(step for step in plan.steps if step.key != UNRESOLVED.key)
            await super().apply(Plan(first))
            self.meddle(Create(UNRESOLVED))
            raced = Plan(tuple(step for step in plan.steps if step.key == UNRESOLVED.key))
        return await super().apply(raced)


def test_an_entry_that_was_taken_meanwhile_is_looked_at_again_without_a_pause() -> None:
    async def story() -> None:
        clock = VirtualClock()
        kernel = RacedKernel(bare_host())
        loop = Reconciler(kernel, clock, SeededRandom(), UnderlayWish(iface=("eth0",)), intent())
        running = asyncio.ensure_future(loop.run())
        began = clock.boottime_ns()
        loop.lease_event(snapshot(OWN, lease(2)))
        await eventually(lambda: loop.converged)
        assert clock.boottime_ns() - began < RETRY_FIRST_S / 2 * 1e9
        state = await kernel.observe(Scope.of([UNRESOLVED.key]))
        found = state.get(UNRESOLVED.key)
        assert found == replace(UNRESOLVED, mac=lease(2).vtep_mac, permanent=True)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running

    virtual_time.run(story())
