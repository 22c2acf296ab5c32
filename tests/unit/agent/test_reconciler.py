"""The agent's loop on the kernel in memory, in virtual time: what it does, when, and what it leaves alone."""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from errno import ENOBUFS, ENOMEM, EOPNOTSUPP
from ipaddress import IPv4Address, IPv4Network, ip_interface
from itertools import count
from typing import Any

import pytest

from tests.kit import virtual_time
from tests.kit.cluster import CONFIG, HOST, OWN, bare_host, intent, lease, mac, snapshot
from tests.kit.virtual_time import SeededRandom, VirtualClock, eventually
from tulle.agent.options import AUDIT_PERIOD_S
from tulle.agent.reconciler import Reconciler
from tulle.agent.retries import RETRY_FIRST_S, RETRY_LAST_S
from tulle.errors import KernelError, Unsupported
from tulle.kernel import turn
from tulle.kernel.fake import FakeKernel
from tulle.model.book import HOLD_NS
from tulle.model.change import Change, Create, Delete, Outcome, Plan
from tulle.model.lease import Gone, Put
from tulle.model.network import DroppingChain, Vxlan
from tulle.model.objects import (
    Address,
    BridgeKind,
    ChainAcceptKey,
    FdbEntry,
    KernelObject,
    Link,
    LinkKey,
    Neighbor,
    NeighborKey,
    NftTable,
    NftTableKey,
    Route,
    RouteKey,
)
from tulle.model.state import KernelState, Scope
from tulle.plan.compare import Gap, gap
from tulle.plan.underlay import UnderlayWish

DEFAULT_ROUTE = Route(dst=IPv4Network("0.0.0.0/0"), device="eth0", via=IPv4Address("192.168.64.1"), protocol=3)
ROUTE2 = RouteKey(IPv4Network("10.244.2.0/24"), 254, 0)
ROUTE3 = RouteKey(IPv4Network("10.244.3.0/24"), 254, 0)


class WatchedKernel(FakeKernel):
    """Counts what is asked, and does not echo our own changes; ``broken`` makes every observe fail."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.looks: list[Scope] = []
        self.broken = False

    async def observe(self, scope: Scope) -> KernelState:
        self.looks.append(scope)
        if self.broken:
            raise KernelError(ENOBUFS, "dump", "injected")
        return await super().observe(scope)

    async def apply(self, plan: Plan) -> tuple[Outcome, ...]:
        deaf, self.deaf = self.deaf, True
        try:
            return await super().apply(plan)
        finally:
            self.deaf = deaf


class World:
    """A kernel and a reconciler that runs."""

    def __init__(self, foreign: tuple[KernelObject, ...] = (), chains: tuple[DroppingChain, ...] = ()) -> None:
        self.kernel = WatchedKernel((*bare_host(), DEFAULT_ROUTE, *foreign), chains)
        self.clock = VirtualClock()
        self.loop = self.reborn()

    def reborn(self) -> Reconciler:
        """A reconciler without memory."""
        self.loop = Reconciler(self.kernel, self.clock, SeededRandom(), UnderlayWish(iface=("eth0",)), intent())
        return self.loop

    async def state(self) -> KernelState:
        return await FakeKernel.observe(self.kernel, Scope.all(self.loop.intent.desired.state.objects))

    async def holds(self, key: object) -> bool:
        return key in await self.state()

    async def missing(self) -> list[KernelObject]:
        """What is wanted and not there as wanted."""
        state = await self.state()
        wanted = self.loop.intent.desired.state
        return [obj for obj in wanted if (found := state.get(obj.key)) is None or gap(obj, found) is not Gap.NONE]

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """The reconciler runs and hears what the kernel announces."""
        changes = self.kernel.changes()

        async def listen() -> None:
            async for scope in changes:
                self.loop.kernel_changed(scope)

        tasks = [asyncio.ensure_future(self.loop.run()), asyncio.ensure_future(listen())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @asynccontextmanager
    async def settled(self, *peers: int) -> AsyncGenerator[None]:
        """Running and converged, with the leases of ``peers``."""
        async with self.running():
            self.loop.lease_event(snapshot(OWN, *map(lease, peers)))
            await self.converged()
            self.kernel.calls.clear()
            yield

    async def converged(self) -> None:
        await eventually(lambda: self.loop.converged)
        assert await self.missing() == []


def tell(story: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(story)


# -- much at once -------------------------------------------------------------------------


def test_a_snapshot_is_digested_whole_although_the_host_changes_meanwhile() -> None:
    async def story() -> None:
        world = World()
        peers = [lease(number) for number in range(2, 200)]
        digestion = asyncio.ensure_future(world.loop.digest(snapshot(OWN, *peers)))
        await asyncio.sleep(0)
        world.loop.own_lease(replace(OWN, expires_at_ns=7))
        await digestion
        assert world.loop.intent.desired.inputs.own.expires_at_ns == 7
        assert len(world.loop.intent.admission.peers) == len(peers)

    tell(story())


def test_others_run_between_many_events(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is too small to rest in; a thousand without a rest would keep a pod waiting for all of them."""
    ticks = count()
    monkeypatch.setattr(turn.time, "perf_counter", lambda: next(ticks) * turn.LENGTH_S / 8)

    async def story() -> None:
        world = World()
        await world.loop.digest(snapshot(OWN))
        turns = list[int]()

        async def pod() -> None:
            while True:
                turns.append(len(world.loop.intent.admission.peers))
                await asyncio.sleep(0)

        waiting = asyncio.ensure_future(pod())
        for number in range(2, 102):
            await world.loop.digest(Put(lease(number), number))
        waiting.cancel()
        assert len(set(turns)) >= 10

    tell(story())


