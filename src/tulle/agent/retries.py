"""When to try again what failed: each key in its own time, so that one never delays another."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from tulle.model.objects import ObjectKey
from tulle.model.state import Scope
from tulle.seams import Clock, Random

RETRY_FIRST_S: Final = 1.0
RETRY_LAST_S: Final = 60.0
NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Retry:
    """A key whose last step failed, and when it is tried again (CLOCK_BOOTTIME)."""

    attempt: int
    due_ns: int


class Retries:
    """The keys that failed.  The pause between two tries doubles up to a minute, with jitter."""

    def __init__(self, clock: Clock, random: Random) -> None:
        self._clock, self._random = clock, random
        self._retries: dict[ObjectKey, Retry] = {}

    @property
    def next_due_ns(self) -> int | None:
        """When the first is due; None when nothing failed."""
        return min((retry.due_ns for retry in self._retries.values()), default=None)

    def take_due(self, now_ns: int) -> Scope:
        """What is to be tried now.  A key that fails again comes back by ``settle``."""
        due = [key for key, retry in self._retries.items() if retry.due_ns <= now_ns]
        for key in due:
            self._retries[key] = replace(self._retries[key], due_ns=now_ns + int(RETRY_LAST_S * NS))
        return Scope.of(due)

    def settle(
        self, looked_at: Scope, failed: Iterable[ObjectKey], overtaken: AbstractSet[ObjectKey] = frozenset()
    ) -> None:
        """Note what became of a pass: of the keys that it looked at, only ``failed`` are still to be tried.

        Those of them that were ``overtaken``, because somebody changed them between the look and
        the act, are looked at again at once; if that is not the end of it, they wait like all others.
        """
        failed = frozenset(failed)
        for key in [key for key in self._retries if looked_at.names(key) and key not in failed]:
            del self._retries[key]
        for key in failed:
            attempt = self._retries[key].attempt + 1 if key in self._retries else 0
            delay_s = min(RETRY_LAST_S, RETRY_FIRST_S * 2**attempt) * (0.75 + self._random.below(500) / 1000)
            if key in overtaken and attempt == 0:
                delay_s = 0.0
            self._retries[key] = Retry(attempt, self._clock.boottime_ns() + int(delay_s * NS))
