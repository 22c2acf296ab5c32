"""How a walk is drawn: language, width, what is shown, and the columns that follow from both.

The columns are measured from the walk, so that a device's name is never cut: it is what a
reader types next.  A pod's name gives way first.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tulle.render.walk_text import width
from tulle.render.walk_words import say
from tulle.trace.journey import Hop

NARROWEST: Final = 60
WIDEST: Final = 132
ROOMY: Final = 100
STEP: Final = 4
ARROW: Final = 4
BYTES: Final = 6
TTL: Final = 4
OWN_TIME: Final = 7
SUM: Final = 8
_SHORTEST_NAME, _LONGEST_NAME = 4, 16
_DEVICE: Final = 15
"""A device's name.  Source: include/uapi/linux/if.h, IFNAMSIZ.  One of wide or escaped characters may take more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the reader asked for.  ``columns`` is the terminal's width; ``boxes`` False: plain lines, for a pipe."""

    lang: str = "en"
    columns: int = 80
    boxes: bool = True
    headers: bool = False
    """The fields that changed at each hop."""
    article: bool = False
    """Where the well-known tutorial tells a step differently."""

    @property
    def limit(self) -> int:
        """Columns of the whole page."""
        return min(max(self.columns, NARROWEST), WIDEST)

    @property
    def inside(self) -> int:
        """Columns for a row."""
        return self.limit - 4 if self.boxes else self.limit

    @property
    def roomy(self) -> bool:
        """Wide enough for the sentence beside the figures, and for the kernel's answers below."""
        return self.columns >= ROOMY


@dataclass(frozen=True, slots=True, kw_only=True)
class Columns:
    """Widths that fit one walk.  ``words`` is for "what happened", beside the figures or, without room, below them."""

    netns: int
    device: int
    words: int

    @property
    def place(self) -> int:
        """Namespace, device and the gap behind."""
        return self.netns + 1 + self.device + 1


def measure(hops: Iterable[Hop], look: Look) -> Columns:
    """The columns of a table of ``hops``."""
    known = list(hops)
    figures = STEP + ARROW + BYTES + TTL + 2 + OWN_TIME + SUM
    widest = max((width(place_of(hop, look.lang)[1]) for hop in known), default=0)
    device = min(widest, max(_DEVICE, look.inside - figures - _SHORTEST_NAME - 2))
    longest = max((width(place_of(hop, look.lang)[0]) for hop in known), default=0)
    room = look.inside - figures - device - 2
    netns = max(_SHORTEST_NAME, min(longest, _LONGEST_NAME, room - (24 if look.roomy else 0)))
    beside = look.inside - figures - netns - device - 2
    return Columns(netns=netns, device=device, words=beside if look.roomy else look.inside - STEP)


def place_of(hop: Hop, lang: str) -> tuple[str, str]:
    """Where: the namespace and the device; of a decision the table that was asked."""
    match hop.kind:
        case "wire":
            return say("underlay", lang), ""
        case "decision":
            return hop.netns, say("table.fdb" if hop.reason("route") is None else "table.route", lang)
        case _:
            return hop.netns, hop.dev