# -- the snapshot first -------------------------------------------------------------------


def test_nothing_is_planned_before_the_first_snapshot() -> None:
    async def story() -> None:
        stale = Neighbor(device="flannel.1", ip=IPv4Address("10.244.9.0"), mac=mac(9))
        world = World((stale,))
        async with world.running():
            world.loop.lease_event(Put(lease(2), 1))
            world.kernel.overflow()
            await asyncio.sleep(10 * AUDIT_PERIOD_S)
            assert world.kernel.calls == []
            assert not world.loop.converged

    tell(story())


def test_the_first_snapshot_makes_the_kernel_hold_what_the_leases_say() -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2, 3):
            assert await world.holds(ROUTE2)
            assert await world.holds(ROUTE3)
            assert world.loop.report.passes == 1

    tell(story())


def test_a_restart_over_an_unchanged_world_changes_nothing() -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2, 3):
            pass
        world.reborn()
        async with world.running():
            world.loop.lease_event(snapshot(OWN, lease(2), lease(3)))
            await world.converged()
            await asyncio.sleep(10 * AUDIT_PERIOD_S)
        assert world.kernel.calls == []

    tell(story())


def test_what_a_peer_left_behind_while_nobody_ran_is_cleared_after_the_first_snapshot() -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2, 3):
            pass
        world.reborn()
        async with world.running():
            world.loop.lease_event(snapshot(OWN, lease(2)))
            await world.converged()
            left = [obj for obj in await world.state() if isinstance(obj, Neighbor | FdbEntry) or obj.key == ROUTE3]
            assert {getattr(obj, "mac", None) for obj in left} == {mac(2)}

    tell(story())


# -- events and drift ---------------------------------------------------------------------


def test_a_peer_that_comes_costs_three_steps_and_a_look_at_three_keys_and_their_device() -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2):
            world.kernel.looks.clear()
            world.loop.lease_event(Put(lease(3), 2))
            await world.converged()
            assert len(world.kernel.calls) == 3
            assert [len(look.keys) for look in world.kernel.looks if not look.everything] == [4]

    tell(story())


def test_a_peer_that_goes_takes_its_entries_along() -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2, 3):
            world.loop.lease_event(Gone(lease(3).key, 2))
            await eventually(lambda: len(world.kernel.calls) == 3)
            assert all(isinstance(step, Delete) for step in world.kernel.calls)
            assert not await world.holds(ROUTE3)

    tell(story())


