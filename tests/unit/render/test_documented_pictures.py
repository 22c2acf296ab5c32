"""The pictures of the documentation are what the program draws today from recorded walks.

Draw them again: ``python -m tests.unit.render.test_documented_pictures``.
"""

from pathlib import Path

import pytest

from tests.kit.pictures import recorded
from tulle.lab.topology import Wishes, design
from tulle.render.cluster import planned
from tulle.render.graph import graph_svg
from tulle.render.svg import svg_of

FOLDER = Path(__file__).parents[3] / "docs" / "pictures"


def pictures() -> dict[str, str]:
    return {
        "walk.svg": svg_of(recorded("cross-node")),
        "broken.svg": svg_of(recorded("no-fdb-entry")),
        "graph.svg": graph_svg(planned(design(Wishes()))),
    }


@pytest.mark.parametrize("name", pictures())
def test_a_documented_picture_is_what_is_drawn_today(name: str) -> None:
    same = (FOLDER / name).read_text(encoding="utf-8") == pictures()[name]
    assert same, "draw them again: python -m tests.unit.render.test_documented_pictures"


def draw_again() -> None:
    for name, text in pictures().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    draw_again()
