"""Executing another plugin for addresses: as root, so only what root alone can have put there.

The agent does it, or offline the same code: the binary that the runtime executes stays a carrier.
Docs: docs/adr/0018.
"""

import asyncio
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from tulle.wire.cni_error import IPAM_FAILED, CniError
from tulle.wire.cni_ipam import ANSWER_LIMIT, Delegate, failure_of

PATIENCE_S: Final = 30.0
"""As long as one that asks a DHCP server may take."""
PROGRAMS: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Inside: TypeAlias = Callable[[Callable[[], "subprocess.CompletedProcess[bytes]"]], "subprocess.CompletedProcess[bytes]"]
"""Runs a function in the node's network namespace."""


async def execute(delegate: Delegate, verb: str, inside: Inside, conf: bytes | None = None) -> bytes:
    """What the plugin prints.  ``conf``: another standard input than the recorded one.

    Raises CniError: its own, or it is not there, or it does not end.
    """
    program = find(delegate)
    environment = {**delegate.environment, "CNI_COMMAND": verb, "PATH": PROGRAMS}
    given = delegate.conf.encode() if conf is None else conf

    def run() -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run(
            [program], env=environment, input=given, capture_output=True, timeout=PATIENCE_S, check=False, cwd="/"
        )

    try:
        done = await asyncio.to_thread(inside, run)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CniError(IPAM_FAILED, f"ipam {delegate.type}", str(error)) from None
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise failure_of(delegate.type, verb, done.stdout, said[-1] if said else "")
    return done.stdout[: ANSWER_LIMIT + 1]


def find(delegate: Delegate) -> str:
    """The first file of this name in CNI_PATH.  Raises CniError: there is none, or others than root can write it."""
    for folder in delegate.path:
        candidate = Path(folder) / delegate.type
        try:
            status = candidate.stat()
        except OSError:
            continue
        if not stat.S_ISREG(status.st_mode) or not status.st_mode & 0o111:
            continue
        if status.st_uid not in {0, os.geteuid()} or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise CniError(IPAM_FAILED, f"ipam {delegate.type}", f"{candidate}: others than root can write it")
        return str(candidate)
    raise CniError(IPAM_FAILED, f"ipam {delegate.type}", f"is not in {':'.join(delegate.path)}")
