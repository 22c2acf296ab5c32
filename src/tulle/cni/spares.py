"""Spare files: what is removed is cut short and put aside, and what is made takes one of these.

A disk may take longer to make a file, or to delete one, than an ADD takes for everything else (docs/adr/0028).  Spares
are in a folder of their own among the files, for the holder of the files' lock.  Whatever is wrong with them, files are
made and deleted instead.
"""

import os
import stat
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from tulle.cni.opening import PLAIN, is_own, open_folder

SPARE: Final = ".spare"
LIMIT: Final = 128
"""A node has 110 pods, by the kubelet's default."""
STOCK: Final = 48
"""So many are laid in while nobody is served: a crowd comes at once, when another node is drained."""
CUT: Final = 1
"""So many bytes stay: nobody's name, while the disk has no block to take back and to give again."""


@dataclass(slots=True)
class Known:
    """The spares of a folder that a process knows of, by name, longest put aside first; others may take or add some."""

    names: deque[str] = field(default_factory=deque[str])
    last: int = 0
    """No name is a higher number."""
    is_complete: bool = False
    """Did this process look?"""


@dataclass(frozen=True, slots=True)
class Spare:
    """A file that is open to be written over, which has ``size`` bytes and is called ``name`` in ``folder``."""

    folder: int
    name: str
    descriptor: int
    size: int


class Spares:
    """The spares of the folder that is open as ``files``, until ``close``."""

    def __init__(self, files: int, known: Known, before: Callable[[str], None]) -> None:
        self._files, self._known, self._before = files, known, before
        self._folder: int | None = None

    def close(self) -> None:
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def take(self) -> Spare | None:
        """One that nobody else knows any more; None when there is none."""
        known = self._look()
        while known.names:
            folder = self._open()
            if folder is None:
                known.names.clear()
                break
            name = known.names.popleft()
            spare = self._taken(folder, name)
            if spare is not None:
                return spare
            with suppress(OSError):  # another process took it, or it is another name of a file that is in place
                os.unlink(name, dir_fd=folder)
        return None

    def lay_in(self, count: int) -> bool:
        """Make some, as though they had been put aside; False: there is no place for them.  Raises OSError."""
        known, folder = self._look(), self._open(make=True)
        if folder is None:
            return False
        for name in map(str, range(known.last + 1, known.last + 1 + count)):
            self._before("open")
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN, 0o600, dir_fd=folder)
            try:
                known.last += 1
                os.write(descriptor, b"\n" * CUT)
            finally:
                os.close(descriptor)
            known.names.append(name)
        return True

    def put_back(self, spare: Spare) -> None:
        """It was taken in vain, and is closed."""
        self._known.names.append(spare.name)

    def keep(self, name: str) -> bool:
        """Put a file aside, and cut it short; False: it is where it was, if it is, and for others to delete."""
        known = self._look()
        if len(known.names) >= LIMIT:
            return False
        try:
            descriptor = os.open(name, os.O_WRONLY | PLAIN, dir_fd=self._files)
        except OSError:
            return False
        try:
            folder = None if _size_if_alone(descriptor) is None else self._open(make=True)
            if folder is None:
                return False
            self._before("rename")
            spare = str(known.last + 1)
            os.rename(name, spare, src_dir_fd=self._files, dst_dir_fd=folder)
        except OSError:
            return False
        else:
            known.last += 1
            known.names.append(spare)
            with suppress(OSError):  # who takes it does so
                self._before("cut")
                os.ftruncate(descriptor, CUT)
            return True
        finally:
            os.close(descriptor)

    def _taken(self, folder: int, name: str) -> Spare | None:
        try:
            self._before("open")
            descriptor = os.open(name, os.O_WRONLY | PLAIN, dir_fd=folder)
        except OSError:
            return None
        size = _size_if_alone(descriptor)
        if size is None:
            os.close(descriptor)
            return None
        return Spare(folder, name, descriptor, size)

    def _open(self, *, make: bool = False) -> int | None:
        """The folder of the spares; None when there is none, or it is none of ours."""
        if self._folder is None:
            with suppress(OSError):
                self._folder = self._opened(make=make)
        return self._folder

    def _opened(self, *, make: bool) -> int | None:
        try:
            descriptor = open_folder(SPARE, self._files)
        except FileNotFoundError:
            if not make:
                raise
            self._before("mkdir")
            os.mkdir(SPARE, 0o700, dir_fd=self._files)
            descriptor = open_folder(SPARE, self._files)
        if is_own(descriptor):
            return descriptor
        os.close(descriptor)
        return None

    def _look(self) -> Known:
        """What is there, at the first time."""
        known = self._known
        if not known.is_complete:
            known.is_complete = True
            with suppress(OSError):
                folder = self._open()
                if folder is not None:
                    known.names, known.last = choose_spares(_inodes(folder), _inodes(self._files).values())
        return known


def choose_spares(inodes: Mapping[str, int], others: Iterable[int]) -> tuple[deque[str], int]:
    """Those of the folder's files that are spares, oldest first, and the highest number among their names.

    What has two names is none: the loss of power can leave one, and then not even its own count has to say so.
    """
    numbers = sorted(int(name) for name in inodes if name.isascii() and name.isdecimal())
    uses = Counter((*inodes.values(), *others))
    names = deque(name for name in map(str, numbers) if name in inodes and uses[inodes[name]] == 1)
    return names, max(numbers, default=0)


def _inodes(folder: int) -> dict[str, int]:
    with os.scandir(folder) as entries:
        return {entry.name: entry.inode() for entry in entries}


def _size_if_alone(descriptor: int) -> int | None:
    """The size of a plain file as we make them, under one name: what is written to it appears nowhere else.

    None: it is another's, or something else.
    """
    status = os.fstat(descriptor)
    is_ours = status.st_mode == stat.S_IFREG | 0o600 and status.st_uid == os.geteuid()
    return status.st_size if is_ours and status.st_nlink == 1 else None
