"""``walk.html``: a journey as one page that needs nothing else, works offline, and can be read back.

The map is the scene's, the list of hops is real text, and the journey itself lies in the page as
JSON, from which ``journey_in`` takes it again.  The page's own policy forbids every request.
"""

from typing import Final

from tulle.errors import DecodeError
from tulle.render import svg_map
from tulle.render.html_hops import walk_list
from tulle.render.html_parts import both, button, command, in_svg, once, said, tag, tools
from tulle.render.looks import asset, behind
from tulle.render.scene import WIDTH, Said, Scene
from tulle.render.scene_build import scene_of
from tulle.render.shared_json import shared, unshared
from tulle.render.svg_parts import escape
from tulle.render.walk_findings import finding_text
from tulle.render.walk_words import say
from tulle.trace.journey import Finding, Journey
from tulle.trace.json import decode_journey, encode_journey

_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
_ROW: Final = 66
_ROWS: Final = 29
"""Letters in a printed row's sentence, and rows on a page, as they come out at full size."""
_OPEN, _CLOSE = '<script type="application/json" id="journey">', "</script>"


LARGEST: Final = 150_000


def html_of(journey: Journey) -> str:
    """The page's text, at most ``LARGEST`` bytes for any walk of a usual length; the same journey gives the same bytes.

    The page of a very long walk shows of each hop's header bytes only the layers that changed, and its JSON says what
    it repeats once.
    """
    whole = _page(journey, brief=False)
    return whole if len(whole.encode()) <= LARGEST else _page(journey, brief=True)


def _page(journey: Journey, *, brief: bool) -> str:
    scene = scene_of(journey)
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width,initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", escape(f"{scene.title} · tulle")),
        tag("style", _style()),
    ]
    body = [
        _top(scene),
        tag("main", _stage(scene), _verdict(journey, scene), _walks(journey, scene, brief=brief), _notes()),
        _data(journey, brief=brief),
        once(),
        tag("script", _steps(scene), asset("walk.js")),
    ]
    looks = {"lang": "en", "data_lang": "en", "data_theme": "light", "style": f"--paper:{_paper(scene):.2f}"}
    page = tag("html", tag("head", *head), tag("body", *body), **looks)
    return f"<!doctype html>\n{page}\n"


def journey_in(page: str) -> Journey:
    """The journey that ``html_of`` put into ``page``.  Raises DecodeError: there is none, or it is not one."""
    start = page.find(_OPEN)
    end = page.find(_CLOSE, start)
    if start < 0 or end < 0:
        raise DecodeError("walk.html", reason="no journey in it")
    return decode_journey(unshared(page[start + len(_OPEN) : end].encode("utf-8", "surrogatepass")))


