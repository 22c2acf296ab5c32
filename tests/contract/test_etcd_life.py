"""The etcd store through what happens to a real etcd and to the way there.

Each story has a member of its own, or a relay of its own in front of the session's.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from tests.contract.stores import CONFIG, LONG_S, PATIENCE_S, Watch, key, lease, reservation
from tests.kit.etcd import NEEDS_ETCD, PREFIX, Etcd, etcd, etcd_members, shared_etcd
from tests.kit.relay import Relay, relay
from tulle.agent.identity import Identity
from tulle.agent.keeper import LeaseKeeper, Offer
from tulle.errors import StoreUnavailable
from tulle.kernel.system import SystemClock, SystemRandom
from tulle.model.lease import Departure, Garbled, Gone, NodeId, Put, Snapshot
from tulle.store import etcd_read, etcd_watch
from tulle.store.etcd_address import parse_etcd_url
from tulle.store.etcd_client import EtcdClient
from tulle.store.open import open_store
from tulle.store.ports import Store
from tulle.wire.etcd import PUT, TXN, delete, put_request, txn_request
from tulle.wire.network_config import decode_network_config

pytestmark = NEEDS_ETCD

MB = 1_000_000


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine under load may take its time to restart a member."""
    monkeypatch.setattr(etcd_watch, "RESUME_S", PATIENCE_S)


class Site:
    """Clients of one store, directly and through relays."""

    def __init__(self, server: Etcd, prefix: str = PREFIX) -> None:
        self.server, self.prefix = server, prefix
        self.closing = AsyncExitStack()

    def client(self, *ports: int) -> Store:
        members = ",".join(f"127.0.0.1:{port}" for port in ports or (self.server.port,))
        store = open_store(f"etcd://{members}{self.prefix}", SystemClock())
        self.closing.push_async_callback(store.close)
        return store

    async def way(self) -> Relay:
        return await self.closing.enter_async_context(relay("127.0.0.1", self.server.port))

    async def watch(self, store: Store) -> Watch:
        watch = Watch(store.watch())
        self.closing.push_async_callback(watch.close)
        assert isinstance(await watch.next(), Snapshot)
        return watch


def told(story: Callable[[Site], Awaitable[None]], server: Etcd, prefix: str = PREFIX) -> None:
    async def whole() -> None:
        site = Site(server, prefix)
        async with site.closing:
            await story(site)

    asyncio.run(whole())


def through_relays(story: Callable[[Site], Awaitable[None]], folder: Path) -> None:
    told(story, shared_etcd(), f"/tulle-test{folder}")


