"""Network namespaces: make, name, enter and leave them.

A namespace belongs to a *thread*.  Nothing here may run between two awaits of a coroutine while
the thread is away: ``inside`` is for short synchronous work, ``run_in`` for a thread of its own.
A named namespace is a file that the namespace is bound to, as ``ip netns`` does it.
Source: namespaces(7), setns(2), user_namespaces(7), ioctl_ns(2).
"""

import ctypes
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from errno import EINVAL, ENOTTY
from pathlib import Path
from typing import Final, TypeVar

from tulle.errors import ConfigError, KernelError, Unsupported

T = TypeVar("T")

NETNS_FOLDER: Final = Path("/run/netns")
OWN: Final = Path("/proc/thread-self/ns/net")
CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_BIND, MS_REC, MS_PRIVATE, MS_SHARED = 4096, 16384, 1 << 18, 1 << 20
MNT_DETACH: Final = 2
NS_GET_NSTYPE: Final = 0xB703
"""Source: include/uapi/linux/nsfs.h."""

_libc = ctypes.CDLL(None, use_errno=True)


def open_namespace(netns: Path) -> int:
    """A descriptor of the network namespace at ``netns``.

    Never blocks on what is not one (a FIFO), never follows a link to elsewhere than it names.
    Raises ConfigError: no such file, or not a network namespace.
    """
    try:
        descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise ConfigError(f"namespace {netns}", error.strerror or "cannot be opened") from None
    if not _is_network_namespace(descriptor):
        os.close(descriptor)
        raise ConfigError(f"namespace {netns}", "is not a network namespace")
    return descriptor


def is_network_namespace(netns: Path) -> bool:
    """Is the file at ``netns`` a network namespace?"""
    try:
        os.close(open_namespace(netns))
    except ConfigError:
        return False
    return True


def identify(netns: Path = OWN) -> tuple[int, int]:
    """(device, inode) of a namespace: equal for two paths of one namespace.  Raises OSError."""
    status = os.stat(netns)
    return status.st_dev, status.st_ino


def enter(namespace: Path | int) -> None:
    """Move this *thread* into a namespace of any kind, for good.  Raises KernelError."""
    if isinstance(namespace, int):
        _call("setns", namespace, 0, subject=f"namespace {namespace}")
        return
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", descriptor, 0, subject=f"namespace {namespace}")
    finally:
        os.close(descriptor)


@contextmanager
def inside(netns: Path | int) -> Iterator[None]:
    """Run the body with this *thread* in ``netns``.  Never await inside.

    A socket stays in the namespace it was opened in: open here, use anywhere.
    """
    home = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        enter(netns)
        try:
            yield
        finally:
            enter(home)
    finally:
        os.close(home)


def run_in(netns: Path | int, function: Callable[[], T]) -> T:
    """The result of ``function`` in ``netns``, run by a thread made for it; what it raises surfaces here.

    For work that starts processes, which inherit the namespace of the thread that starts them.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            enter(netns)
            results.append(function())
        except BaseException as error:  # carried to the caller's thread, whatever it is
            errors.append(error)

    thread = threading.Thread(target=work, name="in another namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def create(name: str, folder: Path = NETNS_FOLDER) -> Path:
    """Make a namespace called ``name``; its path.  Raises ConfigError: the name is taken."""
    _share(folder)
    path = folder / name
    try:
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
    except FileExistsError:
        raise ConfigError(f"namespace {name}", "the name is already in use", f"see {folder}") from None
    try:
        _in_new_thread(lambda: _bind_new(path))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def delete(name: str, folder: Path = NETNS_FOLDER) -> None:
    """Remove the name; the kernel removes the namespace with its last user.  That it is gone is success."""
    path = folder / name
    _libc.umount2(os.fsencode(path), MNT_DETACH)  # EINVAL when it was never bound: the file goes all the same
    with suppress(FileNotFoundError):
        path.unlink()


def remove_folder(folder: Path) -> None:
    """Remove a folder of names with all of them, and the mount that ``create`` made of it.  Gone already is success."""
    _libc.umount2(os.fsencode(folder), MNT_DETACH)  # EINVAL where another mount namespace has it
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def enter_user_namespace() -> None:
    """Make this process root of its own user, mount and network namespaces.

    Needs a process with one thread.  Raises Unsupported where user namespaces are forbidden.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        _call("unshare", CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET, subject="user namespace")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    except (KernelError, OSError) as error:
        remedy = (
            "run as root, or allow them (sysctl user.max_user_namespaces, "
            "kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns)"
        )
        raise Unsupported(f"user namespaces ({error})", remedy) from None
    mount_private = _libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    if mount_private != 0:
        raise KernelError(ctypes.get_errno(), "mount namespace")


def _is_network_namespace(descriptor: int) -> bool:
    try:
        return fcntl.ioctl(descriptor, NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError as error:
        if error.errno in {ENOTTY, EINVAL}:
            return False
        raise


def _share(folder: Path) -> None:
    """Make ``folder`` a mount of its own that is shared, so that a name removed here is removed everywhere."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    target = os.fsencode(folder)
    if _libc.mount(b"", target, b"none", MS_SHARED | MS_REC, None) == 0:
        return
    if ctypes.get_errno() != EINVAL:
        raise KernelError(ctypes.get_errno(), f"share {folder}")
    for flags in (MS_BIND | MS_REC, MS_SHARED | MS_REC):  # EINVAL: not a mount yet
        if _libc.mount(target, target, b"none", flags, None) != 0:
            raise KernelError(ctypes.get_errno(), f"share {folder}")


def _bind_new(path: Path) -> None:
    _call("unshare", CLONE_NEWNET, subject=f"namespace {path.name}")
    if _libc.mount(os.fsencode(OWN), os.fsencode(path), b"none", MS_BIND, None) != 0:
        raise KernelError(ctypes.get_errno(), f"bind namespace {path}")


def _in_new_thread(function: Callable[[], None]) -> None:
    run_in(OWN, function)


def _call(name: str, *arguments: int, subject: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        raise KernelError(ctypes.get_errno(), subject)
