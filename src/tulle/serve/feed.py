"""The lab as it changes, told to every page that follows it.

The rim.  While somebody follows, the lab is looked at every second and after each act; a look
that shows nothing new is told to nobody.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

import msgspec

from tulle.errors import TulleError
from tulle.render.lab_view import LabView, view_event
from tulle.render.scene import Said
from tulle.serve.answers import EVENTS, Answer, event
from tulle.serve.lab_port import LabPort

PACE_S: Final = 1.0
BUSY: Final = 4
"""Looking takes at most one part in so many of the time, however large the lab is."""
ALIVE_S: Final = 15.0
"""How often a page that is told nothing hears that we are there."""
FAREWELL_S: Final = 1.0
_ENDED: Final = Said("'tulle lab serve' has ended; the lab is still up.", "tulle lab serve 已结束；实验仍在运行。")
_GONE: Final = Said(
    "The lab is gone: 'tulle lab up' makes another, 'tulle lab serve' shows it. This page has ended.",
    "实验已不存在：用 tulle lab up 再建一个，用 tulle lab serve 打开它。本页已结束。",
)


class Feed:
    """Looks at the lab for all pages."""

    def __init__(self, lab: LabPort) -> None:
        self._lab = lab
        self._view: LabView | None = None
        self._news = asyncio.Condition()
        self._again = asyncio.Event()
        self._looking = asyncio.Lock()
        self._followers = 0
        self._over: Said | None = None

    async def run(self) -> None:
        """Look, and tell, until the lab is gone."""
        over = _ENDED
        try:
            while self._lab.is_there():
                pause_s = await self._look() if self._followers else PACE_S
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause_s):
                        await self._again.wait()
                self._again.clear()
            over = _GONE
        finally:
            await self._farewell(over)

    async def _farewell(self, over: Said) -> None:
        """Tell every page that this was the last event, and give them a moment to hear it."""
        self._over = over
        with suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S), self._news:
                self._news.notify_all()
                await self._news.wait_for(lambda: not self._followers)

    async def now(self) -> LabView:
        """The lab as it is at this moment.  Raises ProcessFailed."""
        async with self._looking:
            view = await self._lab.look()
            await self._tell(view)
        return view

    def look_again(self) -> None:
        """Something has been done: do not wait for the next look."""
        self._again.set()

    async def events(self, columns: int) -> AsyncGenerator[bytes]:
        """The lab now, then whatever it becomes; the last event says that it is gone."""
        told: LabView | None = None
        self._followers += 1
        try:
            with suppress(TulleError):
                await self.now()  # what is known is as old as the last look
            while self._over is None:
                if self._view is not None and self._view != told:
                    told = self._view
                    yield event("view", view_event(told, columns))
                elif not await self._something_new(told):
                    yield b": still here\n\n"
            yield event("over", msgspec.json.encode({"en": self._over.en, "zh": self._over.zh}))
        finally:
            self._followers -= 1
            if self._over is not None:
                async with self._news:
                    self._news.notify_all()

    async def _something_new(self, told: LabView | None) -> bool:
        try:
            async with asyncio.timeout(ALIVE_S), self._news:
                await self._news.wait_for(lambda: self._over is not None or self._view != told)
        except TimeoutError:
            return False
        return True

    async def _look(self) -> float:
        """Look once; how long to wait before the next time.  A look that fails is tried again."""
        begun = time.monotonic()
        with suppress(TulleError):
            await self.now()
        return max(PACE_S, (BUSY - 1) * (time.monotonic() - begun))

    async def _tell(self, view: LabView) -> None:
        if view != self._view:
            self._view = view
            async with self._news:
                self._news.notify_all()


def events_answer() -> Answer:
    """What a stream of events begins with."""
    return Answer(media=EVENTS)
