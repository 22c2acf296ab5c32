"""Who changed what: system calls of a process, announcements in a namespace, the cost of a process."""

import os
import re
import shutil
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path

from tulle.kernel.monitor import GROUPS, NFNLGRP_NFTABLES
from tulle.kernel.netlink_socket import NETLINK_NETFILTER, NetlinkSocket
from tulle.wire.netlink import Message
from tulle.wire.rtnetlink.neighbors import decode_neighbor
from tulle.wire.rtnetlink.parts import RTM_DELNEIGH, RTM_NEWNEIGH

STRACE_MISSING = None if shutil.which("strace") else "strace is not installed"

_KIND = re.compile(r"nlmsg_type=(?:\S+ /\* )?0x([0-9a-f]+)")
_OPEN = re.compile(r'openat\([^,]+, "(/proc/sys/[^"]+)"(?:\.\.\.)?, (0x[0-9a-f]+|0)')


def strace(output: Path) -> tuple[str, ...]:
    """In front of a command: records what it and its children send, open and execute."""
    calls = "trace=sendto,sendmsg,openat,execve"
    return ("strace", "-f", "-qq", "-X", "raw", "-s", "64", "-e", calls, "-e", "signal=none", "-o", str(output))


def requests(calls: str) -> list[int]:
    """The kinds of the netlink requests in a record, in the order in which they were sent."""
    sent = (line for line in calls.splitlines() if " sendto(" in line or " sendmsg(" in line)
    return [int(kind, 16) for line in sent for kind in _KIND.findall(line)]


def mutates(kind: int) -> bool:
    """Does a request of this kind change anything?

    rtnetlink numbers its requests new, del, get, set in every family of objects, from 16 on;
    nftables changes things between two messages of kinds 16 and 17 only.  Source: rtnetlink.h, nfnetlink.h.
    """
    return 0x10 <= kind < 0x100 and kind & 3 != 2


def sysctl_writes(calls: str) -> list[str]:
    """The sysctls that a record shows opened for writing."""
    return [path for path, flags in _OPEN.findall(calls) if int(flags, 16) & os.O_ACCMODE != os.O_RDONLY]


def _of_a_group(message: Message) -> bool:
    """Is it about the neighbour entry of a multicast group?"""
    if message.kind not in {RTM_NEWNEIGH, RTM_DELNEIGH}:
        return False
    dst = decode_neighbor(message).dst
    return dst is not None and dst.is_multicast


@contextmanager
def announcements(namespace: Path) -> Generator[Callable[[], list[Message]]]:
    """What the kernel announces in a namespace, devices to rules, since the block began.

    Left out: neighbour entries of multicast groups.  The kernel makes them when a node joins or reports a
    group, and collects them at a moment of its own.
    """
    with (
        NetlinkSocket.open(namespace, groups=GROUPS) as routes,
        NetlinkSocket.open(namespace, protocol=NETLINK_NETFILTER, groups=(NFNLGRP_NFTABLES,)) as rules,
    ):
        heard: list[Message] = []

        def listen() -> list[Message]:
            heard.extend(message for message in routes.receive() if not _of_a_group(message))
            heard.extend(rules.receive())
            return heard

        yield listen


def cpu_s(pid: int) -> float:
    """User and system time of a process so far, its ended children's included.  Source: proc_pid_stat(5)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def open_files(pid: int) -> list[str]:
    """What a process has open, without the numbers; what it closes meanwhile is left out."""
    found: list[str] = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(os.readlink(entry))
    return sorted(found)


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))
