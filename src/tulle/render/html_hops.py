"""The list of hops as real text, with the waterfall beside it and the evidence under each hop.

This list, not the map, is the page's truth: it is read in order, by eye or by ear, and holds
all that the JSON says of a hop.
"""

from collections.abc import Sequence
from typing import Final

from tulle.render.header_bytes import Header, HeaderField, headers_of
from tulle.render.html_parts import both, command, said, tag
from tulle.render.scene import Beat, Said, Scene
from tulle.render.scene_words import heading
from tulle.render.svg_parts import escape
from tulle.render.walk_times import Leg, leg_text, legs, total_text
from tulle.trace.journey import Direction, Hop, Journey, Reason

_STATES: Final = {"changed": ("mark", "changed"), "new": ("ins", "new")}


def walk_list(journey: Journey, scene: Scene, direction: Direction, first: int, *, brief: bool) -> str:
    """One walk as an ordered list, "" when it did not take place; ``first`` is the index of its first beat.

    ``brief``: of a hop's headers only those that changed have their bytes.
    """
    beats = scene.walk(direction)
    if not beats:
        return ""
    times = {id(leg.hop): leg for leg in legs(journey.walk(direction))}
    total = max((leg.total_ns for leg in times.values()), default=0)
    rows = [
        _row(beat, before, times.get(id(beat.hop)), total, first + at, brief=brief)
        for at, (beat, before) in enumerate(zip(beats, _sightings_before(beats), strict=True))
    ]
    title = tag("h2", said(heading(direction)), " ", tag("small", _summary(beats, total)), id=f"h-{direction}")
    return tag(
        "section", title, tag("ol", *rows), class_=f"walk {direction}", aria_labelledby=f"h-{direction}", id=direction
    )


def _summary(beats: Sequence[Beat], total_ns: int) -> str:
    seen = sum(beat.hop.n is not None for beat in beats)
    return both(f"{seen} sightings in {total_ns / 1000:.1f} µs", f"{seen} 次观测，共 {total_ns / 1000:.1f} µs")


def _sightings_before(beats: Sequence[Beat]) -> list[Hop | None]:
    """For each beat the frame that its own is compared with."""
    last: Hop | None = None
    found: list[Hop | None] = []
    for beat in beats:
        found.append(last)
        last = beat.hop if beat.hop.frame else last
    return found


def _row(beat: Beat, before: Hop | None, leg: Leg | None, total_ns: int, index: int, *, brief: bool) -> str:
    hop = beat.hop
    go = tag(
        "button",
        escape(hop.step or "·"),
        class_=f"go {hop.kind}",
    )
    return tag(
        "li",
        go,
        tag("div", tag("b", said(beat.where)), _way(hop), tag("p", said(beat.text)), class_="what"),
        tag("div", _size(hop), class_="size"),
        tag("div", *_bar(leg, total_ns), class_="time"),
        _details(hop, before, brief=brief),
        id=f"beat{index}",
        class_="in" if hop.outer else None,
    )


def _way(hop: Hop) -> str:
    if hop.kind == "decision":
        return tag("small", both("decision", "决定"))
    if not hop.observed:
        return tag("small", both("not seen", "未观测到"))
    words = Said("out", "发出") if hop.dir == "tx" else Said("in", "收到")
    return tag("small", said(words)) + (tag("small", both("wrapped", "已封装"), class_="wr") if hop.outer else "")


def _size(hop: Hop) -> str:
    headers = hop.outer or hop.inner
    if hop.len is None or headers is None:
        return ""
    return f"{hop.len} B" + tag("br") + tag("span", " · ", class_="sep") + f"ttl {headers.ttl}"


def _bar(leg: Leg | None, total_ns: int) -> list[str]:
    """The leg's share of the whole walk, where it lies in it; hatched when only a bound is known."""
    if leg is None:
        return []
    whole = max(total_ns, 1)
    start = leg.total_ns if leg.bound else leg.total_ns - (leg.ns or 0)
    left, wide = 100 * start / whole, 100 * (leg.ns or 0) / whole
    bar = tag(
        "i",
        style=f"left:{min(left, 99):.1f}%;width:{min(wide, 100 - left):.1f}%",
        class_="bound" if leg.bound else None,
    )
    own = leg_text(leg)
    words = f"{own} µs" if own not in ("", "=") else own
    return [
        tag("span", escape(words)),
        tag("span", f"Σ {escape(total_text(leg))} µs", class_="sum"),
        tag("div", bar, class_="fall", aria_hidden="true"),
    ]


def _details(hop: Hop, before: Hop | None, *, brief: bool) -> str:
    parts: list[str] = []
    if hop.diff:
        parts.append(
            tag("p", both("changed here: ", "在此改变："), tag("span", escape("  ".join(hop.diff)), class_="diff"))
        )
    parts += [_reason(reason) for reason in hop.why]
    if hop.frame:
        parts += _headers(hop, before, brief=brief)
    if not parts:
        return ""
    return tag(
        "details",
        tag("summary", both("evidence and bytes", "证据与字节") if hop.frame else both("evidence", "证据")),
        *parts,
    )


def _reason(reason: Reason) -> str:
    mark = "" if reason.found else tag("b", "✘ ", class_="bad")
    owner = f" ({reason.owner})" if reason.owner else ""
    asked = command(reason.ask) if reason.ask else ""
    answer = tag("span", mark, escape(reason.text or "—"), class_="ans")
    return tag("div", tag("b", escape(reason.kind + owner)), asked, answer, class_="why")


def _headers(hop: Hop, before: Hop | None, *, brief: bool) -> list[str]:
    """The layers from the outside in; when ``brief``, those with a change, and the names of the others."""
    every = headers_of(hop, before)
    same = [header for header in every if brief and before is not None and not _changed(header)]
    told = [_header(header, names=before is None) for header in every if header not in same]
    if same and not told:
        told.append(tag("p", both("headers as before", "首部与之前相同"), class_="hs"))
    elif same:
        told.append(tag("p", both("as before: ", "与之前相同："), escape(" · ".join(map(_name, same))), class_="hs"))
    return told


def _changed(header: Header) -> bool:
    return any(field.state in _STATES for field in header.fields)


def _name(header: Header) -> str:
    return ("outer " if header.outer else "") + header.layer


def _header(header: Header, *, names: bool) -> str:
    """One layer's bytes.  Every field has its name on a walk's first sighting, later only what changed."""
    return tag(
        "div",
        tag("b", escape(_name(header))),
        tag("span", " ".join(_field(field, names=names) for field in header.fields)),
        class_="hx o" if header.outer else "hx",
    )


def _field(field: HeaderField, *, names: bool) -> str:
    if field.state not in _STATES:
        return tag("span", field.data.hex(), title=field.name) if names else field.data.hex()
    element, state = _STATES[field.state]
    return tag(element, field.data.hex(), title=f"{field.name}, {state}")
