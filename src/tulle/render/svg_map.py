"""The map of a scene as SVG elements: boxes, lines, stations, badges, cards, the packet.  No motion, no captions.

``walk.svg`` and ``walk.html`` both show it; they differ in how a language is chosen and in what
moves the packet.  Classes carry the looks (``assets/map.css``).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from tulle.render.scene import WIDTH, Badge, Beat, Box, Card, Entry, Leg, Point, Said, Scene, Station
from tulle.render.svg_parts import Bilingual, cut, el, escape, points, spoken, text
from tulle.trace.journey import Direction

HATCH: Final = (
    '<defs><pattern id="hatch" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<path d="M2 0V8" class="hl"/></pattern></defs>'
)
_KINDS: Final = {
    "bridge": Said("bridge", "网桥"),
    "veth": Said("veth pair", "虚拟网卡对"),
    "vxlan": Said("VXLAN device", "VXLAN 设备"),
}
_ENTRY_NAMES: Final = {
    "route": Said("route", "路由"),
    "neigh": Said("neigh", "邻居表"),
    "fdb": Said("FDB", "转发表"),
    "bridge-fdb": Said("FDB", "转发表"),
    "underlay-route": Said("route", "路由"),
    "underlay-neigh": Said("neigh", "邻居表"),
}
_LEAST_ROOM: Final = 30
"""Below this a name would be its first letters: the list and the captions have it."""
_NOTHING: Final = Said("✘ no such entry", "✘ 没有此表项")


def below(scene: Scene, choose: Bilingual) -> str:
    """What lies under the packet: boxes, cards, lines, stations and their names."""
    parts = [HATCH, *(_box(box, choose) for box in scene.boxes), *(_card(card, choose) for card in scene.cards)]
    parts += _lines(scene.legs)
    parts += [_station(station, choose) for station in scene.stations]
    if scene.tunnel:
        words = cut(scene.tunnel, 420, 12, mono=True)
        parts.append(text(scene.tunnel_at, words, class_="tn mono s k"))
    return "".join(parts)


def badges(scene: Scene, direction: str, extra: str = "") -> str:
    """The numbers of one walk, over the packet, so that they stay readable while it stands there."""
    drawn = "".join(_badge(badge) for badge in scene.badges if badge.direction == direction)
    return el("g", drawn, class_=f"{direction} {extra}".strip()) if drawn else ""


def packet(attributes: str = "") -> str:
    """The packet round its own origin: solid inside, dashed envelope outside."""
    inside = (
        '<rect class="env" x="-35" y="-23" width="70" height="46" rx="7"/>'
        '<rect class="pkt" x="-24" y="-15" width="48" height="30" rx="4"/>'
    )
    return f"<g {attributes}>{inside}</g>"


def cross(scene: Scene) -> str:
    """At the corner of the packet where it stopped, so that the step's number stays readable; "" when it arrived."""
    if scene.stop is None:
        return ""
    at = Point(scene.stop.at.x + (30 if scene.stop.at.x < WIDTH // 2 else -30), scene.stop.at.y - 20)
    return el("g", el("circle", cx=at.x, cy=at.y, r=14), mark(at, 6, good=False), class_="stop")


def mark(at: Point, size: int, *, good: bool) -> str:
    """A tick or a cross, drawn, since fonts disagree on them."""
    x, y, half = at.x, at.y, size
    tick = f"M{x - half} {y}L{x - half // 3} {y + half * 2 // 3}L{x + half} {y - half * 2 // 3}"
    arms = f"M{x - half} {y - half}L{x + half} {y + half}M{x - half} {y + half}L{x + half} {y - half}"
    return el("path", class_="ok" if good else "x", d=tick if good else arms)


def resting_direction(scene: Scene) -> Direction:
    """The walk that the picture shows when nothing moves: the one that the verdict speaks of, if it took place."""
    direction: Direction = scene.stop.direction if scene.stop else "request"
    return direction if scene.walk(direction) or not scene.beats else scene.beats[-1].hop.direction


def at_rest(scene: Scene) -> Beat | None:
    """The beat that the picture shows when nothing moves."""
    mine = scene.walk(resting_direction(scene))
    return mine[-1] if mine else None


def _box(box: Box, choose: Bilingual) -> str:
    kind = {"node": "nd", "pod": "pd", "underlay": "ul"}[box.kind]
    shape = {"x": box.x, "y": box.y, "width": box.width, "height": box.height, "rx": 10 if box.kind != "pod" else 7}
    drawn = el("rect", class_=kind, **shape)
    if not box.reached:
        drawn += el("rect", class_="un", **shape)
    return drawn + _box_name(box, choose)


def _box_name(box: Box, choose: Bilingual) -> str:
    right = box.side == "target"
    anchor = " e" if right else ""
    x = box.x + box.width - 14 if right else box.x + 14
    if box.kind == "pod":
        return _named(Point(x, box.y + 24), box.name.en, 106, 15, "b" + anchor) + _named(
            Point(x, box.y + 42), box.detail, 106, 11, "mono s m" + anchor
        )
    if box.kind == "underlay":
        name = spoken(box.name, lambda words: text(Point(x, box.y + 26), words, class_="b"), choose)
        return name + _named(Point(x, box.y + 44), box.detail, 230, 11, "mono s m")
    name = cut(box.name.en, 180, 15)
    inside = el("tspan", escape(name), class_="b") + el("tspan", escape(box.detail), class_="mono s m", dx=8)
    return el("text", inside, x=x, y=box.y + 23, class_=anchor.strip() or None)


def _named(at: Point, words: str, width: int, size: int, looks: str) -> str:
    """A name that is cut where it does not fit; the whole of it is then its tooltip."""
    shown = cut(words, width, size, mono="mono" in looks)
    tooltip = el("title", escape(words)) if shown != words else ""
    return el("text", escape(shown), tooltip, x=at.x, y=at.y, class_=looks) if shown else ""


def _lines(legs: Iterable[Leg]) -> list[str]:
    """Halos first, so that no line is under another's halo; a way back that is the way there is drawn once."""
    shown = [leg for leg in legs if not leg.again]
    halos = [(_halo(leg), leg.path) for leg in shown if _halo(leg)]
    return [*_joined(halos), *_joined([(_looks(leg), leg.path) for leg in shown])]


def _halo(leg: Leg) -> str:
    return "un" if not leg.reached else "ha" if leg.wrapped else ""


def _looks(leg: Leg) -> str:
    looks = "lg" if not leg.reached else "lo" if leg.wrapped else "li"
    return looks + (" lr" if leg.direction == "reply" else "")


def _joined(paths: Sequence[tuple[str, tuple[Point, ...]]]) -> Iterator[str]:
    """Paths of one look that follow on one another as one line."""
    found: list[tuple[str, tuple[Point, ...]]] = []
    for looks, path in paths:
        if found and found[-1][0] == looks and found[-1][1][-1] == path[0]:
            found[-1] = looks, found[-1][1] + path[1:]
        else:
            found.append((looks, path))
    return (el("path", class_=looks, d=points(line)) for looks, line in found)


def _station(station: Station, choose: Bilingual) -> str:
    x, y = station.at
    if station.ghost:
        return el("circle", class_="dg", cx=x, cy=y, r=4)
    shape = (
        el("rect", class_="br", x=x - 40, y=y - 5, width=80, height=10, rx=5)
        if station.kind == "bridge"
        else el("circle", class_="dt", cx=x, cy=y, r=5)
    )
    return shape + _station_name(station, choose)


def _station_name(station: Station, choose: Bilingual) -> str:
    x, y = station.at
    if station.label == "below":
        return (
            _named(Point(x, y + 36), station.name, station.room, 11, "mono s k") if station.room >= _LEAST_ROOM else ""
        )
    left = station.label == "left"
    at = Point(x + (-48 if left else 48), y)
    anchor, width = (" e" if left else ""), station.room
    detail = _KINDS.get(station.kind)
    if station.kind == "pod":
        edge = Point(x + (-146 if left else 146), y + 25)
        return _named(edge, station.name, width, 12, "mono t" + ("" if left else " e"))
    second = (
        _named(Point(at.x, y + 14), station.detail, 200, 11, "mono s m" + anchor)
        if station.detail
        else spoken(detail, lambda words: text(Point(at.x, y + 14), words, class_="s m" + anchor), choose)
        if detail
        else ""
    )
    return _named(Point(at.x, y - 1 if second else y + 4), station.name, width, 12, "mono t" + anchor) + second


def _badge(badge: Badge) -> str:
    looks = {"seen": "", "decided": "", "unseen": " ns", "ghost": " gh"}[badge.state]
    shape = el("path", d="M0-17 17 0 0 17-17 0Z") if badge.state == "decided" else el("circle", r=12)
    place = f"translate({badge.at.x} {badge.at.y})"
    return el("g", shape, el("text", escape(badge.step), y=4), class_=f"bd{looks}", transform=place)


def _card(card: Card, choose: Bilingual) -> str:
    drawn = el("rect", class_="cd", x=card.x, y=card.y, width=card.width, height=card.height, rx=7)
    for at, entry in enumerate(card.entries):
        drawn += _entry(entry, Point(card.x + 10, card.y + 20 + at * 36), card.width - 20, choose)
    return drawn


def _entry(entry: Entry, at: Point, width: int, choose: Bilingual) -> str:
    name = _ENTRY_NAMES[entry.kind]
    key = cut(entry.key, width - 8 - 7 * max(len(name.en), 2 * len(name.zh)), 11, mono=True)
    drawn = spoken(name, lambda words: text(at, words, class_="xs m"), choose)
    drawn += text(Point(at.x + width, at.y), key, class_="mono s e")
    second = Point(at.x + width, at.y + 14)
    if entry.found:
        value = cut(f"→ {entry.value}", width, 11, mono=True)
        return drawn + text(second, value, class_="mono s e")
    return drawn + spoken(_NOTHING, lambda words: text(second, words, class_="s bad e"), choose)
