"""Claims: what every store promises to the nodes that choose their own subnets."""

import asyncio

import pytest

from tests.contract.stores import CLAIMING, LONG_S, Site, Store, key, lease, on, reservation
from tulle.errors import LeaseConflict, LeaseLost
from tulle.kernel.system import SystemClock
from tulle.model.lease import Gone
from tulle.store.ports import Grant

CROWD = 50


@on(CLAIMING)
async def test_a_key_has_one_holder(site: Site) -> None:
    store = site.client()
    grant = await store.create(lease(1, owner="a"), LONG_S)
    with pytest.raises(LeaseConflict):
        await site.client().create(lease(1, owner="b"), LONG_S)
    assert (await store.snapshot()).leases == (grant.lease,)


@on(CLAIMING)
async def test_a_subnet_has_one_holder_whatever_it_is_paired_with(site: Site) -> None:
    store = site.client()
    await store.create(lease(1, six=1), LONG_S)
    for other in (lease(1, owner="b", six=2), lease(1, owner="b"), lease(2, owner="b", six=1)):
        with pytest.raises(LeaseConflict):
            await store.create(other, LONG_S)
    await store.create(lease(2, owner="b", six=2), LONG_S)


@on(CLAIMING)
async def test_of_a_crowd_that_wants_one_subnet_one_gets_it(site: Site) -> None:
    async def won(number: int) -> bool:
        try:
            await clients[number % 5].create(lease(1, owner=f"node{number}"), LONG_S)
        except LeaseConflict:
            return False
        return True

    clients = [site.client() for _ in range(5)]
    results = await asyncio.gather(*(won(number) for number in range(CROWD)))
    assert sum(results) == 1
    (held,) = (await clients[0].snapshot()).leases
    assert held.owner == f"node{results.index(True)}"


@on(CLAIMING)
async def test_of_a_crowd_that_takes_over_one_reservation_one_gets_it(site: Site) -> None:
    async def won(number: int) -> bool:
        try:
            await clients[number % 5].take_over(lease(1, owner=f"node{number}"), revision, LONG_S)
        except LeaseConflict:
            return False
        return True

    clients = [site.client() for _ in range(5)]
    await clients[0].reserve([reservation(1)])
    revision = (await clients[0].snapshot()).revision
    assert sum(await asyncio.gather(*(won(number) for number in range(CROWD)))) == 1


@on(CLAIMING)
async def test_a_reservation_that_is_taken_over_keeps_its_age_and_gets_an_end(site: Site) -> None:
    store = site.client()
    await store.reserve([reservation(1)])
    before = await store.snapshot()
    grant = await store.take_over(lease(1), before.revision, LONG_S)
    assert grant.lease.created == before.leases[0].created
    assert grant.lease.expires_at_ns is not None
    assert (await store.snapshot()).leases == (grant.lease,)


@on(CLAIMING)
async def test_what_changed_since_it_was_seen_is_not_taken_over(site: Site) -> None:
    store = site.client()
    grant = await store.create(lease(1, owner="a"), LONG_S)
    seen = (await store.snapshot()).revision
    await store.renew(grant, lease(1, owner="a"), LONG_S)
    with pytest.raises(LeaseConflict):
        await store.take_over(lease(1, owner="b"), seen, LONG_S)


@on(CLAIMING)
async def test_what_is_gone_is_not_taken_over(site: Site) -> None:
    store = site.client()
    await store.reserve([reservation(1)])
    seen = (await store.snapshot()).revision
    await store.delete(key(1))
    with pytest.raises(LeaseConflict):
        await store.take_over(lease(1), seen, LONG_S)


@on(CLAIMING)
async def test_a_renewal_moves_the_end_and_may_change_the_value(site: Site) -> None:
    store, clock = site.client(), SystemClock()
    grant = await store.create(lease(1), LONG_S)
    sent_after = clock.boottime_ns()
    renewed = await store.renew(grant, lease(1, mac=9), 2 * LONG_S)
    assert sent_after <= renewed.sent_at_ns <= clock.boottime_ns()
    assert renewed.revision > grant.revision
    assert renewed.lease.created == grant.lease.created
    assert renewed.lease.vtep_mac == lease(1, mac=9).vtep_mac
    assert renewed.lease.expires_at_ns is not None
    assert grant.lease.expires_at_ns is not None
    assert renewed.lease.expires_at_ns > grant.lease.expires_at_ns


@on(CLAIMING)
async def test_a_renewed_lease_outlives_its_first_end(site: Site) -> None:
    store = site.client()
    watch = await site.watch(store)
    short = await store.create(lease(2), 2 * site.kind.short_ttl_s)
    long = await store.create(lease(1), site.kind.short_ttl_s)
    await store.renew(long, lease(1), LONG_S)
    while not isinstance(await watch.next(), Gone):
        pass
    assert [found.key for found in (await store.snapshot()).leases] == [key(1)]
    assert short.lease.key == key(2)


async def _expired(site: Site, store: Store, grant: Grant) -> Grant:
    watch = await site.watch(store)
    short = await store.renew(grant, grant.lease, site.kind.short_ttl_s)
    while not isinstance(await watch.next(), Gone):
        pass
    return short


async def _deleted(_: Site, store: Store, grant: Grant) -> Grant:
    await store.delete(grant.lease.key)
    return grant


async def _recreated(site: Site, store: Store, grant: Grant) -> Grant:
    await _deleted(site, store, grant)
    await store.create(lease(1, owner="b"), LONG_S)
    return grant


async def _taken_over(_: Site, store: Store, grant: Grant) -> Grant:
    await store.take_over(lease(1, owner="b"), grant.revision, LONG_S)
    return grant


async def _renewed_by_a_twin(_: Site, store: Store, grant: Grant) -> Grant:
    await store.renew(grant, grant.lease, LONG_S)
    return grant


LOSSES = (_expired, _deleted, _recreated, _taken_over, _renewed_by_a_twin)


@on(CLAIMING)
async def test_what_is_no_longer_ours_is_neither_renewed_nor_released(site: Site) -> None:
    for lose in LOSSES:
        store = site.client()
        await store.delete(key(1))
        grant = await lose(site, store, await store.create(lease(1, owner="a"), LONG_S))
        before = await store.snapshot()
        with pytest.raises(LeaseLost):
            await store.renew(grant, grant.lease, LONG_S)
        with pytest.raises(LeaseLost):
            await store.release(grant)
        assert await store.snapshot() == before, lose.__name__


@on(CLAIMING)
async def test_what_is_released_is_free(site: Site) -> None:
    store = site.client()
    await store.release(await store.create(lease(1, owner="a"), LONG_S))
    assert (await store.snapshot()).leases == ()
    grant = await store.create(lease(1, owner="b"), LONG_S)
    assert grant.lease.owner == "b"


@on(CLAIMING)
async def test_what_expired_is_free_and_comes_back_younger(site: Site) -> None:
    store = site.client()
    first = await store.create(lease(1, owner="a"), LONG_S)
    await _expired(site, store, first)
    second = await store.create(lease(1, owner="b"), LONG_S)
    assert second.lease.created > first.lease.created
