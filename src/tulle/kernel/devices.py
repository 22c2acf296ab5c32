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

    def __init__(self, sock: NetlinkSocket) -> None:
        self._socket = sock
        self._by_name: dict[str, LinkMessage | None] = {}
        self._by_index: dict[IfIndex, LinkMessage | None] = {}
        self._numbers: dict[str, IfIndex | None] = {}
        """Of those of which nobody asked more."""

    def learn(self, link: LinkMessage) -> None:
        """Remember a device that was seen."""
        self._by_name[link.name] = link
        self._by_index[link.index] = link

    def forget(self, name: str) -> None:
        """The device has been made, changed or removed."""
        self._numbers.pop(name, None)
        known = self._by_name.pop(name, None)
        if known is not None:
            self._by_index.pop(known.index, None)

    def link(self, name: str) -> LinkMessage | None:
        """The device called ``name``; None when there is none.  Raises KernelError."""
        if name not in self._by_name:
            found = self._ask(name) if _can_be(name) else None
            self._by_name[name] = found
            if found is not None:
                self._by_index[found.index] = found
        return self._by_name[name]

    def index(self, name: str) -> IfIndex | None:
        """The number of the device called ``name``; None when there is none.  Raises KernelError."""
        if name in self._by_name:
            known = self._by_name[name]
            return None if known is None else known.index
        if name not in self._numbers:
            message = self._message(name) if _can_be(name) else None
            self._numbers[name] = None if message is None else decode_identity(message)[0]
        return self._numbers[name]

    def name(self, index: IfIndex) -> str | None:
        """The name of the device with this number; None for 0 and for one that is gone.  Raises KernelError."""
        if not index:
            return None
        if index not in self._by_index:
            found = self._ask(index)
            self._by_index[index] = found
            if found is not None:
                self._by_name[found.name] = found
        known = self._by_index[index]
        return None if known is None else known.name

    def _ask(self, device: str | IfIndex) -> LinkMessage | None:
        message = self._message(device)
        return None if message is None else decode_link(message)

    def _message(self, device: str | IfIndex) -> Message | None:
        try:
            return self._socket.ask(get_link(device))
        except KernelError as error:
            if error.target_missing:
                return None
            raise


def _can_be(name: str) -> bool:
    return 0 < len(name.encode()) <= LONGEST_NAME
