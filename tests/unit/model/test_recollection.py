"""What an agent remembers: what is worth writing, and what becomes of it at the next start."""

from dataclasses import replace

import pytest

from tests.kit.cluster import CONFIG, OWN, book, by_key, lease, mac, snapshot
from tulle.model.book import HOLD_NS, fold
from tulle.model.lease import HeldLease, Lease, LeaseBook, NodeId
from tulle.model.recollection import NS, Recollection, has_been_forgotten, recalled_book

A, B, C = lease(2), lease(3), lease(4)
WALL_NS, BOOT_NS = 1_700_000_000 * NS, 50 * NS
MEMORY = Recollection(
    taken_ns=WALL_NS,
    store="sqlite:///x",
    node_id=NodeId("me"),
    config=CONFIG,
    own=OWN,
    own_sent_ns=WALL_NS - 10 * NS,
    own_ttl_s=86_400.0,
    cluster_id="c",
    revision=7,
    leases=by_key((A, B)),
)


def at_start(memory: Recollection, later_s: float = 60.0, own: Lease = OWN) -> LeaseBook:
    return recalled_book(memory, own.key, memory.taken_ns + int(later_s * NS), BOOT_NS)


def test_a_lease_that_was_only_renewed_is_not_worth_writing() -> None:
    renewed = replace(MEMORY, leases=by_key((A, replace(B, expires_at_ns=1, created=99))), revision=8)
    assert renewed.says_the_same_as(MEMORY)


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param({"leases": by_key((A,))}, id="a peer less"),
        pytest.param({"leases": by_key((A, replace(B, vtep_mac=mac(9))))}, id="a peer's MAC"),
        pytest.param({"held": {C.key: HeldLease(C, 1)}}, id="one is held"),
        pytest.param({"own_sent_ns": WALL_NS}, id="our own renewal"),
        pytest.param({"macs": frozenset({mac(7)})}, id="a peer left"),
        pytest.param({"cluster_id": "d"}, id="another store"),
    ],
)
def test_what_matters_at_the_next_start_is_written(changed: dict[str, object]) -> None:
    assert not replace(MEMORY, **changed).says_the_same_as(MEMORY)


def test_a_recalled_book_is_not_in_sync_and_says_of_when_it_is() -> None:
    recalled = at_start(MEMORY)
    assert not recalled.synced
    assert recalled.recalled_ns == MEMORY.taken_ns
    assert recalled.leases == by_key((OWN, A, B))


def test_what_was_held_stays_held_for_the_rest_of_its_hour() -> None:
    held = replace(MEMORY, held={C.key: HeldLease(C, WALL_NS + HOLD_NS // 2)})
    later_s = HOLD_NS / NS / 4
    assert at_start(held, later_s).held == {C.key: HeldLease(C, BOOT_NS + HOLD_NS // 4)}
    assert at_start(held, later_s * 3).held == {}


def test_a_clock_that_was_set_back_does_not_hold_for_longer() -> None:
    held = replace(MEMORY, held={C.key: HeldLease(C, WALL_NS + HOLD_NS)})
    assert at_start(held, -1e6).held == {C.key: HeldLease(C, BOOT_NS + HOLD_NS)}


def test_the_first_snapshot_ends_what_is_no_lease_any_more_and_nothing_else() -> None:
    held = replace(MEMORY, held={C.key: HeldLease(C, WALL_NS + HOLD_NS)})
    after, changed = fold(at_start(held), snapshot(OWN, A, revision=9), BOOT_NS, OWN.key)
    assert after.leases == by_key((OWN, A))
    assert set(after.held) == {C.key}
    assert after.recalled_ns is None
    assert changed == {OWN.key, A.key, B.key, C.key}


def test_many_that_left_over_a_restart_are_not_held() -> None:
    """Nobody was watching, so that each may have been deleted."""
    many = [lease(number) for number in range(2, 30)]
    after, _ = fold(at_start(replace(MEMORY, leases=by_key(many))), snapshot(OWN, revision=9), BOOT_NS, OWN.key)
    assert after == book(OWN, revision=9)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"cluster_id": "another"}, id="another store"),
        pytest.param({"revision": 3}, id="an older state of it"),
        pytest.param({"leases": ()}, id="without us"),
    ],
)
def test_f04_a_store_that_forgot_while_the_agent_was_away_holds_what_was_known(changes: dict[str, object]) -> None:
    shown = replace(snapshot(OWN, revision=9), **changes)
    after, _ = fold(at_start(MEMORY), shown, BOOT_NS, OWN.key)
    assert set(after.held) == {A.key, B.key}


@pytest.mark.parametrize(
    "ours",
    [
        pytest.param(replace(OWN, created=8), id="our subnet again"),
        pytest.param(lease(9, public_ip=OWN.public_ip, vtep_mac=OWN.vtep_mac), id="another subnet"),
    ],
)
def test_a_store_that_forgot_is_known_by_our_own_lease_also_when_we_have_taken_another_by_now(ours: Lease) -> None:
    assert has_been_forgotten(MEMORY, MEMORY.cluster_id, 9, ours)
    after, _ = fold(at_start(MEMORY, own=ours), snapshot(ours, revision=9), BOOT_NS, ours.key)
    assert set(after.held) == {A.key, B.key}


@pytest.mark.parametrize(
    ("cluster_id", "revision", "forgotten"),
    [("c", 7, False), ("c", 99, False), ("c", 6, True), ("another", 7, True)],
)
def test_a_store_has_forgotten_when_it_is_another_or_an_older_one(
    cluster_id: str, revision: int, forgotten: bool
) -> None:
    assert has_been_forgotten(MEMORY, cluster_id, revision, replace(OWN, expires_at_ns=5)) == forgotten


def test_a_memory_older_than_a_lease_lives_holds_nothing() -> None:
    after, _ = fold(at_start(MEMORY, 86_401.0), snapshot(OWN, cluster_id="another"), BOOT_NS, OWN.key)
    assert after.held == {}
