"""The pictures in a real Chromium: hop for hop with the walk, by keyboard, by ear, on paper, in both languages."""

import re
from collections.abc import Generator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.kit.browser import NEEDS_CHROMIUM, Page, a_page
from tests.kit.pictures import recorded, recordings
from tulle.render.html import html_of
from tulle.render.scene import Scene
from tulle.render.scene_build import scene_of
from tulle.render.svg import svg_of
from tulle.render.svg_motion import BEAT_S
from tulle.trace.journey import Journey

pytestmark = pytest.mark.skipif(NEEDS_CHROMIUM is not None, reason=NEEDS_CHROMIUM or "")

NAMES = ("cross-node", "same-node", "ipv6", "no-fdb-entry", "reply-no-route", "pod-to-node")
OVERLAPS = """(() => {
  const shown = [...document.querySelectorAll("text")].filter(t => t.checkVisibility({visibilityProperty: true}));
  const boxes = shown.map(t => ({words: t.textContent, box: t.getBoundingClientRect()})).filter(t => t.box.width);
  const found = [];
  boxes.forEach((a, i) => boxes.slice(i + 1).forEach(b => {
    const wide = Math.min(a.box.right, b.box.right) - Math.max(a.box.left, b.box.left);
    const high = Math.min(a.box.bottom, b.box.bottom) - Math.max(a.box.top, b.box.top);
    if (wide > 1 && high > 2) found.push(a.words + " / " + b.words);
  }));
  return found;
})()"""
AT = """(() => {
  document.getAnimations().forEach(a => { a.pause(); a.currentTime = %d; });
  const visible = e => getComputedStyle(e).visibility === "visible";
  const at = new DOMMatrix(getComputedStyle(document.querySelector(".mv")).transform);
  const said = [...document.querySelectorAll(".c")].filter(visible).map(c =>
    [...c.querySelectorAll(".b")].find(b => b.getBoundingClientRect().width).textContent);
  return {x: Math.round(at.e), y: Math.round(at.f), said, wrapped: visible(document.querySelector(".env")),
    verdict: visible(document.querySelector(".v"))};
})()"""


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Generator[Page]:
    with a_page(tmp_path_factory.mktemp("browser")) as page:
        yield page


@pytest.fixture(params=NAMES)
def journey(request: pytest.FixtureRequest) -> Journey:
    return recorded(request.param)


def drawn(folder: Path, text: str, name: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def now(page: Page) -> str:
    return str(page.run("document.getElementById('now').innerText.replace(/\\s+/g, ' ').trim()"))


def starts_ms(scene: Scene) -> list[int]:
    starts = [0.0]
    for beat in scene.beats:
        starts.append(starts[-1] + BEAT_S[beat.hop.direction] * 1000)
    return [round(start) for start in starts]


# -- walk.svg -------------------------------------------------------------------------


def test_at_every_beat_the_packet_stands_where_the_hop_was_and_its_caption_alone_is_shown(
    page: Page, journey: Journey, tmp_path: Path
) -> None:
    scene = scene_of(journey)
    page.wish()
    page.open(drawn(tmp_path, svg_of(journey), "walk.svg"))
    for beat, (start, end) in zip(scene.beats, pairwise(starts_ms(scene)), strict=True):
        seen: dict[str, Any] = page.run(AT % (start + 0.9 * (end - start)))
        assert (seen["x"], seen["y"]) == tuple(beat.at)
        assert seen["said"] == [beat.where.en]
        assert seen["wrapped"] == (beat.hop.outer is not None)
        assert not seen["verdict"]
    assert page.run(AT % (starts_ms(scene)[-1] + 500))["verdict"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_at_rest_the_picture_is_whole_and_no_text_stands_on_another(
    page: Page, journey: Journey, scheme: str, tmp_path: Path
) -> None:
    page.wish(prefers_reduced_motion="reduce", prefers_color_scheme=scheme)
    page.open(drawn(tmp_path, svg_of(journey), "walk.svg"))
    assert page.run("document.getAnimations().length") == 0
    assert page.run(OVERLAPS) == []
    assert page.run("getComputedStyle(document.querySelector('.v')).visibility") == "visible"
    background = page.run("getComputedStyle(document.querySelector('.bg')).fill")
    assert background == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]


def test_it_moves_as_an_image_in_a_page_too(page: Page, journey: Journey, tmp_path: Path) -> None:
    page.wish()
    drawn(tmp_path, svg_of(journey), "walk.svg")
    page.open(drawn(tmp_path, '<!doctype html><img src="walk.svg" alt="" width="830">', "readme.html"))
    assert page.run("document.images[0].complete && document.images[0].naturalWidth > 0")
    assert [url.rpartition("/")[2] for url in page.requests[-2:]] == ["readme.html", "walk.svg"]


# -- walk.html ------------------------------------------------------------------------


def test_the_page_asks_for_nothing_and_complains_of_nothing(page: Page, journey: Journey, tmp_path: Path) -> None:
    path = drawn(tmp_path, html_of(journey), "walk.html")
    page.requests.clear()
    page.complaints.clear()
    page.open(path)
    assert page.requests == [path.as_uri()]
    assert page.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 760, 1024, 1440])
