"""Figures over many probes: the median and p95 of each leg, what was seen of it and what was lost."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit.walks import cross_node, no_fdb_entry
from tulle.render.walk_series import render_series
from tulle.render.walk_text import printed, width
from tulle.trace.journey import Hop, Journey, Overhead

GOLDEN = Path(__file__).parent / "golden" / "series"


def slower(journey: Journey, times: int) -> Journey:
    def later(hop: Hop) -> Hop:
        return hop if hop.t_ns is None else replace(hop, t_ns=hop.t_ns * times)

    overhead = Overhead(rtt_traced_ns=18_000 * times, rtt_plain_ns=9_000)
    return replace(journey, hops=tuple(later(hop) for hop in journey.hops), overhead=overhead)


SERIES = [slower(cross_node(), times) for times in range(1, 10)] + [no_fdb_entry()]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_a_series_looks_as_agreed(lang: str) -> None:
    actual, golden = printed(render_series(SERIES, lang)), GOLDEN / f"ten-probes.{lang}.txt"
    if os.environ.get("UPDATE_GOLDENS"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(actual)
    assert actual == golden.read_text()


def rows(journeys: list[Journey], lang: str = "en") -> list[list[str]]:
    return [line.text.split() for line in render_series(journeys, lang)]


def row(journeys: list[Journey], *start: str) -> list[str]:
    return next(row for row in rows(journeys) if tuple(row[: len(start)]) == start)


def test_the_head_counts_what_was_lost() -> None:
    lines = render_series(SERIES, "en")
    assert (lines[0].text, lines[0].style) == ("10 probes, 1 lost (10.0 %)", "bad")
    assert render_series(SERIES[:9], "en")[0].style == "good"
    assert render_series(SERIES, "zh")[0].text == "10 个探测包，丢失 1 个（10.0 %）"


def test_a_leg_has_its_median_and_p95_of_those_that_were_seen() -> None:
    assert row(SERIES, "→", "3c", "root", "eth0")[4:] == ["4.5", "8.1", "9", "1"]
    assert row(SERIES, "→", "3b", "root", "flannel.1")[4:] == ["9.5", "17.1", "10"]


def test_a_bound_stays_a_bound() -> None:
    assert row(SERIES, "→", "2", "root", "cbr0")[4].startswith("≤")


def test_places_stand_in_the_order_of_the_whole_walk_request_before_reply() -> None:
    shuffled = [SERIES[-1], *SERIES[:-1]]
    steps = [(cells[0], cells[1]) for cells in rows(shuffled) if cells[0] in "→←" and cells[1][0].isdigit()]
    walk = ["1", "2", "3b", "3c", "4", "5", "6a", "6b", "6c", "7", "8"]
    assert steps == [*(("→", step) for step in walk), *(("←", step) for step in walk)]


def test_the_cost_of_looking_stands_below() -> None:
    assert row(SERIES, "RTT", "traced")[2:] == ["90.0", "162.0", "9"]
    assert row(SERIES, "RTT", "untraced")[2:] == ["9.0"]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_columns_are_straight_and_fit_in_80(lang: str) -> None:
    lines = [line.text for line in render_series(SERIES, lang)]
    table = [line for line in lines if line[:1] in "→←" and line]
    assert all(width(line) <= 80 for line in lines)
    assert len({width(line.rstrip()) for line in table if line.rstrip().endswith("1")} - {0}) <= 2


def test_a_series_in_which_nothing_arrived_is_a_series_all_the_same() -> None:
    text = printed(render_series([no_fdb_entry()] * 3, "en"))
    assert text.startswith("3 probes, 3 lost (100.0 %)")
    assert "←" not in text


def test_one_outlier_does_not_own_the_figure() -> None:
    series = [cross_node()] * 9 + [slower(cross_node(), 1000)]
    assert row(series, "→", "3c", "root", "eth0")[4] == "0.9"
