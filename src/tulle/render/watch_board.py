"""What is watched, and how it is looked at: the two values that make a screen."""

from dataclasses import dataclass
from typing import Final

from tulle.render.watch_view import NodeView

RATE: Final = 9
"""Columns of a rate, so that figures may change without moving their neighbours."""
NS: Final = 1_000_000_000
DAY_S: Final = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What is watched.  ``nobody`` says why there is no node."""

    title: str
    views: tuple[NodeView, ...]
    wall_ns: int
    interval_s: float
    nobody: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How it is looked at.  ``rows`` None: on paper, where there is no end and no key: every node is told in full."""

    columns: int
    rows: int | None = None
    chosen: str = ""
    paused: bool = False
    help: bool = False
    lang: str = "en"
    utc_offset_s: int = 0


def chosen_view(board: Board, look: Look) -> NodeView:
    """The node that is shown in full: the chosen one, or the first while there is none of that name."""
    return next((view for view in board.views if view.name == look.chosen), board.views[0])


def clock(wall_ns: int, look: Look) -> str:
    """The time of day at who looks."""
    second = (wall_ns // NS + look.utc_offset_s) % DAY_S
    return f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
