"""Which announcements only repeat what this node has just written.

Of routes and neighbours the port id tells it.  VXLAN announces its FDB entries without one (drivers/net/vxlan:
``vxlan_fdb_notify``), so these are known by what they say.
"""

from typing import Final

from tulle.model.change import Delete, Step, subject_of
from tulle.model.objects import FdbEntry, FdbKey

MOST: Final = 1 << 16
"""So many are kept for somebody who does not listen; without them there is only more to look at."""


class Echoes:
    """The FDB entries that were written and not announced since.

    An announcement that says just what was last written for its entry says nothing new.  Whatever else it says,
    somebody else was there as well.
    """

    def __init__(self) -> None:
        self._written: dict[FdbKey, tuple[bool, FdbEntry]] = {}

    def wrote(self, step: Step) -> None:
        """The kernel has carried out ``step``."""
        entry = subject_of(step)
        if isinstance(entry, FdbEntry):
            if len(self._written) >= MOST:
                self._written.clear()
            self._written[entry.key] = not isinstance(step, Delete), entry

    def is_one(self, entry: FdbEntry, *, made: bool) -> bool:
        """Does the announcement that ``entry`` was ``made``, or removed, repeat what was written?"""
        if self._written.get(entry.key) != (made, entry):
            return False
        del self._written[entry.key]
        return True
