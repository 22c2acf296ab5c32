"""Pages of documentation as tests: their ``console`` blocks are typed in, in order, and must print what they show.

    ```toml lab.toml            a block whose info string ends in a file's name is that file
    ```console                  "$ " begins a command; the lines below are what it prints
    $ tulle lab ping pod1 pod4
    reply from 10.244.2.3: sequence 1, 0.312 ms
    ...                         any lines; "…" is anything within a line
    ```

Each command is run by ``sh`` and has to end with exit code 0; without lines below it, what it
prints is not looked at.  Times and process numbers may differ.  What cannot be run (another
machine, an interactive program) belongs into a block of another kind: ``sh``, ``text``.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kit.labs import WHOLE_S, User, environment

FENCE: Final = re.compile(r"^( *)```(\S*) *(\S*)$")
VARYING: Final = re.compile(r"\b[0-9]+\.[0-9]+(?= ?(ms|s|µs|毫秒|秒)(?![a-z]))|(?<=pid )[0-9]+")
ANY_LINES, ANYTHING = "...", "…"


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A fenced block: ``kind`` and ``file`` are its info string, ``line`` is where its first line stands."""

    kind: str
    file: str
    line: int
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of a page and the lines that stand below it."""

    line: int
    words: str
    shown: tuple[str, ...]


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page, without their indentation."""
    opened: tuple[int, str, str, str] | None = None
    inside: list[str] = []
    for number, line in enumerate(page.splitlines(), 1):
        fence = FENCE.match(line)
        if opened is None:
            if fence is not None:
                opened, inside = (number + 1, fence[1], fence[2], fence[3]), []
        elif line.strip() == "```":
            first, _, kind, file = opened
            yield Block(kind=kind, file=file, line=first, lines=tuple(inside))
            opened = None
        else:
            inside.append(line.removeprefix(opened[1]))


def commands(block: Block) -> Iterator[Command]:
    """The commands of a ``console`` block; one that ends in a backslash goes on in the next line."""
    found: Command | None = None
    for number, line in enumerate(block.lines, block.line):
        if line.startswith("$ "):
            if found is not None:
                yield found
            found = Command(line=number, words=line[2:], shown=())
        elif found is None:
            raise AssertionError(f"line {number}: a console block begins with '$ '")
        elif found.words.endswith("\\") and not found.shown:
            found = Command(line=found.line, words=found.words[:-1] + line.strip(), shown=())
        else:
            found = Command(line=found.line, words=found.words, shown=(*found.shown, line))
    if found is not None:
        yield found


def run_page(path: Path, user: User, folder: Path, columns: int = 80) -> int:
    """Do what a page says, as ``user`` in ``folder``; how many commands that were.

    Raises AssertionError naming page, line and command: it failed, or printed something else.
    """
    done = 0
    for command, printed in typed(path, user, folder, columns):
        if command.shown:
            shown = "\n".join(command.shown)
            fits = matches(trimmed(command.shown), trimmed(printed))
            found = "\n".join(printed)
            assert fits, f"{_where(path, command)}\n--- the page shows\n{shown}\n--- it printed\n{found}"
        done += 1
    return done


def typed(path: Path, user: User, folder: Path, columns: int) -> Iterator[tuple[Command, Sequence[str]]]:
    """Each command of a page with the lines that it printed, as it is done by ``user`` in ``folder``.

    Raises AssertionError naming page, line and command: its exit code was not 0.
    """
    variables = _environment(user, folder, columns)
    for block in blocks(path.read_text(encoding="utf-8")):
        if block.file:
            (folder / block.file).write_text("\n".join(block.lines) + "\n", encoding="utf-8")
        for command in commands(block) if block.kind == "console" else ():
            yield command, _run(path, command, user, folder, variables)


def matches(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Is ``printed`` what a page shows?"""
    if not shown:
        return not printed
    if shown[0].strip() == ANY_LINES:
        return any(matches(shown[1:], printed[start:]) for start in range(len(printed) + 1))
    return bool(printed) and _same(shown[0], printed[0]) and matches(shown[1:], printed[1:])


def _same(shown: str, printed: str) -> bool:
    parts = [re.escape(VARYING.sub("0", part)) for part in shown.rstrip().split(ANYTHING)]
    return re.fullmatch(".*".join(parts), VARYING.sub("0", printed.rstrip())) is not None


def _run(path: Path, command: Command, user: User, folder: Path, variables: dict[str, str]) -> list[str]:
    done = subprocess.run(
        [*user.prefix, "sh", "-c", command.words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=variables,
        check=False,
        timeout=WHOLE_S,
    )
    assert done.returncode == 0, f"{_where(path, command)}\nexit code {done.returncode}\n{done.stdout}"
    return done.stdout.splitlines()


def _where(path: Path, command: Command) -> str:
    return f"{path.name}:{command.line}: $ {command.words}"


def trimmed(lines: Sequence[str]) -> Sequence[str]:
    """Without empty lines at the end: a page may leave one before the next command."""
    last = max((number for number, line in enumerate(lines, 1) if line.strip()), default=0)
    return lines[:last]


def _environment(user: User, folder: Path, columns: int) -> dict[str, str]:
    """The user's, with ``tulle`` on the path."""
    programs = folder / ".bin"
    programs.mkdir()
    for name, words in (("tulle", "-m tulle"), ("tulled", "-m tulle agent")):
        (programs / name).write_text(f'#!/bin/sh\nexec {user.python} {words} "$@"\n')
        (programs / name).chmod(0o755)
    known = {**environment(), **(user.environment or {})}
    path = os.pathsep.join([str(programs), known.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
    return {**known, "PATH": path, "COLUMNS": str(columns)}
