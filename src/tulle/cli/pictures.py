"""Pictures of journeys as files: the flags that ``trace`` and ``show`` share, and the writing.

The forms themselves are in ``render.forms``, which is imported only when one is asked for.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tulle.render.forms import Form
    from tulle.trace.journey import Journey


def add_picture_flags(parser: argparse.ArgumentParser) -> None:
    """``--svg``, ``--html``, ``--pcap`` and ``--redact``."""
    parser.add_argument("--svg", metavar="FILE", help="draw the walk as a picture that moves by itself ('-': stdout)")
    parser.add_argument("--html", metavar="FILE", help="write the walk as one page that works offline ('-': stdout)")
    parser.add_argument(
        "--pcap", metavar="FILE", help="write the captured frames as pcapng, with comments ('-': stdout)"
    )
    parser.add_argument(
        "--redact", action="store_true", help="replace all names and addresses, each by always the same"
    )


def masked(args: argparse.Namespace, journeys: Sequence["Journey"]) -> tuple["Journey", ...]:
    """The journeys as they may be shown: with ``--redact`` without their names and addresses."""
    if not args.redact:
        return tuple(journeys)
    from tulle.render.redact import redact

    return tuple(redact(journey) for journey in journeys)


def to_stdout(args: argparse.Namespace) -> bool:
    """Is a picture wanted on stdout: then nothing else belongs there."""
    return any(name == "-" for _, name in _asked(args))


def write_pictures(args: argparse.Namespace, journeys: Sequence["Journey"]) -> bool:
    """Write what the flags ask for; whether anything was.

    A picture shows one probe: the first that was not delivered, else the first.
    """
    asked = list(_asked(args))
    if not asked or not journeys:
        return False
    from tulle.render.forms import draw

    journey = next((j for j in journeys if j.verdict.status != "delivered"), journeys[0])
    for form, name in asked:
        write_picture(name, draw(journey, form))
    if args.pcap and args.pcap != "-":
        sys.stdout.flush()
        port = journey.overlay.port if journey.overlay is not None else None
        print(f"{args.pcap}: tshark -r {args.pcap}" + (f" -d udp.port=={port},vxlan" if port else ""), file=sys.stderr)
    return True


def _asked(args: argparse.Namespace) -> Iterator[tuple["Form", str]]:
    if args.svg:
        yield "svg", args.svg
    if args.html:
        yield "html", args.html
    if args.pcap:
        yield "pcap", args.pcap


def write_picture(name: str, data: bytes) -> None:
    """Into the file, or to stdout for ``-``."""
    if name == "-":
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
    else:
        Path(name).write_bytes(data)
