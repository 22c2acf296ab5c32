"""Sysctls of one network namespace, below /proc/sys/net: the files show the namespace of the thread that opens them.

This thread goes there and comes home before anybody else can run, which costs a twentieth of what another
thread would; a path is checked before it becomes a file name.
"""

import os
import re
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from errno import EINVAL
from functools import lru_cache
from typing import Final

from tulle.errors import KernelError
from tulle.kernel.netns import inside
from tulle.model.objects import Sysctl, SysctlKey

ROOT: Final = "/proc/sys"
SIZE_LIMIT: Final = 4096
"""More than any of them says."""
_PATH: Final = re.compile(r"net(/[A-Za-z0-9._-]+)+")


async def read(netns: int | None, keys: Iterable[SysctlKey]) -> list[Sysctl]:
    """The values; None in those whose file is not there (a device that is gone, IPv6 switched off).

    Raises KernelError: a path that leaves /proc/sys/net (EINVAL), or a file that cannot be read.
    """
    files = [(key.path, _file(key.path)) for key in keys]
    if not files:
        return []
    with _where(netns):
        return [_read(path, file) for path, file in files]


async def write(netns: int | None, wanted: Sysctl) -> KernelError | None:
    """Set it; None when done."""
    try:
        file = _file(wanted.path)
        with _where(netns):
            _write(file, f"{wanted.value or ''}\n".encode())
    except KernelError as error:
        return error
    except OSError as error:
        return KernelError(error.errno or 0, f"sysctl {wanted.path}")
    return None


def _read(path: str, file: str) -> Sysctl:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return Sysctl(path, os.read(descriptor, SIZE_LIMIT).decode(errors="replace").strip())
        finally:
            os.close(descriptor)
    except (FileNotFoundError, NotADirectoryError):
        return Sysctl(path, None)
    except OSError as error:
        raise KernelError(error.errno or 0, f"sysctl {path}") from error


def _write(file: str, content: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)


@lru_cache(maxsize=64)
def _file(path: str) -> str:
    if not _PATH.fullmatch(path) or any(part in {".", ".."} for part in path.split("/")):
        raise KernelError(EINVAL, f"sysctl {path!r}", "not a name below net/")
    return f"{ROOT}/{path}"


def _where(netns: int | None) -> AbstractContextManager[None]:
    return nullcontext() if netns is None else inside(netns)
