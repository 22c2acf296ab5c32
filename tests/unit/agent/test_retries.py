"""When a failed key is tried again: its own pauses, nobody else's."""

import pytest

from tests.kit.virtual_time import SeededRandom
from tulle.agent.retries import RETRY_FIRST_S, RETRY_LAST_S, Retries
from tulle.model.objects import LinkKey, ObjectKey
from tulle.model.state import Scope

A, B = LinkKey("a"), LinkKey("b")
NS = 1_000_000_000


class Clock:
    """Time by hand."""

    def __init__(self) -> None:
        self.now_ns = 0

    def boottime_ns(self) -> int:
        return self.now_ns

    def wall_ns(self) -> int:
        return self.now_ns

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nobody sleeps here: {seconds}")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def retries(clock: Clock) -> Retries:
    return Retries(clock, SeededRandom())


def fail(retries: Retries, *keys: ObjectKey) -> None:
    retries.settle(Scope.of(keys), keys)


def test_nothing_is_due_when_nothing_failed(retries: Retries) -> None:
    assert retries.next_due_ns is None
    assert not retries.take_due(10**18)


def test_a_pause_doubles_from_a_second_to_a_minute_with_a_quarter_of_jitter(clock: Clock, retries: Retries) -> None:
    for attempt in range(12):
        fail(retries, A)
        assert retries.next_due_ns is not None
        pause_s = (retries.next_due_ns - clock.now_ns) / NS
        nominal_s = min(RETRY_LAST_S, RETRY_FIRST_S * 2**attempt)
        assert 0.75 * nominal_s <= pause_s < 1.25 * nominal_s
        clock.now_ns = retries.next_due_ns
        assert retries.take_due(clock.now_ns) == Scope.of([A])


def test_what_is_being_tried_is_not_due_again_meanwhile(clock: Clock, retries: Retries) -> None:
    fail(retries, A)
    clock.now_ns = 2 * NS
    assert retries.take_due(clock.now_ns)
    assert not retries.take_due(clock.now_ns + NS)


def test_each_key_has_its_own_pauses(clock: Clock, retries: Retries) -> None:
    for _ in range(5):
        fail(retries, A)
    fail(retries, B)
    clock.now_ns = 2 * NS
    assert retries.take_due(clock.now_ns) == Scope.of([B])


def test_a_key_that_was_looked_at_and_is_well_begins_anew(clock: Clock, retries: Retries) -> None:
    for _ in range(5):
        fail(retries, A)
    retries.settle(Scope.of([A]), ())
    assert retries.next_due_ns is None
    fail(retries, A)
    assert retries.next_due_ns is not None
    assert retries.next_due_ns < clock.now_ns + 2 * NS


@pytest.mark.parametrize(
    ("looked_at", "kept"),
    [
        pytest.param(Scope.of([B]), True, id="another key was looked at"),
        pytest.param(Scope.of([A]), False, id="it was"),
        pytest.param(Scope.all(), False, id="everything was"),
    ],
)
def test_a_pass_settles_only_what_it_looked_at(retries: Retries, looked_at: Scope, kept: bool) -> None:
    fail(retries, A)
    retries.settle(looked_at, ())
    assert (retries.next_due_ns is not None) is kept
