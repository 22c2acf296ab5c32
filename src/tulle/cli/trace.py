"""``tulle trace``: names become namespaces, a journey becomes text or JSON.  The trace itself is in ``trace/``."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from errno import EPERM
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tulle.cli.pictures import add_picture_flags, masked, to_stdout, write_pictures
from tulle.cli.terminal import columns, draws_boxes
from tulle.errors import EXIT_NO, EXIT_YES, ConfigError, KernelError
from tulle.trace.probe_packet import LEAST_SIZE

if TYPE_CHECKING:
    from tulle.cli.places import Place
    from tulle.model.network import IPAddress
    from tulle.render.walk_text import Line
    from tulle.trace.journey import Journey
    from tulle.trace.places import Role
    from tulle.trace.session import Order
    from tulle.trace.spaces import Spaces
    from tulle.trace.topology import NetnsId

    Parsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # argparse's name

DESCRIPTION: Final = (
    "Send one packet and show every place where the kernel had it, there and back: what it looked like, how long it "
    "took, which route, neighbour and FDB entry decided. When it does not arrive: where it ended, and why."
)
EPILOG: Final = (
    "FROM and TO are nodes or pods of a lab, names in /run/netns, paths of namespaces, or process ids; TO may be an "
    "address. Exit code 0: delivered, 1: not delivered, 2: could not look."
)
MOST_PROBES: Final = 400
"""So that 24 sightings each stay within the taps' limit."""
LONGEST_WAIT_S: Final = 60.0
LARGEST_SIZE: Final = 65535


def add_parser(subparsers: "Parsers") -> None:
    parser = subparsers.add_parser(
        "trace", help="follow a packet through every hop, with the evidence", description=DESCRIPTION, epilog=EPILOG
    )
    parser.add_argument("source", metavar="FROM", help="where the packet starts")
    parser.add_argument("target", metavar="TO", help="where it is sent")
    parser.add_argument("--proto", choices=("icmp", "udp", "tcp"), default="icmp", help="what is sent (default: icmp)")
    parser.add_argument("--port", metavar="N", type=_port, default=0, help="port of udp (33434) and tcp (80)")
    parser.add_argument(
        "--size", metavar="N", type=_size, help="bytes of the packet with its IP header; it may not be fragmented"
    )
    parser.add_argument("-6", dest="ipv6", action="store_true", help="over IPv6")
    parser.add_argument("--count", metavar="N", type=_count, default=1, help="probes (default: 1); more give figures")
    parser.add_argument(
        "-W", "--timeout", metavar="S", type=_seconds, default=1.0, help="seconds to wait for each (default: 1)"
    )
    parser.add_argument("--name", metavar="LAB", help="which lab (default: TULLE_LAB, else lab)")
    add_forms(parser)
    parser.add_argument("--out", metavar="FILE", help="also write the journey there as JSON")
    add_picture_flags(parser)
    parser.set_defaults(run=run)


def add_forms(parser: argparse.ArgumentParser) -> None:
    """What is printed: the flags that ``show`` shares."""
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="the journey as JSON (tulle.trace/1), indented")
    form.add_argument("--jsonl", action="store_true", help="one line of JSON per probe")
    form.add_argument("-q", "--quiet", action="store_true", help="one line: how it ended")
    form.add_argument("-1", dest="arrow", action="store_true", help="the walk as one arrow line")
    parser.add_argument("--headers", action="store_true", help="the header fields that changed at each hop")
    parser.add_argument("--article", action="store_true", help="where the well-known tutorial tells it differently")
    parser.add_argument("--ascii", action="store_true", help="draw with plain characters")


def run(args: argparse.Namespace) -> int:
    """Exit 0: every probe was delivered; 1: one was not."""
    journeys = masked(args, _traced(args))
    if args.out:
        _write(Path(args.out), journeys)
    if not to_stdout(args):
        print_journeys(args, journeys)
    write_pictures(args, journeys)
    return EXIT_YES if all(journey.verdict.status == "delivered" for journey in journeys) else EXIT_NO


def _traced(args: argparse.Namespace) -> tuple["Journey", ...]:
    from tulle.cli.places import candidates, resolve
    from tulle.trace.session import trace
    from tulle.trace.spaces import Spaces

    source = resolve(args.source, args.name)
    address = _address(args.target)
    target = None if address is not None else resolve(args.target, args.name)
    source.enter()  # a rootless lab's namespaces can be opened only from within its own
    known = [place for place in (source, target) if place is not None]
    known += [*candidates(args.name), *_host(), *_processes()]
    _allow_many_files()
    with Spaces((place.name, place.netns) for place in known) as spaces:
        order = _order(args, source, target, address, known, spaces)
        try:
            return trace(order, spaces)
        except KernelError as error:
            if error.errno != EPERM:
                raise
            raise ConfigError(args.source, str(error), "run as root, or as the user whose lab it is") from None


