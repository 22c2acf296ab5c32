"""From lease events to the book, and what is held when a store seems to have lost its memory."""

from dataclasses import replace

import pytest

from tests.kit.cluster import OWN, book, by_key, lease, snapshot
from tulle.model.book import HOLD_NS, expire_held, fold, in_force
from tulle.model.lease import (
    Departure,
    Garbled,
    Gone,
    HeldLease,
    Lease,
    LeaseBook,
    LeaseEvent,
    LeaseKey,
    Put,
    Snapshot,
    Undecodable,
)

NOW_NS = 1_000
A, B, C = lease(2), lease(3), lease(4)
GARBLED = Undecodable(A.key, "not JSON")


def told(before: LeaseBook, event: LeaseEvent) -> tuple[LeaseBook, frozenset[LeaseKey]]:
    return fold(before, event, NOW_NS, OWN.key)


def keys(*leases: Lease) -> frozenset[LeaseKey]:
    return frozenset(each.key for each in leases)


# -- one lease ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(Put(A, 5), id="put"),
        pytest.param(Gone(A.key, 5), id="gone"),
        pytest.param(Garbled(GARBLED, 5), id="garbled"),
    ],
)
def test_before_the_first_snapshot_nothing_counts(event: LeaseEvent) -> None:
    assert told(LeaseBook(), event) == (LeaseBook(), frozenset())


def test_the_first_snapshot_fills_the_book() -> None:
    after, changed = told(LeaseBook(), snapshot(OWN, A, revision=7))
    assert after == book(OWN, A, revision=7)
    assert changed == keys(OWN, A)


@pytest.mark.parametrize(
    ("event", "expected", "changed"),
    [
        pytest.param(Put(B, 5), book(A, B, revision=5), keys(B), id="a new lease"),
        pytest.param(Put(replace(A, vni=None), 5), book(replace(A, vni=None), revision=5), keys(A), id="another value"),
        pytest.param(Put(A, 5), book(A, revision=5), keys(), id="the same again"),
        pytest.param(Gone(A.key, 5), book(revision=5), keys(A), id="deleted"),
        pytest.param(Gone(A.key, 5, Departure.EXPIRED), book(revision=5), keys(A), id="expired"),
        pytest.param(Gone(B.key, 5), book(A, revision=5), keys(), id="somebody unknown is gone"),
        pytest.param(
            Garbled(GARBLED, 5),
            book(A, revision=5, undecodable={A.key: GARBLED}),
            keys(),
            id="a garbled value leaves the last good one",
        ),
    ],
)
def test_an_event(event: LeaseEvent, expected: LeaseBook, changed: frozenset[LeaseKey]) -> None:
    assert told(book(A), event) == (expected, changed)


@pytest.mark.parametrize("event", [Put(A, 5), Gone(A.key, 5)], ids=["a good value again", "deleted"])
def test_a_key_is_garbled_until_it_is_good_or_gone(event: LeaseEvent) -> None:
    after, _ = told(book(A, undecodable={A.key: GARBLED}), event)
    assert after.undecodable == {}


def test_the_book_before_is_left_as_it_was() -> None:
    before = book(A)
    for event in (Put(B, 5), Gone(A.key, 5), Garbled(GARBLED, 5), snapshot(B)):
        told(before, event)
    assert before == book(A)


# -- what vanishes without a delete --------------------------------------------------------

MANY = tuple(lease(n) for n in range(2, 12))


@pytest.mark.parametrize(
    ("before", "event", "held"),
    [
        pytest.param((OWN, A, B), snapshot(OWN, A), (), id="one of three left"),
        pytest.param((OWN, A, B), snapshot(OWN, A, cluster_id="another"), (B,), id="another store"),
        pytest.param((OWN, A, B), snapshot(OWN, A, revision=0), (B,), id="an older revision"),
        pytest.param((OWN, A, B), snapshot(OWN, A, revision=99), (), id="a newer revision"),
        pytest.param((OWN, A, B), snapshot(A), (B,), id="our own is missing too"),
        pytest.param((OWN, A, B), snapshot(), (A, B), id="all are missing"),
        pytest.param((OWN, A, B, C), snapshot(OWN), (), id="three of four are not more than three"),
        pytest.param((OWN, *MANY), snapshot(OWN, *MANY[4:]), MANY[:4], id="four of eleven are more than 30 %"),
        pytest.param(
            (OWN, *MANY, *(lease(n) for n in range(20, 23))),
            snapshot(OWN, *MANY[4:], *(lease(n) for n in range(20, 23))),
            (),
            id="four of fourteen are not",
        ),
        pytest.param((OWN, *MANY), snapshot(OWN, *MANY[3:]), (), id="three of eleven are neither"),
    ],
)
def test_what_is_absent_from_a_snapshot_is_held_when_the_store_seems_wiped(
    before: tuple[Lease, ...], event: Snapshot, held: tuple[Lease, ...]
) -> None:
    after, changed = told(book(*before), event)
    assert after.held == {each.key: HeldLease(each, NOW_NS + HOLD_NS) for each in held}
    assert after.leases == by_key(event.leases)
    assert changed == keys(*before) - keys(*event.leases)