def _paper(scene: Scene) -> float:
    """How much smaller the page has to be printed, so that A4 holds the map and every row."""
    rows = sum(max(1, -(-len(beat.text.en) // _ROW)) for beat in scene.beats)
    rows += sum(len(said.en) // _ROW for said in scene.verdict) + (6 if len(scene.verdict) > 1 else 0)
    return min(1.0, _ROWS / rows) if rows else 1.0


def _data(journey: Journey, *, brief: bool) -> str:
    text = encode_journey(journey)
    return _OPEN + "".join(map(_inert, (shared(text) if brief else text).decode())) + _CLOSE


def _inert(char: str) -> str:
    """``char`` as it may stand in a script element.

    What could end the element or turn text around stands only in JSON strings, where its escape means the same.
    """
    if char.isprintable() and char not in "<>&":
        return char
    units = char.encode("utf-16-be").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def _style() -> str:
    """On paper it is never dark."""
    dark = behind("[data-theme=dark] #map", asset("dark.css"))
    return behind("#map", asset("map.css")) + f"@media screen{{\n{dark}}}\n" + asset("walk.css")


def _top(scene: Scene) -> str:
    return tag(
        "header",
        tag("div", tag("h1", escape(scene.title)), tag("p", said(scene.subtitle))),
        tools(),
    )


def _stage(scene: Scene) -> str:
    """The map, what is said of the current hop, and the controls."""
    rest = svg_map.at_rest(scene)
    place = f'id="packet" transform="translate({rest.at.x} {rest.at.y})"' if rest else 'id="packet" class="off"'
    resting = svg_map.resting_direction(scene)
    drawn = "".join(
        [
            tag("title", escape(f"{scene.title}: {scene.verdict[0].en} / {scene.verdict[0].zh}"), id="map-title"),
            svg_map.below(scene, in_svg),
            svg_map.packet(place),
            *(svg_map.badges(scene, way, "" if way == resting else "off") for way in ("request", "reply")),
            svg_map.cross(scene),
        ]
    )
    shape = f'viewBox="0 66 {WIDTH} {scene.floor - 66}" role="img" aria-labelledby="map-title"'
    figure = tag("div", f'<svg id="map" xmlns="http://www.w3.org/2000/svg" {shape}>{drawn}</svg>', class_="map")
    now = tag("div", tag("b", id="now-where"), tag("p", id="now-text"), id="now", aria_live="polite")
    name = tag("h2", both("The walk, step by step", "逐步查看路径"), id="h-stage", class_="vh")
    return tag("section", name, figure, now, _controls(scene), class_="stage", aria_labelledby="h-stage")


def _controls(scene: Scene) -> str:
    back = bool(scene.walk("reply"))
    speeds = [
        tag("option", f"{speed}×", value=speed, selected=speed == "1") for speed in ("0.25", "0.5", "1", "2", "4")
    ]
    parts = [
        button("first", ("first",), Said("first hop", "第一跳"), aria_keyshortcuts="Home"),
        button("prev", ("prev",), Said("one hop back", "上一跳"), aria_keyshortcuts="ArrowLeft"),
        button(
            "play",
            ("play", "pause"),
            Said("play or pause", "播放或暂停"),
            aria_keyshortcuts="Space",
            aria_pressed="false",
        ),
        button("next", ("next",), Said("one hop on", "下一跳"), aria_keyshortcuts="ArrowRight"),
        button("last", ("last",), Said("verdict", "结论"), aria_keyshortcuts="End"),
        tag("span", class_="count", id="count"),
        tag("label", both("speed ", "速度 "), tag("select", *speeds, id="speed")),
        tag(
            "button",
            both("request / reply", "请求 / 应答"),
            id="way",
            type="button",
            disabled=not back,
            aria_pressed="false",
            aria_keyshortcuts="r",
        ),
    ]
    return tag("div", *parts, class_="controls", role="toolbar", aria_labelledby="h-stage")


def _verdict(journey: Journey, scene: Scene) -> str:
    looks = "good" if scene.delivered else "bad"
    mark = tag("span", "✔" if scene.delivered else "✘", class_=f"coin {looks}", aria_hidden="true")
    parts = [tag("p", mark, said(scene.verdict[0]), class_="end")]
    finding = journey.verdict.finding
    if finding is not None:
        parts.append(_finding(finding))
    again = f"tulle trace {journey.source.pod} {journey.target.pod}"
    parts.append(tag("p", both("Follow it yourself: ", "自己试一试："), command(again), class_="again"))
    title = tag("h2", both("Verdict", "结论"), id="h-verdict")
    return tag("section", title, *parts, class_=f"verdict {looks}", aria_labelledby="h-verdict")


def _finding(finding: Finding) -> str:
    (en, why_en), (zh, why_zh) = finding_text(finding, "en"), finding_text(finding, "zh")
    rows = [tag("p", tag("b", f"{escape(finding.id)} " if finding.id else "", both(en, zh)))]
    facts = [("evidence", _evidence(finding)), ("repair", command(finding.repair) if finding.repair else "")]
    facts.append(("why", both(why_en, why_zh) if why_en else ""))
    told = [tag("dt", both(say(name, "en"), say(name, "zh"))) + tag("dd", body) for name, body in facts if body]
    return tag("div", *rows, tag("dl", *told))


def _evidence(finding: Finding) -> str:
    if not finding.evidence:
        return ""
    answer = escape(finding.answer) or both(say("nothing", "en"), say("nothing", "zh"))
    return command(finding.evidence) + " → " + answer


def _walks(journey: Journey, scene: Scene, *, brief: bool) -> str:
    first = len(scene.walk("request"))
    there = walk_list(journey, scene, "request", 0, brief=brief)
    return there + walk_list(journey, scene, "reply", first, brief=brief)


def _notes() -> str:
    keys = both(
        "Keys: space plays, ← → step, Home End jump, R request or reply, L language, T light or dark.",
        "按键：空格播放，← → 单步，Home End 跳转，R 请求或应答，L 语言，T 浅色或深色。",
    )
    return tag(
        "footer",
        tag("p", keys),
        tag("p", both("equal time per step on the map, not to scale", "图中每步时长相同，非真实比例")),
    )


def _steps(scene: Scene) -> str:
    """The beats as the player needs them: numbers only."""
    told = [
        f"[{int(beat.hop.direction == 'reply')},{int(beat.wrapped)},{int(beat.hop.outer is not None)},["
        + ",".join(f"[{point.x},{point.y}]" for point in beat.path)
        + "]]"
        for beat in scene.beats
    ]
    return f"const BEATS=[{','.join(told)}];\n"
