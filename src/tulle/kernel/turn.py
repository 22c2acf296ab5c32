"""Sharing the loop: long work rests between its pieces, short work is not interrupted for nothing."""

import asyncio
import time
from typing import Final

LENGTH_S: Final = 0.002


class Turn:
    """One task's time on the loop, from the moment it is made."""

    def __init__(self) -> None:
        self._end = time.perf_counter() + LENGTH_S

    async def rest(self) -> None:
        """Let others run, when this turn has been long enough."""
        if time.perf_counter() > self._end:
            await asyncio.sleep(0)
            self._end = time.perf_counter() + LENGTH_S
