"""Labs for tests: made by the command itself, gone afterwards, and what one would leave behind."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.kit.kernels import NEEDS_ROOT
from tulle.agent.control import ask
from tulle.agent.options import AgentOptions

STATE_FOLDER = Path("/run/tulle/lab")
NETNS_FOLDER = Path("/run/netns")
PATIENCE_S = 30.0
"""For what comes true within a second on a machine that has nothing else to do."""
WHOLE_S = 110.0
"""For a whole command; below the limit of a test."""

__all__ = ["NEEDS_ROOT"]


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """Who runs the commands: ``prefix`` makes it so; their labs' files are in ``folder``, all others in ``home``."""

    prefix: tuple[str, ...] = ()
    python: str = sys.executable
    environment: Mapping[str, str] | None = None
    folder: Path = STATE_FOLDER
    home: Path = Path("/")

    def speaking(self, lang: str) -> "User":
        """The same user, who reads ``en`` or ``zh``."""
        return replace(self, environment={**(self.environment or {}), "TULLE_LANG": lang})


@dataclass(frozen=True, slots=True)
class LabCommand:
    """``tulle lab …`` for one lab with a name of its own."""

    name: str
    user: User = User()

    def popen(self, verb: str, *words: str, tulle: Sequence[str] = ()) -> subprocess.Popen[str]:
        """A command, started, in a process group of its own; its output is read by ``communicate``.

        ``tulle``: other words than ``lab VERB --name NAME``.
        """
        command = [*tulle] or ["lab", *verb.split(), "--name", self.name]
        return subprocess.Popen(
            [*self.user.prefix, self.user.python, "-m", "tulle", *command, *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**environment(), **(self.user.environment or {})},
            process_group=0,
        )

    def run(self, verb: str, *words: str, tulle: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        process = self.popen(verb, *words, tulle=tulle)
        out, err = process.communicate(timeout=WHOLE_S)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def must(self, verb: str, *words: str, tulle: Sequence[str] = ()) -> str:
        """What a command printed that has to work."""
        done = self.run(verb, *words, tulle=tulle)
        assert done.returncode == 0, done.stderr or done.stdout
        return done.stdout

    def facts(self, verb: str, *words: str) -> dict[str, Any]:
        return json.loads(self.must(verb, "--json", *words))

    def listed(self) -> dict[str, Any]:
        """This lab's facts, as ``ls`` gives them."""
        (found,) = self.facts("ls")["labs"]
        return found

    def inside(self, place: str, *words: str) -> str:
        """What a command in a node or pod printed."""
        return self.must("exec", place, "--", *words)

    def ask(self, node: str, verb: str) -> dict[str, Any]:
        """What a node's agent answers."""
        root = next(found["root"] for found in self.listed()["nodes"] if found["name"] == node)
        return ask(AgentOptions(root=Path(root)).paths.socket, {"verb": verb}, timeout_s=PATIENCE_S)

    def netns(self, place: str) -> Path:
        return NETNS_FOLDER / f"tulle-{self.name}-{place}"

    def leftovers(self) -> list[str]:
        """What there is of this lab: files, namespaces, mounts, links of this machine, living processes.

        A process that was told to end, or whose parent was killed, gets the time to do so.
        """
        kept = [*self._files(), *self._mounts(), *self._links()]
        deadline = time.monotonic() + PATIENCE_S
        while (living := processes(self.name)) and time.monotonic() < deadline:
            time.sleep(0.01)
        return kept + living

    def _files(self) -> list[str]:
        found = [*self.user.folder.glob(f"*{self.name}*"), *NETNS_FOLDER.glob(f"tulle-{self.name}-*")]
        return [str(path) for path in found]

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        known = self._files()  # a namespace's name is a mount as well
        return [line for line in lines if self.name in line and not any(path in line for path in known)]

    def _links(self) -> list[str]:
        """Links outside of namespaces that carry the lab's alias."""
        found: list[str] = []
        for alias in Path("/sys/class/net").glob("*/ifalias"):
            try:
                if alias.read_text().strip() == f"tulle:lab {self.name}":
                    found.append(alias.parent.name)
            except OSError:  # somebody else's link went
                continue
        return found


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


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until ``condition`` holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"did not come true in {PATIENCE_S:g} s"
        time.sleep(0.01)


@contextmanager
def a_lab(user: User = User()) -> Generator[LabCommand]:
    """A lab's command with a name that nobody else uses; removed afterwards, whatever became of it."""
    lab = LabCommand(f"t{secrets.token_hex(4)}", user)
    try:
        yield lab
    finally:
        lab.run("down")
