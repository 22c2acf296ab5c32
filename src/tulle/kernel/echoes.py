"""Which announcements only repeat what this node has just written.

Of routes and neighbours the port id tells it.  VXLAN announces its FDB entries without one (drivers/net/vxlan:
``vxlan_fdb_notify``), so these are known by what they say.
"""

from typing import Final

from tulle.wire.netlink import Message, Request
from tulle.wire.rtnetlink.neighbors import NeighborMessage, decode_neighbor
from tulle.wire.rtnetlink.parts import AF_BRIDGE, RTM_DELNEIGH, RTM_NEWNEIGH

MOST: Final = 1 << 16
"""So many are kept for somebody who does not listen; without them there is only more to look at."""


class Echoes:
    """The FDB entries that were written and not announced since.

    An announcement that says just what was last written for its entry says nothing new.  Whatever else it says,
    somebody else was there as well.
    """

    def __init__(self) -> None:
        self._written: dict[tuple[int, str | None], tuple[int, NeighborMessage]] = {}

    def wrote(self, request: Request) -> None:
        """The kernel has carried out ``request``."""
        if request.kind not in {RTM_NEWNEIGH, RTM_DELNEIGH} or request.body[0] != AF_BRIDGE:
            return
        if len(self._written) >= MOST:
            self._written.clear()
        entry = decode_neighbor(Message(request.kind, 0, 0, 0, request.body))
        self._written[entry.ifindex, entry.lladdr] = request.kind, entry

    def is_one(self, kind: int, entry: NeighborMessage) -> bool:
        """Does an announcement of an FDB entry (RTM_NEWNEIGH, RTM_DELNEIGH) repeat what was written?"""
        place = entry.ifindex, entry.lladdr
        if self._written.get(place) != (kind, entry):
            return False
        del self._written[place]
        return True
