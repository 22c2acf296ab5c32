"""Command lines as Go's flag package reads them, since flanneld's do: the words, respelled for argparse.

One dash or two; ``-flag value`` or ``-flag=value``, where the value may look like a flag; a boolean
takes its value only after ``=``.  Source: https://pkg.go.dev/flag, command line flag syntax.
"""

import argparse
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Final

from tulle.errors import ConfigError

TRUE: Final = "true"
"""What a boolean flag without a value says; also how one is told from others: the const of its action."""


def respell(words: Sequence[str], parser: argparse.ArgumentParser) -> list[str]:
    """``words`` with two dashes and every value after ``=``.

    Raises ConfigError: a flag that ``parser`` does not have, with the nearest that it has; a word that is no flag.
    """
    known = _known(parser)
    left, spelled = list(words), list[str]()
    bare = ""  # the boolean before, if it stood alone
    while left:
        word = left.pop(0)
        if word == "--" and not left:
            break
        name, sign, value = word.lstrip("-").partition("=")
        if not name or word[0] != "-" or word.startswith("---"):
            if bare and word == TRUE:
                continue  # what it says already
            advice = f"a boolean is written --{bare}={word}" if bare else f"see '{parser.prog} --help'"
            raise ConfigError(ascii(word)[1:-1], "is no flag", advice)
        action = known.get(name)
        if action is None:
            raise ConfigError(f"--{ascii(name)[1:-1]}", "no such flag", _nearest(name, known, parser))
        bare = name if action.const == TRUE and not sign else ""
        if action.nargs == 0:
            spelled.append(action.option_strings[-1])
        else:
            spelled.append(f"--{name}={value if sign else _value(name, action, left)}")
    return spelled


def _value(name: str, action: argparse.Action, left: list[str]) -> str:
    """The value of a flag without ``=``: implied, or the next word, which is taken from ``left``."""
    if action.const == TRUE:
        return TRUE
    if action.const is not None and not (left and left[0].isdecimal()):
        return str(action.const)
    if not left:
        raise ConfigError(f"--{name}", "needs a value", f"--{name}=…")
    return left.pop(0)


def _known(parser: argparse.ArgumentParser) -> Mapping[str, argparse.Action]:
    actions = parser._actions  # noqa: SLF001  # argparse offers no other way to ask a parser what it parses
    return {option.lstrip("-"): action for action in actions for option in action.option_strings}


def _nearest(name: str, known: Mapping[str, argparse.Action], parser: argparse.ArgumentParser) -> str:
    near = get_close_matches(name, known, n=1)
    return f"did you mean --{near[0]}?" if near else f"see '{parser.prog} --help'"
