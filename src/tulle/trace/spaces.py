"""Network namespaces by open descriptor: told apart by inode, entered only to open something.

A socket stays in the namespace that it was opened in, so the trace enters each namespace for
a moment, opens what it needs, and works from outside.  Descriptors close with the ``Spaces``.
"""

import ctypes
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final

from tulle.errors import KernelError
from tulle.trace.topology import NetnsId

CLONE_NEWNET: Final = 0x40000000
_HOME: Final = "/proc/thread-self/ns/net"


@contextmanager
def inside(descriptor: int) -> Generator[None]:
    """Run the body with this *thread* in the namespace; comes home whatever happens.  Raises KernelError."""
    home = os.open(_HOME, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _setns(descriptor)
        try:
            yield
        finally:
            _setns(home)
    finally:
        os.close(home)


def _setns(descriptor: int) -> None:
    """``os.setns``, which Python has from 3.12 on."""
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, CLONE_NEWNET):
        raise KernelError(ctypes.get_errno(), f"enter namespace {os.readlink(f'/proc/self/fd/{descriptor}')}")


class Spaces:
    """The namespaces that may be looked into, by inode; two names of one namespace are one, the first name wins."""

    def __init__(self, candidates: Iterable[tuple[str, Path]]) -> None:
        """Open every candidate (label, path); one that has gone meanwhile, or may not be opened, is left out."""
        self._open: dict[NetnsId, tuple[str, int]] = {}
        for name, path in candidates:
            self._add(name, path)

    def _add(self, name: str, path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return
        netns = NetnsId(os.fstat(descriptor).st_ino)
        if netns in self._open:
            os.close(descriptor)
        else:
            self._open[netns] = name, descriptor

    def __enter__(self) -> "Spaces":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for _, descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def __contains__(self, netns: NetnsId) -> bool:
        return netns in self._open

    def __iter__(self) -> Iterator[NetnsId]:
        return iter(self._open)

    def descriptor(self, netns: NetnsId) -> int:
        return self._open[netns][1]

    def name(self, netns: NetnsId) -> str:
        return self._open[netns][0]

    def names(self) -> dict[NetnsId, str]:
        return {netns: name for netns, (name, _) in self._open.items()}


def netns_id(path: Path) -> NetnsId:
    """The inode of the namespace at ``path``.  Raises OSError when it is not there."""
    return NetnsId(os.stat(path).st_ino)
