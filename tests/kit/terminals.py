"""A person at a terminal: a program in a pseudo-terminal of its own, its screen, keys, and a new size."""

import os
import pty
import select
import signal
import subprocess
import termios
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import pyte

PATIENCE_S = 30.0
CONTROLLING = 'exec <"$0" >"$0" 2>&1; exec "$@"'
"""The first terminal that the leader of a session opens is the one that controls it."""


class Terminal:
    """A program that believes to be at a terminal.  ``raw`` is all that it wrote."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], columns: int, rows: int) -> None:
        self._person, self._line = pty.openpty()
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        termios.tcsetwinsize(self._line, (rows, columns))
        self.modes_before = self.modes
        self.process = subprocess.Popen(
            ["sh", "-c", CONTROLLING, os.ttyname(self._line), *command],
            env={**environment, "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"},
            start_new_session=True,
        )

    @property
    def modes(self) -> list[Any]:
        """As ``stty`` shows them."""
        return termios.tcgetattr(self._line)

    @property
    def text(self) -> str:
        """What stands on the screen."""
        self._read(0)
        return "\n".join(line.rstrip() for line in self._screen.display)

    def until(self, condition: Callable[[str], bool]) -> str:
        """Wait until what stands on the screen is as it should be."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition(self.text):
            assert time.monotonic() < deadline, f"did not come to be:\n{self.text}"
            self._read(0.1)
        return self.text

    def shows(self, *words: str) -> str:
        return self.until(lambda text: all(word in text for word in words))

    def type(self, keys: bytes) -> None:
        os.write(self._person, keys)

    def resize(self, columns: int, rows: int) -> None:
        """As a window is resized: the program is told by its signal."""
        self._screen.resize(rows, columns)
        termios.tcsetwinsize(self._person, (rows, columns))

    def hang_up(self) -> None:
        """The window is closed."""
        os.close(self._person)
        self._person = -1

    def end(self) -> int:
        """The exit code, once the program is over."""
        deadline = time.monotonic() + PATIENCE_S
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"does not end:\n{self.text}"
            self._read(0.05)
        self._read(0)
        return self.process.wait()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        for descriptor in (self._person, self._line):
            with suppress(OSError):
                os.close(descriptor)

    def _read(self, patience_s: float) -> None:
        while self._person >= 0 and select.select([self._person], [], [], patience_s)[0]:
            data = os.read(self._person, 65536)
            self.raw += data
            self._stream.feed(data)
            patience_s = 0


@contextmanager
def terminal(
    command: Sequence[str], environment: Mapping[str, str], columns: int = 80, rows: int = 24
) -> Generator[Terminal]:
    """The program, ended afterwards whatever became of it."""
    made = Terminal(command, environment, columns, rows)
    try:
        yield made
    finally:
        made.close()
