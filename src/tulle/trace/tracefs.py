"""A private instance of the kernel's tracing: nobody else's settings are touched, nothing is left behind.

tracefs is mounted for this process alone (a mount that is attached nowhere), so it need not be
mounted and no mount table changes.  The instance is locked while its owner lives.  A child waits
for the owner's end, however it comes, and removes the instance; if that child is killed as well,
the next trace finds the unlocked instance and removes it.
Source: Documentation/trace/ftrace.rst, fsopen(2), fsmount(2).
"""

import ctypes
import errno
import fcntl
import os
import secrets
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, NoReturn

from tulle.errors import KernelError

PREFIX: Final = "tulle-"
_INSTANCES: Final = "instances"
_MOUNTED: Final = (Path("/sys/kernel/tracing"), Path("/sys/kernel/debug/tracing"))
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
"""The same numbers on every architecture."""
_FSCONFIG_CREATE: Final = 6
_CLOEXEC: Final = 1
_TRIES: Final = 40
_PAUSE_S: Final = 0.05
_LARGEST: Final = 1 << 20

_libc = ctypes.CDLL(None, use_errno=True)


class Instance:
    """A tracing instance of our own.  Close it, or use it as a context manager."""

    def __init__(self) -> None:
        """Raises KernelError: no tracefs here, or not allowed."""
        self._stack = ExitStack()
        try:
            self._top = open_tracefs()
            self._stack.callback(os.close, self._top)
            remove_orphans(self._top)
            self.name, self._folder = _make(self._top)
            self._stack.callback(os.close, self._folder)
            self._stack.callback(_remove, self._top, self.name)
            self._guard()
        except OSError as error:
            self._stack.close()
            raise KernelError(error.errno or 0, "tracefs") from error
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> "Instance":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Remove it.  Idempotent."""
        self._stack.close()

    def read(self, path: str) -> str:
        """A file of the instance.  Raises OSError."""
        with open(self.open(path, os.O_RDONLY), "rb") as file:
            return file.read(_LARGEST).decode(errors="replace")

    def write(self, path: str, text: str) -> None:
        """Raises OSError."""
        descriptor = self.open(path, os.O_WRONLY | os.O_TRUNC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def open(self, path: str, flags: int) -> int:
        """A descriptor of a file of the instance; the caller closes it.  Raises OSError."""
        return os.open(path, flags | os.O_CLOEXEC, dir_fd=self._folder)

    def processors(self) -> list[str]:
        """The folders of the processors' own buffers."""
        descriptor = self.open("per_cpu", os.O_RDONLY | os.O_DIRECTORY)
        try:
            return [f"per_cpu/{name}" for name in sorted(os.listdir(descriptor))]
        finally:
            os.close(descriptor)

    def _guard(self) -> None:
        """A child that outlives us by a moment."""
        gate, key = os.pipe2(os.O_CLOEXEC)
        pid = os.fork()
        if pid == 0:
            _wait_and_remove(gate, self._top, self._folder, self.name)
        os.close(gate)
        self._stack.callback(os.waitpid, pid, 0)
        self._stack.callback(os.close, key)


def remove_orphans(top: int) -> None:
    """Instances of ours whose owner is gone: nobody holds their lock."""
    for name in os.listdir(_instances(top)):
        if name.startswith(PREFIX) and (folder := _lock(top, name)) is not None:
            _remove(top, name)
            os.close(folder)


def _instances(top: int) -> str:
    return f"/proc/self/fd/{top}/{_INSTANCES}"


def _make(top: int) -> tuple[str, int]:
    """A new one, locked: its name, and its folder's descriptor.  Raises OSError."""
    for _ in range(_TRIES):
        name = f"{PREFIX}{secrets.token_hex(6)}"
        os.mkdir(f"{_INSTANCES}/{name}", 0o700, dir_fd=top)
        folder = _lock(top, name)
        if folder is not None:
            return name, folder
    raise OSError(errno.EBUSY, "every new instance was taken for an orphan")


def _lock(top: int, name: str) -> int | None:
    """The folder's descriptor, locked for us; None: somebody else has it, or it is gone."""
    try:
        folder = os.open(f"{_INSTANCES}/{name}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=top)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(folder)
        return None
    return folder


def _remove(top: int, name: str) -> None:
    """The kernel refuses while a file of it is open somewhere: tried for a while."""
    for _ in range(_TRIES):
        try:
            os.rmdir(f"{_INSTANCES}/{name}", dir_fd=top)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(_PAUSE_S)
        else:
            return


def _wait_and_remove(gate: int, top: int, folder: int, name: str) -> NoReturn:
    """The child's whole life.  It holds nothing of its parent's but the lock, and hears no Ctrl-C."""
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    kept = {gate, top, folder}
    for descriptor in os.listdir("/proc/self/fd"):
        if int(descriptor) not in kept:
            with suppress(OSError):
                os.close(int(descriptor))
    with suppress(OSError):
        os.read(gate, 1)
        _remove(top, name)
    os._exit(0)


def open_tracefs() -> int:
    """A descriptor of its root: mounted for us alone (Linux 5.2), else where it is mounted.  Raises OSError."""
    with suppress(OSError):
        return _private_mount()
    for path in _MOUNTED:
        if (path / _INSTANCES).is_dir():
            return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return _private_mount()  # for its reason


def _private_mount() -> int:
    context = _call(_FSOPEN, b"tracefs", _CLOEXEC)
    try:
        _call(_FSCONFIG, context, _FSCONFIG_CREATE, None, None, 0)
        return _call(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)


def _call(number: int, *arguments: object) -> int:
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
