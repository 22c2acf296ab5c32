"""Our own lease through hours of virtual time: taken, renewed, lost, taken again."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Any

import pytest

from tests.kit import virtual_time
from tests.kit.cluster import CONFIG, DUAL, ONLY6, POOL4, lease, mac
from tests.kit.memory_store import MemoryStore, Shelf
from tests.kit.virtual_time import SeededRandom, VirtualClock
from tulle.agent.identity import Identity
from tulle.agent.keeper import LeaseKeeper, Offer
from tulle.errors import ConfigError, LeaseConflict, StoreUnavailable
from tulle.model.lease import Garbled, Gone, Lease, LeaseEvent, NodeId, Put, Snapshot, Undecodable
from tulle.model.network import NetworkConfig, SubnetPool
from tulle.wire.subnet_env import SubnetEnv

TTL_S, MARGIN_S = 1000.0, 100.0
HOME = IPv4Network("10.244.7.0/24")


@dataclass
class World:
    """A store and this node's keeper."""

    clock: VirtualClock
    shelf: Shelf
    keeper: LeaseKeeper
    changes: list[Lease]

    @classmethod
    def new(cls, shelf: Shelf | None = None, *, node: str = "me", ttl_s: float = TTL_S, seed: int = 0) -> "World":
        clock = VirtualClock()
        shelf = shelf or Shelf(clock)
        store = MemoryStore(shelf)
        keeper = LeaseKeeper(
            store,
            store,
            Identity(NodeId(node)),
            clock,
            SeededRandom(seed),
            ttl_s=ttl_s,
            renew_margin_s=MARGIN_S,
        )
        world = cls(clock, shelf, keeper, [])
        keeper.on_change = world.changes.append
        return world

    @property
    def leases(self) -> list[Lease]:
        return [held for held, _ in self.shelf.leases.values()]

    def put(self, made: Lease, ttl_s: float | None = TTL_S) -> None:
        """Somebody writes a lease."""
        self.shelf.put(made, None, ttl_s)

    async def running(self, story: Coroutine[Any, Any, None]) -> None:
        """Tell ``story`` while the keeper runs and hears what the store says."""

        async def listen() -> None:
            while True:
                with suppress(StoreUnavailable):
                    async for event in MemoryStore(self.shelf).watch():
                        self.keeper.noticed(event)
                await self.clock.sleep(1.0)

        tasks = [asyncio.ensure_future(self.keeper.run()), asyncio.ensure_future(listen())]
        try:
            await story
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def offer(config: NetworkConfig = CONFIG, *, number: int = 1, previous: SubnetEnv | None = None) -> Offer:
    """What node ``number`` brings."""
    return Offer(
        config=config,
        public_ip=IPv4Address(f"192.168.64.{10 + number}") if config.pool4 else None,
        public_ip6=IPv6Address(f"fd64::{10 + number}") if config.pool6 else None,
        vtep_mac=mac(number),
        vtep_mac6=mac(number + 100) if config.pool6 else None,
        previous=previous,
    )


def last_run(subnet: IPv4Network) -> SubnetEnv:
    return SubnetEnv(networks=(IPv4Network("10.244.0.0/16"),), subnet=subnet, mtu=1450, ip_masq=True)


# -- taking -------------------------------------------------------------------------------


def test_a_new_node_takes_a_free_subnet_with_its_name_on_it() -> None:
    async def story() -> None:
        world = World.new()
        taken = await world.keeper.acquire(offer())
        assert world.leases == [taken]
        assert (taken.owner, taken.public_ip, taken.vtep_mac) == ("me", IPv4Address("192.168.64.11"), mac(1))
        assert taken.subnet is not None
        assert taken.subnet.subnet_of(IPv4Network("10.244.0.0/16"))

    virtual_time.run(story())


def test_a_restarted_node_takes_its_own_lease_again_and_keeps_its_age() -> None:
    async def story() -> None:
        world = World.new()
        first = await world.keeper.acquire(offer())
        again = await World.new(world.shelf, seed=9).keeper.acquire(offer())
        assert (again.key, again.created) == (first.key, first.created)
        assert len(world.leases) == 1

    virtual_time.run(story())