@pytest.mark.parametrize("kind", [Route, Neighbor, FdbEntry, Address, NftTable, Link])
def test_what_goes_missing_comes_back_at_once(kind: type[KernelObject]) -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2, 3):
            state = world.loop.intent.desired.state
            obj = next(each for each in state if isinstance(each, kind))
            world.kernel.meddle(Delete(obj))
            await asyncio.sleep(0.2)
            assert await world.missing() == []
            assert world.loop.report.repairs >= 1

    tell(story())


def test_what_was_lost_without_a_word_comes_back_with_the_audit() -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2, 3):
            world.kernel.deaf = True
            world.kernel.meddle(*(Delete(obj) for obj in await world.state() if isinstance(obj, Neighbor)))
            await asyncio.sleep(AUDIT_PERIOD_S + 0.1)
            assert await world.missing() == []

    tell(story())


def test_an_overflow_makes_everything_dirty_at_once() -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2, 3):
            world.kernel.deaf = True
            world.kernel.meddle(*(Delete(obj) for obj in await world.state() if isinstance(obj, FdbEntry)))
            world.kernel.overflow()
            await asyncio.sleep(0.2)
            assert await world.missing() == []

    tell(story())


def test_the_link_going_down_and_up_brings_the_routes_back() -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2, 3):
            link = (await world.state()).link("flannel.1")
            assert link is not None
            world.kernel.meddle(Change(link, replace(link, up=False)), Change(link, replace(link, up=True)))
            await asyncio.sleep(0.2)
            assert await world.missing() == []

    tell(story())


def test_a_quiet_minute_changes_nothing() -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2, 3):
            await asyncio.sleep(60)
            assert world.kernel.calls == []
            assert len(world.kernel.looks) <= 60 / AUDIT_PERIOD_S + 3

    tell(story())


def test_what_does_not_matter_to_us_is_not_looked_at() -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2):
            world.kernel.looks.clear()
            world.kernel.meddle(
                Create(Link(name="docker0", kind=BridgeKind())),
                Create(Address(device="docker0", interface=ip_interface("172.17.0.1/16"))),
                Create(Route(dst=IPv4Network("172.18.0.0/16"), device="docker0", protocol=3)),
            )
            await asyncio.sleep(1)
            assert world.kernel.looks == []

    tell(story())


# -- failures -----------------------------------------------------------------------------


