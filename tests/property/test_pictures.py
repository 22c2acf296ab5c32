"""Laws of the pictures: any journey whose numbers a kernel could give is drawn whole in every form and read back."""

from html.parser import HTMLParser
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests.kit.svg_texts import parsed
from tulle.render.forms import Form, draw, read_journeys
from tulle.render.redact import redact
from tulle.render.scene_build import scene_of
from tulle.trace.journey import Hop, Journey, Side
from tulle.trace.json import encode_journey

FORMS: tuple[Form, ...] = ("svg", "html", "pcap", "json")
numbers = st.integers(0, 2**30 - 1)
names = st.sampled_from(["root", "node1", "node2", "underlay", "pod1", "eth0", "cbr0", ""]) | st.text(max_size=20)
steps = st.sampled_from(["", "1", "2", "3a", "3b", "3c", "4", "5", "6a", "6b", "6c", "7", "8", "9z"])
hops = st.builds(
    Hop,
    step=steps,
    node=names,
    netns=names,
    dev=names,
    n=st.none() | numbers,
    t_ns=st.none() | st.integers(0, 10**7) | st.integers(0, 2**60 - 1),
    len=st.none() | numbers,
    ifindex=st.none() | numbers,
    t_shared_with=st.none() | st.integers(0, 3),
    frame=st.sampled_from(["", "AAAA", "ABEiM0RVqrvM3e7/CABFAAAU"]),
)
journeys = st.builds(
    Journey,
    hops=st.lists(hops, max_size=7).map(tuple),
    side=st.lists(st.from_type(Side), max_size=1).map(tuple),
    notes=st.just(()),
)


class Tags(HTMLParser):
    """Scripts that a browser would find."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.scripts = 0
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002  # as the parser calls it
        self.scripts += tag == "script"


@given(journeys)
def test_any_journey_that_is_read_is_drawn_in_every_form(journey: Journey) -> None:
    (read,) = read_journeys(encode_journey(journey))
    parsed(draw(read, "svg").decode())
    assert Tags(draw(read, "html").decode()).scripts == 2
    for form in ("html", "pcap", "json"):
        assert read_journeys(draw(read, form)) == (read,)


@given(journeys)
def test_any_journey_that_is_read_can_be_masked_and_drawn(journey: Journey) -> None:
    for form in FORMS:
        draw(redact(journey), form)


@given(journeys)
def test_a_picture_has_a_beat_for_every_hop_and_lines_without_a_gap(journey: Journey) -> None:
    scene = scene_of(journey)
    assert sorted(beat.hop.step for beat in scene.beats) == sorted(hop.step for hop in journey.hops)
    for direction in ("request", "reply"):
        beats = scene.walk(direction)
        assert [beat.hop for beat in beats] == list(journey.walk(direction))
        assert all(after.path[0] == before.at for before, after in pairwise(beats))