def test_a_lease_that_is_only_presumed_has_the_age_that_it_had() -> None:
    """By which the first snapshot shows whether it was lost since."""

    async def story() -> None:
        world = World.new()
        taken = await world.keeper.acquire(offer())
        assert world.keeper.grant is not None
        presumed = World.new(world.shelf).keeper.presume(offer(), world.keeper.grant)
        assert (presumed.key, presumed.created) == (taken.key, taken.created)

    virtual_time.run(story())


def test_a_node_whose_address_changed_finds_its_lease_by_its_key() -> None:
    async def story() -> None:
        world = World.new()
        first = await world.keeper.acquire(offer())
        moved = await World.new(world.shelf, seed=9).keeper.acquire(offer(number=5))
        assert (moved.key, moved.public_ip) == (first.key, IPv4Address("192.168.64.15"))

    virtual_time.run(story())


def test_a_reservation_for_our_address_is_ours() -> None:
    async def story() -> None:
        world = World.new()
        world.put(Lease(key=lease(7).key, subnet=HOME, public_ip=IPv4Address("192.168.64.11")), ttl_s=None)
        taken = await world.keeper.acquire(offer())
        assert (taken.subnet, taken.owner) == (HOME, "me")
        assert taken.expires_at_ns is not None

    virtual_time.run(story())


def test_the_subnet_of_the_last_run_is_taken_when_it_is_free() -> None:
    async def story() -> None:
        world = World.new()
        assert (await world.keeper.acquire(offer(previous=last_run(HOME)))).subnet == HOME

    virtual_time.run(story())


def test_the_subnet_of_the_last_run_is_not_taken_from_who_has_it_now() -> None:
    async def story() -> None:
        world = World.new()
        world.put(lease(7, owner=NodeId("other"), public_ip=IPv4Address("192.168.64.17")))
        assert (await world.keeper.acquire(offer(previous=last_run(HOME)))).subnet != HOME

    virtual_time.run(story())


def test_another_live_node_at_our_address_is_a_refusal_that_names_the_address() -> None:
    async def story() -> None:
        world = World.new()
        world.put(lease(7, owner=NodeId("other"), public_ip=IPv4Address("192.168.64.11")))
        with pytest.raises(LeaseConflict, match=r"192\.168\.64\.11"):
            await world.keeper.acquire(offer())
        assert len(world.leases) == 1

    virtual_time.run(story())


def test_our_lease_that_no_longer_fits_the_network_is_given_back() -> None:
    async def story() -> None:
        world = World.new()
        world.put(lease(7, owner=NodeId("me"), subnet=IPv4Network("10.9.0.0/24"), key=""))
        taken = await world.keeper.acquire(offer())
        assert world.leases == [taken]

    virtual_time.run(story())


def test_what_we_give_back_is_free_for_us() -> None:
    """SubnetLen has changed, and the only subnet of the pool overlaps the lease that we had."""

    async def story() -> None:
        pool = SubnetPool(network=IPv4Network("10.244.0.0/16"), subnet_len=24, first=HOME, last=HOME)
        world = World.new()
        world.put(lease(7, owner=NodeId("me"), subnet=IPv4Network("10.244.7.0/25")))
        assert (await world.keeper.acquire(offer(replace(CONFIG, pool4=pool)))).subnet == HOME

    virtual_time.run(story())


def test_a_node_with_ipv6_only_is_known_by_its_ipv6_address() -> None:
    async def story() -> None:
        world = World.new()
        one = await world.keeper.acquire(offer(ONLY6))
        other = await World.new(world.shelf, node="other", seed=1).keeper.acquire(offer(ONLY6, number=2))
        assert one.subnet is None
        assert one.subnet6 != other.subnet6
        assert one.key.startswith("0.0.0.0-0&")

    virtual_time.run(story())


def test_both_families_are_claimed_in_one_key() -> None:
    async def story() -> None:
        world = World.new()
        taken = await world.keeper.acquire(offer(DUAL))
        assert taken.subnet is not None
        assert taken.subnet6 is not None
        assert taken.subnet6.subnet_of(IPv6Network("fd10:244::/48"))

    virtual_time.run(story())


