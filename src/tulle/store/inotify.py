"""Waking up when a file is written: inotify on its folder, for the file and its write-ahead log.

The folder is watched, not the file, so that a file which is replaced or removed is noticed too.
What changed is for the caller to find out: a wake-up carries nothing.
"""

import asyncio
import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tulle.errors import StoreUnavailable

IN_MODIFY: Final = 0x002
IN_ATTRIB: Final = 0x004
IN_MOVED: Final = 0x0C0
IN_CREATE: Final = 0x100
IN_DELETE: Final = 0x200
IN_DELETE_SELF: Final = 0x400
IN_MOVE_SELF: Final = 0x800
IN_Q_OVERFLOW: Final = 0x4000
WANTED: Final = IN_MODIFY | IN_ATTRIB | IN_MOVED | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF
ALWAYS: Final = IN_Q_OVERFLOW | IN_DELETE_SELF | IN_MOVE_SELF
HEADER: Final = struct.Struct("iIII")  # wd, mask, cookie, length of the name; linux/inotify.h

_libc = ctypes.CDLL(None, use_errno=True)


class FileChanges:
    """Open from ``with`` to its end: what changes in between is never missed, however late one waits."""

    def __init__(self, path: Path) -> None:
        self._folder = path.parent
        self._names = frozenset(os.fsencode(name) for name in (path.name, f"{path.name}-wal"))
        self._changed = asyncio.Event()
        self._fd = -1

    def __enter__(self) -> Self:
        """Raises StoreUnavailable: the folder is not there, or the user's inotify instances are used up."""
        self._fd = _checked(_libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC), "inotify")
        try:
            _checked(_libc.inotify_add_watch(self._fd, os.fsencode(self._folder), WANTED), str(self._folder))
        except BaseException:
            os.close(self._fd)
            raise
        asyncio.get_running_loop().add_reader(self._fd, self._readable)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.get_running_loop().remove_reader(self._fd)
        os.close(self._fd)

    async def wait(self, timeout_s: float) -> bool:
        """True when the file changed since the last call, False after ``timeout_s``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._changed.wait()
        changed = self._changed.is_set()
        self._changed.clear()
        return changed

    def _readable(self) -> None:
        with suppress(BlockingIOError):
            for mask, name in _events(os.read(self._fd, 65536)):
                if mask & ALWAYS or name in self._names:
                    self._changed.set()


def _events(data: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position + HEADER.size <= len(data):
        _, mask, _, length = HEADER.unpack_from(data, position)
        position += HEADER.size
        yield mask, data[position : position + length].rstrip(b"\0")
        position += length


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise StoreUnavailable(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result
