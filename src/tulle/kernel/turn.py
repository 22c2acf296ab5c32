"""Sharing the loop: long work rests between its pieces, and whoever is served meanwhile goes first."""

import asyncio
import time
from contextlib import suppress
from typing import Final

LENGTH_S: Final = 0.002
HOPS: Final = 5
"""So many turns of the loop make a call out of a new connection; empty ones cost microseconds."""
PATIENCE_S: Final = 0.02
"""An ADD among others takes less.  Long work that waited so long takes its next piece all the same."""

CALM_S: Final = 0.001
"""A runtime that adds pods one after another comes again within half of it."""


class Served:
    """Those who are being served: one more while the body of ``with`` runs."""

    def __init__(self) -> None:
        self.count = 0
        self.nobody = asyncio.Event()
        self.nobody.set()

    def __enter__(self) -> None:
        self.count += 1
        self.nobody.clear()

    def __exit__(self, *_: object) -> None:
        self.count -= 1
        if not self.count:
            self.nobody.set()


class Precedence:
    """Who goes first on one loop: while somebody is served, long work waits in its rests."""

    def __init__(self) -> None:
        self._served = Served()
        self._expected_until_s = float("-inf")

    def serving(self) -> Served:
        """Somebody is served while the body runs."""
        return self._served

    def more_may_come(self) -> None:
        """Who was served comes in rows: the next may be on his way."""
        self._expected_until_s = time.monotonic() + CALM_S

    @property
    def is_calm(self) -> bool:
        """Is nobody served, and nobody expected?"""
        return not self._served.count and time.monotonic() >= self._expected_until_s

    async def give_way(self) -> None:
        """Let who has come be served, and wait for it; never longer than ``PATIENCE_S``."""
        for _ in range(HOPS):
            await asyncio.sleep(0)
        await self.quiet(PATIENCE_S)

    async def calm(self, patience_s: float) -> None:
        """Wait until ``is_calm``, but not longer than that."""
        end_s = time.monotonic() + patience_s
        while not self.is_calm and (left_s := end_s - time.monotonic()) > 0:
            await self.quiet(left_s)
            await asyncio.sleep(min(CALM_S, left_s))

    async def quiet(self, patience_s: float) -> None:
        """Wait until nobody is served, but not longer than that."""
        if self._served.count:
            with suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self._served.nobody.wait()


class Turn:
    """One task's time on the loop, from the moment it is made.  ``precedence``: the work is long, others go first."""

    def __init__(self, precedence: Precedence | None = None) -> None:
        self._precedence = precedence
        self._end = time.perf_counter() + LENGTH_S

    async def rest(self) -> None:
        """Let others run, when this turn has been long enough."""
        if time.perf_counter() > self._end:
            await (asyncio.sleep(0) if self._precedence is None else self._precedence.give_way())
            self._end = time.perf_counter() + LENGTH_S