def test_a_crowd_that_starts_at_once_gets_one_subnet_each() -> None:
    async def story() -> None:
        shelf = Shelf(VirtualClock())
        keepers = [World.new(shelf, node=f"node{n}", seed=n).keeper for n in range(20)]
        taken = await asyncio.gather(*(keeper.acquire(offer(number=n)) for n, keeper in enumerate(keepers)))
        assert len({each.subnet for each in taken}) == 20

    virtual_time.run(story())


def test_a_network_without_a_free_subnet_is_a_configuration_error() -> None:
    async def story() -> None:
        only = IPv4Network("10.244.7.0/24")
        pool = SubnetPool(network=IPv4Network("10.244.0.0/16"), subnet_len=24, first=only, last=only)
        world = World.new()
        world.put(lease(7, owner=NodeId("other")))
        with pytest.raises(ConfigError, match="out of subnets"):
            await world.keeper.acquire(offer(replace(CONFIG, pool4=pool)))

    virtual_time.run(story())


def test_a_subnet_that_expired_lately_is_taken_last() -> None:
    async def story() -> None:
        first, second = IPv4Network("10.244.7.0/24"), IPv4Network("10.244.8.0/24")
        pool = SubnetPool(network=IPv4Network("10.244.0.0/16"), subnet_len=24, first=first, last=second)
        for expired, free in ((first, second), (second, first)):
            world = World.new()
            world.shelf.expired.add(lease(1, subnet=expired).key)
            assert (await world.keeper.acquire(offer(replace(CONFIG, pool4=pool)))).subnet == free

    virtual_time.run(story())


def test_a_key_that_cannot_be_read_still_takes_its_subnet() -> None:
    async def story() -> None:
        first, second = IPv4Network("10.244.7.0/24"), IPv4Network("10.244.8.0/24")
        pool = SubnetPool(network=IPv4Network("10.244.0.0/16"), subnet_len=24, first=first, last=second)
        for garbled, free in ((first, second), (second, first)):
            world = World.new()
            key = lease(1, subnet=garbled).key
            world.shelf.undecodable[key] = Undecodable(key, "not JSON")
            assert (await world.keeper.acquire(offer(replace(CONFIG, pool4=pool)))).subnet == free

    virtual_time.run(story())


# -- keeping ------------------------------------------------------------------------------


def test_a_lease_is_renewed_in_time_and_its_age_stays() -> None:
    async def story() -> None:
        world = World.new()
        taken = await world.keeper.acquire(offer())

        async def hours() -> None:
            for _ in range(20):
                await asyncio.sleep(TTL_S / 2)
                assert [held.key for held in world.leases] == [taken.key]
            assert world.leases[0].created == taken.created
            # One write to take it, one for each renewal after TTL less the margin.
            assert world.shelf.writes == 1 + int(10 * TTL_S / (TTL_S - MARGIN_S))

        await world.running(hours())
        assert world.changes == []

    virtual_time.run(story())


@pytest.mark.parametrize(
    ("ttl_s", "margin_s"),
    [
        pytest.param(86_400.0, 1728.0, id="a fiftieth of a day"),
        pytest.param(1000.0, 20.0, id="a fiftieth"),
        pytest.param(50.0, 1.0, id="where both are equal"),
        pytest.param(10.0, 1.0, id="but at least a second"),
    ],
)
def test_the_deadline_runs_from_the_sending_of_the_last_good_renewal(ttl_s: float, margin_s: float) -> None:
    async def story() -> None:
        world = World.new(ttl_s=ttl_s)
        sent_at_ns = world.clock.boottime_ns()
        await world.keeper.acquire(offer())
        assert world.keeper.deadline_ns == sent_at_ns + int((ttl_s - margin_s) * 1e9)

    virtual_time.run(story())


def test_before_a_lease_is_taken_there_is_no_deadline_and_no_trust() -> None:
    async def story() -> None:
        keeper = World.new().keeper
        assert keeper.deadline_ns is None
        assert keeper.past_deadline

    virtual_time.run(story())


