"""The terminal is given back as it was, and painted with no more than what changed."""

import os
import pty
import signal
import termios
from collections.abc import Generator
from contextlib import contextmanager

import pytest

from tulle.cli.screen import ENTER, LEAVE, USUAL, Screen, repaint


@contextmanager
def terminal() -> Generator[tuple[int, int]]:
    """The two ends of a pseudo-terminal: the one that a person is at, and a program's."""
    person, program = pty.openpty()
    try:
        yield person, program
    finally:
        os.close(program)
        os.close(person)


def until_given_back(person: int) -> bytes:
    """All that the program wrote, up to its last word."""
    said = b""
    while not said.endswith(LEAVE):
        said += os.read(person, 4096)
    return said


def test_modes_and_screen_are_given_back_when_the_body_fails() -> None:
    with terminal() as (person, program):
        before = inside = termios.tcgetattr(program)
        with pytest.raises(ZeroDivisionError), Screen(program, program) as screen:
            inside = termios.tcgetattr(program)
            screen.show(["hello"])
            raise ZeroDivisionError
        assert termios.tcgetattr(program) == before
        assert inside[3] & (termios.ICANON | termios.ECHO) == 0
        assert inside[3] & termios.ISIG
        said = until_given_back(person)
    assert said.startswith(ENTER)
    assert b"hello" in said


def test_without_a_keyboard_no_mode_is_touched() -> None:
    with terminal() as (_, program):
        before = termios.tcgetattr(program)
        with Screen(program, None):
            assert termios.tcgetattr(program) == before


def test_a_terminal_that_is_gone_needs_nothing() -> None:
    person, program = pty.openpty()
    screen = Screen(program, program)
    screen.enter()
    ignored = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        os.close(person)
        with pytest.raises(OSError, match=r"\[Errno 5\]"):
            screen.show(["hello"])
        screen.leave()
    finally:
        signal.signal(signal.SIGHUP, ignored)
        os.close(program)


def test_a_terminal_that_takes_nothing_is_not_waited_for() -> None:
    with terminal() as (_, program), Screen(program, None) as screen:
        termios.tcflow(program, termios.TCOOFF)
        screen.show(["x" * 100] * 100)
        termios.tcflow(program, termios.TCOON)


def test_a_size_that_nobody_knows_is_the_usual_one() -> None:
    with terminal() as (_, program):
        assert Screen(program, None).size == USUAL
        termios.tcsetwinsize(program, (30, 100))
        assert Screen(program, None).size == (100, 30)
    reader, writer = os.pipe()
    assert Screen(writer, None).size == USUAL
    os.close(reader)
    os.close(writer)


def test_only_what_differs_is_painted() -> None:
    assert repaint([], [b"a", b"b"]) == b"\x1b[2J\x1b[1;1H\x1b[Ka\x1b[2;1H\x1b[Kb"
    assert repaint([b"a", b"b"], [b"a", b"c"]) == b"\x1b[2;1H\x1b[Kc"
    assert repaint([b"a", b"b"], [b"a"]) == b"\x1b[2;1H\x1b[J"
    assert repaint([b"a"], [b"a"]) == b""
