"""The names in a folder, remembered as long as its time stands still: every ADD asks, and they hardly ever change.

No change is overlooked: a time that is so young that the next change may not move it is not relied on.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

SETTLED_NS: Final = 2_000_000_000
"""Two changes so far apart have two times: a disk's clock ticks every few milliseconds, an old one's every second."""
UNKNOWN: Final = -1


@dataclass(slots=True)
class Listing:
    """The entries of the folder at ``path`` that ``select`` takes."""

    path: str
    select: Callable[[os.DirEntry[str]], bool]
    _names: frozenset[str] = frozenset()
    _changed_ns: int = UNKNOWN
    """The folder's time before they were listed, if it was settled."""

    def names(self) -> frozenset[str]:
        """What there is now; nothing when there is no folder.  Raises OSError: it cannot be read."""
        try:
            changed_ns = os.stat(self.path).st_mtime_ns
            if changed_ns != self._changed_ns:
                now_ns = time.time_ns()
                with os.scandir(self.path) as entries:
                    self._names = frozenset(entry.name for entry in entries if self.select(entry))
                self._changed_ns = changed_ns if now_ns - changed_ns > SETTLED_NS else UNKNOWN
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()
        return self._names
