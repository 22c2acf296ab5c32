"""``walk.svg``: whole XML, both languages, small, without anything that runs or is fetched; no text on another."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import pytest

from tests.kit.pictures import cross_node, every_journey, no_fdb_entry
from tulle.render.svg import svg_of
from tulle.render.svg_parts import MONO_EM, SANS_EM
from tulle.trace.journey import Journey

SVG = "{http://www.w3.org/2000/svg}"
LARGEST = 40_000
SIZES = {"h1": 21, "st": 17, "sm": 13, "t": 12, "s": 11, "xs": 11}
HOSTILE = "</text><script>alert(1)</script>\"'&\x1b[2J\u202e"


@dataclass(frozen=True)
class Words:
    """A text with the room that it takes, estimated as the picture itself estimates it."""

    text: str
    left: float
    top: float
    right: float
    bottom: float

    def overlaps(self, other: "Words") -> bool:
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )


def parsed(drawn: str) -> ElementTree.Element:
    return ElementTree.fromstring(drawn)  # noqa: S314  # our own text; that it parses is the test


def measured(element: ElementTree.Element, inherited: set[str]) -> Words:
    looks = set(element.get("class", "").split()) | inherited
    size = next((SIZES[name] for name in SIZES if name in looks), 12 if "bd" in looks else 15)
    text = "".join(part for node in element.iter() if node.tag != f"{SVG}title" for part in (node.text or "",))
    width = sum(1.0 if ord(char) > 0x2E80 else MONO_EM if "mono" in looks else SANS_EM for char in text) * size * 0.95
    x, y = float(element.get("x", "0")), float(element.get("y", "0"))
    left = x - {"middle": width / 2, "end": width}.get(element.get("text-anchor", ""), 0.0)
    return Words(text, left, y - size * 0.75, left + width, y + size * 0.2)


def words(element: ElementTree.Element, lang: str, looks: frozenset[str] = frozenset()) -> Iterator[Words]:
    """The texts of one language that are shown when nothing moves."""
    mine = set(element.get("class", "").split())
    if mine & {"c", "off"}:
        return
    if element.tag == f"{SVG}text":
        yield measured(element, set(looks))
        return
    children = list(element)
    if element.tag == f"{SVG}switch":
        children = [children[0] if lang == "zh" else children[1]]
    for child in children:
        yield from words(child, lang, looks | mine)


@pytest.mark.parametrize("journey", every_journey())
def test_it_is_whole_xml_of_at_most_40_kb_and_the_same_every_time(journey: Journey) -> None:
    drawn = svg_of(journey)
    parsed(drawn)
    assert len(drawn.encode()) <= LARGEST
    assert drawn == svg_of(journey)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("journey", every_journey())
def test_no_text_stands_on_another(journey: Journey, lang: str) -> None:
    shown = list(words(parsed(svg_of(journey)), lang))
    assert shown
    for at, text in enumerate(shown):
        for other in shown[at + 1 :]:
            assert not text.overlaps(other), f"{text} {other}"


@pytest.mark.parametrize("journey", every_journey())
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
    journey = no_fdb_entry()
    hostile = replace(
        journey,
        source=replace(journey.source, pod=HOSTILE, node=HOSTILE),
        hops=tuple(
            replace(hop, dev=HOSTILE, node=HOSTILE if hop.node == "node1" else hop.node) for hop in journey.hops
        ),
    )
    root = parsed(svg_of(hostile))
    assert not list(root.iter(f"{SVG}script"))
    assert "\x1b" not in svg_of(hostile)
    assert "\u202e" not in svg_of(hostile)
