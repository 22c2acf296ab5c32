"""The texts of an SVG picture and the room that each takes, as the picture itself estimates it."""

import re
from dataclasses import dataclass, field
from itertools import combinations
from xml.etree import ElementTree

from tulle.render.svg_parts import MONO_EM, SANS_EM

SVG = "{http://www.w3.org/2000/svg}"
SIZES = {"h1": 21, "st": 17, "sm": 13, "t": 12, "s": 11, "xs": 11}


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


def overlaps(texts: list[Words]) -> list[str]:
    """Pairs that stand on one another."""
    return [f"{a.text} / {b.text}" for a, b in combinations(texts, 2) if a.overlaps(b)]
