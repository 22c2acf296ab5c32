"""Help: whole in both languages, within eighty columns, and every verb of the lab is in it."""

import argparse
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import cast

import pytest

from tulle.cli.agent import make_agent_parser
from tulle.cli.main import COMMANDS, make_parser
from tulle.cli.zh import HELP
from tulle.render.walk_text import width

PARTS = sorted({command.module: name for name, command in COMMANDS.items()}.values())
"""A command of each module: with it come the others of that module."""


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser and those of all its commands."""
    yield parser
    for action in parser._actions:
        if hasattr(action, "_choices_actions"):
            for command in cast("Mapping[str, argparse.ArgumentParser]", action.choices).values():
                yield from parsers(command)


def of_command(name: str, lang: str) -> list[argparse.ArgumentParser]:
    parser = make_parser(lang, prog="tulle")
    import_module(COMMANDS[name].module).add_parser(parser.add_subparsers())
    return list(parsers(parser))


def test_the_lab_explains_itself_to_a_newcomer() -> None:
    text = of_command("lab", "en")[1].format_help()
    for verb in ("up", "ls", "ping", "check", "exec", "sh", "add", "remove", "pause", "resume", "serve", "down"):
        assert f"\n    {verb} " in text
    assert "Begin with 'tulle lab up'" in text


@pytest.mark.parametrize("name", PARTS)
def test_every_help_text_is_said_in_chinese(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for parser in of_command(name, "zh")[1:]:
        text = parser.format_help()
        said = [parser.description, parser.epilog, *(action.help for action in parser._actions)]
        english = [line for line in said if line and line != argparse.SUPPRESS and line.isascii()]
        assert english == [], parser.prog
        assert "usage" not in text
        assert max(map(width, text.splitlines())) <= 80


def test_tulled_is_said_in_chinese_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser = make_agent_parser("zh", as_flanneld=True)
    parser.format_help()
    assert [action.help for action in parser._actions if action.help and action.help.isascii()] == []


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_help_is_printed_by_every_parser_of_the_lab(lang: str, capsys: pytest.CaptureFixture[str]) -> None:
    for parser in of_command("lab", lang)[1:]:
        with pytest.raises(SystemExit) as ended:
            parser.parse_args(["--help"])
        assert ended.value.code == 0
        assert parser.prog in capsys.readouterr().out


def test_no_translation_is_left_of_a_text_that_is_gone() -> None:
    every = [
        make_agent_parser("en", as_flanneld=True),
        *(parser for name in PARTS for parser in of_command(name, "en")),
    ]
    english = {text for parser in every for text in _texts(parser)}
    used = english | {text[:1].lower() + text[1:].removesuffix(".") for text in english}
    assert set(HELP) - used - {"usage: ", "print the version"} == set()


def _texts(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield from (text for text in (parser.description, parser.epilog) if text)
    yield from (group.title for group in parser._action_groups if group.title)
    for action in parser._actions:
        for line in (action, *getattr(action, "_choices_actions", ())):
            yield line.help or ""
