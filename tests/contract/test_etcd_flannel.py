"""What flannel finds in etcd, and what tulle makes of what flannel writes there.

flannel's side is played with etcdctl, as it writes: a new etcd lease and an unconditional put.
"""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from tests.contract.stores import CONFIG, LONG_S, PATIENCE_S, Watch, key, lease, reservation
from tests.kit.etcd import NEEDS_ETCD, Etcd, etcd
from tests.kit.virtual_time import SeededRandom
from tulle.agent.identity import Identity
from tulle.agent.keeper import LeaseKeeper, Offer
from tulle.errors import LeaseConflict, LeaseLost
from tulle.kernel.system import SystemClock
from tulle.model.lease import Departure, Gone, Lease, NodeId, Put
from tulle.store.open import open_store
from tulle.store.ports import Store
from tulle.wire.network_config import decode_network_config
from tulle.wire.subnet_env import SubnetEnv

pytestmark = NEEDS_ETCD

COMMON = '"PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":'
FLANNELS = f'{{"PublicIP":"192.168.64.7",{COMMON}"3e:ae:f2:d4:ca:39"}}}}'
MINE = f'{{"PublicIP":"192.168.64.1",{COMMON}"02:00:00:00:00:01"}}}}'


@pytest.fixture
def server(tmp_path: Path) -> Generator[Etcd]:
    with etcd(tmp_path) as member:
        yield member


def told(server: Etcd, story: Callable[[Store], Awaitable[None]]) -> None:
    async def whole() -> None:
        store = open_store(server.url, SystemClock())
        try:
            await story(store)
        finally:
            await store.close()

    asyncio.run(whole())


def flannel_writes(server: Etcd, number: int, value: str = FLANNELS, ttl_s: int = 86_400) -> str:
    ttl_lease = server.lease(ttl_s)
    server.put(f"subnets/{key(number)}", value, "--lease", ttl_lease)
    return ttl_lease


async def following(store: Store) -> Watch:
    watch = Watch(store.watch())
    await watch.next()
    return watch


def test_a_lease_is_stored_byte_for_byte_as_flannel_stores_it(server: Etcd) -> None:
    async def story(store: Store) -> None:
        await store.create(lease(1), LONG_S)

    told(server, story)
    assert server.get(f"subnets/{key(1)}") == MINE
    assert server.keys("subnets/") == [f"subnets/{key(1)}"]
    assert server.keys("tulle/") == ["tulle/nodes/a", f"tulle/subnets/{key(1)}"]


def test_a_lease_has_flannels_ttl_and_a_renewal_leaves_no_other_behind(server: Etcd) -> None:
    async def story(store: Store) -> None:
        grant = await store.create(lease(1), 86_400.0)
        for _ in range(3):
            grant = await store.renew(grant, lease(1), 86_400.0)
        with pytest.raises(LeaseConflict):
            await store.create(lease(1, owner="b"), 86_400.0)

    told(server, story)
    (only,) = server.ctl("lease", "list").splitlines()[1:]
    assert "granted with TTL(86400s)" in server.ctl("lease", "timetolive", only)
    assert f"subnets/{key(1)}" in server.ctl("lease", "timetolive", only, "--keys")


def test_a_released_lease_leaves_nothing_but_the_nodes_version(server: Etcd) -> None:
    async def story(store: Store) -> None:
        await store.release(await store.create(lease(1, six=4), LONG_S))

    told(server, story)
    assert server.keys() == ["tulle/nodes/a"]
    assert server.ctl("lease", "list").splitlines()[1:] == []


def test_flannels_lease_has_no_owner_and_an_end(server: Etcd) -> None:
    async def story(store: Store) -> None:
        watch = await following(store)
        await asyncio.to_thread(flannel_writes, server, 7)
        put = await watch.next()
        assert isinstance(put, Put)
        assert (put.lease.owner, put.lease.vtep_mac) == (None, "3e:ae:f2:d4:ca:39")
        assert put.lease.expires_at_ns is not None
        assert (await store.snapshot()).leases == (put.lease,), "and it stays the same lease"

    told(server, story)


def test_flannels_lease_that_ends_by_itself_is_an_expiry_and_a_deleted_one_a_delete(server: Etcd) -> None:
    async def story(store: Store) -> None:
        watch = await following(store)
        for number, ttl_s in ((7, 1), (8, 600)):
            await asyncio.to_thread(flannel_writes, server, number, FLANNELS, ttl_s)
            await watch.next()
        gone = await watch.next()
        assert gone == Gone(key(7), gone.revision, Departure.EXPIRED)
        await asyncio.to_thread(server.ctl, "del", f"/coreos.com/network/subnets/{key(8)}")
        gone = await watch.next()
        assert gone == Gone(key(8), gone.revision, Departure.DELETED)

    told(server, story)


