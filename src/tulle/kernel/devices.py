"""Names and numbers of one namespace's devices, asked for as they are needed.

An index is a fact of one life of a device: an instance serves one call, then it is thrown away.
"""

from tulle.errors import KernelError
from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.wire.netlink import Message
from tulle.wire.rtnetlink.links import LinkMessage, decode_identity, decode_link, get_link
from tulle.wire.rtnetlink.parts import IfIndex

LONGEST_NAME = 15
"""Source: include/uapi/linux/if.h (IFNAMSIZ less the NUL)."""


class Devices:
    """What is known so far; the rest is one question to the kernel each."""

    def __init__(self, sock: NetlinkSocket, *, are_there: bool = False) -> None:
        """``are_there``: those whose number is asked for mostly are, which makes it a cheaper question."""
        self._socket, self._are_there = sock, are_there
        self._by_name: dict[str, LinkMessage | None] = {}
        self._by_index: dict[IfIndex, LinkMessage] = {}
        self._numbers: dict[str, IfIndex | None] = {}
        self._names: dict[IfIndex, str | None] = {}
        """Both of devices of which nobody asked more: to read a whole one takes longer than to be answered."""

    def learn(self, link: LinkMessage) -> None:
        """Remember a device that was seen."""
        self._by_name[link.name] = link
        self._by_index[link.index] = link

    def forget(self, name: str) -> None:
        """The device has been made, changed or removed."""
        self._numbers.pop(name, None)
        self._names.clear()
        known = self._by_name.pop(name, None)
        if known is not None:
            self._by_index.pop(known.index, None)

    def link(self, name: str) -> LinkMessage | None:
        """The device called ``name``; None when there is none.  Raises KernelError."""
        if name not in self._by_name:
            message = self._message(name)
            found = self._by_name[name] = None if message is None else decode_link(message)
            if found is not None:
                self._by_index[found.index] = found
        return self._by_name[name]

    def index(self, name: str) -> IfIndex | None:
        """The number of the device called ``name``; None when there is none.  Raises KernelError."""
        if name in self._by_name:
            known = self._by_name[name]
            return None if known is None else known.index
        if name not in self._numbers:
            self._numbers[name] = self._number(name)
        return self._numbers[name]

    def name(self, index: IfIndex) -> str | None:
        """The name of the device with this number; None for 0 and for one that is gone.  Raises KernelError."""
        if not index:
            return None
        known = self._by_index.get(index)
        if known is not None:
            return known.name
        if index not in self._names:
            self._names[index] = self._socket.name_of(index)
        return self._names[index]

    def _number(self, name: str) -> IfIndex | None:
        if self._are_there and _can_be(name):
            found = self._socket.index_of(name)
            return None if found is None else IfIndex(found)
        message = self._message(name)
        return None if message is None else decode_identity(message)[0]

    def _message(self, name: str) -> Message | None:
        if not _can_be(name):
            return None
        try:
            return self._socket.ask(get_link(name))
        except KernelError as error:
            if error.target_missing:
                return None
            raise


def _can_be(name: str) -> bool:
    return 0 < len(name.encode()) <= LONGEST_NAME
