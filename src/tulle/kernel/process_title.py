"""What other users of the machine see of a process: its arguments, which stand in its own memory."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

ARG_START: Final = 45
"""Position of ``arg_start`` behind the command's name; ``arg_end`` follows.  Source: proc(5), /proc/pid/stat."""


def hide_argument(flag: str) -> bool:
    """Overwrite the value of ``flag`` among this process's arguments; False when the kernel does not let us.

    Knows ``--flag value`` and ``--flag=value``, with one dash or two.
    """
    name = flag.lstrip("-").encode()
    try:
        start, end = _bounds(Path("/proc/self/stat").read_bytes())
        with open("/proc/self/mem", "r+b", buffering=0) as memory:
            memory.seek(start)
            arguments = memory.read(end - start)
            memory.seek(start)
            memory.write(masked(arguments, name))
    except OSError:
        return False
    return True


def masked(arguments: bytes, name: bytes) -> bytes:
    """``arguments``, each ended by NUL, with x in place of the flag's value; as long as before."""
    words = arguments.split(b"\0")
    return b"\0".join(_masked(words, at, name) for at in range(len(words)))


def _masked(words: Sequence[bytes], at: int, name: bytes) -> bytes:
    word = words[at]
    if at and words[at - 1] in {b"-" + name, b"--" + name}:
        return b"x" * len(word)
    head, sign, value = word.partition(b"=")
    if sign and head in {b"-" + name, b"--" + name}:
        return head + sign + b"x" * len(value)
    return word


def _bounds(stat: bytes) -> tuple[int, int]:
    fields = stat.rpartition(b")")[2].split()
    return int(fields[ARG_START]), int(fields[ARG_START + 1])