def test_tulles_lease_that_an_operator_revokes_long_before_its_end_is_a_delete(server: Etcd) -> None:
    async def story(store: Store) -> None:
        watch = await following(store)
        await store.create(lease(1), LONG_S)
        await watch.next()
        (ttl_lease,) = (await asyncio.to_thread(server.ctl, "lease", "list")).splitlines()[1:]
        await asyncio.to_thread(server.ctl, "lease", "revoke", ttl_lease)
        gone = await watch.next()
        assert gone == Gone(key(1), gone.revision, Departure.DELETED)

    told(server, story)


def test_a_key_without_a_ttl_stays_a_reservation_through_everything_that_reads_it(server: Etcd) -> None:
    async def story(store: Store) -> None:
        watch = await following(store)
        await asyncio.to_thread(server.put, f"subnets/{key(3)}", '{"PublicIP":"192.168.64.3"}')
        put = await watch.next()
        assert isinstance(put, Put)
        assert put.lease == (await store.snapshot()).leases[0]
        assert (put.lease.owner, put.lease.expires_at_ns) == (None, None)
        await store.reserve([reservation(3)])
        await asyncio.to_thread(server.ctl, "del", f"/coreos.com/network/subnets/{key(3)}")
        gone = await watch.next()
        assert gone == Gone(key(3), gone.revision, Departure.DELETED)

    told(server, story)


def test_what_flannel_overwrites_is_lost_to_us_and_seen_by_everyone(server: Etcd) -> None:
    async def story(store: Store) -> None:
        watch = await following(store)
        grant = await store.create(lease(1), LONG_S)
        await watch.next()
        await asyncio.to_thread(flannel_writes, server, 1, MINE)
        put = await watch.next()
        assert isinstance(put, Put)
        assert put.lease.owner is None
        with pytest.raises(LeaseLost):
            await store.renew(grant, lease(1), LONG_S)
        with pytest.raises(LeaseLost):
            await store.release(grant)
        assert (await store.snapshot()).leases == (put.lease,)

    told(server, story)


def test_what_flannel_holds_is_not_created_also_not_paired_otherwise(server: Etcd) -> None:
    async def story(store: Store) -> None:
        await asyncio.to_thread(flannel_writes, server, 1)
        for wanted in (lease(1), lease(1, six=5)):
            with pytest.raises(LeaseConflict):
                await store.create(wanted, LONG_S)

    told(server, story)


def test_deleting_a_pairing_that_is_gone_leaves_the_one_that_took_its_place(server: Etcd) -> None:
    async def story(store: Store) -> None:
        await store.release(await store.create(lease(1), LONG_S))
        held = await store.create(lease(1, six=5), LONG_S)
        await store.delete(key(1))
        assert (await store.snapshot()).leases == (held.lease,)

    told(server, story)


def keeper(store: Store, node: str) -> LeaseKeeper:
    seed = int.from_bytes(node.encode(), "big")
    return LeaseKeeper(
        store, store, Identity(NodeId(node)), SystemClock(), SeededRandom(seed), ttl_s=LONG_S, renew_margin_s=60.0
    )


def offer(config: bytes, number: int, previous: SubnetEnv | None = None) -> Offer:
    mine = lease(number)
    return Offer(
        config=decode_network_config(config),
        public_ip=mine.public_ip,
        public_ip6=None,
        vtep_mac=mine.vtep_mac,
        vtep_mac6=None,
        previous=previous,
    )


def test_twelve_first_starts_at_once_in_a_network_of_fifteen_subnets(server: Etcd) -> None:
    small = b'{"Network":"10.244.0.0/20","SubnetLen":24,"Backend":{"Type":"vxlan"}}'

    async def story(_: Store) -> None:
        stores = [open_store(server.url, SystemClock()) for _ in range(12)]
        keepers = [keeper(store, f"node{number}") for number, store in enumerate(stores)]
        leases = await asyncio.gather(*(each.acquire(offer(small, n + 1)) for n, each in enumerate(keepers)))
        assert len({each.subnet for each in leases}) == 12
        for store in stores:
            await store.close()

    told(server, story)
    assert len(server.keys("subnets/")) == 12
    assert len(server.ctl("lease", "list").splitlines()[1:]) == 12, "lost races leave no etcd lease behind"


def test_f09_a_second_node_with_the_same_public_address_is_refused(server: Etcd) -> None:
    async def story(store: Store) -> None:
        first = await keeper(store, "first").acquire(offer(CONFIG, 1))
        with pytest.raises(LeaseConflict, match=r"192\.168\.64\.1"):
            await keeper(store, "second").acquire(offer(CONFIG, 1))
        assert (await store.snapshot()).leases == (first,)

    told(server, story)


