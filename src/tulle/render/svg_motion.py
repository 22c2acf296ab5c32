"""When everything in ``walk.svg`` happens: one loop over both walks, as CSS key frames.

Pure arithmetic.  A beat is a move and a rest; the envelope is on while the packet is in the
tunnel's headers; the cross and the verdict come at the end and stay for a while.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Final

from tulle.render.scene import Beat, Point, Scene
from tulle.render.svg_map import resting_direction

BEAT_S: Final = {"request": 1.6, "reply": 0.8}
"""Equal for every step of a walk; the way back is told faster, since the way is known."""
ENDING_S: Final = 5.0
_MOVE: Final = 0.4
"""The share of a beat that is spent moving."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """``css`` are the key frames; a caption's own is ``names``, begun ``delays`` seconds after the start."""

    total_s: float
    css: str
    names: tuple[str, ...]
    delays: tuple[float, ...]


def timeline(scene: Scene) -> Timeline:
    """When each beat of ``scene`` begins, and the style that moves the picture through them."""
    starts: list[float] = []
    now = 0.0
    for beat in scene.beats:
        starts.append(round(now, 3))
        now += BEAT_S[beat.hop.direction]
    total = round(now + ENDING_S, 3)
    clock = _Clock(total)
    css = "".join(
        [
            _captions(clock),
            _motion(scene.beats, starts, clock),
            _envelope(scene.beats, starts, clock),
            _phases(scene, starts, now, clock),
        ]
    )
    return Timeline(total, css, tuple("c" + beat.hop.direction[2] for beat in scene.beats), tuple(starts))


@dataclass(frozen=True, slots=True)
class _Clock:
    total_s: float

    def at(self, seconds: float) -> str:
        """A moment as a percentage of the loop."""
        return f"{100 * min(seconds, self.total_s) / self.total_s:.2f}".rstrip("0").rstrip(".") + "%"

    def before(self, seconds: float) -> float:
        """So little earlier that it is still another percentage: two key frames at one would be one."""
        return seconds - 0.00015 * self.total_s


def _captions(clock: _Clock) -> str:
    """A caption is visible for its own beat; it starts by its delay."""
    return "".join(
        f".c{direction[2]}{{animation-name:c{direction[2]}}}"
        f"@keyframes c{direction[2]}{{0%{{visibility:visible}}{clock.at(length)},to{{visibility:hidden}}}}"
        for direction, length in BEAT_S.items()
    )


def _motion(beats: Sequence[Beat], starts: Sequence[float], clock: _Clock) -> str:
    frames: list[tuple[str, Point]] = []
    for beat, start in zip(beats, starts, strict=True):
        frames += [(clock.at(when), point) for when, point in _moments(beat, start, clock)]
    frames.append(("to", frames[-1][1] if frames else Point(0, 0)))
    held = groupby(_once(frames), key=lambda frame: frame[1])
    told = (f"{','.join(when for when, _ in at)}{{transform:translate({x}px,{y}px)}}" for (x, y), at in held)
    return f"@keyframes m{{{''.join(told)}}}"


def _moments(beat: Beat, start: float, clock: _Clock) -> Iterable[tuple[float, Point]]:
    """Along the beat's path at an even pace, then at rest until its end."""
    length = BEAT_S[beat.hop.direction]
    whole = sum(_distance(a, b) for a, b in pairwise(beat.path)) or 1
    gone = 0
    yield start, beat.path[0]
    for before, after in pairwise(beat.path):
        gone += _distance(before, after)
        yield start + length * _MOVE * gone / whole, after
    yield clock.before(start + length), beat.path[-1]


def _distance(a: Point, b: Point) -> int:
    return abs(a.x - b.x) + abs(a.y - b.y)


def _once(frames: Sequence[tuple[str, Point]]) -> Iterable[tuple[str, Point]]:
    """Without frames that say what the one before and the one after say."""
    for at, (when, point) in enumerate(frames):
        before = frames[at - 1][1] if at else None
        after = frames[at + 1][1] if at + 1 < len(frames) else None
        if not (point == before == after):
            yield when, point


def _envelope(beats: Sequence[Beat], starts: Sequence[float], clock: _Clock) -> str:
    """On from the move that wraps the packet until the one that unwraps it has arrived."""
    told, on = "", False
    for beat, start in zip(beats, starts, strict=True):
        arrives = start + BEAT_S[beat.hop.direction] * _MOVE
        for when, wanted in ((start, beat.wrapped), (arrives, beat.hop.outer is not None)):
            if wanted != on:
                told += f"{clock.at(when)}{{visibility:{'visible' if wanted else 'hidden'}}}"
                on = wanted
    first = "" if told.startswith("0%") else "0%{visibility:hidden}"
    return f"@keyframes e{{{first}{told}to{{visibility:{'visible' if on else 'hidden'}}}}}"


def _phases(scene: Scene, starts: Sequence[float], end: float, clock: _Clock) -> str:
    """Whose badges and which way's name are shown, the packet's colour on the way back, and what comes at the end."""
    back = next((s for s, beat in zip(starts, scene.beats, strict=True) if beat.hop.direction == "reply"), None)
    ends = f"@keyframes v{{0%{{visibility:hidden}}{clock.at(end)},to{{visibility:visible}}}}"
    off = clock.at(end)
    on = off if back is None else clock.at(back)
    ends += (
        f"@keyframes u{{0%{{visibility:visible}}{off},to{{visibility:hidden}}}}"
        f"@keyframes a{{0%{{visibility:visible}}{on},to{{visibility:hidden}}}}"
        f"@keyframes b{{0%{{visibility:hidden}}{on}{{visibility:visible}}{off},to{{visibility:hidden}}}}"
    )
    if back is None:
        return ends
    rest = ("hidden", "visible") if resting_direction(scene) == "reply" else ("visible", "hidden")
    return ends + (
        f"@keyframes q{{0%{{visibility:visible}}{on}{{visibility:hidden}}{off},to{{visibility:{rest[0]}}}}}"
        f"@keyframes r{{0%{{visibility:hidden}}{on}{{visibility:visible}}{off},to{{visibility:{rest[1]}}}}}"
        f"@keyframes k{{{on}{{fill:#cc79a7}}{off}{{fill:#e69f00}}}}"
    )
