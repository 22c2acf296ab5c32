"""The lab's page in a real Chromium on a real lab: the whole story by mouse, by keyboard and by ear, at every size."""

from collections.abc import Generator
from pathlib import Path

import pytest

from tests.kit.browser import NEEDS_CHROMIUM, Page, a_page
from tests.kit.labs import NEEDS_ROOT, LabCommand, a_lab
from tests.kit.serving import Serving, served

pytestmark = [
    pytest.mark.skipif(NEEDS_CHROMIUM is not None, reason=NEEDS_CHROMIUM or ""),
    pytest.mark.skipif(bool(NEEDS_ROOT), reason=str(NEEDS_ROOT)),
]
READY = "document.querySelectorAll('#picture .pod').length === 4 && !document.getElementById('trace').disabled"
OUTCOME = "document.getElementById('outcome').innerText.replace(/\\s+/g, ' ').trim()"
INSIDE = "document.getElementById('walk').contentDocument"
OVERLAPS = """(() => {
  const shown = [...document.querySelectorAll("#picture text, button, td, caption, .pill, h1, h2, h3")]
    .filter(e => e.checkVisibility({visibilityProperty: true}) && !e.closest(".vh"));
  const found = [];
  shown.forEach((a, i) => shown.slice(i + 1).forEach(b => {
    if (a.contains(b) || b.contains(a)) return;
    const x = a.getBoundingClientRect(), y = b.getBoundingClientRect();
    const wide = Math.min(x.right, y.right) - Math.max(x.left, y.left);
    const high = Math.min(x.bottom, y.bottom) - Math.max(x.top, y.top);
    if (wide > 1 && high > 2) found.push(a.textContent + " / " + b.textContent);
  }));
  return found;
})()"""


@pytest.fixture(scope="module")
def lab() -> Generator[LabCommand]:
    with a_lab() as command:
        command.must("up", "-q")
        yield command


