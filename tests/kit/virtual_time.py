"""Time that passes only when everybody sleeps: an event loop, the clock that goes with it, seeded chance, files.

``run`` takes a coroutine through hours in milliseconds.  When nothing is ready the loop jumps to
the next timer; when there is none either, nobody will ever wake anybody, and that is an error.
"""

import asyncio
import random
import selectors
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

NS = 1_000_000_000


PATIENCE = 100_000
"""Turns of the loop in which no time passes, and nobody will ever let it."""


class Stuck(AssertionError):
    """Every task waits and no timer is set; or somebody is always busy, and no timer gets its turn."""


class _JumpingSelector(selectors.SelectSelector):
    now_s = 1000.0
    turns = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise Stuck("every task waits and no timer is set")
        self.turns = 0 if timeout > 0 else self.turns + 1
        if self.turns > PATIENCE:
            raise Stuck("somebody is always busy, and time does not pass")
        self.now_s += max(0.0, timeout)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is virtual."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now_s


def run(story: Coroutine[Any, Any, T]) -> T:
    """The story's result, told in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(story)


class VirtualClock:
    """``seams.Clock`` on the running loop's time.  ``suspended_s`` adds time that no timer saw."""

    def __init__(self) -> None:
        self.suspended_s = 0.0

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time() + self.suspended_s

    def boottime_ns(self) -> int:
        return round(self.now_s * NS)

    def wall_ns(self) -> int:
        return 1_700_000_000 * NS + self.boottime_ns()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SeededRandom:
    """``seams.Random`` that draws the same numbers every time."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)

    def below(self, bound: int) -> int:
        return self._random.randrange(bound)

    def token(self, size: int) -> bytes:
        return self._random.randbytes(size)


class MemoryFiles:
    """``seams.Files`` in a dict; ``fail`` makes the next call raise OSError with this errno."""

    def __init__(self, contents: Mapping[Path, bytes] | None = None) -> None:
        self.contents = dict(contents or {})
        self.modes: dict[Path, int] = {}
        self.fail: int | None = None

    def read(self, path: Path, limit: int = 1 << 20) -> bytes | None:
        self._maybe_fail(path)
        content = self.contents.get(path)
        if content is not None and len(content) > limit:
            raise OSError(27, "File too large", str(path))
        return content

    def replace(self, path: Path, content: bytes, mode: int = 0o644) -> None:
        self._maybe_fail(path)
        self.contents[path], self.modes[path] = content, mode

    def remove(self, path: Path) -> None:
        self._maybe_fail(path)
        self.contents.pop(path, None)

    def _maybe_fail(self, path: Path) -> None:
        if self.fail is not None:
            errno, self.fail = self.fail, None
            raise OSError(errno, "injected", str(path))


async def eventually(condition: Callable[[], bool], within_s: float = 600.0) -> None:
    """Let time pass until ``condition`` holds.  Raises TimeoutError."""
    async with asyncio.timeout(within_s):
        while not condition():  # noqa: ASYNC110 - whatever the condition reads has no event to wait for
            await asyncio.sleep(0.01)
