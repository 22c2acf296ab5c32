"""What the terminal can draw: its width, and whether a box character is one column wide.

A terminal set for Chinese, Japanese or Korean may draw "─" over two columns, which tears every box.
Nobody but the terminal knows, so it is asked: a character is written, and the cursor's column read.
"""

import os
import re
import select
import shutil
import sys
from collections.abc import Mapping
from typing import Final

PIPE_COLUMNS: Final = 120
"""How wide plain lines are when nobody says."""
_ASK: Final = b"\r\xe2\x94\x80\x1b[6n"
"""A box character at the start of the line, and "where is the cursor?"  Source: ECMA-48 §8.3.35."""
_FORGET: Final = b"\r\x1b[K"
_ANSWER: Final = re.compile(rb"\x1b\[\d+;(\d+)R")
_PATIENCE_S: Final = 0.3
_WIDE: Final = ("zh", "ja", "ko")


def columns() -> int:
    """The terminal's width; that of plain lines without one."""
    return shutil.get_terminal_size((PIPE_COLUMNS, 24)).columns


def draws_boxes(environment: Mapping[str, str] = os.environ) -> bool:
    """May output have box characters: it is UTF-8, and they are one column wide."""
    if (sys.stdout.encoding or "").lower().replace("-", "") != "utf8":
        return False
    locale = next((environment[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environment.get(name)), "")
    if not locale.startswith(_WIDE) or not (sys.stdin.isatty() and sys.stdout.isatty()):
        return True
    return _width_of_a_box(sys.stdin.fileno(), sys.stdout.fileno()) != 2


def _width_of_a_box(keyboard: int, screen: int) -> int | None:
    """Columns that the cursor moved; None: the terminal does not say."""
    try:
        import termios
        import tty
    except ImportError:  # not a Unix
        return None
    try:
        before = termios.tcgetattr(keyboard)
        tty.setcbreak(keyboard, termios.TCSADRAIN)  # TCSADRAIN keeps what was typed ahead
    except termios.error:
        return None
    try:
        os.write(screen, _ASK)
        found = _ANSWER.search(_reply(keyboard))
        os.write(screen, _FORGET)
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
    return int(found[1]) - 1 if found else None


def _reply(keyboard: int) -> bytes:
    """What comes until the answer's last letter, or until patience ends."""
    got = b""
    while not _ANSWER.search(got) and select.select([keyboard], [], [], _PATIENCE_S)[0]:
        more = os.read(keyboard, 64)
        if not more:
            break
        got += more
    return got
