"""Opening what others may have put there: no link is followed, and no pipe waited for."""

import os
import stat
from pathlib import Path
from typing import Final

PLAIN: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""For a file, beside what is done with it."""


def open_folder(path: Path | str, within: int | None = None) -> int:
    """A descriptor.  Raises OSError: there is none, or a link to one."""
    return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)


def is_own(descriptor: int) -> bool:
    """Is this folder root's or ours, and nobody else can write there?"""
    status = os.fstat(descriptor)
    return status.st_uid in {0, os.geteuid()} and not status.st_mode & stat.S_IWOTH