def test_a_watch_goes_on_over_a_restart_without_a_new_snapshot(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        watch = await site.watch(site.client())
        first = await site.client().create(lease(1), LONG_S)
        assert await watch.next() == Put(first.lease, first.revision)
        await asyncio.to_thread(site.server.kill)
        await asyncio.to_thread(site.server.start)
        second = await site.client().create(lease(2), LONG_S)
        assert await watch.next() == Put(second.lease, second.revision)

    with etcd(tmp_path) as server:
        told(story, server)


def test_what_happened_while_the_watch_was_cut_is_told_as_it_happened(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        way, direct = await site.way(), site.client()
        watch, other = await site.watch(site.client(way.port)), await site.watch(direct)
        deleted = await direct.create(lease(1), LONG_S)
        await watch.next()
        await way.refuse()
        await direct.create(lease(2), 1.0)
        while not isinstance(await other.next(), Gone):
            pass
        await direct.release(deleted)
        await way.listen()
        events = [await watch.next(), await watch.next(), await watch.next()]
        assert [(gone.key, gone.departure) for gone in events if isinstance(gone, Gone)] == [
            (key(2), Departure.EXPIRED),
            (key(1), Departure.DELETED),
        ]

    through_relays(story, tmp_path)


def test_a_catch_up_that_is_cut_in_its_middle_loses_and_repeats_nothing(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        way, direct = await site.way(), site.client()
        watch = await site.watch(site.client(way.port))
        grant = await direct.create(lease(1), LONG_S)
        await watch.next()
        await way.refuse()
        wanted = list[int]()
        for _ in range(300):
            grant = await direct.renew(grant, lease(1), LONG_S)
            wanted.append(grant.revision)
        seen = list[int]()
        await way.listen()
        while len(seen) < len(wanted):
            way.answer_limit = 30_000
            for _ in range(min(10, len(wanted) - len(seen))):
                event = await watch.next()
                assert isinstance(event, Put)
                seen.append(event.revision)
        assert seen == wanted
        assert way.accepted >= 3, "the first connection, the one that was cut in the middle, and one more"

    through_relays(story, tmp_path)


def test_a_watch_whose_history_was_compacted_away_begins_anew(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        way, direct = await site.way(), site.client()
        grant = await direct.create(lease(1), LONG_S)
        watch = await site.watch(site.client(way.port))
        await way.refuse()
        grant = await direct.renew(grant, lease(1, mac=9), LONG_S)
        second = await direct.create(lease(2), LONG_S)
        await asyncio.to_thread(site.server.compact)
        await way.listen()
        snapshot = await watch.next()
        assert isinstance(snapshot, Snapshot)
        assert snapshot.leases == (grant.lease, second.lease)
        third = await direct.create(lease(3), LONG_S)
        assert await watch.next() == Put(third.lease, third.revision)

    through_relays(story, tmp_path)


def test_compaction_at_any_time_hides_no_change(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        async def compact() -> None:
            while True:
                await asyncio.to_thread(site.server.compact)
                await asyncio.sleep(0.02)

        direct, watch = site.client(), await site.watch(site.client())
        compacting = asyncio.create_task(compact())
        grant = await direct.create(lease(1), LONG_S)
        for _ in range(60):
            grant = await direct.renew(grant, lease(1), LONG_S)
        compacting.cancel()
        seen = 0
        while seen < grant.revision:
            event = await watch.next()
            seen = event.revision
        assert seen == grant.revision

    with etcd(tmp_path) as server:
        told(story, server)


async def _wiped(site: Site, way: Relay) -> None:
    await way.refuse()
    await asyncio.to_thread(site.server.kill)
    site.server.wipe()
    await asyncio.to_thread(site.server.start)
    await way.listen()


def test_a_wiped_store_is_not_mistaken_for_the_old_one_though_it_has_its_cluster_id(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        way = await site.way()
        held = await site.client().create(lease(1), LONG_S)
        watch = Watch(site.client(way.port).watch())
        before = await watch.next()
        assert isinstance(before, Snapshot)
        assert before.leases == (held.lease,)
        await _wiped(site, way)
        after = await watch.next()
        assert isinstance(after, Snapshot)
        assert (after.leases, after.cluster_id) == ((), before.cluster_id)
        assert after.revision < before.revision
        await watch.close()

    with etcd(tmp_path) as server:
        told(story, server)


def test_a_wiped_store_that_has_outgrown_the_old_one_is_not_mistaken_either(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        way = await site.way()
        await site.client().create(lease(1), LONG_S)
        watch = await site.watch(site.client(way.port))
        await way.refuse()
        await asyncio.to_thread(site.server.kill)
        site.server.wipe()
        await asyncio.to_thread(site.server.start)
        fresh = site.client()
        other = await fresh.create(lease(7, owner="b"), LONG_S)
        for _ in range(9):
            other = await fresh.renew(other, lease(7, owner="b"), LONG_S)
        await way.listen()
        after = await watch.next()
        assert isinstance(after, Snapshot)
        assert after.leases == (other.lease,)

    with etcd(tmp_path) as server:
        told(story, server)


def test_a_restored_store_is_read_anew(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        way, server = await site.way(), site.server
        first = await site.client().create(lease(1), LONG_S)
        backup = str(tmp_path / "backup")
        await asyncio.to_thread(server.ctl, "snapshot", "save", backup)
        watch = await site.watch(site.client(way.port))
        await site.client().create(lease(2), LONG_S)
        await watch.next()
        await way.refuse()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.restore, backup)
        await asyncio.to_thread(server.start)
        await way.listen()
        after = await watch.next()
        assert isinstance(after, Snapshot)
        assert after.leases == (first.lease,)

    with etcd(tmp_path) as server:
        told(story, server)


def test_a_watch_on_a_path_that_swallows_everything_moves_to_the_next_member(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_watch, "QUIET_S", 0.3)

    async def story(site: Site) -> None:
        dead, live, direct = await site.way(), await site.way(), site.client()
        await direct.reserve([reservation(9)])
        watch = await site.watch(site.client(dead.port, live.port))
        dead.hold()
        grant = await direct.create(lease(1), LONG_S)
        assert await watch.next() == Put(grant.lease, grant.revision)
        assert live.accepted == 1

    through_relays(story, tmp_path)


def test_a_quiet_watch_stays_on_its_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_watch, "QUIET_S", 1.0)

    async def story(site: Site) -> None:
        way, direct = await site.way(), site.client()
        watch = await site.watch(site.client(way.port))
        waiting = asyncio.create_task(watch.next())
        await asyncio.sleep(3.3)  # three signs of life
        assert not waiting.done()
        grant = await direct.create(lease(1), LONG_S)
        assert await waiting == Put(grant.lease, grant.revision)
        assert way.accepted == 1

    through_relays(story, tmp_path)


def test_calls_pass_over_a_member_that_is_gone(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        gone, live = await site.way(), await site.way()
        store = site.client(gone.port, live.port)
        await store.create(lease(1), LONG_S)
        await gone.refuse()
        await asyncio.sleep(0)
        with_one = await store.snapshot()
        assert [found.key for found in with_one.leases] == [key(1)]
        await store.create(lease(2), LONG_S)
        await live.refuse()
        await gone.listen()
        assert len((await store.snapshot()).leases) == 2

    through_relays(story, tmp_path)


def test_an_answer_that_is_lost_at_any_byte_leaves_one_lease_that_is_found_again(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        way, direct = await site.way(), site.client()
        store = site.client(way.port)
        lost = 0
        for limit in range(0, 1200, 60):
            node = keeper(store)
            await store.snapshot()
            way.answer_limit = limit
            while True:
                try:
                    held = await node.acquire(OFFER)
                    break
                except StoreUnavailable:
                    lost += 1
            way.answer_limit = None
            assert (await direct.snapshot()).leases == (held,)
            if limit % 120:
                await direct.delete(held.key)
        assert lost > 3

    through_relays(story, tmp_path)


OFFER = Offer(
    config=decode_network_config(CONFIG),
    public_ip=lease(1).public_ip,
    public_ip6=None,
    vtep_mac=lease(1).vtep_mac,
    vtep_mac6=None,
)


def keeper(store: Store) -> LeaseKeeper:
    identity = Identity(NodeId("a"))
    return LeaseKeeper(store, store, identity, SystemClock(), SystemRandom(), ttl_s=LONG_S, renew_margin_s=60.0)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=lambda number: number.name)
def test_a_cluster_that_loses_its_leader_is_followed_without_a_new_snapshot(
    tmp_path: Path, number: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(etcd_watch, "QUIET_S", 0.5)

    async def story(site: Site) -> None:
        store, other = site.client(*ports), site.client(*ports[1:])
        watch = await site.watch(store)
        grant = await store.create(lease(1), LONG_S)
        assert await watch.next() == Put(grant.lease, grant.revision)
        members[0].signal(number)
        while True:  # until the others have a leader
            with suppress(StoreUnavailable):
                grant = await other.renew(grant, lease(1, mac=9), LONG_S)
                break
        assert await watch.next() == Put(grant.lease, grant.revision)
        second = await store.create(lease(2), LONG_S)
        assert await watch.next() == Put(second.lease, second.revision)

    with etcd_members(tmp_path) as members:
        members.sort(key=lambda member: not member.leads())
        ports = [member.port for member in members]
        told(story, members[0])


def test_a_member_that_takes_connections_and_drops_them_is_not_hammered(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        way = await site.way()
        await site.client().reserve([reservation(1)])
        watch = await site.watch(site.client(way.port))
        waiting = asyncio.create_task(watch.next())
        await asyncio.sleep(0.1)
        before, way.drops_all = way.accepted, True
        way.cut()
        with pytest.raises(StoreUnavailable):
            await waiting
        assert way.accepted - before < 15

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(etcd_watch, "RESUME_S", 3.0)
        through_relays(story, tmp_path)


def test_a_store_with_no_member_left_says_which_it_tried(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        one, two = await site.way(), await site.way()
        store = site.client(one.port, two.port)
        watch = await site.watch(store)
        await one.refuse()
        await two.refuse()
        for ask in (store.snapshot, store.network_config, lambda: store.create(lease(1), LONG_S), watch.next):
            with pytest.raises(StoreUnavailable) as away:
                await ask()
            assert str(one.port) in str(away.value)
            assert str(two.port) in str(away.value)
        await one.listen()
        assert (await store.snapshot()).leases == ()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(etcd_watch, "RESUME_S", 0.3)
        through_relays(story, tmp_path)


def test_a_frozen_member_costs_bounded_time_and_lets_go_at_once(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        store = site.client()
        watch = Watch(store.watch())
        await watch.next()
        waiting = asyncio.create_task(watch.next())
        site.server.signal(signal.SIGSTOP)
        started = time.monotonic()
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(store.create(lease(1), LONG_S), PATIENCE_S)
        asked = time.monotonic() - started
        calling = asyncio.create_task(store.snapshot())
        await asyncio.sleep(0.05)
        started = time.monotonic()
        for task in (calling, waiting):
            task.cancel()
        await asyncio.gather(calling, waiting, return_exceptions=True)
        await store.close()
        assert time.monotonic() - started < 1.0
        assert asked < 10.0
        site.server.signal(signal.SIGCONT)
        assert (await site.client().snapshot()).revision > 0

    with etcd(tmp_path) as server:
        told(story, server)


def test_a_large_store_is_read_in_pages_at_one_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(etcd_read, "PAGE", 3)

    async def story(site: Site) -> None:
        store = site.client()
        grants = [await store.create(lease(number, owner=f"n{number}"), LONG_S) for number in range(1, 11)]
        found = (await store.snapshot()).leases
        assert sorted(found, key=lambda each: each.created) == [grant.lease for grant in grants]
        assert sorted(found, key=lambda each: each.key) == list(found)

    through_relays(story, tmp_path)


def test_a_poison_key_or_value_is_skipped_alone(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        store, server = site.client(), site.server
        good = await store.create(lease(1), LONG_S)
        for tail in ("hello", "10.244.9.0-24"):
            await asyncio.to_thread(server.put, f"subnets/{tail}", "x")
        snapshot = await store.snapshot()
        assert snapshot.leases == (good.lease,)
        assert {entry.key for entry in snapshot.undecodable} == {"hello", key(9)}
        watch = await site.watch(store)
        await asyncio.to_thread(server.put, "subnets/../../etc/passwd\x1b[31m", "x")
        await asyncio.to_thread(server.put, "tulle/subnets/10.244.2.0-24", "{}")
        second = await store.create(lease(2), LONG_S)
        garbled = await watch.next()
        assert "\x1b" not in repr(garbled)
        assert await watch.next() == Put(second.lease, second.revision)

    with etcd(tmp_path) as server:
        told(story, server)


def test_a_large_value_travels_once_also_when_it_goes(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        way, direct = await site.way(), EtcdClient(parse_etcd_url(site.server.url))
        site.closing.push_async_callback(direct.close)
        watch, name = await site.watch(site.client(way.port)), f"{site.prefix}/subnets/{key(9)}".encode()
        before = way.answered
        for byte in (b"x", b"y"):
            await direct.call(PUT, put_request(name, byte * MB))
            assert isinstance(await watch.next(), Garbled)
        await direct.call(TXN, txn_request((), (delete(name),)))
        gone = await watch.next()
        assert gone == Gone(key(9), gone.revision, Departure.DELETED)
        assert 2 * MB < way.answered - before < 2.5 * MB

    through_relays(story, tmp_path)


def test_other_keys_below_the_prefix_are_nobodys_lease(tmp_path: Path) -> None:
    async def story(site: Site) -> None:
        store = site.client()
        watch = await site.watch(store)
        for tail in ("subnets", "subnetsx/10.244.3.0-24", "tulle/nodes/b", "tulle/x", "t", "zzz"):
            await asyncio.to_thread(site.server.put, tail, "x")
        await store.write_network_config(CONFIG)
        await store.reserve([reservation(1)])
        event = await watch.next()
        assert isinstance(event, Put)
        assert event.lease.key == key(1)
        assert (await store.snapshot()).undecodable == ()

    with etcd(tmp_path) as server:
        told(story, server)