@pytest.fixture(scope="module")
def serving(lab: LabCommand) -> Generator[Serving]:
    with served(lab) as serving:
        yield serving


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[Page]:
    with a_page(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture
def page(browser: Page, serving: Serving) -> Page:
    """The page, fresh, for somebody who asks for less motion."""
    browser.wish(prefers_reduced_motion="reduce", prefers_color_scheme="light")
    browser.requests.clear()
    browser.complaints.clear()
    browser.visit(serving.url)
    browser.until(READY)
    return browser


def traced(page: Page, good: bool) -> str:
    """Press trace, wait for the walk in its frame; what is said of it."""
    before = page.run("document.getElementById('walk').dataset.shown || ''")
    page.click("#trace")
    page.until(f"(document.getElementById('walk').dataset.shown || '') !== {before!r}")
    page.until(f"document.querySelector('#outcome .coin.{'good' if good else 'bad'}') !== null")
    return str(page.run(OUTCOME))


def test_the_whole_story(page: Page) -> None:
    page.click('#picture .pod[data-place="pod1"]')
    page.click('#picture .pod[data-place="pod4"]')
    assert page.run("[document.getElementById('from').value, document.getElementById('to').value]") == ["pod1", "pod4"]
    assert "pod1 → pod4: arrived in" in traced(page, good=True)
    hops = page.run(f"{INSIDE}.querySelectorAll('#request li').length")
    assert hops == 13  # twelve sightings and the decision 3a

    page.click('button[data-act="pause"][data-node="node1"]')
    page.until('document.querySelector(\'button[data-act="resume"][data-node="node1"]\') !== null')
    page.click('button[data-act="delete"][data-node="node1"][data-object^="fdb"]')
    page.until("document.querySelector('tr.missing') !== null")
    assert "✘ FDB entry" in page.run("document.querySelector('#picture').textContent")

    assert "D01 node1 has no FDB entry" in traced(page, good=False)
    assert page.run("document.querySelector('#picture .node.stopped').dataset.node") == "node1"
    assert page.run(f"{INSIDE}.querySelector('#map .stop') !== null")
    assert "bridge fdb append" in page.run(f"{INSIDE}.querySelector('.verdict').textContent")

    page.click('button[data-act="resume"]')
    page.until("document.querySelector('tr.missing') === null && document.querySelector('[data-act=resume]') === null")
    assert "arrived" in traced(page, good=True)
    typed = page.run("[...document.querySelectorAll('#typed code')].map(c => c.textContent)")
    assert [line.split()[1:4] for line in typed] == [
        ["tulle", "trace", "pod1"],
        ["tulle", "lab", "pause"],
        ["tulle", "lab", "exec"],
        ["tulle", "trace", "pod1"],
        ["tulle", "lab", "resume"],
        ["tulle", "trace", "pod1"],
    ]
    assert page.complaints == []


def test_the_page_asks_its_own_server_only(page: Page, serving: Serving) -> None:
    traced(page, good=True)
    assert all(address.startswith(serving.url) for address in page.requests)
    assert {address.removeprefix(serving.url).partition("?")[0].partition("/")[0] for address in page.requests} == {
        *("", "page.css", "page.js", "events", "trace", "walk")
    }


def test_everything_is_done_by_keyboard(page: Page) -> None:
    reached: list[str] = []
    for _ in range(60):
        page.press("Tab")
        name = page.run("(e => e.dataset.place || e.dataset.act || e.id || e.tagName)(document.activeElement)")
        reached.append(str(name))
        if name in {"pod2", "pod3"}:
            page.press("Enter")
    for wanted in ("lang", "theme", "pod1", "pod2", "pod3", "pod4", "from", "swap", "to", "trace", "pause", "delete"):
        assert wanted in reached, wanted
    assert page.run("[document.getElementById('from').value, document.getElementById('to').value]") == ["pod2", "pod3"]
    page.run("document.getElementById('trace').focus()")
    page.press("Enter")
    page.until("document.querySelector('#outcome .coin.good') !== null")
    assert "pod2 → pod3: arrived in" in page.run(OUTCOME)


def test_the_focus_stays_where_it_was_when_the_lab_changes(page: Page) -> None:
    page.run("document.querySelector('button[data-act=pause][data-node=node2]').focus()")
    page.press("Enter")
    page.until("document.querySelector('button[data-act=resume][data-node=node2]') !== null")
    assert page.run("document.activeElement.dataset.act + document.activeElement.dataset.node") == "resumenode2"
    page.press("Enter")
    page.until("document.querySelector('button[data-act=resume]') === null")


def test_a_screen_reader_finds_names_for_everything(page: Page) -> None:
    heard = page.heard()
    buttons = [name for role, name in heard if role == "button"]
    assert all(buttons)
    assert [name.split()[0] for name in buttons if name.startswith("pod")] == ["pod1", "pod2", "pod3", "pod4"]
    assert any(name.startswith("Delete ") and "on node2" in name for name in buttons)
    assert [name for role, name in heard if role == "combobox"] == ["from", "to"]
    assert {"The cluster", "What each kernel holds", "node1", "node2"} <= {
        name for role, name in heard if role == "region"
    }
    assert [role for role, _ in heard].count("status") == 2
    assert [name for role, name in heard if role == "table"][:1] == ["Routes pod subnet → device"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 800, 1400])
def test_nothing_sticks_out_and_nothing_stands_on_another(page: Page, width: int, scheme: str) -> None:
    page.wish(prefers_reduced_motion="reduce", prefers_color_scheme=scheme)
    page.visit(page.run("location.href"), width)
    page.until(READY)
    traced(page, good=True)
    for lang in ("en", "zh"):
        assert page.run("document.documentElement.dataset.lang") == lang
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run(OVERLAPS) == []
        inside = page.run(f"[{INSIDE}.documentElement.dataset.lang, {INSIDE}.documentElement.dataset.theme]")
        assert inside == [lang, scheme]
        page.press("l")


def test_with_motion_the_packet_sets_out_by_itself(page: Page) -> None:
    page.wish(prefers_reduced_motion="no-preference")
    page.visit(page.run("location.href"))
    page.until(READY)
    traced(page, good=True)
    page.until(f"{INSIDE}.getElementById('play').getAttribute('aria-pressed') === 'true'")


def test_two_pages_see_the_same_lab(page: Page, serving: Serving, tmp_path: Path) -> None:
    with a_page(tmp_path) as other:
        other.visit(serving.url)
        other.until(READY)
        page.click('button[data-act="pause"][data-node="node2"]')
        other.until("document.querySelector('button[data-act=resume][data-node=node2]') !== null")
        other.click('button[data-act="resume"]')
        page.until("document.querySelector('button[data-act=resume]') === null")


def test_a_lab_that_goes_is_said_in_the_page(page: Page, lab: LabCommand, serving: Serving) -> None:
    lab.must("down")
    page.until("document.getElementById('outcome').innerText.includes('The lab is gone')")
    assert page.run("document.getElementById('trace').disabled")
    assert serving.ended()[0] == 0
