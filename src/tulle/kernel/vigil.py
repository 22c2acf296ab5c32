"""Is a device still as it was seen?  A cheaper question than what it is like now: one look at an empty buffer."""

from pathlib import Path
from typing import Final

from tulle.errors import DecodeError, KernelError
from tulle.kernel.netlink_socket import NetlinkSocket, Overflow
from tulle.wire.rtnetlink.parts import RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_LINK

GROUPS: Final = (RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR)


class Vigil:
    """Over one device and its addresses: what is announced of them disturbs it.  Sysctls are not announced.

    The kernel announces a change before it answers whoever made it, and drops here what is about other devices.
    """

    def __init__(self, netns: Path | None) -> None:
        """``netns`` None: the namespace of the thread that begins it."""
        self._netns = netns
        self._socket: NetlinkSocket | None = None
        self._device = ""

    @property
    def device(self) -> str:
        """Over which it is; "" when it is over."""
        return self._device

    def begin(self, device: str) -> None:
        """Over ``device``, which is there, as it is seen from now on.  Raises KernelError."""
        self.close()
        sock = NetlinkSocket.open(self._netns)
        index = sock.index_of(device)
        if index is None:
            sock.close()
        else:
            sock.hear_of(index)
            sock.subscribe(GROUPS)
            self._socket, self._device = sock, device

    def is_undisturbed(self) -> bool:
        """Has nothing been announced since it began?  If something has, it is over; False when there is none."""
        if self._socket is None:
            return False
        try:
            is_quiet = not self._socket.receive()
        except (KernelError, DecodeError, Overflow):
            is_quiet = False
        if not is_quiet:
            self.close()
        return is_quiet

    def close(self) -> None:
        """End it."""
        if self._socket is not None:
            self._socket.close()
            self._socket, self._device = None, ""
