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
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
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


def open_path(netns: Path | str) -> int:
    """A descriptor of the network namespace at ``netns``; the caller closes it.

    Never blocks on what is not one (a FIFO).  Raises ConfigError: no such file, or not a network namespace.
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
        os.close(open_path(netns))
    except ConfigError:
        return False
    return True


def own() -> Path:
    """The path of this thread's network namespace, good for other threads too, as long as this one lives there."""
    return Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/ns/net")


def identify(netns: Path | int = OWN) -> tuple[int, int]:
    """(device, inode) of a namespace, by path or descriptor: equal for two of one namespace.  Raises OSError."""
    status = os.stat(netns)
    return status.st_dev, status.st_ino


def enter(namespace: Path | int) -> None:
    """Move this *thread* into a namespace of any kind, for good.

    Raises KernelError; OSError when there is nothing at the path.
    """
    if isinstance(namespace, int):
        _call("setns", namespace, 0, subject=f"namespace {namespace}")
        return
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _call("setns", descriptor, 0, subject=f"namespace {namespace}")
    finally:
        os.close(descriptor)


@contextmanager
def inside(netns: Path | int) -> Generator[None, None, None]:
    """Run the body with this *thread* in the network namespace ``netns``.  Never await inside.

    A socket stays in the namespace it was opened in: open here, use anywhere.  Comes home
    whatever the body does.  Raises ConfigError: no such namespace; KernelError: not allowed in.
    """
    home = os.open(OWN, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with _target(netns) as target:
            _set_netns(target, netns)
            try:
                yield
            finally:
                _set_netns(home, "home")
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
            with _target(netns) as target:
                _set_netns(target, netns)
            results.append(function())
        except BaseException as error:  # noqa: BLE001  carried to the caller's thread, whatever it is
            errors.append(error)

    thread = threading.Thread(target=work, name="in another namespace")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def create(name: str, folder: Path = NETNS_FOLDER) -> Path:
    """Make a namespace called ``name``; its path.  The kernel keeps it until ``delete``, or its last user, ends it.

    Raises ConfigError: the name is taken, or none that a file can have; KernelError: not allowed.
    """
    path = _named(name, folder)
    with _refusals(f"make namespace {name}"):
        _share(folder)
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o444))
        except FileExistsError:
            raise ConfigError(f"namespace {name}", "the name is already in use", f"see {folder}") from None
    try:
        run_in(OWN, lambda: _bind_new(path))
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def delete(name: str, folder: Path = NETNS_FOLDER) -> None:
    """Remove the name; the kernel removes the namespace with its last user.  That it is gone is success.

    Raises KernelError.
    """
    path = _named(name, folder)
    _libc.umount2(os.fsencode(path), MNT_DETACH)  # EINVAL when it was never bound: the file goes all the same
    with _refusals(f"remove namespace {name}"):
        path.unlink(missing_ok=True)


def remove_folder(folder: Path) -> None:
    """Remove a folder of names with all of them, and the mount that ``create`` made of it.  Gone already is success."""
    _libc.umount2(os.fsencode(folder), MNT_DETACH)  # EINVAL where another mount namespace has it
    with suppress(FileNotFoundError):
        for path in folder.iterdir():
            path.unlink()
        folder.rmdir()


def enter_user_namespace() -> None:
    """Make this process root of its own user, mount and network namespaces, with its mounts private.

    Needs a process with one thread.  Raises Unsupported where user namespaces are forbidden: some
    hosts refuse them, others grant them without their powers.
    """
    uid, gid = os.geteuid(), os.getegid()
    try:
        _call("unshare", CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWNET, subject="user namespace")
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
        _mount(b"none", Path("/"), MS_REC | MS_PRIVATE, "user namespace")
    except (KernelError, OSError) as error:
        remedy = (
            "run as root, or allow them (sysctl user.max_user_namespaces, "
            "kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0)"
        )
        raise Unsupported(f"user namespaces ({error})", remedy) from None


def _is_network_namespace(descriptor: int) -> bool:
    try:
        return fcntl.ioctl(descriptor, NS_GET_NSTYPE) == CLONE_NEWNET
    except OSError as error:
        if error.errno in {ENOTTY, EINVAL}:
            return False
        raise


@contextmanager
def _refusals(subject: object) -> Generator[None, None, None]:
    """What the file system refuses the body is a KernelError about ``subject``."""
    try:
        yield
    except OSError as error:
        raise KernelError(error.errno or 0, subject) from None


def _named(name: str, folder: Path) -> Path:
    if not name or len(name) > 255 or name in {".", ".."} or "/" in name or "\0" in name:
        raise ConfigError(f"namespace {name[:80]!r}", "a name has 1 to 255 characters, none of them a slash")
    return folder / name


def _share(folder: Path) -> None:
    """Make ``folder`` a mount of its own that is shared, so that a name removed here is removed everywhere.

    One at a time, as ``ip netns`` does it: two at once would mount it twice.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _try_mount(b"", folder, MS_SHARED | MS_REC) == EINVAL:  # not a mount yet
            _mount(os.fsencode(folder), folder, MS_BIND | MS_REC, f"share {folder}")
        _mount(b"", folder, MS_SHARED | MS_REC, f"share {folder}")
    finally:
        os.close(lock)


def _bind_new(path: Path) -> None:
    _call("unshare", CLONE_NEWNET, subject=f"namespace {path.name}")
    _mount(os.fsencode(OWN), path, MS_BIND, f"bind namespace {path}")


def _target(netns: Path | int) -> AbstractContextManager[int]:
    """A descriptor for the body; one that is given stays open.  Raises ConfigError: there is no such namespace."""
    return nullcontext(netns) if isinstance(netns, int) else _opened(netns)


@contextmanager
def _opened(netns: Path) -> Generator[int, None, None]:
    descriptor = open_path(netns)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _set_netns(descriptor: int, subject: object) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise KernelError(ctypes.get_errno(), f"enter namespace {subject}")


def _mount(source: bytes, target: Path, flags: int, subject: object) -> None:
    errno = _try_mount(source, target, flags)
    if errno:
        raise KernelError(errno, subject)


def _try_mount(source: bytes, target: Path, flags: int) -> int:
    """The errno; 0 is success."""
    return 0 if _libc.mount(source, os.fsencode(target), b"none", flags, None) == 0 else ctypes.get_errno()


def _call(name: str, *arguments: int, subject: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        raise KernelError(ctypes.get_errno(), subject)
