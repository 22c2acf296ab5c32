"""Files in folders of the host's that runtimes read: whole or not there, and never another file than the one named.

A folder is opened once and its entries are handled by name within it: no link in it is followed, and
one that anybody could write is refused.  A file that runs is replaced by renaming, so that no process meets
"text file busy", or half of it.
"""

import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from errno import ENOENT
from hashlib import sha256
from pathlib import Path
from typing import Final

from tulle.errors import ConfigError

SIZE_LIMIT: Final = 64 << 20
BESIDE: Final = ".tulle-new"
"""What a file that is being written ends in: nothing that a runtime reads or executes."""


@dataclass(frozen=True, slots=True)
class Found:
    """A plain file: the hash of its content, and its mode."""

    digest: str
    mode: int


@dataclass(frozen=True, slots=True)
class NoPlainFile:
    """Something else has the name: a link, a folder, a device."""

    kind: str


@dataclass(frozen=True, slots=True)
class Folder:
    """An open folder; one that is still to be made has no ``descriptor``, and nothing in it."""

    path: Path
    descriptor: int | None

    def names(self) -> list[str]:
        """All entries, in the order in which runtimes read them."""
        return [] if self.descriptor is None else sorted(os.listdir(self.descriptor))

    def look(self, name: str) -> Found | NoPlainFile | None:
        """What has this name; None when nothing has."""
        if self.descriptor is None:
            return None
        try:
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return NoPlainFile("a symbolic link" if stat.S_ISLNK(status.st_mode) else "no plain file")
        return Found(digest_of(self.read(name)), stat.S_IMODE(status.st_mode))

    def read(self, name: str) -> bytes:
        """A plain file's content.  Raises OSError."""
        if self.descriptor is None:
            raise FileNotFoundError(ENOENT, os.strerror(ENOENT), str(self.path / name))
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(name, flags, dir_fd=self.descriptor), "rb") as file:
            return file.read(SIZE_LIMIT)

    def write(self, name: str, content: bytes, mode: int) -> None:
        """Make or replace a file by renaming; a link of this name is replaced itself.  Raises OSError."""
        beside = f".{name}.{secrets.token_hex(4)}{BESIDE}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            with open(os.open(beside, flags, mode, dir_fd=self.descriptor), "wb") as file:
                file.write(content)
                os.fchmod(file.fileno(), mode)  # whatever the umask is; never more than these bits
                file.flush()
                os.fsync(file.fileno())
            self.rename(beside, name)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(beside, dir_fd=self.descriptor)
            raise

    def rename(self, before: str, after: str) -> None:
        """Raises OSError."""
        os.rename(before, after, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        self._sync()

    def remove(self, name: str) -> None:
        """Remove a file; that it is not there is success.  Raises OSError."""
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)
            self._sync()

    def _sync(self) -> None:
        assert self.descriptor is not None, "what is still to be made is only looked at"
        os.fsync(self.descriptor)


@contextmanager
def folder(path: Path, *, make: bool = False) -> Generator[Folder]:
    """The folder at ``path``, which is taken as it is given.

    Raises ConfigError: others than root and this user could write there; OSError.
    """
    if make:
        path.mkdir(mode=0o755, parents=True, exist_ok=True)
    elif not path.exists():
        yield Folder(path, None)
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if status.st_uid not in {0, os.geteuid()} or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            rule = "others than root can write there"
            raise ConfigError(f"folder {path}", rule, "make it root's (chown root, chmod 755)")
        yield Folder(path, descriptor)
    finally:
        os.close(descriptor)


def digest_of(content: bytes) -> str:
    """The hash that the record of an installation keeps."""
    return sha256(content).hexdigest()
