"""Sysctls of one network namespace, below /proc/sys/net: the file shows the namespace of the thread that opens it."""

import re
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from tulle.errors import KernelError
from tulle.kernel.netns import inside
from tulle.model.objects import Sysctl, SysctlKey

ROOT: Final = Path("/proc/sys")
_PATH: Final = re.compile(r"net(/[A-Za-z0-9_.@:-]+)+")


def read(netns: int | None, key: SysctlKey) -> Sysctl:
    """The value; None in it when there is no such file (a device that is gone, IPv6 switched off)."""
    path = _file(key)
    try:
        with nullcontext() if netns is None else inside(netns):
            return Sysctl(key.path, path.read_text().strip())
    except OSError:
        return Sysctl(key.path, None)


def write(netns: int | None, sysctl: Sysctl) -> KernelError | None:
    """Set it; None when done."""
    path = _file(sysctl.key)
    try:
        with nullcontext() if netns is None else inside(netns):
            path.write_text(sysctl.value or "")
    except OSError as error:
        return KernelError(error.errno or 0, f"sysctl {sysctl.path}")
    return None


def _file(key: SysctlKey) -> Path:
    """The file of a key that stays below /proc/sys/net, whatever a device is called."""
    if not _PATH.fullmatch(key.path) or any(set(part) == {"."} for part in key.path.split("/")):
        raise KernelError(22, f"sysctl {key.path!r}", "not a name below net/")
    return ROOT / key.path
