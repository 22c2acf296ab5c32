"""Who told the kernel what: changes by rtnetlink, processes and programs, as strace saw them.

Messages are decoded by pyroute2, which shares no code with tulle.
"""

import re
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Final

MISSING = None if shutil.which("strace") else "strace: not installed"
"""Why nothing can be watched here; None when it can."""

HEADER: Final = re.compile(
    r"\{nlmsg_len=(\d+), nlmsg_type=(\w+)[^,]*, nlmsg_flags=[^,]*, nlmsg_seq=(\d+), nlmsg_pid=(\d+)\}(?:, "
    r'"((?:\\x[0-9a-f]{2})*)")?'
)
RTNETLINK: Final = range(16, 0x400)
ASKS: Final = 2
"""RTM_GET…, of the four kinds of each family.  Source: linux/rtnetlink.h."""
LEAST: Final = 24
"""Bytes of the shortest; what is shorter begins or ends a transaction of nftables, under RTM_NEWLINK's number."""
CLONED: Final = re.compile(r"(?:clone3?|v?fork)\b.* = (\d+)(?: .*)?$")
"""A call that made a process or thread, at once or resumed."""
EXECUTED: Final = re.compile(r'execve\("((?:\\x[0-9a-f]{2})*)"')


def watching(listing: Path) -> tuple[str, ...]:
    """The words that make a command, and all that it starts, be listed."""
    calls = "trace=sendto,sendmsg,clone,clone3,fork,vfork,execve"
    return ("strace", "-f", "--seccomp-bpf", "-qq", "-xx", "-s", "65536", "-e", calls, "-o", str(listing))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """One request that changes something: by which thread, of which kind (``RTM_NEWLINK``), saying what."""

    thread: int
    kind: str
    attributes: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What strace wrote: the requests, the programs that were started, and who started whom."""

    told: tuple[Told, ...]
    programs: tuple[tuple[int, str], ...]
    parents: dict[int, int]

    def owner(self, thread: int, known: set[int]) -> int:
        """The nearest of the ``known`` processes that ``thread`` is, or descends from; 0: none."""
        while thread and thread not in known:
            thread = self.parents.get(thread, 0)
        return thread


def read_listing(path: Path) -> Listing:
    told: list[Told] = []
    programs: list[tuple[int, str]] = []
    parents: dict[int, int] = {}
    for line in path.read_text(errors="replace").splitlines():
        number, _, rest = line.partition(" ")
        thread = int(number)
        if (made := CLONED.search(rest)) is not None:
            parents[int(made[1])] = thread
        if (program := EXECUTED.search(rest)) is not None:
            programs.append((thread, Path(_bytes(program[1]).decode()).name))
        told += _changes(thread, rest)
    return Listing(told=tuple(told), programs=tuple(programs), parents=parents)


def _changes(thread: int, call: str) -> Iterator[Told]:
    for length, kind, sequence, port, payload in HEADER.findall(call):
        number = int(kind, 0)  # a name in place of a number would be a socket of this namespace, which no lab has
        if number not in RTNETLINK or number % 4 == ASKS or int(length) < LEAST:
            continue
        header = struct.pack("=IHHII", int(length), number, 0, int(sequence), int(port))
        message = _decoded(header + _bytes(payload))
        yield Told(thread=thread, kind=str(message["event"]), attributes=_flat(message))


def _decoded(message: bytes) -> Any:
    marshal: Any = import_module("pyroute2.netlink.rtnl.marshal")  # it has no types
    return next(iter(marshal.MarshalRtnl().parse(message)))


def _flat(message: Any) -> dict[str, Any]:
    found = {key: value for key, value in message.items() if key not in {"attrs", "header", "event"}}
    return found | dict(message["attrs"])


def _bytes(escaped: str) -> bytes:
    return bytes.fromhex(escaped.replace("\\x", ""))