def test_nothing_sticks_out_and_no_text_stands_on_another(page: Page, width: int, scheme: str, tmp_path: Path) -> None:
    page.wish(prefers_color_scheme=scheme)
    page.open(drawn(tmp_path, html_of(recorded("ipv6")), "walk.html"), width)
    assert page.run("document.documentElement.dataset.theme") == scheme
    for lang in ("en", "zh"):
        assert page.run("document.documentElement.dataset.lang") == lang
        page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.run("document.documentElement.scrollWidth") <= width
        assert page.run(OVERLAPS) == []
        page.press("l")


def test_the_keys_walk_through_every_hop_and_back(page: Page, journey: Journey, tmp_path: Path) -> None:
    page.wish(prefers_reduced_motion="reduce")
    page.open(drawn(tmp_path, html_of(journey), "walk.html"))
    scene = scene_of(journey)
    page.press("Home")
    for at, beat in enumerate(scene.walk("request"), 1):
        assert now(page) == f"{beat.where.en} {beat.text.en}".replace("  ", " ")
        assert page.run("document.querySelector('li[aria-current] .go').textContent").startswith(beat.hop.step or "·")
        place = page.run("document.getElementById('packet').getAttribute('transform')")
        assert place == f"translate({beat.at.x} {beat.at.y})"
        assert page.run("document.getElementById('count').textContent") == f"{at}/{len(scene.walk('request'))}"
        page.press("ArrowRight")
    assert now(page).startswith("Verdict ")
    if scene.walk("reply"):
        page.press("Home")
        page.press("r")
        assert now(page).startswith(scene.walk("reply")[0].where.en)


@pytest.mark.parametrize("key", ["Home", "End"])
def test_where_the_map_is_wider_than_the_screen_the_packet_stays_in_sight(page: Page, key: str, tmp_path: Path) -> None:
    page.wish(prefers_reduced_motion="reduce")
    page.open(drawn(tmp_path, html_of(recorded("cross-node")), "walk.html"), 360)
    assert page.run("document.querySelector('.map').scrollWidth > document.querySelector('.map').clientWidth")
    page.press(key)
    seen: dict[str, float] = page.run("document.getElementById('packet').getBoundingClientRect().toJSON()")
    assert 0 < seen["left"] < seen["right"] < 360


def test_playing_goes_through_both_walks_and_ends_at_the_verdict(page: Page, tmp_path: Path) -> None:
    page.wish(prefers_reduced_motion="no-preference")
    page.open(drawn(tmp_path, html_of(recorded("same-node")), "walk.html"))
    page.run("document.getElementById('speed').value = '4'")
    page.run(
        "window.told = []; new MutationObserver(() => told.push(document.querySelectorAll('li[aria-current]').length))"
        ".observe(document.getElementById('count'), {childList: true})"
    )
    page.press(" ")
    page.until("document.getElementById('play').getAttribute('aria-pressed') === 'true'")
    page.until("document.getElementById('play').getAttribute('aria-pressed') === 'false'")
    assert now(page).startswith("Verdict arrived")
    hops = len(recorded("same-node").hops)
    assert page.run("told.filter(n => n === 1).length") >= hops - 1


def test_everything_can_be_reached_and_pressed_by_keyboard(page: Page, tmp_path: Path) -> None:
    page.wish(prefers_reduced_motion="reduce")
    page.open(drawn(tmp_path, html_of(recorded("no-fdb-entry")), "walk.html"))
    reached: set[str] = set()
    wanted = {"lang", "theme", "first", "prev", "play", "next", "last", "speed"}
    for _ in range(40):
        page.press("Tab")
        reached.add(
            page.run("document.activeElement.id || document.activeElement.className || document.activeElement.tagName")
        )
    assert wanted <= reached
    assert {"copy", "SUMMARY"} <= reached
    page.run("document.querySelector('#beat2 .go').focus()")
    page.press("Enter")
    assert page.run("document.getElementById('beat2').hasAttribute('aria-current')")


