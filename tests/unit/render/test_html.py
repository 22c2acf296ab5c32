"""``walk.html``: one small offline page that holds its journey, whatever the names in it are."""

from html.parser import HTMLParser

import pytest

from tests.kit.pictures import cross_node, every_journey, hostile, lengthened, no_fdb_entry, recorded
from tulle.errors import DecodeError
from tulle.render.html import html_of, journey_in
from tulle.render.walk_text import clean
from tulle.trace.journey import Journey
from tulle.trace.json import encode_journey

LARGEST = 150_000
JOURNEYS = every_journey()
VOID = {"meta", "br", "path", "rect", "circle", "tspan"}
FETCHING = {"src", "href", "srcset", "data", "action", "poster", "background"}


class Page(HTMLParser):
    """What a browser would find: tags in balance, attributes, the text that is shown."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID - {"tspan"}:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "script" not in self.open and "style" not in self.open:
            self.text += data


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_the_page_gives_its_journey_back(journey: Journey) -> None:
    assert journey_in(html_of(journey)) == journey
    assert encode_journey(journey_in(html_of(journey))) == encode_journey(journey)


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_it_is_at_most_150_kb_in_balance_and_the_same_every_time(journey: Journey) -> None:
    page = html_of(journey)
    assert len(page.encode()) <= LARGEST
    assert Page(page).open == []
    assert page == html_of(journey)


@pytest.mark.parametrize("name", ["cross-node", "ipv6", "router"])
def test_the_page_of_a_walk_of_74_hops_is_as_small_and_gives_it_back(name: str) -> None:
    journey = lengthened(recorded(name), 24)
    page = html_of(journey)
    assert len(page.encode()) <= LARGEST
    assert Page(page).open == []
    assert encode_journey(journey_in(page)) == encode_journey(journey)
    assert "as before: " in page
    assert "as before: " not in html_of(recorded(name))


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_no_attribute_fetches_or_runs_anything(journey: Journey) -> None:
    page = Page(html_of(journey))
    assert not FETCHING & {name for name, _ in page.attributes}
    assert not [name for name, _ in page.attributes if name.startswith("on")]
    assert ("http-equiv", "Content-Security-Policy") in page.attributes


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_the_list_tells_every_hop_in_order(journey: Journey) -> None:
    text = Page(html_of(journey)).text
    at = 0
    for hop in journey.hops:
        at = text.index(clean(hop.dev or hop.node), at)


def test_names_from_a_kernel_cannot_leave_their_place() -> None:
    page = Page(html_of(hostile()))
    assert page.open == []
    assert page.tags.count("script") == 2
    assert "img" not in page.tags
    assert "\x1b" not in html_of(hostile())
    assert "\u202e" not in html_of(hostile())


def test_evidence_and_repair_stand_there_to_be_copied() -> None:
    finding = no_fdb_entry().verdict.finding
    assert finding is not None
    text = Page(html_of(no_fdb_entry())).text
    assert finding.evidence in text
    assert finding.repair in text


def test_fields_that_changed_are_marked() -> None:
    assert '<mark title="ttl, changed">3f</mark>' in html_of(cross_node())


@pytest.mark.parametrize("page", ["", "<html></html>", '<script type="application/json" id="journey">{}</script>'])
def test_a_page_without_a_journey_is_refused(page: str) -> None:
    with pytest.raises(DecodeError):
        journey_in(page)
