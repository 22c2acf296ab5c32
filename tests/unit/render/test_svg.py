"""``walk.svg``: whole XML, both languages, small, without anything that runs or is fetched; no text on another."""

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree

import pytest

from tests.kit.pictures import cross_node, every_journey, hostile
from tulle.render.svg import svg_of
from tulle.render.svg_parts import MONO_EM, SANS_EM
from tulle.trace.journey import Journey

SVG = "{http://www.w3.org/2000/svg}"
LARGEST = 40_000
SIZES = {"h1": 21, "st": 17, "sm": 13, "t": 12, "s": 11, "xs": 11}
JOURNEYS = every_journey()


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


def measured(element: ElementTree.Element, looks: set[str], corner: tuple[float, float]) -> Words:
    size = next((SIZES[name] for name in SIZES if name in looks), 12 if "bd" in looks else 15)
    text = "".join(part for node in element.iter() if node.tag != f"{SVG}title" for part in (node.text or "",))
    width = sum(1.0 if ord(char) > 0x2E80 else MONO_EM if "mono" in looks else SANS_EM for char in text) * size * 0.95
    x, y = corner[0] + float(element.get("x", "0")), corner[1] + float(element.get("y", "0"))
    left = x - (width if "e" in looks else width / 2 if looks & {"k", "bd"} else 0.0)
    return Words(text, left, y - size * 0.75, left + width, y + size * 0.2)


@dataclass(frozen=True)
class Reader:
    """The texts of one language, in layers: what is always there, the verdict, each caption."""

    lang: str
    layers: dict[str, list[Words]] = field(default_factory=dict[str, list[Words]])

    def read(
        self,
        element: ElementTree.Element,
        layer: str = "always",
        looks: frozenset[str] = frozenset(),
        corner: tuple[float, float] = (0, 0),
    ) -> None:
        own = set(element.get("class", "").split())
        mine = looks | own
        if "off" in own:
            return
        if move := re.match(r"translate\((\S+) (\S+)\)", element.get("transform", "")):
            corner = corner[0] + float(move[1]), corner[1] + float(move[2])
        if element.tag == f"{SVG}text":
            self.layers.setdefault(layer, []).append(measured(element, set(mine), corner))
            return
        layer = element.get("style", "") if "c" in own else "verdict" if "v" in own else layer
        children = list(element)
        if element.tag == f"{SVG}switch":
            children = [children[0] if self.lang == "zh" else children[1]]
        for child in children:
            self.read(child, layer, mine if element.tag != f"{SVG}svg" else frozenset(), corner)


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
        for at, text in enumerate(shown):
            assert text.left >= 0
            assert text.right <= 960
            assert text.bottom <= height
            for other in shown[at + 1 :]:
                assert not text.overlaps(other), f"{text} {other}"


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
