"""The live view's loop: looks, keys and signals, until one of them says that it is over.

Signals and keys only note what to do; all painting is in one place, so that the terminal is given
back between two pictures and never in the middle of one.
"""

import asyncio
import os
import signal
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from tulle.cli.screen import Screen
from tulle.cli.watch import ticks
from tulle.cli.watch_look import Watcher
from tulle.errors import EXIT_YES
from tulle.render.walk_text import painted
from tulle.render.watch import watch_rows
from tulle.render.watch_board import Board, Look
from tulle.render.watch_keys import decode_keys, pressed

ENDINGS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KEYS_AT_ONCE: Final = 1024


class Live:
    """One live view.  ``run`` returns the exit code: 0 when somebody quit, 128 and the signal's number otherwise."""

    def __init__(
        self, watcher: Watcher, screen: Screen, look: Look, interval_s: float, *, color: bool, ascii_only: bool
    ) -> None:
        self._watcher, self._screen, self._look, self._interval_s = watcher, screen, look, interval_s
        self._color, self._ascii_only = color, ascii_only
        self._board: Board | None = None
        self._code: int | None = None
        self._over = asyncio.Event()

    async def run(self) -> int:
        with self._listening():
            async with asyncio.TaskGroup() as tasks:
                looking = tasks.create_task(self._look_again_and_again(), name="look")
                await self._over.wait()
                looking.cancel()
        return self._code or EXIT_YES

    async def _look_again_and_again(self) -> None:
        await self._look_once()
        async for _ in ticks(self._interval_s):
            await self._look_once()

    async def _look_once(self) -> None:
        board = await self._watcher.look()
        if not self._look.paused:
            self._board = board
            self._paint()

    def _paint(self) -> None:
        if self._board is None:
            return
        rows = watch_rows(self._board, self._look)
        try:
            self._screen.show([painted(row, color=self._color, ascii_only=self._ascii_only) for row in rows])
        except OSError:  # the terminal is gone, and its signal was lost
            self._end(128 + signal.SIGHUP)

    def _end(self, code: int) -> None:
        self._code = code if self._code is None else self._code
        self._over.set()

    # -- keys and signals -------------------------------------------------------------------

    @contextmanager
    def _listening(self) -> Generator[None]:
        loop, keyboard = asyncio.get_running_loop(), self._screen.keyboard
        for number in ENDINGS:
            loop.add_signal_handler(number, self._end, 128 + number)
        loop.add_signal_handler(signal.SIGWINCH, self._resized)
        loop.add_signal_handler(signal.SIGTSTP, self._step_aside)
        if keyboard is not None:
            loop.add_reader(keyboard, self._typed, keyboard)
        try:
            yield
        finally:
            if keyboard is not None:
                loop.remove_reader(keyboard)
            for number in (*ENDINGS, signal.SIGWINCH, signal.SIGTSTP):
                loop.remove_signal_handler(number)

    def _typed(self, keyboard: int) -> None:
        try:
            typed = os.read(keyboard, KEYS_AT_ONCE)
        except OSError:
            typed = b""
        if not typed:
            self._end(128 + signal.SIGHUP)
        names = [view.name for view in self._board.views] if self._board is not None else []
        for key in decode_keys(typed):
            if key == "quit":
                self._end(EXIT_YES)
            self._look = pressed(self._look, key, names)
        self._paint()

    def _resized(self) -> None:
        columns, rows = self._screen.size
        self._look = replace(self._look, columns=columns, rows=rows)
        self._screen.forget()
        self._paint()

    def _step_aside(self) -> None:
        """Ctrl-Z: the terminal is the shell's until it lets us go on."""
        self._screen.leave()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._screen.enter()
        self._resized()