@pytest.mark.parametrize(
    ("before", "ours"),
    [
        pytest.param((OWN, A, B), replace(lease(9), key=OWN.key, created=8), id="another node's now"),
        pytest.param((OWN, A, B), replace(OWN, created=8), id="ours again"),
        pytest.param((A, B), replace(OWN, created=8), id="another one that nobody told us of"),
    ],
)
def test_our_own_lease_is_missing_too_when_only_a_newer_claim_stands_at_its_key(
    before: tuple[Lease, ...], ours: Lease
) -> None:
    after, changed = told(book(*before), snapshot(ours, A, revision=9))
    assert set(after.held) == {B.key}
    assert changed == keys(ours, B)


def test_our_own_lease_is_not_missing_when_it_was_only_renewed_or_overwritten() -> None:
    for same in (replace(OWN, expires_at_ns=1), replace(OWN, vtep_mac=None, owner=None)):
        after, _ = told(book(OWN, A, B), snapshot(same, A, revision=9))
        assert after.held == {}


def test_our_own_lease_is_never_held() -> None:
    after, _ = told(book(OWN, A), snapshot(cluster_id="another"))
    assert set(after.held) == {A.key}


def test_the_first_snapshot_holds_nothing() -> None:
    after, _ = told(LeaseBook(), snapshot(A))
    assert after.held == {}


def test_an_absence_in_a_snapshot_is_not_an_absence_of_what_is_garbled_there() -> None:
    after, changed = told(book(OWN, A), snapshot(OWN, undecodable=(GARBLED,)))
    assert after.leases == by_key([OWN, A])
    assert after.undecodable == {A.key: GARBLED}
    assert changed == frozenset()


@pytest.mark.parametrize("before", [book(OWN, A), book(A)], ids=["it was in the book", "it never was"])
def test_our_own_garbled_lease_is_not_missing(before: LeaseBook) -> None:
    after, _ = told(before, snapshot(undecodable=(Undecodable(OWN.key, "not JSON"),)))
    assert after.held == {}


HELD = book(OWN, held={A.key: HeldLease(A, 500)})


@pytest.mark.parametrize(
    ("event", "held", "changed"),
    [
        pytest.param(Put(A, 5), {}, keys(A), id="it is back"),
        pytest.param(Put(replace(A, vni=None), 5), {}, keys(A), id="it is back with another value"),
        pytest.param(Gone(A.key, 5), {}, keys(A), id="it is deleted after all"),
        pytest.param(Put(B, 5), HELD.held, keys(B), id="another lease"),
        pytest.param(Garbled(GARBLED, 5), HELD.held, keys(), id="it is garbled"),
        pytest.param(snapshot(OWN, A), {}, keys(A), id="a snapshot has it"),
        pytest.param(snapshot(OWN), HELD.held, keys(), id="a snapshot still lacks it: its hour runs on"),
        pytest.param(snapshot(OWN, cluster_id="a third"), HELD.held, keys(), id="even of a third store"),
    ],
)
def test_a_held_lease(event: LeaseEvent, held: dict[LeaseKey, HeldLease], changed: frozenset[LeaseKey]) -> None:
    after, found = told(HELD, event)
    assert (after.held, found) == (held, changed)


@pytest.mark.parametrize(("now_ns", "over"), [(499, False), (500, True), (9_999, True)])
def test_a_held_lease_is_over_when_its_time_is(now_ns: int, over: bool) -> None:
    after, changed = expire_held(HELD, now_ns)
    assert (A.key not in after.held, changed) == (over, keys(A) if over else keys())
    assert after.leases == HELD.leases


def test_the_stores_claim_counts_before_the_held_one() -> None:
    newer = replace(A, vni=None)
    both = book(newer, held={A.key: HeldLease(A, 500), B.key: HeldLease(B, 500)})
    assert (in_force(both, A.key), in_force(both, B.key), in_force(both, C.key)) == (newer, B, None)