class Stubborn(WatchedKernel):
    """Refuses every step on the keys in ``refused``, and remembers when each was tried."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.refused: set[object] = set()
        self.tried: list[float] = []

    async def apply(self, plan: Plan) -> tuple[Outcome, ...]:
        allowed = tuple(step for step in plan.steps if step.key not in self.refused)
        refused = tuple(step for step in plan.steps if step.key in self.refused)
        self.tried += [asyncio.get_running_loop().time() for _ in refused]
        done = await super().apply(replace(plan, steps=allowed))
        return (*done, *(Outcome(step, KernelError(ENOMEM, step)) for step in refused))


def stubborn_world() -> tuple[World, Stubborn]:
    world = World()
    kernel = Stubborn((*bare_host(), DEFAULT_ROUTE))
    world.kernel = kernel
    world.reborn()
    return world, kernel


def test_a_refused_step_is_tried_again_after_a_second_doubling_to_a_minute_with_jitter() -> None:
    async def story() -> None:
        world, kernel = stubborn_world()
        kernel.refused = {ROUTE2}
        # Audits would try it as well: the pauses that are seen are those between them.
        world.loop = Reconciler(
            kernel, world.clock, SeededRandom(), UnderlayWish(iface=("eth0",)), intent(), audit_period_s=1e6
        )
        async with world.running():
            world.loop.lease_event(snapshot(OWN, lease(2)))
            await asyncio.sleep(600)
            pauses = [later - earlier for earlier, later in zip(kernel.tried, kernel.tried[1:], strict=False)]
            assert len(pauses) >= 8
            for number, pause in enumerate(pauses):
                nominal = min(RETRY_LAST_S, RETRY_FIRST_S * 2**number)
                assert 0.75 * nominal <= pause <= 1.26 * nominal, number
            assert len({round(pause / min(RETRY_LAST_S, 2.0**n), 6) for n, pause in enumerate(pauses)}) > 1

    tell(story())


def test_one_peer_that_fails_does_not_delay_the_others() -> None:
    async def story() -> None:
        world, kernel = stubborn_world()
        kernel.refused = {ROUTE2}
        async with world.running():
            world.loop.lease_event(snapshot(OWN, lease(2), lease(3)))
            await asyncio.sleep(0.01)
            assert await world.holds(ROUTE3)
            world.loop.lease_event(Put(lease(4), 2))
            await asyncio.sleep(0.01)
            assert await world.holds(RouteKey(IPv4Network("10.244.4.0/24"), 254, 0))
            assert not world.loop.converged
            assert [outcome.step.key for outcome in world.loop.report.failures] == [ROUTE2]

    tell(story())


def test_a_failure_is_over_when_the_step_succeeds() -> None:
    async def story() -> None:
        world, kernel = stubborn_world()
        kernel.refused = {ROUTE2}
        async with world.running():
            world.loop.lease_event(snapshot(OWN, lease(2)))
            await asyncio.sleep(5)
            kernel.refused = set()
            await eventually(lambda: world.loop.converged, within_s=RETRY_LAST_S * 1.3)
            assert world.loop.report.failures == ()

    tell(story())


def test_a_refused_change_of_the_device_brings_back_what_it_flushes_when_it_is_tried_again() -> None:
    async def story() -> None:
        world, kernel = stubborn_world()
        async with world.settled(*range(2, 20)):
            kernel.refused = {LinkKey("flannel.1")}
            world.loop.own_lease(replace(OWN, vtep_mac=mac(99)))
            await asyncio.sleep(0.1)
            kernel.refused = set()
            await asyncio.sleep(RETRY_FIRST_S * 1.3)
            assert await world.missing() == []

    tell(story())


def test_a_dump_that_fails_is_a_problem_that_is_named_and_tried_again_within_seconds() -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2):
            world.kernel.broken = True
            world.kernel.meddle(Delete(next((await world.state()).each(FdbEntry))))
            await asyncio.sleep(0.5)
            assert "injected" in "".join(world.loop.report.problems)
            world.kernel.broken = False
            await asyncio.sleep(2.5)
            assert world.loop.report.problems == ()
            assert await world.missing() == []

    tell(story())


def test_a_kernel_without_the_device_is_said_at_once() -> None:
    async def story() -> None:
        world = World()
        world.kernel.fail(EOPNOTSUPP)  # the first step is the device
        world.loop.lease_event(snapshot(OWN, lease(2)))
        with pytest.raises(Unsupported, match="VXLAN"):
            await asyncio.wait_for(world.loop.run(), 10)

    tell(story())


# -- strangers ----------------------------------------------------------------------------


def test_a_stranger_in_our_place_is_a_conflict_that_is_kept_reported_and_tried_again() -> None:
    async def story() -> None:
        theirs = Route(dst=IPv4Network("10.244.2.0/24"), device="eth0", via=IPv4Address("192.168.64.1"), protocol=4)
        world = World((theirs,))
        async with world.running():
            world.loop.lease_event(snapshot(OWN, lease(2), lease(3)))
            await asyncio.sleep(5)
            assert [conflict.holder for conflict in world.loop.report.conflicts] == [theirs]
            assert (await world.state()).get(ROUTE2) == theirs
            assert await world.holds(ROUTE3)
            world.kernel.meddle(Delete(theirs))
            await asyncio.sleep(1)
            assert world.loop.report.conflicts == ()
            assert await world.missing() == []

    tell(story())


def test_a_foreign_device_of_our_name_is_left_alone_with_all_that_is_on_it() -> None:
    async def story() -> None:
        bridge = Link(name="flannel.1", kind=BridgeKind(), mtu=1500, mac=mac(77), master="", alias="", hairpin=False)
        world = World((bridge,))
        async with world.running():
            world.loop.lease_event(snapshot(OWN, lease(2)))
            await asyncio.sleep(60)
            assert not [step for step in world.kernel.calls if "flannel.1" in repr(step.key)]
            assert LinkKey("flannel.1") in {conflict.key for conflict in world.loop.report.conflicts}

    tell(story())


def test_a_stranger_on_our_device_is_reported_until_it_is_gone() -> None:
    async def story() -> None:
        world = World()
        stranger = Neighbor(device="flannel.1", ip=IPv4Address("10.244.2.7"), mac=mac(77))
        async with world.settled(2):
            world.kernel.meddle(Create(stranger))
            await asyncio.sleep(AUDIT_PERIOD_S)
            assert world.loop.report.strangers == (stranger,)
            assert await world.holds(NeighborKey("flannel.1", IPv4Address("10.244.2.7")))
            world.kernel.meddle(Delete(stranger))
            await asyncio.sleep(AUDIT_PERIOD_S + 1)
            assert world.loop.report.strangers == ()

    tell(story())


def test_a_chain_that_drops_gets_our_accept() -> None:
    async def story() -> None:
        world = World(chains=(DroppingChain(engine="nft", family="ip", table="filter", chain="FORWARD"),))
        async with world.running():
            world.loop.lease_event(snapshot(OWN))
            world.loop.kernel_changed(Scope.of([NftTableKey("inet", "tulle")]))
            await asyncio.sleep(1)
            assert await world.holds(ChainAcceptKey("nft", "ip", "filter", "FORWARD"))

    tell(story())


# -- the host -----------------------------------------------------------------------------


def test_an_underlay_that_shrinks_shrinks_the_device() -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2):
            eth0 = (await world.state()).link("eth0")
            assert eth0 is not None
            world.kernel.meddle(Change(eth0, replace(eth0, mtu=1400)))
            await asyncio.sleep(1)
            link = (await world.state()).link("flannel.1")
            assert link is not None
            assert link.mtu == 1350

    tell(story())


def test_an_underlay_that_loses_its_address_is_a_problem_and_no_reason_to_withdraw_peers() -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2):
            address = Address(device="eth0", interface=ip_interface("192.168.64.11/24"))
            world.kernel.meddle(Delete(address))
            await asyncio.sleep(1)
            assert "underlay" in "".join(world.loop.report.problems)
            assert await world.holds(ROUTE2)
            world.kernel.meddle(Create(address))
            await asyncio.sleep(1)
            assert world.loop.report.problems == ()

    tell(story())


# -- time ---------------------------------------------------------------------------------


def test_a_held_lease_goes_when_its_hour_is_over() -> None:
    async def story() -> None:
        world = World()
        async with world.settled(2):
            world.loop.lease_event(snapshot(OWN, cluster_id="another"))
            await asyncio.sleep(HOLD_NS / 1e9 - 1)
            assert await world.holds(ROUTE2)
            await asyncio.sleep(AUDIT_PERIOD_S + 2)
            assert not await world.holds(ROUTE2)

    tell(story())


def test_waiting_for_a_state_ends_when_it_is_reached_or_time_is_over() -> None:
    async def story() -> None:
        world = World()
        async with world.running():
            waiting = asyncio.ensure_future(world.loop.wait_until(lambda loop: loop.converged, 5))
            await asyncio.sleep(1)
            assert not waiting.done()
            world.loop.lease_event(snapshot(OWN))
            assert await waiting
            assert not await world.loop.wait_until(lambda loop: bool(loop.intent.admission.peers), 5)

    tell(story())


def test_a_dry_run_says_all_and_does_nothing() -> None:
    async def story() -> None:
        world = World()
        world.loop.lease_event(snapshot(OWN, lease(2)))
        plan = await world.loop.dry_run()
        assert {obj.key for obj in world.loop.intent.desired.state} >= {step.key for step in plan.steps}
        assert ROUTE2 in {step.key for step in plan.steps}
        assert world.kernel.calls == []
        scratch = await world.loop.dry_run(KernelState.of())
        assert len(scratch.steps) == len(world.loop.intent.desired.state)

    tell(story())


def test_these_stories_are_about_the_cluster_of_the_kit() -> None:
    assert isinstance(CONFIG.backend, Vxlan)
    assert (CONFIG.backend.device, HOST.underlay.device) == ("flannel.1", "eth0")
