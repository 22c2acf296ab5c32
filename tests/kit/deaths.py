"""Processes that die at a system call of one's choice, as strace injects it.

    with killed_at(node.pid, "unlinkat", 3):
        node.run("DEL", pod)
    if node.has_died(): …

What changes something is in ``CHANGES``: wherever between two of them a death falls, it leaves the same behind.
``CALLS`` has the calls besides that take something, a lock or a file, and let go of it with the process.
"""

import os
import shutil
import subprocess
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import Final

import pytest

MISSING = None if shutil.which("strace") else "strace is not installed"
"""Why nobody can be killed so; None when it can be done."""
CHANGES: Final = ("write", "linkat", "renameat", "unlinkat", "ftruncate", "mkdir", "mkdirat", "sendto", "fsync")
CALLS: Final = (*CHANGES, "openat", "flock", "setns")
MOST: Final = 200
"""More often than any of them is called in one verb, or one start."""


@contextmanager
def killed_at(pid: int, call: str, number: int) -> Generator[None]:
    """The process ``pid`` dies when one of its threads makes ``call`` for the ``number``-th time in the body."""
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    words = ["strace", "-f", "-e", f"trace={call}", "-e", inject, "-o", os.devnull, "-p", str(pid)]
    tracer = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        yield
    finally:
        tracer.kill()  # asked to end, it may wait for a thread that is gone; who is left goes on untraced
        tracer.communicate()


def deaths() -> Iterator[int]:
    """1, 2, … for ``killed_at``, until nobody dies any more: that is for the caller to see, and to stop."""
    yield from range(1, MOST)
    pytest.fail(f"more than {MOST} deaths")