def test_a_command_is_copied_whole(page: Page, tmp_path: Path) -> None:
    page.open(drawn(tmp_path, html_of(recorded("no-fdb-entry")), "walk.html"))
    page.run(
        "window.got = ''; document.addEventListener('copy', () => { got = String(document.activeElement.value); });"
        "navigator.clipboard.writeText = async text => { got = text; }"
    )
    page.run("[...document.querySelectorAll('.verdict .cmd')].at(1).querySelector('.copy').click()")
    finding = recorded("no-fdb-entry").verdict.finding
    assert finding is not None
    page.until("got !== ''")
    assert page.run("got") == finding.repair


def test_a_screen_reader_finds_headings_the_list_of_hops_and_named_buttons(
    page: Page, journey: Journey, tmp_path: Path
) -> None:
    page.wish()
    page.open(drawn(tmp_path, html_of(journey), "walk.html"))
    heard = page.heard()
    headings = [name for role, name in heard if role == "heading"]
    assert headings[0] == f"{journey.source.pod} → {journey.target.pod}"
    assert {"The walk, step by step", "Verdict"} <= set(headings)
    assert sum(role == "listitem" for role, _ in heard) == len(journey.hops)
    assert all(name for role, name in heard if role in ("button", "image", "toolbar", "region", "combobox"))
    assert sum(role == "image" for role, _ in heard) == 1


@pytest.mark.parametrize("name", recordings())
def test_it_prints_on_one_page_of_a4(page: Page, name: str, tmp_path: Path) -> None:
    page.wish(prefers_color_scheme="dark")
    page.open(drawn(tmp_path, html_of(recorded(name)), "walk.html"))
    for lang in ("en", "zh"):
        assert page.run("document.documentElement.dataset.lang") == lang
        paper = page.printed()
        assert len(re.findall(rb"/Type\s*/Page\b(?!s)", paper)) == 1
        page.press("l")
    assert re.search(rb"/MediaBox\s*\[\s*0 0 59[45][.\d]* 84[12]", paper)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_what_is_behind_them(page: Page, scheme: str, tmp_path: Path) -> None:
    """WCAG's 4.5:1 for every text of the page that is not in the map."""
    page.wish(prefers_color_scheme=scheme)
    page.open(drawn(tmp_path, html_of(recorded("no-fdb-entry")), "walk.html"))
    page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert page.run(CONTRAST) == []


CONTRAST = """(() => {
  const parts = c => c.match(/[\\d.]+/g).map(Number);
  const linear = v => v / 255 <= .03928 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = c => { const [r, g, b] = parts(c).map(linear); return .2126 * r + .7152 * g + .0722 * b; };
  const solid = c => parts(c).length < 4 || parts(c)[3] > 0;
  const behind = e => {
    for (; e; e = e.parentElement) {
      const color = getComputedStyle(e).backgroundColor;
      if (solid(color)) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const found = new Set();
  for (const e of document.querySelectorAll("main *, header *, footer *")) {
    if (e.closest("svg") || !e.checkVisibility() || e.closest(".vh, :disabled")) continue;
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(getComputedStyle(e).color), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + .05) / (b + .05);
    if (ratio < 4.5) found.add(`${e.className} ${e.tagName} ${ratio.toFixed(2)}`);
  }
  return [...found];
})()"""


@pytest.fixture(scope="module")
def chinese(tmp_path_factory: pytest.TempPathFactory) -> Generator[Page]:
    with a_page(tmp_path_factory.mktemp("browser"), "zh-CN") as page:
        yield page


def test_a_chinese_viewer_gets_both_in_chinese(chinese: Page, tmp_path: Path) -> None:
    chinese.wish(prefers_reduced_motion="reduce")
    chinese.open(drawn(tmp_path, html_of(recorded("cross-node")), "walk.html"))
    if not str(chinese.run("navigator.language")).startswith("zh"):
        pytest.skip("this Chromium has no Chinese (package chromium-l10n)")
    assert chinese.run("document.documentElement.lang") == "zh-CN"
    assert now(chinese).startswith("结论 用时")
    chinese.open(drawn(tmp_path, svg_of(recorded("cross-node")), "walk.svg"))
    assert chinese.run("document.querySelector('.v').innerHTML.includes('systemLanguage')")
    shown = chinese.run(
        "[...document.querySelectorAll('.v text')].filter(t => t.getBoundingClientRect().width)[0].textContent"
    )
    assert shown.startswith("用时")
    assert chinese.run(OVERLAPS) == []
