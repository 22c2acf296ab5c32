"""Taking pods' devices away, many at once: a deletion waits in the kernel for all of its CPUs, one wait serves all.

The devices that come within a few milliseconds are put into one group of their own and the group is
deleted, in a thread with a socket of its own, so that nobody else waits along.  A few groups may wait side
by side, since those waits are one for the kernel.  A pair goes with either end.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tulle.errors import KernelError
from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.model.network import MacAddress
from tulle.wire.netlink import Request
from tulle.wire.rtnetlink.links import (
    LinkMessage,
    LinkSettings,
    decode_link,
    del_link,
    del_links_of_group,
    get_link,
    set_link,
)

SIDE_BY_SIDE: Final = 4
GATHER_S: Final = 0.003


@dataclass(frozen=True, slots=True)
class Wanted:
    """A device to remove, if it carries ``alias`` or ``mac``; ``done`` hears whether it was there."""

    device: str
    alias: str
    mac: MacAddress
    done: "asyncio.Future[bool]"


@dataclass(slots=True)
class Removal:
    """Removes devices by name and mark.  ``open_socket`` opens one in the node's namespace."""

    open_socket: Callable[[], NetlinkSocket]
    _waiting: list[Wanted] = field(default_factory=list[Wanted])
    _work: "set[asyncio.Task[None]]" = field(default_factory=set["asyncio.Task[None]"])

    async def remove(self, device: str, alias: str, mac: MacAddress) -> bool:
        """Remove ``device``; False when there is none with one of these marks.  Raises KernelError."""
        wanted = Wanted(device, alias, mac, asyncio.get_running_loop().create_future())
        self._waiting.append(wanted)
        if len(self._work) < SIDE_BY_SIDE and len(self._waiting) == 1:
            work = asyncio.create_task(self._remove_all(GATHER_S if self._work else 0), name="remove devices")
            self._work.add(work)
            work.add_done_callback(self._work.discard)
        return await wanted.done

    async def close(self) -> None:
        """Finish what waits."""
        await asyncio.gather(*self._work, return_exceptions=True)

    async def _remove_all(self, gather_s: float) -> None:
        """Batch by batch: while the kernel waits for one, the next gathers.  The first of all does not wait."""
        await asyncio.sleep(gather_s)
        while self._waiting:
            batch, self._waiting = self._waiting, []
            try:
                found = await asyncio.to_thread(self._remove, batch)
            except Exception as error:  # noqa: BLE001  whoever waits has to hear it, whatever it is
                for each in batch:
                    if not each.done.done():
                        each.done.set_exception(error)
            else:
                for each in batch:
                    if not each.done.done():
                        each.done.set_result(each.device in found)

    def _remove(self, wanted: Sequence[Wanted]) -> frozenset[str]:
        """The names of those that were there."""
        with self.open_socket() as sock:
            links = [link for each in wanted if (link := _marked(sock, each)) is not None]
            match links:
                case []:
                    pass
                case [one]:
                    _run(sock, del_link(one.index, f"delete {one.name}"))
                case _:
                    _remove_group(sock, links)
            return frozenset(link.name for link in links)


def _marked(sock: NetlinkSocket, wanted: Wanted) -> LinkMessage | None:
    try:
        link = decode_link(sock.ask(get_link(wanted.device)))
    except KernelError as error:
        if error.target_missing:
            return None
        raise
    return link if link.kind == "veth" and (link.alias == wanted.alias or link.mac == wanted.mac) else None


def _run(sock: NetlinkSocket, request: Request) -> None:
    try:
        sock.run(request)
    except KernelError as error:
        if not error.target_missing:
            raise


def _remove_group(sock: NetlinkSocket, links: Sequence[LinkMessage]) -> None:
    """A random group: no device of anybody else's is in it."""
    group = secrets.randbelow(1 << 30) + (1 << 30)
    settings = LinkSettings(group=group)
    for link in links:
        _run(sock, set_link(link.index, settings, f"delete {link.name}"))
    _run(sock, del_links_of_group(group, "delete pods' devices"))
