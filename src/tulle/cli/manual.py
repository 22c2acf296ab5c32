"""``tulle man``: the manual page, in roff, made from the same parsers as ``--help``.

tulle man | man -l -
"""

import argparse
from collections.abc import Iterator
from typing import Final

from tulle import __version__
from tulle.cli.grammar import Flag, Subparsers, Verb, read_grammar
from tulle.errors import EXIT_YES

PREFACE: Final = """\
.TH TULLE 1 "" "tulle {version}" "User Commands"
.SH NAME
tulle \\- an overlay network that you can see through
.SH SYNOPSIS
.B tulle
.I COMMAND
[...]
.SH DESCRIPTION
Containers on many machines need one flat network. tulle gives it to them, compatible with flannel, and shows them
every step of it: a node agent, a CNI plugin, a laboratory in network namespaces, and a trace of live packets.
.SH COMMANDS"""

AFTERWORD: Final = """\
.SH EXIT STATUS
.TP
.B 0
Yes.
.TP
.B 1
No: a fault found, a packet not delivered, something would change.
.TP
.B 2
Could not do it: usage, permission, missing kernel feature. One line on standard error says which object, what is
wrong and what to do.
.SH ENVIRONMENT
.TP
.B TULLE_LANG
en or zh; the flag \\-\\-lang wins, then this, then the locale.
.TP
.B TULLE_ROOT
The root folder of the agent that is meant.
.TP
.B TULLE_LAB
The lab that is meant.
.TP
.B NO_COLOR
No colours.
.SH FILES
/run/flannel/subnet.env, /run/tulle/agent.sock, /var/lib/tulle/, /var/lib/cni/networks/"""


def add_parser(subparsers: Subparsers) -> None:
    text = "Print the manual page: 'tulle man | man -l -' shows it."
    subparsers.add_parser("man", help="print the manual page", description=text).set_defaults(run=run)


def run(_: argparse.Namespace) -> int:
    """Print the page."""
    print(page())
    return EXIT_YES


def page() -> str:
    """The manual page.  Source: man(7)."""
    from tulle.cli.main import COMMANDS  # its table names this module

    grammar = read_grammar({name: command.module for name, command in COMMANDS.items()})
    verbs = (line for verb in grammar.every() if verb.words and not verb.verbs for line in _verb(verb))
    return "\n".join([PREFACE.format(version=__version__), *verbs, AFTERWORD])


def _verb(verb: Verb) -> Iterator[str]:
    arguments = " ".join(argument.name for argument in verb.arguments)
    yield f".SS tulle {_escaped(' '.join(verb.words))} {_escaped(arguments)}".rstrip()
    yield _escaped(verb.text)
    for argument in verb.arguments:
        yield from (".TP", f".I {_escaped(argument.name)}", _escaped(argument.text) or "\\&")
    for flag in verb.flags:
        if "--help" not in flag.names:
            yield from (".TP", _flag(flag), _escaped(flag.text) or "\\&")


def _flag(flag: Flag) -> str:
    names = ", ".join(f"\\fB{_escaped(name)}\\fR" for name in flag.names)
    return f"{names} \\fI{_escaped(flag.value)}\\fR" if flag.value else names


def _escaped(text: str) -> str:
    """``text`` as roff prints it: no escapes of its own, hyphens as they are typed, no line a request."""
    plain = text.replace("\\", "\\e").replace("-", "\\-").replace("\n", " ")
    return "\\&" + plain if plain.startswith((".", "'")) else plain