def test_a_lease_that_somebody_took_is_not_trusted_while_no_other_is_to_be_had() -> None:
    async def story() -> None:
        world = World.new()
        full = replace(CONFIG, pool4=replace(POOL4, last=POOL4.first))
        taken = await world.keeper.acquire(offer(full))

        async def robbery() -> None:
            world.put(replace(taken, owner=None, public_ip=IPv4Address("192.168.64.99"), vtep_mac=mac(99)))
            await asyncio.sleep(1)
            assert world.keeper.past_deadline

        await world.running(robbery())

    virtual_time.run(story())


def test_past_the_deadline_no_trust_is_left_until_the_store_is_back() -> None:
    async def story() -> None:
        world = World.new()
        taken = await world.keeper.acquire(offer())

        async def outage() -> None:
            world.shelf.away = True
            await asyncio.sleep(TTL_S - 21)
            assert not world.keeper.past_deadline
            await asyncio.sleep(1.5)
            assert world.keeper.past_deadline
            await asyncio.sleep(TTL_S)
            world.shelf.away = False
            await asyncio.sleep(10)  # a store that is away is asked at least every 5 s
            assert not world.keeper.past_deadline
            assert [held.subnet for held in world.leases] == [taken.subnet]

        await world.running(outage())

    virtual_time.run(story())


def test_a_store_that_is_away_is_not_stormed() -> None:
    async def story() -> None:
        world = World.new()
        await world.keeper.acquire(offer())
        asked = 0
        check = world.shelf.check

        def counting() -> None:
            nonlocal asked
            asked += 1
            check()

        async def outage() -> None:
            await asyncio.sleep(1)
            world.shelf.check = counting
            world.shelf.away = True
            world.shelf.restart()
            await asyncio.sleep(TTL_S - MARGIN_S)  # until the renewal is due; the listener asks each second
            before = asked
            await asyncio.sleep(60)
            renewals = asked - before - 60
            assert 60 / 5 <= renewals <= 60 / 5 * 2 + 8

        await world.running(outage())

    virtual_time.run(story())


def test_time_that_no_timer_saw_counts() -> None:
    async def story() -> None:
        world = World.new()
        await world.keeper.acquire(offer())

        async def suspended() -> None:
            await asyncio.sleep(1)
            world.clock.suspended_s = TTL_S - MARGIN_S
            await asyncio.sleep(61)  # no timer runs while suspended; the keeper looks every minute
            assert world.shelf.writes == 2

        await world.running(suspended())

    virtual_time.run(story())


def test_a_renewal_whose_answer_was_lost_is_done_again_as_a_new_claim_of_our_own() -> None:
    async def story() -> None:
        world = World.new()
        taken = await world.keeper.acquire(offer())

        async def lost() -> None:
            world.shelf.lose_reply = True
            await asyncio.sleep(TTL_S)
            assert not world.shelf.lose_reply
            assert [held.key for held in world.leases] == [taken.key]
            assert not world.keeper.past_deadline

        await world.running(lost())
        assert world.changes == []

    virtual_time.run(story())


def test_an_update_is_published_at_once_and_told() -> None:
    async def story() -> None:
        world = World.new()
        taken = await world.keeper.acquire(offer())
        await world.keeper.update(replace(taken, vtep_mac=mac(99)))
        assert [held.vtep_mac for held in world.leases] == [mac(99)]
        assert [changed.vtep_mac for changed in world.changes] == [mac(99)]

        async def renewals() -> None:
            await asyncio.sleep(2 * TTL_S)
            assert [held.vtep_mac for held in world.leases] == [mac(99)]

        await world.running(renewals())

    virtual_time.run(story())


# -- losing -------------------------------------------------------------------------------


def test_a_lease_that_somebody_deleted_is_taken_again_at_once() -> None:
    async def story() -> None:
        world = World.new()
        taken = await world.keeper.acquire(offer())

        async def deleted() -> None:
            await asyncio.sleep(1)
            world.shelf.remove(taken.key)
            await asyncio.sleep(1)
            assert [(held.key, held.owner) for held in world.leases] == [(taken.key, "me")]

        await world.running(deleted())

    virtual_time.run(story())


