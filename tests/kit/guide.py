"""The guide's pages, whose outputs and pictures are the program's own: run them, and put in what came out.

    python -m tests.kit.guide [PAGE ...]        what tools/guide does; without PAGE all of them

A page is done as ``docs`` does it, by an ordinary user.  What a command printed replaces what the
page shows below it, unless that is still the same but for what differs from run to run (``VARYING``);
so a second run changes nothing, and a page that is not changed by a run is true.  A command
without lines below it gets none; ``???`` asks for its output.  A line ``...`` and an ``…`` are an
author's, and stay as long as the rest fits.  A picture that a page shows and one of its commands
wrote (``walk.svg`` for ``pictures/walk.svg``) is put in its place by the same rule.
"""

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.kit.docs import ANY_LINES, ANYTHING, Command, matches, trimmed, typed
from tests.kit.labs import LabCommand
from tests.kit.ordinary import MISSING, ordinary_user

HOUSE: Final = Path(__file__).parents[2]
GUIDE: Final = HOUSE / "docs/guide"
PICTURES: Final = GUIDE / "pictures"
COLUMNS: Final = 100
LINE_END: Final = re.compile(r"</text><text[^>]*>")
IMAGE: Final = re.compile(r"!\[[^\]]*\]\(pictures/([^)]+)\)")

VARYING: Final[Mapping[str, str]] = {
    "a random MAC; a pod's and a bridge's follow from the address": r"\b(?!0a:58:)(?:[0-9a-f]{2}:){5}[0-9a-f]{2}\b",
    "its last two bytes": r"…[0-9a-f]{2}:[0-9a-f]{2}",
    "the link-local address made of it": r"\bfe80::[0-9a-f:]+",
    "a probe's id": r"(?<=probe )[0-9a-f]{8}|(?<=探测包 )[0-9a-f]{8}",
    "the tunnel's source port, a hash": r"\b[0-9]{4,5}(?=( →|→| ?> ?[0-9.]+\.)8472)",
    "a time with its unit": r"[≤<]?\b[0-9]+(\.[0-9]+)? ?(ms|s|µs|毫秒|秒|sec)(?![a-z])",
    "a time in a column": r"[≤<]?(?<![0-9.])[0-9]+\.[0-9](?![0-9.])",
    "an interface's number": r"(?<=@if)[0-9]+|^[0-9]+(?=: )",
    "a process's number": r"(?<=pid )[0-9]+",
    "a neighbour's age": r"\b(REACHABLE|DELAY|STALE|PROBE)\b",
    "how long a conversation is remembered": r"(?<=icmp     1 )[0-9]+",
    "when a packet was seen": r"\b[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}",
    "the digest of the firewall's rules, which are compared themselves": r"(?<=tulle:)[0-9a-f]{16}",
    "a packet's number": r"(?<=id )[0-9]+(?=,)|(?<=id=)[0-9]+",
}
"""What may differ between two runs of the same command, by what it is."""
INCIDENTAL: Final = re.compile(
    r"^ *· (ARP who-has|ARP 询问|neighbour discovery for|邻居发现询问) .* (answered on|上应答)"
)
"""A line that may be there or not: somebody's neighbour entry was due for confirmation while a trace looked on."""
_ANY_OF_IT: Final = re.compile("|".join(f"(?:{pattern})" for pattern in VARYING.values()), re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a page should be now: its text, and the pictures that its commands wrote, by name."""

    text: str
    pictures: Mapping[str, str]


def pages() -> Sequence[Path]:
    """All pages of the guide, in their order."""
    return sorted(GUIDE.glob("*.md"))


def language(page: Path) -> str:
    """``en``, or ``zh`` for ``NAME.zh.md``."""
    return "zh" if page.name.endswith(".zh.md") else "en"


def pictures_of(text: str) -> Sequence[str]:
    """The names of the pictures that a page shows."""
    return IMAGE.findall(text)


def make(page: Path) -> Made:
    """Do all that a page says, as an ordinary user.  Raises AssertionError: a command failed."""
    text = page.read_text(encoding="utf-8")
    with ordinary_user() as user:
        reader = user.speaking(language(page))
        try:
            done = list(typed(page, reader, user.home, COLUMNS))
        finally:
            LabCommand("none", user).run("", "--all", tulle=["lab", "down"])
        written = {name: user.home / name for name in pictures_of(text)}
        pictures = {name: file.read_text(encoding="utf-8") for name, file in written.items() if file.exists()}
    return Made(text=rewritten(text, done), pictures=pictures)


def rewritten(text: str, done: Sequence[tuple[Command, Sequence[str]]]) -> str:
    """The page with the output of each command below it."""
    lines = text.split("\n")
    for command, printed in reversed(done):
        if command.shown and not still_true(trimmed(command.shown), trimmed(printed)):
            end = command.line + _height(lines, command)
            start = end - len(command.shown)
            indent = re.match(" *", lines[command.line - 1])
            lines[start:end] = [f"{indent[0] if indent else ''}{line.rstrip()}" for line in trimmed(printed)]
    return "\n".join(lines)


def still_true(shown: Sequence[str], printed: Sequence[str]) -> bool:
    """Does a command print what is shown, but for what varies?  That may also move a line's end."""
    if not any(_ANY_OF_IT.search(line) for line in shown):
        return matches(shown, printed)
    pattern = " ".join(_pattern(line) for line in _lasting(shown))
    return re.fullmatch(pattern, " ".join(_words(line) for line in _lasting(printed)), re.DOTALL) is not None


def _lasting(lines: Sequence[str]) -> Iterator[str]:
    return (line for line in lines if line.strip() and not INCIDENTAL.match(line))


def same_picture(one: str, other: str) -> bool:
    """Are two pictures the same but for what varies?  That may also move the end of a caption's line."""
    first, second = (_ANY_OF_IT.sub("0", LINE_END.sub(" ", picture)) for picture in (one, other))
    return first == second


def _pattern(line: str) -> str:
    if line.strip() == ANY_LINES:
        return ".*"
    return ".*".join(re.escape(part) for part in _words(line).split(ANYTHING))


def _words(line: str) -> str:
    return " ".join(_ANY_OF_IT.sub("0", line).split())


def _height(lines: Sequence[str], command: Command) -> int:
    """How many lines a command and what is shown below it take, from its first."""
    words = 1
    while lines[command.line + words - 2].rstrip().endswith("\\"):
        words += 1
    return words - 1 + len(command.shown)


def differences(page: Path, made: Made) -> Iterator[Path]:
    """What of a page and its pictures is not as it was made."""
    if page.read_text(encoding="utf-8") != made.text:
        yield page
    for name, picture in made.pictures.items():
        file = PICTURES / name
        if not file.exists() or not same_picture(file.read_text(encoding="utf-8"), picture):
            yield file


def write(page: Path, made: Made) -> Sequence[Path]:
    """Put in what is not as it was made; which files those are."""
    changed = list(differences(page, made))
    for file in changed:
        file.parent.mkdir(exist_ok=True)
        file.write_text(made.text if file == page else made.pictures[file.name], encoding="utf-8")
    return changed


def main(names: Sequence[str]) -> int:
    """Make these pages anew, or all."""
    if MISSING:
        print(f"tools/guide: {MISSING}", file=sys.stderr)
        return 2
    for page in [Path(name).resolve() for name in names] or pages():
        changed = write(page, make(page))
        print(f"{page.name}: " + (", ".join(file.name for file in changed) or "as it was"), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