def _order(
    args: argparse.Namespace,
    source: "Place",
    target: "Place | None",
    address: "IPAddress | None",
    known: Sequence["Place"],
    spaces: "Spaces",
) -> "Order":
    from tulle.trace.session import Order

    family = address.version if address is not None else 6 if args.ipv6 else 4
    return Order(
        source=_netns(source, spaces),
        target=None if target is None else _netns(target, spaces),
        target_address=address or _known_address(target, family),
        protocol=args.proto,
        port=args.port if args.proto != "icmp" else 0,
        size=args.size,
        family=family,
        count=args.count,
        timeout_s=args.timeout,
        roles=dict(roles_of(known, spaces)),
    )


def _known_address(target: "Place | None", family: int) -> "IPAddress | None":
    """What a lab gave to the target, should it hold nothing itself."""
    return next((known for known in (target.addresses if target else ()) if known.version == family), None)


def _netns(place: "Place", spaces: "Spaces") -> "NetnsId":
    from tulle.trace.spaces import netns_id

    try:
        netns = netns_id(place.netns)
    except OSError as error:
        raise ConfigError(place.name, f"namespace {place.netns}: {error.strerror}") from None
    if netns not in spaces:
        raise ConfigError(
            place.name, f"namespace {place.netns} may not be opened", "run as root, or as the lab's owner"
        )
    return netns


def roles_of(known: Sequence["Place"], spaces: "Spaces") -> Iterator[tuple["NetnsId", "Role"]]:
    """What the places that a lab knows are: nodes (or hosts beside them), and pods."""
    from tulle.trace.spaces import netns_id

    for place in known:
        if place.kind in ("node", "pod", "host"):
            with suppress(FileNotFoundError):  # somebody's, who has gone meanwhile
                if (netns := netns_id(place.netns)) in spaces:
                    yield netns, "pod" if place.kind == "pod" else "node"


def _host() -> Iterator["Place"]:
    """The namespace that we are in ourselves: a pod's way may lead through it."""
    from tulle.cli.places import Place

    yield Place(name="host", netns=Path("/proc/self/ns/net"))


def _processes() -> Iterator["Place"]:
    """Namespaces without a name, by a process that lives there: a container's, or a node's of somebody's own."""
    from tulle.cli.places import Place

    known: set[int] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is somebody else's
            inode = (folder / "ns/net").stat().st_ino
            if inode not in known:
                known.add(inode)
                yield Place(name=f"pid {folder.name}", netns=folder / "ns/net")


def _allow_many_files() -> None:
    """Each namespace that may be on the way is held open: a lab of hundreds has more than a shell's usual limit."""
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _address(text: str) -> "IPAddress | None":
    try:
        return ip_address(text)
    except ValueError:
        return None


def _write(path: Path, journeys: Sequence["Journey"]) -> None:
    from tulle.trace.json import encode_journey

    path.write_bytes(b"".join(encode_journey(journey) + b"\n" for journey in journeys))


def print_journeys(args: argparse.Namespace, journeys: Sequence["Journey"]) -> None:
    """The journeys on stdout, as the flags of ``add_forms`` say."""
    from tulle.trace.json import encode_journey

    if args.jsonl or args.json:
        for journey in journeys:
            print(_pretty(encode_journey(journey)) if args.json else encode_journey(journey).decode())
        return
    from tulle.render.walk_text import printed

    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    sys.stdout.write(printed(_lines(args, journeys), color=color, ascii_only=args.ascii or not draws_boxes()))


def _pretty(line: bytes) -> str:
    import msgspec

    return msgspec.json.format(line, indent=2).decode()


def _lines(args: argparse.Namespace, journeys: Sequence["Journey"]) -> Iterator["Line"]:
    from tulle.render.walk_brief import arrow_lines, one_line
    from tulle.render.walk_series import render_series
    from tulle.render.walk_terminal import Look, render_journey

    width = columns()
    if len(journeys) > 1 and not (args.quiet or args.arrow):
        yield from render_series(journeys, args.lang)
        lost = next((journey for journey in journeys if journey.verdict.status != "delivered"), None)
        yield from one_line(lost, args.lang) if lost is not None else ()
        return
    for journey in journeys:
        if args.quiet:
            yield from one_line(journey, args.lang)
        elif args.arrow:
            yield from arrow_lines(journey, "request", args.lang, width)
            yield from arrow_lines(journey, "reply", args.lang, width)
        else:
            look = Look(
                lang=args.lang, columns=width, boxes=sys.stdout.isatty(), headers=args.headers, article=args.article
            )
            yield from render_journey(journey, look)


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} must be a port, 1 to 65535")
    return int(text)


def _size(text: str) -> int:
    if not text.isdecimal() or not LEAST_SIZE <= int(text) <= LARGEST_SIZE:
        raise argparse.ArgumentTypeError(f"{text!r} must be bytes, {LEAST_SIZE} to {LARGEST_SIZE}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) <= MOST_PROBES:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of probes, 1 to {MOST_PROBES}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_WAIT_S:
        raise argparse.ArgumentTypeError(f"{text!r} must be seconds, above 0 and at most {LONGEST_WAIT_S:g}")
    return seconds
