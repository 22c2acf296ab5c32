"""``walk.svg``: a scene that moves by itself, also as ``<img>``: CSS key frames, no script, nothing fetched.

Time is equal for every step of a walk and says nothing about the packet's own; the measured
times stand in the captions.  Whoever asks for less motion, and every viewer without CSS
animation, gets the whole way and the verdict at rest.
"""

from collections.abc import Sequence
from typing import Final

from tulle.render import svg_map
from tulle.render.looks import asset, packed
from tulle.render.scene import WIDTH, Beat, Point, Said, Scene
from tulle.render.scene_build import CAPTION_HEIGHT, scene_of
from tulle.render.scene_layout import MARGIN
from tulle.render.scene_words import heading
from tulle.render.svg_motion import Timeline, timeline
from tulle.render.svg_parts import cut, el, escape, lines, spoken, switch, text
from tulle.trace.journey import Direction, Journey

FONT_SIZE: Final = 15
ROOT: Final = (
    'role="img" aria-labelledby="t d" font-family="system-ui,-apple-system,Segoe UI,Roboto,Noto Sans,sans-serif"'
)
_LEFT: Final = 70
_RIGHT: Final = WIDTH - 2 * MARGIN - 14
"""Of the words in the caption's panel."""
_FOOT: Final = CAPTION_HEIGHT - 12
_SCALE: Final = Said("equal time per step, not to scale", "每步时长相同，非真实比例")


LARGEST: Final = 40_000


def svg_of(journey: Journey) -> str:
    """The file's text, at most ``LARGEST`` bytes for any walk of a usual length; the same journey gives the same bytes.

    In the captions a longer walk goes without the sentences of its way back, then without that way's steps that have
    no number, then without that way; at last without the sentences of all steps that have no number.
    """
    scene = scene_of(journey)
    there, back = scene.walk("request"), scene.walk("reply")
    whole = _drawn(scene, scene.beats, ())
    for captioned, wordless in (
        (scene.beats, back),
        ((*there, *_numbered(back)), back),
        (there, ()),
        (there, tuple(beat for beat in there if beat not in _numbered(there))),
    ):
        if len(whole.encode()) > LARGEST:
            whole = _drawn(scene, captioned, wordless)
    return whole


def _numbered(beats: Sequence[Beat]) -> tuple[Beat, ...]:
    return tuple(beat for beat in beats if beat.hop.step)


def _drawn(scene: Scene, captioned: Sequence[Beat], wordless: Sequence[Beat]) -> str:
    times = timeline(scene)
    return "".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {scene.height}" {ROOT}>',
            el("title", escape(f"{scene.title}: {scene.verdict[0].en} / {scene.verdict[0].zh}"), id="t"),
            el("desc", escape(description(scene)), id="d"),
            el("style", style(times)),
            el("rect", class_="bg", x=0.5, y=0.5, width=WIDTH - 1, height=scene.height - 1, rx=12),
            _head(scene),
            svg_map.below(scene, switch),
            _moving(scene),
            _captions(scene, times, captioned, wordless),
            "</svg>\n",
        ]
    )


def style(times: Timeline) -> str:
    """The looks, what moves them, and the dark looks for who wants them."""
    moving = asset("svg.css").replace("TOTAL", f"{times.total_s:g}s")
    dark = f"@media (prefers-color-scheme:dark){{{asset('dark.css')}}}"
    return packed(asset("map.css") + moving + dark) + times.css


def description(scene: Scene) -> str:
    """The walk in words, for who cannot see it: one line per hop, in both languages."""
    told: list[str] = []
    for lang in (0, 1):
        told += [f"{beat.hop.step or '·'} {beat.where[lang]}: {beat.text[lang]}." for beat in scene.walk("request")]
        told += [said[lang] for said in scene.verdict]
    return "\n".join(told)


def _head(scene: Scene) -> str:
    title = el("text", escape(scene.title), x=MARGIN + 4, y=36, class_="h1")
    words = spoken(
        scene.subtitle,
        lambda told: text(Point(MARGIN + 4, 60), lines(told, WIDTH - 90, 13, 1)[0], class_="m sm"),
        switch,
    )
    return title + words + _seal(scene, Point(WIDTH - MARGIN - 18, 38))


