"""A folder of small files that several processes share: each file is whole or not there.

Names are ours to check: no link is followed, and a folder that others can write is refused.
Nothing waits for the disk here: what was changed is handed to ``settle``, which syncs it before
or after the answer (docs/adr/0011).
"""

import fcntl
import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from errno import EAGAIN, EPERM
from pathlib import Path
from typing import Final

from tulle.cni.opening import PLAIN, is_own, open_folder
from tulle.cni.spares import STOCK, Known, Spare, Spares

CONTENT_LIMIT: Final = 64 << 10
LOCK: Final = "lock"
LOCK_PATIENCE_S: Final = 2.0
BESIDE: Final = ".new"
"""Files are written under this name first.  Only the holder of the lock writes: what is there when the lock is
taken, a dead one left.  It is removed, never written to: it may be another name of a file that is in place."""

Settle = Callable[[Path, Iterable[str]], None]


def settle_now(folder: Path, names: Iterable[str]) -> None:
    """Sync these files, then their folder.  One that is gone again needs none.  Raises OSError."""
    for name in names:
        with suppress(FileNotFoundError):
            _sync(folder / name, os.O_RDONLY | os.O_NOFOLLOW)
    _sync(folder, os.O_RDONLY | os.O_DIRECTORY)


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder at ``path``.  ``before`` is called with each operation's name: a test fails or dies there."""

    path: Path
    settle: Settle = settle_now
    before: Callable[[str], None] = lambda _: None
    _spares: Known = field(default_factory=Known)

    def exists(self) -> bool:
        return self.path.is_dir()

    @contextmanager
    def locked(self, mode: int = 0o755) -> Generator["Files"]:
        """Alone with the files; the folder is made when it is missing.

        Raises OSError: the disk's errors; EAGAIN, somebody holds the lock for too long; EPERM, the
        folder is somebody else's.
        """
        descriptor = self._open(mode)
        try:
            if not is_own(descriptor):
                raise OSError(EPERM, f"{self.path}: belongs to somebody else, or everybody can write there")
            lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600, dir_fd=descriptor)
            spares = Spares(descriptor, self._spares, self.before)
            try:
                _lock(lock, self.path)
                with suppress(OSError):  # there is none, mostly; what cannot be removed is met by who writes
                    os.unlink(BESIDE, dir_fd=descriptor)
                files = Files(descriptor, spares, self.before)
                yield files
                if files.changed:
                    self.settle(self.path, files.changed)
            finally:
                spares.close()
                os.close(lock)
        except OSError as error:
            raise _whole(error, self.path) from error
        finally:
            os.close(descriptor)

    def _open(self, mode: int) -> int:
        try:
            return open_folder(self.path)
        except (FileNotFoundError, NotADirectoryError):
            self.before("mkdir")
            self.path.mkdir(parents=True, exist_ok=True, mode=mode)
            return open_folder(self.path)

    def lay_in(self, count: int) -> bool:
        """Make up to ``count`` spare files for those who come next; False: there are enough, or no place for them.

        Raises OSError, as ``locked``.
        """
        missing = STOCK - len(self._spares.names)
        if missing <= 0 or not self.exists():
            return False
        with self.locked() as files:
            return files.lay_in(min(count, missing))

    def remove_unfinished(self) -> None:
        """Remove what somebody who held the lock had begun when he died.  Raises OSError, as ``locked``."""
        if self.has(BESIDE):
            with self.locked():
                pass  # whoever locks it does so

    def remove_abandoned(self, age_s: float) -> None:
        """Remove what was begun so many seconds ago or earlier, of writers that take no lock."""
        with suppress(OSError):
            descriptor = open_folder(self.path)
            try:
                begun = [name for name in os.listdir(descriptor) if name.startswith(".")]
                for name in begun:
                    if time.time() - os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mtime > age_s:
                        os.unlink(name, dir_fd=descriptor)
            finally:
                os.close(descriptor)

    def names(self) -> Mapping[str, int]:
        """Every file's name and inode, without waiting for the lock; none when there is no folder, or a link to one."""
        try:
            descriptor = open_folder(self.path)
        except OSError:
            return {}
        try:
            return _names(descriptor)
        finally:
            os.close(descriptor)

    def changed_ns(self) -> int:
        """When an entry was last made, renamed or removed; 0 when there is no folder.

        A change within the same tick of the kernel's clock, some 4 ms before Linux 6.13, looks like none.
        """
        try:
            return os.stat(self.path, follow_symlinks=False).st_mtime_ns
        except OSError:
            return 0

    def has(self, name: str) -> bool:
        """Has anything this name?"""
        return os.path.lexists(self.path / name)

    def remove(self, name: str) -> None:
        """Remove one file, without waiting for the lock: for what nobody writes again.  Raises OSError."""
        descriptor = open_folder(self.path)
        try:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=descriptor)
        finally:
            os.close(descriptor)

    def read(self, name: str, limit: int = CONTENT_LIMIT) -> bytes | None:
        """One file's content, without waiting for the lock; None when there is no such plain file."""
        return _read(self.path / name, None, limit)


