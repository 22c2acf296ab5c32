"""What happened to the node lately: one list, that the log and whoever watches are told alike.

News are computed from two states, before and after; a steady state, good or bad, makes none.
The list is short and in memory: what has to outlive the agent is in its log.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, TypeVar

from tulle.agent.report import Pass, PassReport
from tulle.model.change import Conflict
from tulle.model.objects import RTPROT_BOOT, KernelObject, Route
from tulle.plan.intent import Intent
from tulle.plan.text import format_object, format_step_briefly
from tulle.seams import Clock

log = logging.getLogger(__name__)

T = TypeVar("T")
Kind: TypeAlias = Literal[
    "repaired", "conflict", "foreign", "failed", "problem", "over", "store", "lease", "refused", "held"
]

LINES: Final = 20
"""So many steps of one pass are told one by one; of ten thousand the number says more."""
KEPT: Final = 256
"""Entries that wait for whoever asks."""
LABELS: Final[dict[Kind, str]] = {
    "repaired": "repaired: ",
    "conflict": "conflict: ",
    "foreign": "foreign object on a link of ours, kept: ",
    "failed": "failed, will be tried again: ",
    "problem": "",
    "over": "over: ",
    "store": "store: ",
    "lease": "own lease: ",
    "refused": "refused: lease ",
    "held": "held: lease ",
}
"""How a line of the log begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """One thing worth telling.  ``took_ns``: from when it was noticed until it was right again; None: has no length."""

    kind: Kind
    text: str
    took_ns: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """News with their place in the list: ``number`` counts from 1 since the agent's start, ``at_ns`` is wall clock."""

    number: int
    at_ns: int
    news: News


class History:
    """The latest news, numbered."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._last = 0

    @property
    def last(self) -> int:
        """The number of the latest entry; 0 when nothing has happened yet."""
        return self._last

    def tell(self, *news: News) -> None:
        """Log each, and keep it."""
        for item in news:
            log.log(logging.INFO if item.kind == "repaired" else logging.WARNING, "%s%s", LABELS[item.kind], item.text)
            self._last += 1
            self._entries.append(Entry(number=self._last, at_ns=self._clock.wall_ns(), news=item))

    def after(self, number: int) -> tuple[Entry, ...]:
        """What came after entry ``number`` and is still kept, the oldest first."""
        return tuple(entry for entry in self._entries if entry.number > number)


def news_of_pass(before: PassReport, after: PassReport, done: Pass) -> tuple[News, ...]:
    """What a pass repaired, and what stands in its way that did not before."""
    known = {str(outcome.error) for outcome in before.failures}
    failed = [line for outcome in after.failures if (line := str(outcome.error)) not in known]
    return (
        *_listed("repaired", done.repairs, lambda outcome: format_step_briefly(outcome.step), done.took_ns),
        *_listed("conflict", _new(after.conflicts, before.conflicts), _conflict),
        *_listed("foreign", _new(after.strangers, before.strangers), _stranger),
        *_listed("failed", failed, str),
    )


def _new(after: Sequence[T], before: Iterable[T]) -> list[T]:
    """What was not there before, in its order."""
    known = set(before)
    return [item for item in after if item not in known]


def news_of_intent(before: Intent, after: Intent) -> tuple[News, ...]:
    """Leases that are refused or held now and were not, or for another reason."""
    old, new = before.admission.refused, after.admission.refused
    judged = [key for key in sorted(after.admission.judged) if key in new]
    fresh = [(key, new[key].rule) for key in judged if key not in old or old[key].rule != new[key].rule]
    held = () if after.book.held is before.book.held else sorted(after.book.held.keys() - before.book.held.keys())
    return (
        *_listed("refused", fresh, lambda one: f"{one[0]}: {one[1]}"),
        *_listed("held", held, lambda key: f"{key} vanished without a delete"),
    )


def _stranger(obj: KernelObject) -> str:
    unclaimed = isinstance(obj, Route) and obj.protocol == RTPROT_BOOT
    return format_object(obj) + (" (unclaimed: if flannel wrote it, no lease has it any more)" if unclaimed else "")


def _conflict(conflict: Conflict) -> str:
    wanted, holder = format_object(conflict.wanted), format_object(conflict.holder)
    return f"{wanted} is wanted, but something that is not ours is there: {holder}"


def _listed(kind: Kind, items: Sequence[T], tell: Callable[[T], str], took_ns: int | None = None) -> list[News]:
    """One piece of news for each of the first, and the number of those that there is no room for."""
    texts = [tell(item) for item in items[:LINES]]
    if len(items) > LINES:
        texts.append(f"{len(items) - LINES} more")
    return [News(kind=kind, text=text, took_ns=took_ns) for text in texts]
