"""The packet filter's own tools, run as processes in one namespace.

A fault in a tool or its library cannot take the agent down, and a process costs 2 to 5 ms for
rules that change rarely.
"""

import asyncio
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from errno import EINVAL, ENOENT
from typing import Final, TypeVar

from tulle.errors import KernelError, Unsupported
from tulle.kernel.netns import run_in

T = TypeVar("T")

TIMEOUT_S: Final = 10.0


class ToolFailure(Exception):
    """A tool ended with an error; ``line`` is the first line that it printed."""

    def __init__(self, line: str) -> None:
        super().__init__(line)
        self.line = line


class Tools:
    """Runs tools in one namespace (None: that of this process)."""

    def __init__(self, netns: int | None) -> None:
        self._netns = netns

    async def run(self, tool: str, *arguments: str, given: bytes = b"") -> bytes:
        """What the tool prints.  Raises ToolFailure, Unsupported: it is not installed."""
        command = (tool_path(tool), *arguments)
        return await self.inside(lambda: _output(command, given))

    async def inside(self, function: Callable[[], T]) -> T:
        """``function`` called by a thread in the namespace."""
        netns = self._netns
        return await asyncio.to_thread(function if netns is None else lambda: run_in(netns, function))


def find_tool(name: str) -> str | None:
    """Where a tool is; None: not installed."""
    return shutil.which(name, path=_environment()["PATH"] + ":/usr/sbin:/sbin")


def tool_path(name: str) -> str:
    """Where a tool is.  Raises Unsupported."""
    found = find_tool(name)
    if found is None:
        raise Unsupported(name, f"install the package that has {name} (nftables, iptables)")
    return found


def tool_error(failure: ToolFailure, subject: object) -> KernelError:
    """The tool's line as an error; that something is not there is the one case that callers tell apart."""
    missing = "No such file or directory" in failure.line or "does not exist" in failure.line
    return KernelError(ENOENT if missing else EINVAL, subject, failure.line)


def _output(command: Sequence[str], given: bytes) -> bytes:
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, timeout=TIMEOUT_S, check=False, env=_environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolFailure(str(error)) from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ToolFailure(lines[0] if lines else f"exit code {done.returncode}")
    return done.stdout


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
