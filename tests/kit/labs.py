"""Labs for tests: made by the command itself, gone afterwards, and what one would leave behind."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STATE_FOLDER = Path("/run/tulle/lab")
NETNS_FOLDER = Path("/run/netns")


@dataclass(frozen=True, slots=True)
class LabCommand:
    """``tulle lab …`` for one lab with a name of its own."""

    name: str

    def popen(self, verb: str, *words: str) -> subprocess.Popen[str]:
        """A command, started; its output is read by ``communicate``."""
        return subprocess.Popen(
            [sys.executable, "-m", "tulle", "lab", *verb.split(), "--name", self.name, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )

    def run(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        process = self.popen(verb, *words)
        out, err = process.communicate(timeout=60)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def must(self, verb: str, *words: str) -> str:
        """What a command printed that has to work."""
        done = self.run(verb, *words)
        assert done.returncode == 0, done.stderr or done.stdout
        return done.stdout

    def facts(self, verb: str, *words: str) -> dict[str, Any]:
        return json.loads(self.must(verb, "--json", *words))

    def inside(self, place: str, *words: str) -> str:
        """What a command in a node or pod printed."""
        return self.must("exec", place, "--", *words)

    def netns(self, place: str) -> Path:
        return NETNS_FOLDER / f"tulle-{self.name}-{place}"

    def leftovers(self) -> list[str]:
        """What there is of this lab: files, namespaces, living processes."""
        found = [str(path) for path in STATE_FOLDER.glob(f"*{self.name}*")]
        found += [str(path) for path in NETNS_FOLDER.glob(f"tulle-{self.name}-*")]
        return found + processes(self.name)


def processes(word: str) -> list[str]:
    """Living processes of others with ``word`` in their command line (a forked agent keeps that of ``up``)."""
    found: list[str] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            zombie = (folder / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            continue
        if word in command and not zombie and int(folder.name) != os.getpid():
            found.append(f"{folder.name}: {command}")
    return found


def environment() -> Mapping[str, str]:
    """The tests' own import path, English, and no lab chosen by whoever runs the tests."""
    ours = {"PYTHONPATH": os.pathsep.join(sys.path), "TULLE_LANG": "en", "TULLE_LAB": ""}
    return {**os.environ, **ours}


@contextmanager
def a_lab() -> Generator[LabCommand]:
    """A lab's command with a name that nobody else uses; removed afterwards, whatever became of it."""
    lab = LabCommand(f"t{secrets.token_hex(4)}")
    try:
        yield lab
    finally:
        lab.run("down")
