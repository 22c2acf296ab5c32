"""The real seams: the system's clocks, its randomness, its files; and what this process may do."""

import asyncio
import fcntl
import gc
import os
import resource
import secrets
import sys
import time
from pathlib import Path
from typing import Final

from tulle.errors import ConfigError

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
CAP_NET_ADMIN: Final = 12
"""Source: include/uapi/linux/capability.h."""
SWITCH_S: Final = 0.001
DESCRIPTORS: Final = 1024
"""A call on the plugin needs five while it is served."""
NS_GET_USERNS: Final = 0xB701
"""Source: ioctl_ns(2)."""


def boot_id() -> str:
    """The kernel's name for this boot."""
    return BOOT_ID.read_text().strip()


class SystemClock:
    """CLOCK_BOOTTIME and CLOCK_REALTIME."""

    def boottime_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def wall_ns(self) -> int:
        return time.time_ns()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemRandom:
    """The kernel's random numbers."""

    def below(self, bound: int) -> int:
        return secrets.randbelow(bound)

    def token(self, size: int) -> bytes:
        return secrets.token_bytes(size)


class SystemFiles:
    """Files on disk, replaced by rename."""

    def read(self, path: Path, limit: int = 1 << 20) -> bytes | None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        with open(descriptor, "rb") as file:
            content = file.read(limit + 1)
        if len(content) > limit:
            raise OSError(f"{path}: larger than {limit} bytes")
        return content

    def replace(self, path: Path, content: bytes, mode: int = 0o644) -> None:
        _make_directory(path.parent)
        beside = path.with_name(f".{path.name}.{os.getpid()}.new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        beside.unlink(missing_ok=True)
        with open(os.open(beside, flags, mode), "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
        _sync_directory(path.parent)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)


def _make_directory(path: Path) -> None:
    private = path.parts[-3:] == ("var", "lib", "tulle")
    if not path.parent.is_dir():
        _make_directory(path.parent)
    path.mkdir(mode=0o700 if private else 0o755, exist_ok=True)


def _sync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def keep_collector_short() -> None:
    """Let the garbage collector look at young objects only; what lives on is set aside at once.

    With ten thousand peers a look at everything takes 70 ms, in the middle of whatever is running.
    """
    gc.set_threshold(5_000, 3, 1_000_000)
    if _set_aside not in gc.callbacks:
        gc.callbacks.append(_set_aside)


def let_threads_in() -> None:
    """Let a thread that comes back from the kernel have the interpreter soon, not after 5 ms: others wait for it."""
    sys.setswitchinterval(SWITCH_S)


def make_room_for_descriptors() -> None:
    """Let this process have the table for a crowd's descriptors from the start.

    The table doubles when it is full, and where threads share it the kernel waits until no CPU can be reading the old
    one: whoever opened something stands still for 10 to 20 ms.  Source: fs/file.c, ``expand_fdtable``.
    """
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    with open(os.devnull, "rb") as any_file:
        os.close(fcntl.fcntl(any_file, fcntl.F_DUPFD_CLOEXEC, min(DESCRIPTORS, soft) - 1))


def _set_aside(phase: str, info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"]:
        gc.freeze()


def settle_memory() -> None:
    """Free unreachable cycles, and set aside what lives now: later looks pass it over."""
    gc.collect()
    gc.freeze()


def check_privileges() -> None:
    """May this process change its network namespace?  Changes nothing.

    Raises ConfigError: CAP_NET_ADMIN is missing, or counts only in another user namespace than the network's.
    """
    advice = "run it as root, or in a user namespace with a network of its own"
    if not _effective_capabilities() >> CAP_NET_ADMIN & 1:
        raise ConfigError("agent", "lacks CAP_NET_ADMIN", advice)
    try:
        with open("/proc/thread-self/ns/net", "rb") as network:
            os.close(fcntl.ioctl(network, NS_GET_USERNS))
    except PermissionError:  # the network's owner is outside of our user namespace
        raise ConfigError("agent", "lacks CAP_NET_ADMIN in this network namespace", advice) from None


def _effective_capabilities() -> int:
    """As a bit set.  Source: proc_pid_status(5)."""
    lines = Path("/proc/thread-self/status").read_text().splitlines()
    return next((int(line.split()[1], 16) for line in lines if line.startswith("CapEff:")), 0)