def test_f09_of_two_nodes_at_one_address_that_start_at_once_the_older_stays(server: Etcd) -> None:
    async def story(store: Store) -> None:
        stores = [open_store(server.url, SystemClock()) for _ in range(4)]
        keepers = [keeper(each, f"node{number}") for number, each in enumerate(stores)]
        taken = await asyncio.gather(*(each.acquire(offer(CONFIG, 1)) for each in keepers), return_exceptions=True)
        held = [each for each in taken if isinstance(each, Lease)]
        assert len(held) == 1
        assert all(isinstance(each, LeaseConflict) for each in taken if each not in held)
        assert (await store.snapshot()).leases == tuple(held)
        for each in stores:
            await each.close()

    told(server, story)


def test_f54_a_key_that_only_begins_like_a_lease_locks_nobody_out(server: Etcd) -> None:
    """Neither from the subnet of the last run, which is asked for again and again, nor from reserving it."""

    async def story(store: Store) -> None:
        for number, tail in ((5, "0"), (5, "\n"), (6, "x")):
            await asyncio.to_thread(server.put, f"subnets/{key(number)}{tail}", "{}")
        before = SubnetEnv(networks=(IPv4Network("10.244.0.0/16"),), subnet=lease(5).subnet, mtu=1450, ip_masq=True)
        held = await keeper(store, "first").acquire(offer(CONFIG, 1, before))
        assert held.key == key(5)
        await store.reserve([reservation(6)])

    told(server, story)


def test_a_reservation_made_with_etcdctl_pins_the_subnet(server: Etcd) -> None:
    async def story(store: Store) -> None:
        await asyncio.to_thread(server.put, f"subnets/{key(200)}", '{"PublicIP":"192.168.64.1"}')
        held = await keeper(store, "first").acquire(offer(CONFIG, 1))
        assert held.key == key(200)

    told(server, story)
    assert server.get(f"subnets/{key(200)}") == MINE


def test_a_node_that_was_a_flanneld_takes_its_lease_over(server: Etcd) -> None:
    async def story(store: Store) -> None:
        await asyncio.to_thread(flannel_writes, server, 44, MINE)
        before = await store.snapshot()
        held = await keeper(store, "first").acquire(offer(CONFIG, 1, subnet_env(44)))
        assert (held.key, held.created) == (key(44), before.leases[0].created)

    told(server, story)
    assert server.get(f"subnets/{key(44)}") == MINE


def test_a_lease_that_somebody_wrote_with_our_address_does_not_move_a_node_that_restarts(server: Etcd) -> None:
    async def story(store: Store) -> None:
        await asyncio.to_thread(flannel_writes, server, 99, MINE)
        held = await keeper(store, "first").acquire(offer(CONFIG, 1, subnet_env(44)))
        assert held.key == key(44)
        again = await keeper(store, "first").acquire(offer(CONFIG, 1, None))
        assert again.key == key(44), "by its key, also without subnet.env"

    told(server, story)


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        pytest.param(MINE, True, id="the same value: an operator's hand"),
        pytest.param('{"PublicIP":"192.168.64.1"}', True, id="a reservation"),
        pytest.param(MINE.replace("02:00:00:00:00:01", "3e:ae:f2:d4:ca:39"), False, id="another VTEP at our address"),
        pytest.param(FLANNELS, False, id="another address"),
    ],
)
def test_a_foreign_write_on_a_running_nodes_key(server: Etcd, value: str, kept: bool) -> None:
    async def story(store: Store) -> None:
        mine = keeper(store, "first")
        before, changed = await mine.acquire(offer(CONFIG, 1)), asyncio.Event()
        mine.on_change = lambda _: changed.set()

        async def follow() -> None:
            async for event in store.watch():
                mine.noticed(event)

        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(follow()), tasks.create_task(mine.run())]
            await asyncio.to_thread(server.put, f"subnets/{before.key}", value)
            async with asyncio.timeout(PATIENCE_S):
                while (await owned(store) == [before.key]) is not kept or not await owned(store):  # noqa: ASYNC110 - etcd's
                    await asyncio.sleep(0.05)
                if not kept:
                    await changed.wait()
            for task in running:
                task.cancel()
        assert changed.is_set() is not kept, "the data path is told only of another lease"
        assert await asyncio.to_thread(server.get, f"subnets/{before.key}") == (MINE if kept else value)

    async def owned(store: Store) -> list[str]:
        return [each.key for each in (await store.snapshot()).leases if each.owner == "first"]

    told(server, story)


def subnet_env(number: int) -> SubnetEnv:
    subnet = lease(number).subnet
    assert subnet is not None
    return SubnetEnv.of(network=None, subnet=subnet, network6=None, subnet6=None, mtu=1450, ip_masq=False)
