"""Laws of the terminal's walk: any journey that reads is drawn, within the columns, and drives no terminal."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.walks import WALKS
from tulle.render.walk_brief import arrow_lines, one_line, verdict_lines
from tulle.render.walk_series import render_series
from tulle.render.walk_terminal import Look, render_journey
from tulle.render.walk_text import Line, printed, width
from tulle.trace.journey import Hop, Journey, Reason, Side, Verdict

numbers = st.integers(0, 2**40)
names = st.text(max_size=12) | st.text(alphabet="aé网\x1b\u202e\n \u00a0:", max_size=40)
facts = st.dictionaries(st.sampled_from(["via", "mac", "ip", "dst", "port", "dev", "vni", "master"]), names, max_size=4)
reasons = st.from_type(Reason).flatmap(
    lambda reason: st.builds(replace, st.just(reason), facts=facts, text=names, owner=names)
)
steps = st.sampled_from(["", "1", "2", "3a", "3b", "3c", "4", "5", "6a", "6b", "6c", "7", "8", "9z"])
hops = st.from_type(Hop).flatmap(
    lambda hop: st.builds(
        replace,
        st.just(hop),
        step=steps,
        node=names,
        netns=names,
        dev=names,
        t_ns=st.none() | numbers,
        why=st.lists(reasons, max_size=3).map(tuple),
    )
)
journeys = st.builds(
    replace,
    st.sampled_from(sorted(WALKS)).map(lambda name: WALKS[name]()),
    hops=st.lists(hops, max_size=5).map(tuple),
    verdict=st.from_type(Verdict),
    side=st.lists(st.from_type(Side), max_size=2).map(tuple),
    notes=st.lists(names | names.map("flood:devices={}".format), max_size=2).map(tuple),
)
looks = st.builds(
    Look,
    lang=st.sampled_from(["en", "zh"]),
    columns=st.integers(60, 200),
    boxes=st.booleans(),
    headers=st.booleans(),
    article=st.booleans(),
)


def check(lines: list[Line], columns: int | None = None) -> None:
    out = printed(lines)
    assert all(char.isprintable() or char == "\n" for char in out)
    assert out.count("\n") == len(lines)
    if columns is not None:
        assert [line.text for line in lines if width(line.text) > columns] == []


@given(journeys, looks)
def test_any_journey_is_drawn_within_its_columns(journey: Journey, look: Look) -> None:
    check(render_journey(journey, look), look.columns)


@given(journeys, looks)
def test_any_journey_has_brief_forms(journey: Journey, look: Look) -> None:
    check(one_line(journey, look.lang))
    check(verdict_lines(journey, look.lang, look.columns), look.columns)
    check(arrow_lines(journey, "reply", look.lang, look.columns), look.columns)


@given(st.lists(journeys, min_size=1, max_size=3), st.sampled_from(["en", "zh"]))
def test_any_journeys_are_a_series(series: list[Journey], lang: str) -> None:
    check(render_series(series, lang))
