"""Laws of the corridor's pure half: lease events → book → admission → desired state and dirty keys.

The oracle is always the same: throw everything away and compute it anew, the slow and obvious way.
"""

from collections.abc import Sequence
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.cluster import DUAL, DUAL_HOST, OWN_DUAL, by_key, intent, lease, snapshot
from tests.kit.histories import claims, events, histories
from tulle.model.book import expire_held, fold, in_force
from tulle.model.lease import Gone, Lease, LeaseBook, LeaseEvent, LeaseKey, Put
from tulle.plan.admission import Claim, admit
from tulle.plan.desired import Settings, desired
from tulle.plan.intent import Intent

NOW_NS = 5_000_000_000


def after(history: Sequence[LeaseEvent]) -> list[Intent]:
    """The intents along the way, the empty one first."""
    found = [Intent.initial(DUAL, DUAL_HOST, OWN_DUAL, Settings(ip_masq=True))]
    for event in history:
        found.append(found[-1].after(event, NOW_NS)[0])
    return found


@given(histories())
def test_admission_by_events_is_admission_from_scratch(history: Sequence[LeaseEvent]) -> None:
    for found in after(history):
        afresh = admit(found.book, DUAL, DUAL_HOST, OWN_DUAL)
        assert found.admission == afresh
        assert found.admission.refusals == afresh.refusals


@given(histories())
def test_desired_state_by_events_is_desired_state_from_scratch(history: Sequence[LeaseEvent]) -> None:
    for found in after(history):
        afresh = desired(found.desired.inputs)
        assert found.desired.state.objects == afresh.state.objects


@given(histories(), st.integers(1, 3))
def test_an_event_digested_in_steps_is_the_event(history: Sequence[LeaseEvent], size: int) -> None:
    found = Intent.initial(DUAL, DUAL_HOST, OWN_DUAL, Settings())
    for event in history:
        *_, (piecemeal, dirty) = found.unfold(event, NOW_NS, size)
        found, scope = found.after(event, NOW_NS)
        assert piecemeal.book == found.book
        assert piecemeal.admission == found.admission
        assert piecemeal.desired.state.objects == found.desired.state.objects
        assert dirty.everything == scope.everything
        assert dirty.keys >= scope.keys


@given(histories())
def test_every_key_that_changes_is_dirty(history: Sequence[LeaseEvent]) -> None:
    found = Intent.initial(DUAL, DUAL_HOST, OWN_DUAL, Settings())
    for event in history:
        after, scope = found.after(event, NOW_NS)
        old, new = found.desired.state.objects, after.desired.state.objects
        changed = {key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}
        assert scope.everything or changed <= scope.keys
        found = after


@given(histories())
def test_a_peer_is_admitted_unless_an_older_one_has_what_it_claims_or_it_breaks_a_rule_alone(
    history: Sequence[LeaseEvent],
) -> None:
    book = after(history)[-1].book
    candidates = [found for key in book.leases.keys() | book.held.keys() if (found := in_force(book, key))]
    candidates.sort(key=lambda found: (found.key in book.held, found.created, found.key))
    taken: set[Claim] = set()
    expected: dict[LeaseKey, Lease] = {}
    for candidate in candidates:
        alone = admit(LeaseBook(synced=True, leases=by_key([candidate])), DUAL, DUAL_HOST, OWN_DUAL)
        if alone.peers and taken.isdisjoint(alone.holders):
            expected[candidate.key] = candidate
            taken |= alone.holders.keys()
    assert admit(book, DUAL, DUAL_HOST, OWN_DUAL).peers == expected


@given(st.lists(claims(), max_size=6), st.randoms(use_true_random=False))
def test_any_order_of_events_leads_to_one_state(found: list[Lease], chance: Random) -> None:
    puts = [Put(each, 2) for each in by_key(found).values()]
    one = intent(snapshot(lease(1)), *puts, config=DUAL, host=DUAL_HOST, own=OWN_DUAL)
    chance.shuffle(puts)
    other = intent(snapshot(lease(1)), *puts, config=DUAL, host=DUAL_HOST, own=OWN_DUAL)
    whole = intent(snapshot(lease(1), *by_key(found).values()), config=DUAL, host=DUAL_HOST, own=OWN_DUAL)
    assert one.desired == other.desired == whole.desired
    assert one.admission == other.admission == whole.admission


@given(st.lists(claims(), min_size=1, max_size=6))
def test_what_came_and_went_leaves_nothing(found: list[Lease]) -> None:
    begin = intent(snapshot(lease(1)), config=DUAL, host=DUAL_HOST, own=OWN_DUAL)
    end = intent(
        snapshot(lease(1)),
        *(Put(each, 2) for each in found),
        *(Gone(each.key, 3) for each in found),
        config=DUAL,
        host=DUAL_HOST,
        own=OWN_DUAL,
    )
    assert end.desired == begin.desired
    assert end.admission == begin.admission


@given(histories())
def test_the_book_names_the_keys_whose_claim_is_another_one_now(history: Sequence[LeaseEvent]) -> None:
    book = LeaseBook()
    for event in history:
        after, changed = fold(book, event, NOW_NS, OWN_DUAL.key)
        for key in book.leases.keys() | book.held.keys() | after.leases.keys() | after.held.keys():
            same = in_force(book, key) == in_force(after, key) and (key in book.held) == (key in after.held)
            assert same or key in changed
        assert after.leases.keys().isdisjoint(after.held)
        book = after


@given(histories(), st.lists(st.integers(0, 2 * 3_600), min_size=1, max_size=6))
def test_a_held_lease_is_over_after_an_hour_and_never_comes_back_by_itself(
    history: Sequence[LeaseEvent], seconds: list[int]
) -> None:
    book = after(history)[-1].book
    moments = [NOW_NS + second * 1_000_000_000 for second in sorted(seconds)]
    for before_ns, now_ns in pairwise([NOW_NS, *moments]):
        smaller, gone = expire_held(book, now_ns)
        assert before_ns <= now_ns
        assert smaller.held.keys() | gone == book.held.keys()
        assert all(held.until_ns > now_ns for held in smaller.held.values())
        assert smaller.leases == book.leases
        book = smaller
    if moments[-1] >= NOW_NS + 3_600 * 1_000_000_000:
        assert not book.held


@given(histories(4), st.lists(events(), max_size=4))
def test_before_the_first_snapshot_nothing_counts(history: Sequence[LeaseEvent], early: list[LeaseEvent]) -> None:
    too_early = [event for event in early if not hasattr(event, "leases")]
    assert after([*too_early, *history])[-1] == after(history)[-1]
