"""Completion and the manual are made of the parsers themselves: what they offer, the parser takes."""

import shutil
import subprocess

import pytest

from tulle.cli.completion import SHELLS, script
from tulle.cli.grammar import read_grammar
from tulle.cli.main import COMMANDS
from tulle.cli.manual import page

GRAMMAR = read_grammar({name: command.module for name, command in COMMANDS.items()})


def _complete(*words: str) -> set[str]:
    """What bash offers for the last word."""
    line = " ".join(f"'{word}'" for word in words)
    asked = f"COMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _tulle"
    code = f'{script("bash")}\n{asked}; printf "%s\\n" "${{COMPREPLY[@]}}"'
    bash = shutil.which("bash")
    assert bash is not None, "bash is in every Debian"
    done = subprocess.run([bash, "-c", code], capture_output=True, text=True, check=True, env={"PATH": "/nowhere"})
    return set(done.stdout.split())


def test_every_command_of_the_table_is_in_the_grammar() -> None:
    assert [verb.words[0] for verb in GRAMMAR.verbs] == list(COMMANDS)


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        pytest.param(("tulle", "st"), {"status"}, id="a command"),
        pytest.param(("tulle", "lab", "re"), {"remove", "resume"}, id="a command of a command"),
        pytest.param(("tulle", "lab", "remove", ""), {"node", "-h", "--help"}, id="a third level"),
        pytest.param(("tulle", "lab", "up", "--un"), {"--underlay"}, id="a flag"),
        pytest.param(("tulle", "lab", "up", "--nodes", "3", "--po"), {"--pods"}, id="a flag after another's value"),
        pytest.param(
            ("tulle", "plan", "--from"), {"--from-scratch"}, id="a flag of one of several commands of a module"
        ),
        pytest.param(("tulle", "nonsense", "--un"), set[str](), id="nothing for an unknown command"),
    ],
)
def test_bash_is_offered_what_the_parser_takes(words: tuple[str, ...], offered: set[str]) -> None:
    assert _complete(*words) == offered


@pytest.mark.parametrize("shell", SHELLS)
def test_every_flag_is_in_every_script(shell: str) -> None:
    text = script(shell)
    assert all(name in text for verb in GRAMMAR.every() for flag in verb.flags for name in flag.names)


def test_the_manual_has_every_command_and_flag() -> None:
    text = page().replace("\\-", "-")
    for verb in GRAMMAR.every():
        assert " ".join(verb.words) in text
        assert [flag.names for flag in verb.flags if flag.names[-1] not in text] in ([], [("-h", "--help")])


def test_no_line_of_the_manual_is_an_unknown_request() -> None:
    requests = {line.split()[0] for line in page().splitlines() if line.startswith((".", "'"))}
    assert requests <= {".TH", ".SH", ".SS", ".TP", ".B", ".I"}
