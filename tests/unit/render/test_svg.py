"""``walk.svg``: whole XML, both languages, small, without anything that runs or is fetched; no text on another."""

import pytest

from tests.kit.pictures import cross_node, every_journey, hostile, lengthened, recorded
from tests.kit.svg_texts import SVG, Reader, overlaps, parsed
from tulle.render.svg import svg_of
from tulle.trace.journey import Journey

LARGEST = 40_000
JOURNEYS = every_journey()


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_it_is_whole_xml_of_at_most_40_kb_and_the_same_every_time(journey: Journey) -> None:
    drawn = svg_of(journey)
    parsed(drawn)
    assert len(drawn.encode()) <= LARGEST
    assert drawn == svg_of(journey)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_no_text_stands_on_another_or_outside(journey: Journey, lang: str) -> None:
    reader = Reader(lang)
    root = parsed(svg_of(journey))
    reader.read(root)
    height = float(root.get("viewBox", "").split()[3])
    always = reader.layers.pop("always")
    assert len(reader.layers) == 1 + len(journey.hops)
    for layer in reader.layers.values():
        shown = always + layer
        assert overlaps(shown) == []
        assert all(text.left >= 0 and text.right <= 960 and text.bottom <= height for text in shown)


@pytest.mark.parametrize("name", ["cross-node", "ipv6", "router"])
@pytest.mark.parametrize(("count", "captions"), [(4, "all"), (12, "there and some back"), (24, "there")])
def test_a_longer_walk_has_fewer_captions_and_all_of_its_steps(name: str, count: int, captions: str) -> None:
    journey = lengthened(recorded(name), count)
    drawn = svg_of(journey)
    assert len(drawn.encode()) <= LARGEST
    reader = Reader("en")
    reader.read(parsed(drawn))
    there, every = len(journey.walk("request")), len(journey.hops)
    told = len(reader.layers) - 2
    assert {"all": told == every, "there": told == there}.get(captions, there < told <= every)
    description = parsed(drawn).findtext(f"{SVG}desc") or ""
    assert all(f"· hop{number}: " in description for number in range(count))


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_nothing_runs_and_nothing_is_fetched(journey: Journey) -> None:
    drawn = svg_of(journey)
    assert "<script" not in drawn
    assert "href" not in drawn
    assert "http" not in drawn.replace("http://www.w3.org/2000/svg", "")
    assert " on" not in "".join(f" {name}" for e in parsed(drawn).iter() for name in e.attrib)


def test_a_viewer_that_reads_aloud_gets_title_and_every_hop() -> None:
    root = parsed(svg_of(cross_node()))
    title, desc = root.find(f"{SVG}title"), root.find(f"{SVG}desc")
    assert root.get("role") == "img"
    assert title is not None
    assert desc is not None
    assert (title.text or "").startswith("pod1 → pod4: ")
    assert all(f"{hop.step} " in (desc.text or "") for hop in cross_node().hops)


def test_less_motion_and_dark_mode_are_honoured() -> None:
    drawn = svg_of(cross_node())
    assert "prefers-reduced-motion:reduce" in drawn
    assert "prefers-color-scheme:dark" in drawn


def test_names_from_a_kernel_cannot_leave_their_place() -> None:
    drawn = svg_of(hostile())
    root = parsed(drawn)
    assert not list(root.iter(f"{SVG}script"))
    assert "\x1b" not in drawn
    assert "\u202e" not in drawn