def _seal(scene: Scene, at: Point) -> str:
    """Delivered or not, as a coin."""
    coin = el("circle", cx=at.x, cy=at.y, r=18)
    return el("g", coin, svg_map.mark(at, 9, good=scene.delivered), class_="good" if scene.delivered else "bad")


def _moving(scene: Scene) -> str:
    rest = svg_map.at_rest(scene)
    parts: list[str] = []
    if rest is not None:
        looks = "mv w" if rest.wrapped and rest.hop.outer is not None else "mv"
        parts.append(svg_map.packet(f'class="{looks}" transform="translate({rest.at.x} {rest.at.y})"'))
    resting = svg_map.resting_direction(scene)
    parts += [svg_map.badges(scene, way, "" if way == resting else "off") for way in ("request", "reply")]
    return "".join(parts) + svg_map.cross(scene)


def _captions(scene: Scene, times: Timeline, captioned: Sequence[Beat], wordless: Sequence[Beat]) -> str:
    """The panel below the map; everything in it is measured from its own corner."""
    frame = el("rect", class_="pn", width=WIDTH - 2 * MARGIN, height=CAPTION_HEIGHT, rx=10)
    foot = spoken(_SCALE, lambda told: text(Point(_RIGHT, _FOOT), told, class_="xs m e"), switch)
    foot += el("circle", class_="u off", cx=34, cy=38, r=20) + _ways(scene)
    parts = [
        el("g", _caption(scene, beat, beat in wordless), class_=f"c {name}", style=f"animation-delay:{delay:g}s")
        for beat, name, delay in zip(scene.beats, times.names, times.delays, strict=True)
        if beat in captioned
    ]
    inside = frame + foot + "".join(parts) + el("g", _verdict(scene), class_="v")
    return el("g", inside, transform=f"translate({MARGIN} {scene.floor})")


def _caption(scene: Scene, beat: Beat, wordless: bool) -> str:
    mine = scene.walk(beat.hop.direction)
    count = f"{next(at for at, other in enumerate(mine, 1) if other is beat)}/{len(mine)}"
    badge = text(Point(34, 44), beat.hop.step or "·", class_="st k")
    numbers = text(Point(_RIGHT, 30), beat.numbers, class_="mono sm m e") if beat.numbers else ""
    place = text(Point(60, _FOOT), count, class_="xs m")
    where = [text(Point(_LEFT, 30), cut(told, 480, FONT_SIZE), class_="b") for told in beat.where]
    words = ["" if wordless else _paragraph(told, Point(_LEFT, 56), 2) for told in beat.text]
    if where[0] == where[1]:
        return badge + numbers + place + where[0] + switch(*words)
    return badge + numbers + place + switch(where[0] + words[0], where[1] + words[1])


def _ways(scene: Scene) -> str:
    """Which way the packet is on, beside every caption's place in it."""
    directions: tuple[tuple[Direction, str], ...] = (("request", "a off"), ("reply", "r off"))
    return "".join(
        el("g", spoken(heading(way), lambda told: text(Point(14, _FOOT), told, class_="xs m"), switch), class_=looks)
        for way, looks in directions
        if scene.walk(way)
    )


def _paragraph(words: str, at: Point, most: int) -> str:
    rows = lines(words, _RIGHT - _LEFT, FONT_SIZE, most)
    return "".join(text(Point(at.x, at.y + row * 20), line) for row, line in enumerate(rows))


def _verdict(scene: Scene) -> str:
    english, chinese = ([said[lang] for said in scene.verdict] for lang in (0, 1))
    return _seal(scene, Point(34, 38)) + switch(_ending(english, scene.repair), _ending(chinese, scene.repair))


def _ending(sentences: Sequence[str], repair: str) -> str:
    width = _RIGHT - _LEFT
    rows = [(line, "") for said in sentences for line in lines(said, width, FONT_SIZE, 2)][: 3 if repair else 4]
    if repair:
        rows.append((lines(f"$ {repair}", width, 13, 1, mono=True)[0], "mono sm"))
    return "".join(
        text(Point(_LEFT, 28 + row * 21), line, class_=looks or None) for row, (line, looks) in enumerate(rows)
    )