class Files:
    """The files of a folder whose lock is held."""

    def __init__(self, descriptor: int, spares: Spares, before: Callable[[str], None]) -> None:
        self._folder, self._spares, self._before = descriptor, spares, before
        self.changed: dict[str, None] = {}

    def names(self) -> Mapping[str, int]:
        """Every file's name and inode."""
        return _names(self._folder)

    def changed_ns(self) -> int:
        """As ``Folder.changed_ns``."""
        return os.fstat(self._folder).st_mtime_ns

    def read(self, name: str) -> bytes | None:
        """The content; None when there is no such plain file."""
        return _read(name, self._folder, CONTENT_LIMIT)

    def size(self, name: str) -> int:
        """How many bytes it has; 0 when there is none."""
        try:
            return os.stat(name, dir_fd=self._folder, follow_symlinks=False).st_size
        except OSError:
            return 0

    def create(self, name: str, content: bytes) -> bool:
        """Make a file that is not there yet; False when it is.  Complete as soon as it can be seen."""
        folder, beside = self._write_beside(content, self._spares.take())
        try:
            self._before("link")
            os.link(beside, name, src_dir_fd=folder, dst_dir_fd=self._folder, follow_symlinks=False)
        except FileExistsError:
            return False
        finally:
            with suppress(OSError):  # it is in the way of nobody
                self._before("unlink")
                os.unlink(beside, dir_fd=folder)
        self.changed[name] = None
        return True

    def replace(self, name: str, content: bytes, *, hint: bool = False) -> None:
        """Make or replace a file; a hint may be lost with the power, and leaves the spares to others."""
        folder, beside = self._write_beside(content, None if hint else self._spares.take())
        self._before("rename")
        os.rename(beside, name, src_dir_fd=folder, dst_dir_fd=self._folder)
        if not hint:
            self.changed[name] = None

    def lay_in(self, count: int) -> bool:
        """Make spare files; False: there is no place for them."""
        return self._spares.lay_in(count)

    def append(self, name: str, content: bytes) -> None:
        """Add a hint to a file's end; what a crash cuts short is for the reader to pass over."""
        self._fill(name, self._open_to_write(name, os.O_APPEND), content)

    def remove(self, name: str) -> None:
        """Remove a file; that it is not there is success."""
        self._before("unlink")
        if not self._spares.keep(name):
            try:
                os.unlink(name, dir_fd=self._folder)
            except FileNotFoundError:
                return
        self.changed[name] = None

    def _write_beside(self, content: bytes, spare: Spare | None) -> tuple[int, str]:
        """The folder where it is for now, and the name."""
        if spare is None:
            self._fill(BESIDE, self._open_to_write(BESIDE, os.O_EXCL), content)
            return self._folder, BESIDE
        try:
            self._fill(spare.name, spare.descriptor, content, spare.size)
        except OSError:
            self._spares.put_back(spare)
            raise
        return spare.folder, spare.name

    def _open_to_write(self, name: str, how: int) -> int:
        self._before("open")
        return os.open(name, os.O_WRONLY | os.O_CREAT | PLAIN | how, 0o600, dir_fd=self._folder)

    def _fill(self, name: str, descriptor: int, content: bytes, size: int = 0) -> None:
        """Write to what was opened and has so many bytes, and close it."""
        try:
            self._before("write")
            if os.write(descriptor, content) != len(content):
                raise OSError(EAGAIN, f"{name}: written in part")
            if size > len(content):
                os.ftruncate(descriptor, len(content))
        finally:
            os.close(descriptor)


def _whole(error: OSError, folder: Path) -> OSError:
    """With the path of what it is about, which is opened by its name alone; of two, that of what is made."""
    name = error.filename2 or error.filename
    if not isinstance(name, str) or os.path.isabs(name):
        return error
    return OSError(error.errno, f"{folder / name}: {error.strerror}")


def _names(folder: int) -> Mapping[str, int]:
    with os.scandir(folder) as entries:
        return {each.name: each.inode() for each in entries if is_kept(each)}


def is_kept(entry: os.DirEntry[str]) -> bool:
    """Is it one of the files, and not what they are kept with?"""
    return entry.name[0] != "." and entry.name != LOCK


def _read(name: Path | str, folder: int | None, limit: int) -> bytes | None:
    try:
        descriptor = os.open(name, os.O_RDONLY | PLAIN, dir_fd=folder)
    except OSError:
        return None
    try:
        return os.read(descriptor, limit)
    except OSError:
        return None  # a folder, or a disk that lost it
    finally:
        os.close(descriptor)


def _lock(descriptor: int, path: Path) -> None:
    """Holders are short; one that died holds nothing."""
    end = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise OSError(EAGAIN, f"{path}: another process holds its lock") from None
            time.sleep(0.002)
        else:
            return


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
