"""Times as text: ties as ties, never a made-up zero, and units that stay with their numbers."""

import pytest

from tests.kit.walks import cross_node
from tulle.render.walk_text import NO_BREAK
from tulle.render.walk_times import Leg, duration, leg_text, legs, microseconds, total_text
from tulle.trace.journey import Hop


def hop(t_ns: int | None, shared: int | None = None) -> Hop:
    return Hop(
        n=None if t_ns is None else 1,
        step="",
        direction="request",
        node="",
        netns="",
        kind="device",
        t_ns=t_ns,
        t_shared_with=shared,
    )


def told(*hops: Hop) -> list[tuple[str, str]]:
    return [(leg_text(leg), total_text(leg)) for leg in legs(hops)]


def test_the_first_sighting_is_the_origin_and_the_others_count_from_the_one_before() -> None:
    assert told(hop(0), hop(200), hop(2100)) == [("", "0"), ("0.2", "0.2"), ("1.9", "2.1")]


def test_a_shared_stamp_is_bounded_by_the_next_that_is_not() -> None:
    assert told(hop(0), hop(200), hop(200, 2), hop(200, 2), hop(2100))[2:] == [
        ("≤1.9", "0.2"),
        ("≤1.9", "0.2"),
        ("1.9", "2.1"),
    ]


def test_a_shared_stamp_that_nothing_bounds_is_only_the_same() -> None:
    assert told(hop(0), hop(700), hop(700, 2))[-1] == ("=", "0.7")


def test_decisions_and_what_was_not_seen_have_no_leg() -> None:
    assert len(legs([hop(0), hop(None), hop(100)])) == 2
    assert legs([]) == ()


@pytest.mark.parametrize(
    ("ns", "text"),
    [(0, "<0.1"), (49, "<0.1"), (50, "0.1"), (149, "0.1"), (1900, "1.9"), (1_234_567, "1234.6")],
)
def test_microseconds_have_one_digit_and_never_say_nothing(ns: int, text: str) -> None:
    assert microseconds(ns) == text


def test_a_bound_below_the_last_digit_is_at_most_that_digit() -> None:
    assert leg_text(Leg(hop(10, 1), 20, 0, bound=True)) == "≤0.1"


@pytest.mark.parametrize(
    ("ns", "text"),
    [(None, "?"), (7100, "7.1 µs"), (999_900, "999.9 µs"), (1_200_000, "1.2 ms")],
)
def test_durations(ns: int | None, text: str) -> None:
    assert duration(ns) == text.replace(" ", NO_BREAK)


def test_a_whole_walk_adds_up() -> None:
    walk = legs(cross_node().walk("request"))
    measured = sum(leg.ns or 0 for leg in walk if not leg.bound)
    assert measured == walk[-1].total_ns
