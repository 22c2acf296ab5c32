"""``tulle show``: a recorded walk again, in any form: on any machine, without root, without a network."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tulle.cli.pictures import add_picture_flags, masked, write_pictures
from tulle.cli.trace import add_forms, print_journeys
from tulle.errors import EXIT_YES, ConfigError, DecodeError

if TYPE_CHECKING:
    from tulle.trace.journey import Journey

    Parsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # argparse's name

DESCRIPTION: Final = (
    "Show a recorded walk again: read it from JSON, from a page or from a capture file that tulle wrote, and print or "
    "draw it in any form. The same walk gives the same bytes everywhere."
)
EPILOG: Final = "Prints the walk, unless a file is asked for. Exit code 0: shown, 2: the file holds no walk."
_LARGEST: Final = 256 << 20


def add_parser(subparsers: "Parsers") -> None:
    parser = subparsers.add_parser(
        "show", help="a recorded walk again, in any form", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("file", metavar="FILE", help="walk.json, walk.html or walk.pcapng ('-': stdin)")
    add_forms(parser)
    add_picture_flags(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit 0: shown, whatever the walk's own verdict."""
    journeys = masked(args, _read(args.file))
    if not write_pictures(args, journeys):
        print_journeys(args, journeys)
    return EXIT_YES


def _read(name: str) -> tuple["Journey", ...]:
    """The journeys in the file.  Raises ConfigError: there are none."""
    from tulle.render.forms import read_journeys  # what draws is heavy: not for --help

    with sys.stdin.buffer if name == "-" else Path(name).open("rb") as source:
        data = source.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise ConfigError(name, f"larger than {_LARGEST >> 20} MiB", "give a recorded walk")
    try:
        return read_journeys(data)
    except DecodeError as error:
        raise ConfigError(name, "holds no walk that can be read", str(error)) from None
