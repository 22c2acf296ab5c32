"""Directory, Registration and Administration: what every store promises to who reads it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from typing import cast

import pytest

from tests.contract.stores import ALL, CLAIMING, CONFIG, LONG_S, PATIENCE_S, Site, key, lease, on, reservation
from tulle.errors import ConfigError, LeaseConflict
from tulle.model.lease import Departure, Gone, LeaseKey, Put, Snapshot
from tulle.wire.network_config import decode_network_config


@on(ALL)
async def test_there_is_no_configuration_until_somebody_writes_one(site: Site) -> None:
    store = site.client()
    assert await store.network_config() is None
    await store.write_network_config(CONFIG)
    assert await site.client().network_config() == decode_network_config(CONFIG)


@on(ALL)
async def test_a_configuration_that_breaks_a_rule_is_not_stored(site: Site) -> None:
    store = site.client()
    await store.write_network_config(CONFIG)
    with pytest.raises(ConfigError, match="SubnetLen"):
        await store.write_network_config(b'{"Network":"10.0.0.0/16","SubnetLen":31,"Backend":{"Type":"vxlan"}}')
    assert await store.network_config() == decode_network_config(CONFIG)


@on(ALL)
async def test_a_watch_of_the_configuration_tells_what_is_there_and_what_becomes_of_it(site: Site) -> None:
    store = site.client()
    async with (
        asyncio.timeout(PATIENCE_S),
        aclosing(cast("AsyncGenerator[object]", site.client().watch_config())) as seen,
    ):
        assert await anext(seen) is None
        for value in (CONFIG, CONFIG.replace(b"244", b"99"), CONFIG):
            await store.write_network_config(value)
            assert await anext(seen) == decode_network_config(value)


@on(ALL)
async def test_a_new_store_is_empty_and_has_an_identity_that_all_clients_see(site: Site) -> None:
    first = await site.client().snapshot()
    assert (first.leases, first.undecodable, first.expired) == ((), (), frozenset())
    assert (await site.client().snapshot()).cluster_id == first.cluster_id != ""


@on(CLAIMING)
async def test_a_snapshot_shows_every_lease_whole(site: Site) -> None:
    store = site.client()
    granted = [(await store.create(lease(n, owner=f"node{n}", six=n), LONG_S)).lease for n in (1, 2)]
    snapshot = await site.client().snapshot()
    assert snapshot.leases == tuple(granted)
    assert [replace(found, created=0, expires_at_ns=None) for found in granted] == [
        lease(n, owner=f"node{n}", six=n) for n in (1, 2)
    ]


@on(CLAIMING)
async def test_a_watch_tells_every_change_in_order_with_rising_revisions(site: Site) -> None:
    store = site.client()
    watch = await site.watch(site.client())
    grant = await store.create(lease(1), LONG_S)
    renewed = await store.renew(grant, lease(1, mac=9), LONG_S)
    await store.release(renewed)
    events = [await watch.next() for _ in range(3)]
    assert events == [
        Put(grant.lease, grant.revision),
        Put(renewed.lease, renewed.revision),
        Gone(key(1), events[2].revision, Departure.DELETED),
    ]
    revisions = [event.revision for event in events]
    assert revisions == sorted(set(revisions))


@on(CLAIMING)
async def test_a_watch_begins_with_what_was_there_and_goes_on_from_it(site: Site) -> None:
    store = site.client()
    grant = await store.create(lease(1), LONG_S)
    events = site.client().watch()
    first = await anext(events)
    assert isinstance(first, Snapshot)
    assert first.leases == (grant.lease,)
    second = await store.create(lease(2), LONG_S)  # before anybody waits
    assert await anext(events) == Put(second.lease, second.revision)


@on(CLAIMING)
async def test_no_change_is_lost_in_a_burst(site: Site) -> None:
    store = site.client()
    watches = [await site.watch(site.client()) for _ in range(2)]
    grant = await store.create(lease(1), LONG_S)
    for _ in range(100):
        grant = await store.renew(grant, lease(1), LONG_S)
    for watch in watches:
        revisions = [(await watch.next()).revision for _ in range(101)]
        assert revisions == sorted(set(revisions))
        assert revisions[-1] == grant.revision


@on(CLAIMING)
async def test_an_expiry_is_told_once_and_as_an_expiry(site: Site) -> None:
    store = site.client()
    watches = [await site.watch(client) for client in (store, site.client(), site.client())]
    await store.create(lease(1), site.kind.short_ttl_s)
    for watch in watches:
        assert isinstance(await watch.next(), Put)
        gone = await watch.next()
        assert gone == Gone(key(1), gone.revision, Departure.EXPIRED)
    marker = await store.create(lease(2), LONG_S)
    for watch in watches:
        assert await watch.next() == Put(marker.lease, marker.revision)


@on(CLAIMING)
async def test_a_key_that_expired_is_named_until_somebody_holds_it_again(site: Site) -> None:
    store = site.client()
    watch = await site.watch(store)
    await store.create(lease(1), site.kind.short_ttl_s)
    await watch.next()
    await watch.next()
    assert (await store.snapshot()).expired == {key(1)}
    await store.create(lease(1, owner="b"), LONG_S)
    assert (await store.snapshot()).expired == frozenset()


@on(ALL)
async def test_a_reservation_has_no_end_and_no_owner(site: Site) -> None:
    store = site.client()
    await store.reserve([reservation(1), reservation(2)])
    found = (await store.snapshot()).leases
    assert [(each.key, each.public_ip, each.expires_at_ns, each.owner) for each in found] == [
        (key(n), reservation(n).public_ip, None, None) for n in (1, 2)
    ]


@on(ALL)
async def test_reserving_again_for_the_same_node_changes_nothing(site: Site) -> None:
    store = site.client()
    await store.reserve([reservation(1)])
    before = await store.snapshot()
    await store.reserve([reservation(1)])
    assert await store.snapshot() == before


@on(ALL)
async def test_reservations_are_all_written_or_none(site: Site) -> None:
    store = site.client()
    await store.reserve([reservation(2)])
    other = replace(reservation(2), public_ip=reservation(9).public_ip)
    with pytest.raises(LeaseConflict):
        await store.reserve([reservation(1), other])
    assert [found.key for found in (await store.snapshot()).leases] == [key(2)]


@on(ALL)
async def test_deleting_a_lease_is_told_as_a_delete_whoever_holds_it(site: Site) -> None:
    store = site.client()
    await store.reserve([reservation(1)])
    watch = await site.watch(store)
    await site.client().delete(key(1))
    gone = await watch.next()
    assert gone == Gone(key(1), gone.revision, Departure.DELETED)


@on(ALL)
async def test_deleting_what_is_not_there_is_no_change(site: Site) -> None:
    store = site.client()
    before = await store.snapshot()
    await store.delete(LeaseKey("10.244.77.0-24"))
    assert await store.snapshot() == before


@on(ALL)
async def test_publishing_twice_is_one_change(site: Site) -> None:
    store = site.client()
    watch = await site.watch(store)
    await store.publish(lease(1))
    await store.publish(lease(1))
    await store.publish(lease(1, mac=9))
    first, second = await watch.next(), await watch.next()
    assert isinstance(first, Put)
    assert isinstance(second, Put)
    assert (first.lease.vtep_mac, second.lease.vtep_mac) == (lease(1).vtep_mac, lease(1, mac=9).vtep_mac)


@on(ALL)
async def test_nobody_publishes_over_another_node(site: Site) -> None:
    store = site.client()
    await store.publish(lease(1, owner="a"))
    with pytest.raises(LeaseConflict):
        await store.publish(lease(1, owner="b"))


@on(ALL)
async def test_a_watch_that_is_cancelled_leaves_the_store_usable(site: Site) -> None:
    store = site.client()
    watch = await site.watch(store)
    waiting = asyncio.create_task(watch.next())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    again = await site.watch(store)
    await store.reserve([reservation(1)])
    assert isinstance(await again.next(), Put)
