"""The walk as text: whole pages against goldens, and what holds of every page.

Each ``golden/walk/<walk>.<form>.txt`` is one page.  ``UPDATE_GOLDENS=1`` rewrites them; read the difference.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.kit.pictures import recorded, recordings
from tests.kit.walks import WALKS, hostile
from tulle.render.walk_terminal import Look, render_journey
from tulle.render.walk_text import printed, width
from tulle.trace.journey import Journey

GOLDEN = Path(__file__).parent / "golden" / "walk"


@dataclass(frozen=True)
class Form:
    """One way to look at a walk."""

    look: Look
    ascii_only: bool = False


FORMS: Mapping[str, Form] = {
    "80": Form(Look(columns=80)),
    "80-zh": Form(Look(columns=80, lang="zh")),
    "120": Form(Look(columns=120)),
    "120-zh": Form(Look(columns=120, lang="zh")),
    "120-headers": Form(Look(columns=120, headers=True)),
    "80-article": Form(Look(columns=80, article=True)),
    "120-article-zh": Form(Look(columns=120, article=True, lang="zh")),
    "80-ascii": Form(Look(columns=80), ascii_only=True),
    "120-pipe": Form(Look(columns=120, boxes=False)),
}
USUAL = ("80", "80-zh", "120", "120-zh")
PAGES = [
    *((walk, form) for walk in ("cross-node", "no-fdb-entry") for form in FORMS),
    *((walk, form) for walk in ("same-node", "host-routes", "pod-to-node", "ipv6", "wire-unseen") for form in USUAL),
    *((walk, form) for walk in sorted(WALKS) for form in ("80", "120")),
    *(("reply-lost", form) for form in ("80-zh", "120-zh")),
]
JOURNEYS = {
    **{name: make() for name, make in WALKS.items()},
    **{f"recorded {name}": recorded(name) for name in recordings()},
    "hostile": hostile(),
}


def page(journey: Journey, form: Form) -> str:
    return printed(render_journey(journey, form.look), ascii_only=form.ascii_only)


@pytest.mark.parametrize(("walk", "form"), list(dict.fromkeys(PAGES)))
def test_a_walk_looks_as_agreed(walk: str, form: str) -> None:
    actual = page(JOURNEYS[walk], FORMS[form])
    golden = GOLDEN / f"{walk}.{form}.txt"
    if os.environ.get("UPDATE_GOLDENS"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_text(actual)
    assert actual == golden.read_text()


def test_no_golden_is_left_over() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"{walk}.{form}.txt" for walk, form in PAGES}


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("walk", JOURNEYS)
def test_no_line_is_wider_than_the_terminal(walk: str, lang: str) -> None:
    for columns, boxes in [*((columns, True) for columns in (60, 80, 99, 100, 120, 200)), (80, False), (120, False)]:
        look = Look(columns=columns, lang=lang, boxes=boxes, headers=True, article=True)
        lines = render_journey(JOURNEYS[walk], look)
        assert [line.text for line in lines if width(line.text) > columns] == []


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("walk", JOURNEYS)
def test_the_right_edge_of_every_box_is_straight(walk: str, lang: str) -> None:
    lines = render_journey(JOURNEYS[walk], Look(columns=120, lang=lang, headers=True))
    boxed = [line.text for line in lines if line.text[:1] in "┌│└" and line.text]
    assert {width(text) for text in boxed} <= {120}


def test_names_that_would_drive_a_terminal_never_reach_it() -> None:
    for form in FORMS.values():
        text = page(hostile(), form)
        assert all(char.isprintable() or char == "\n" for char in text)
        assert "\u202e" not in text
        assert "\\x1b[31mpod1" in text


@pytest.mark.parametrize("walk", sorted(WALKS))
def test_plain_ascii_is_plain_ascii(walk: str) -> None:
    look = Look(columns=100, headers=True, article=True)
    assert page(JOURNEYS[walk], Form(look, ascii_only=True)).isascii()


@pytest.mark.parametrize("walk", sorted(WALKS))
def test_the_same_journey_gives_the_same_bytes(walk: str) -> None:
    assert page(WALKS[walk](), FORMS["120"]) == page(JOURNEYS[walk], FORMS["120"])


@pytest.mark.parametrize("walk", JOURNEYS)
def test_every_sighting_has_its_row_and_every_step_its_number(walk: str) -> None:
    """What the taps saw is all there, at the narrowest as at the widest."""
    journey = JOURNEYS[walk]
    for columns in (60, 132):
        lines = [line.text for line in render_journey(journey, Look(columns=columns, boxes=False))]
        rows = [text.lstrip(" ✔✘?") for text in lines]
        for hop in journey.sightings("request"):
            assert any(row.startswith(f"{hop.step} ".lstrip()) and hop.dev in row for row in rows), hop


@pytest.mark.parametrize("walk", sorted(WALKS))
def test_no_leg_is_ever_said_to_have_taken_no_time(walk: str) -> None:
    for form in USUAL:
        assert " 0.0" not in page(JOURNEYS[walk], FORMS[form])


def test_what_was_not_seen_is_said_and_has_no_figures() -> None:
    rows = [line for line in render_journey(JOURNEYS["wire-unseen"], Look(columns=120)) if "not seen" in line.text]
    assert [row.text.split()[1] for row in rows] == ["4", "5"]
    assert all(row.style == "dim" and not any(char in row.text for char in "≤=▶") for row in rows)


def test_one_clock_is_said_only_of_one_clock() -> None:
    journey = JOURNEYS["cross-node"]
    apart = replace(journey, clock=replace(journey.clock, method="exchange", offset_ns=-1200))
    assert "one kernel, one clock" in page(journey, FORMS["80"])
    assert "two clocks, -1.2 µs apart (exchange)" in page(apart, FORMS["80"])


def test_colour_is_only_a_second_signal() -> None:
    lines = render_journey(JOURNEYS["no-fdb-entry"], Look(columns=80))
    plain, coloured = printed(lines), printed(lines, color=True)
    assert plain != coloured
    assert _without_colour(coloured) == plain


def _without_colour(text: str) -> str:
    for code in ("0", "1", "2", "31", "32", "36"):
        text = text.replace(f"\x1b[{code}m", "")
    return text


def test_the_article_is_told_only_of_the_way_that_it_is_about() -> None:
    look = Look(columns=120, article=True)
    assert "often told" in printed(render_journey(JOURNEYS["cross-node"], look))
    assert "often told" not in printed(render_journey(JOURNEYS["host-routes"], look))
    assert "often told" not in printed(render_journey(JOURNEYS["same-node"], look))


def test_what_a_question_answered_at_its_hop_is_not_told_twice() -> None:
    text = page(JOURNEYS["first-packet"], FORMS["120"])
    assert text.count("4e:5a:00:00:01:01 (+0.4 µs)") == 1
    assert "ARP who-has 10.244.1.1 " not in text
