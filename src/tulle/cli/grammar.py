"""The command line as data: every command with its flags, read from the parsers that parse it.

What completion and the manual page are made of, so that neither can say something else than
``--help``.
"""

import argparse
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TypeAlias

# The class has no other name.
Subparsers: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
"""What a command's ``add_parser`` is given."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flag:
    """One option: its spellings, the placeholder of its value ("" takes none), the values to choose from, its help."""

    names: tuple[str, ...]
    value: str
    choices: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Argument:
    """One positional argument, as usage shows it."""

    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """A command or a command of a command; ``words`` is how it is typed after ``tulle``."""

    words: tuple[str, ...]
    text: str
    flags: tuple[Flag, ...]
    arguments: tuple[Argument, ...]
    verbs: tuple["Verb", ...]

    def every(self) -> Iterator["Verb"]:
        """This one and all below it."""
        yield self
        for verb in self.verbs:
            yield from verb.every()


def read_grammar(modules: Mapping[str, str]) -> Verb:
    """The whole command line; ``modules`` says which module has the parser of which command."""
    parser = argparse.ArgumentParser(prog="tulle", add_help=False)
    subparsers = parser.add_subparsers()
    for module in dict.fromkeys(modules.values()):
        import_module(module).add_parser(subparsers)
    whole = _verb((), "", parser)
    order = list(modules)
    verbs = sorted(
        (verb for verb in whole.verbs if verb.words[0] in modules), key=lambda verb: order.index(verb.words[0])
    )
    return Verb(words=(), text="", flags=whole.flags, arguments=(), verbs=tuple(verbs))


def _verb(words: tuple[str, ...], text: str, parser: argparse.ArgumentParser) -> Verb:
    actions = parser._actions  # noqa: SLF001  # argparse offers no other way to ask a parser what it parses
    shown = [action for action in actions if action.help != argparse.SUPPRESS]
    return Verb(
        words=words,
        text=parser.description or text,
        flags=tuple(_flag(action) for action in shown if action.option_strings),
        arguments=tuple(_argument(action) for action in shown if _is_argument(action)),
        verbs=tuple(_verbs(words, actions)),
    )


def _verbs(words: tuple[str, ...], actions: Iterable[argparse.Action]) -> Iterator[Verb]:
    for action in actions:
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # its only name
            texts = {choice.dest: choice.help or "" for choice in action._choices_actions}  # noqa: SLF001  # pyright: ignore[reportPrivateUsage, reportUnknownMemberType, reportUnknownVariableType]  # as above
            for name, parser in action.choices.items():  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]  # choices is untyped
                assert isinstance(parser, argparse.ArgumentParser)
                yield _verb((*words, str(name)), str(texts.get(name, "")), parser)  # pyright: ignore[reportUnknownArgumentType]  # as above


def _is_argument(action: argparse.Action) -> bool:
    return not action.option_strings and action.nargs != argparse.PARSER


def _flag(action: argparse.Action) -> Flag:
    choices = tuple(str(choice) for choice in action.choices or ())
    value = "" if action.nargs == 0 else _placeholder(action) or "|".join(choices) or action.dest.upper()
    return Flag(names=tuple(action.option_strings), value=value, choices=choices, text=_text(action))


def _argument(action: argparse.Action) -> Argument:
    name = _placeholder(action) or action.dest.upper()
    return Argument(name=f"[{name}]" if action.nargs == "?" else name, text=_text(action))


def _placeholder(action: argparse.Action) -> str:
    return " ".join(action.metavar) if isinstance(action.metavar, tuple) else action.metavar or ""


def _text(action: argparse.Action) -> str:
    return (action.help or "").replace("%%", "%")
