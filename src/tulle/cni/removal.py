"""Taking pods' devices away: many at once, and answered as soon as they are gone.

To delete a device the kernel takes it out of the namespace, with all that lives on it, announces that, and then
waits for all of its CPUs before it frees it: some 17 ms, in which nothing is left to be seen.  So a thread with a
socket of its own waits along, and whoever asked hears it from the announcement.  The devices that come while others
are being taken out go together, as one group: each deletion alone would hold up the others.  A pair goes with either
end.
"""

import asyncio
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from tulle.errors import DecodeError, KernelError
from tulle.kernel.netlink_socket import NetlinkSocket, Overflow
from tulle.model.network import MacAddress
from tulle.wire.netlink import Request
from tulle.wire.rtnetlink.links import (
    LinkMessage,
    LinkSettings,
    decode_deleted,
    decode_link,
    del_link,
    del_links_of_group,
    get_link,
    set_link,
)
from tulle.wire.rtnetlink.parts import RTM_DELLINK, RTNLGRP_LINK, IfIndex

SIDE_BY_SIDE: Final = 8
"""So many deletions wait for the kernel's CPUs at once: those waits are one for the kernel."""

OpenSocket = Callable[[], NetlinkSocket]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A device to remove, if it carries ``alias`` or ``mac``; ``gone`` hears whether it was there."""

    device: str
    alias: str
    mac: MacAddress
    gone: "asyncio.Future[bool]"

    def is_gone(self, *, was_there: bool) -> None:
        if not self.gone.done():
            self.gone.set_result(was_there)

    def has_failed(self, error: BaseException) -> None:
        if not self.gone.done():
            self.gone.set_exception(error)


@dataclass(slots=True)
class Removal:
    """Removes devices by name and mark.  ``open_socket`` opens one in the node's namespace."""

    open_socket: OpenSocket
    _waiting: list[Wanted] = field(default_factory=list[Wanted])
    _work: "asyncio.Task[None] | None" = None
    _deletions: "set[asyncio.Future[None]]" = field(default_factory=set["asyncio.Future[None]"])
    _threads: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(SIDE_BY_SIDE, "remove devices"))

    async def remove(self, device: str, alias: str, mac: MacAddress) -> bool:
        """Remove ``device``; False when there is none with one of these marks.  Raises KernelError."""
        wanted = Wanted(device, alias, mac, asyncio.get_running_loop().create_future())
        self._waiting.append(wanted)
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._remove_all(), name="remove devices")
        return await wanted.gone

    async def close(self) -> None:
        """Finish what waits."""
        if self._work is not None:
            await asyncio.gather(self._work, return_exceptions=True)
        await asyncio.gather(*self._deletions, return_exceptions=True)
        self._threads.shutdown()

    async def _remove_all(self) -> None:
        """Batch by batch: while the kernel takes one out, the next gathers."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting, []
            deletion = Deletion(loop, self.open_socket, batch)
            work = loop.run_in_executor(self._threads, deletion.run)
            self._deletions.add(work)
            work.add_done_callback(deletion.ended)
            work.add_done_callback(self._deletions.discard)
            await asyncio.gather(*(each.gone for each in batch), return_exceptions=True)


class Deletion:
    """One batch on its way: ``run`` in a thread of its own, everything else on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, open_socket: OpenSocket, batch: Sequence[Wanted]) -> None:
        self._loop, self._open_socket, self._batch = loop, open_socket, batch
        self._announcements: NetlinkSocket | None = None
        self._pending: dict[IfIndex, Wanted] = {}

    def run(self) -> None:
        """Delete those that are there, and wait until the kernel has freed them.  Raises KernelError."""
        with self._open_socket() as sock:
            found = {link.index: each for each in self._batch if (link := _marked(sock, each)) is not None}
            announcements = self._open_socket() if found else None
            if announcements is not None:
                announcements.hear_only(RTM_DELLINK)
                announcements.subscribe((RTNLGRP_LINK,))  # before the deletion, so that none is missed
            self._loop.call_soon_threadsafe(self._begun, found, announcements)
            _delete(sock, {index: each.device for index, each in found.items()})

    def ended(self, work: "asyncio.Future[None]") -> None:
        """The kernel is done: what was not announced, or not heard, is gone all the same."""
        if self._announcements is not None:
            self._loop.remove_reader(self._announcements.fileno())
            self._announcements.close()
        error = None if work.cancelled() else work.exception()
        for each in self._batch:
            if error is None:
                each.is_gone(was_there=True)
            else:
                each.has_failed(error)

    def _begun(self, found: dict[IfIndex, Wanted], announcements: NetlinkSocket | None) -> None:
        there = {each.device for each in found.values()}
        for each in self._batch:
            if each.device not in there:
                each.is_gone(was_there=False)
        self._pending, self._announcements = found, announcements
        if announcements is not None:
            self._loop.add_reader(announcements.fileno(), self._hear, announcements)

    def _hear(self, announcements: NetlinkSocket) -> None:
        try:
            deleted = [decode_deleted(message) for message in announcements.receive()]
        except (Overflow, DecodeError, KernelError):
            return  # the end of the deletion says as much, a moment later
        for index in deleted:
            if index is not None and index in self._pending:
                self._pending.pop(index).is_gone(was_there=True)


def _marked(sock: NetlinkSocket, wanted: Wanted) -> LinkMessage | None:
    try:
        link = decode_link(sock.ask(get_link(wanted.device)))
    except KernelError as error:
        if error.target_missing:
            return None
        raise
    return link if link.kind == "veth" and (link.alias == wanted.alias or link.mac == wanted.mac) else None


def _delete(sock: NetlinkSocket, devices: dict[IfIndex, str]) -> None:
    """One by its number, several as a group.  The group is random: no device of anybody else's is in it."""
    if len(devices) == 1:
        ((index, name),) = devices.items()
        _run(sock, [del_link(index, f"delete {name}")])
    elif devices:
        group = secrets.randbelow(1 << 30) + (1 << 30)
        settings = LinkSettings(group=group)
        _run(sock, [set_link(index, settings, f"delete {name}") for index, name in devices.items()])
        _run(sock, [del_links_of_group(group, "delete pods' devices")])


def _run(sock: NetlinkSocket, requests: Sequence[Request]) -> None:
    """Raises KernelError; what is gone already is fine."""
    for request, ack in zip(requests, sock.execute(requests), strict=True):
        if ack.errno:
            error = KernelError(ack.errno, request.subject, ack.reason)
            if not error.target_missing:
                raise error
