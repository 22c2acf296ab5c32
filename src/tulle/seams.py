"""The seams through which time, chance and files enter: protocols only.

The real ones are in ``kernel/system.py``; a test or a simulation hands in its own.  Control-plane
code never reads a clock, draws a random number or opens a file by itself.
"""

from pathlib import Path
from typing import Protocol


class Clock(Protocol):
    """Time.  ``boottime_ns`` survives suspend and never jumps; ``wall_ns`` is for records that outlive a boot."""

    def boottime_ns(self) -> int: ...

    def wall_ns(self) -> int: ...

    async def sleep(self, seconds: float) -> None: ...


class Random(Protocol):
    """Chance."""

    def below(self, bound: int) -> int:
        """A uniform integer in [0, bound)."""
        ...

    def token(self, size: int) -> bytes:
        """``size`` unpredictable bytes."""
        ...


class Files(Protocol):
    """Small files.  Never follows a symbolic link at the last component of a path."""

    def read(self, path: Path, limit: int = 1 << 20) -> bytes | None:
        """The content; None when there is no such file.  Raises OSError on anything else, also past ``limit``."""
        ...

    def replace(self, path: Path, content: bytes, mode: int = 0o644) -> None:
        """Write beside, fsync, rename into place, fsync the directory: whole or not at all.

        Makes missing parent directories with mode 0755 (0700 below a ``var/lib/tulle``).
        """
        ...

    def remove(self, path: Path) -> None:
        """Remove; that it is not there is success."""
        ...