def test_a_subnet_that_went_to_another_node_is_not_taken_back() -> None:
    async def story() -> None:
        world = World.new()
        taken = await world.keeper.acquire(offer())

        async def overwritten() -> None:
            await asyncio.sleep(1)
            theirs = replace(taken, owner=None, public_ip=IPv4Address("192.168.64.99"), vtep_mac=mac(99))
            world.put(theirs)
            await asyncio.sleep(5)
            ours = [held for held in world.leases if held.owner == "me"]
            assert len(world.leases) == 2
            assert len(ours) == 1
            assert ours[0].subnet != taken.subnet
            assert world.changes == ours

        await world.running(overwritten())

    virtual_time.run(story())


def test_f09_a_flanneld_that_writes_itself_in_at_our_key_and_address_is_not_fought() -> None:
    async def story() -> None:
        world = World.new()
        taken = await world.keeper.acquire(offer())

        async def intruded() -> None:
            await asyncio.sleep(1)
            world.put(replace(taken, owner=None, vtep_mac=mac(99)))
            await asyncio.sleep(5)
            by_owner = {held.owner: held for held in world.leases}
            assert by_owner[None].subnet == taken.subnet
            assert by_owner[NodeId("me")].subnet != taken.subnet

        await world.running(intruded())

    virtual_time.run(story())


def test_what_is_lost_while_the_store_is_away_is_taken_again_when_it_is_back() -> None:
    async def story() -> None:
        world = World.new()
        taken = await world.keeper.acquire(offer())

        async def wiped() -> None:
            world.shelf.away = True
            world.shelf.restart()
            world.shelf.leases.clear()
            world.shelf.cluster_id, world.shelf.revision = "another", 0
            await asyncio.sleep(100)
            world.shelf.away = False
            await asyncio.sleep(10)
            assert [(held.key, held.owner) for held in world.leases] == [(taken.key, "me")]

        await world.running(wiped())

    virtual_time.run(story())


def loss(*, seen: int) -> list[Any]:
    """Events at revision ``seen`` that say that the lease of node 7 is not what we wrote."""
    ours = lease(7, owner=NodeId("me"))
    return [
        pytest.param(Gone(ours.key, seen), id="deleted"),
        pytest.param(Put(replace(ours, owner=None), seen), id="overwritten by a flanneld"),
        pytest.param(Garbled(Undecodable(ours.key, "not JSON"), seen), id="garbled"),
    ]


async def holding_subnet_7() -> World:
    world = World.new()
    await world.keeper.acquire(offer(number=7, previous=last_run(HOME)))
    return world


@pytest.mark.parametrize("event", loss(seen=2))
def test_later_news_of_our_key_wakes_the_keeper(event: LeaseEvent) -> None:
    async def story() -> None:
        world = await holding_subnet_7()
        writes = world.shelf.writes
        world.keeper.noticed(event)
        running = asyncio.ensure_future(world.keeper.run())
        await asyncio.sleep(2)
        running.cancel()
        assert world.shelf.writes > writes

    virtual_time.run(story())


@pytest.mark.parametrize(
    "event",
    [
        *loss(seen=1),
        pytest.param(Gone(lease(8).key, 9), id="another key"),
        pytest.param(Put(lease(8), 9), id="another lease"),
    ],
)
def test_old_news_and_news_of_others_are_ignored(event: LeaseEvent) -> None:
    async def story() -> None:
        world = await holding_subnet_7()
        world.keeper.noticed(event)
        running = asyncio.ensure_future(world.keeper.run())
        await asyncio.sleep(2)
        running.cancel()
        assert world.shelf.writes == 1

    virtual_time.run(story())


def test_a_snapshot_of_another_store_counts_whatever_its_revision() -> None:
    async def story() -> None:
        world = await holding_subnet_7()
        world.keeper.noticed(Snapshot(cluster_id="another", revision=0, leases=()))
        running = asyncio.ensure_future(world.keeper.run())
        await asyncio.sleep(2)
        running.cancel()
        assert world.shelf.writes == 2

    virtual_time.run(story())
