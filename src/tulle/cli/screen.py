"""The terminal while one picture fills it: entered, painted, and given back as it was, whatever happens."""

import os
import select
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

ENTER: Final = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[H\x1b[2J"
"""The other screen, no cursor, no wrapping, all blank.  Source: xterm's control sequences, DECSET."""
LEAVE: Final = b"\x1b[?7h\x1b[?25h\x1b[?1049l"
SMALLEST: Final = (20, 3)
USUAL: Final = (80, 24)


class Screen:
    """``with Screen(out, keyboard) as screen``.  ``keyboard`` None: nobody types.

    Modes are set by a copy of those that were found, so that leaving restores every one of them.
    """

    def __init__(self, out: int, keyboard: int | None) -> None:
        self.keyboard = keyboard
        self._out = out
        self._modes: list[Any] | None = None  # as termios has them
        self._shown: list[bytes] = []

    def __enter__(self) -> "Screen":
        self.enter()
        return self

    def __exit__(self, *_: object) -> None:
        self.leave()

    def enter(self) -> None:
        """Take the terminal: keys come one by one and unseen; Ctrl-C and Ctrl-Z stay signals."""
        import termios

        if self.keyboard is not None:
            self._modes = termios.tcgetattr(self.keyboard)
            modes = termios.tcgetattr(self.keyboard)
            modes[3] &= ~(termios.ICANON | termios.ECHO)
            modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
            termios.tcsetattr(self.keyboard, termios.TCSADRAIN, modes)
        try:
            self._write(ENTER)
        except BaseException:
            self.leave()
            raise
        self._shown = []

    def leave(self) -> None:
        """Give the terminal back.  One that is gone needs nothing; idempotent."""
        import termios

        with suppress(OSError):
            self._write(LEAVE)
        if self.keyboard is not None and self._modes is not None:
            with suppress(termios.error):
                termios.tcsetattr(self.keyboard, termios.TCSANOW, self._modes)
        self._modes = None

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows, now; the usual ones where the terminal does not know."""
        try:
            found = os.get_terminal_size(self._out)
        except OSError:
            return USUAL
        columns, rows = found.columns or USUAL[0], found.lines or USUAL[1]
        return max(columns, SMALLEST[0]), max(rows, SMALLEST[1])

    def show(self, lines: Sequence[str]) -> None:
        """Paint what differs from what is there.  A terminal that takes nothing (Ctrl-S) is not waited for.

        Raises OSError: it is gone.
        """
        if not select.select([], [self._out], [], 0)[1]:
            return
        wanted = [line.encode(errors="replace") for line in lines]
        changes = repaint(self._shown, wanted)
        if changes:
            self._write(changes)
        self._shown = wanted

    def forget(self) -> None:
        """Somebody else has painted, or the size is another one: the next ``show`` paints everything."""
        self._shown = []

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._out, data) :]


def repaint(shown: Sequence[bytes], wanted: Sequence[bytes]) -> bytes:
    """What makes a screen of the lines ``shown`` one of the lines ``wanted``; nothing shown: from a blank one."""
    parts = [] if shown else [b"\x1b[2J"]
    for at, line in enumerate(wanted):
        if at >= len(shown) or shown[at] != line:
            parts.append(b"\x1b[%d;1H\x1b[K%s" % (at + 1, line))  # erased first: a full line leaves the cursor in it
    if len(shown) > len(wanted):
        parts.append(b"\x1b[%d;1H\x1b[J" % (len(wanted) + 1))
    return b"".join(parts)
