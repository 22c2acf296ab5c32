"""``tulle lab``: its verbs and their flags.  What the verbs do is in ``lab_life``, ``inside`` and ``lab_check``."""

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from tulle.cli import inside, lab_check, lab_life, lab_serve
from tulle.lab.topology import BACKENDS, STORES, UNDERLAYS

if TYPE_CHECKING:
    Parsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # argparse's name

DESCRIPTION: Final = (
    "A cluster on this machine, in network namespaces: every node runs a real agent, every pod is attached "
    "through CNI, every packet is real. Root is not needed where user namespaces are allowed."
)
EPILOG: Final = (
    "Begin with 'tulle lab up': two nodes, four pods, a picture, and three commands to try. "
    "'tulle lab VERB --help' explains a verb; docs/lab.md describes lab.toml."
)
LONGEST_WAIT_S: Final = 3600.0


def add_parser(subparsers: "Parsers") -> None:
    parser = subparsers.add_parser("lab", help="a cluster on this machine", description=DESCRIPTION, epilog=EPILOG)
    verbs = parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True)
    _add_up(verbs)
    listing = _verb(verbs, "ls", lab_life.ls, "the labs that there are", which="only this lab (default: all)")
    _drawn(listing)
    _add_ping(verbs)
    _add_check(verbs)
    _add_inside(verbs)
    _add_node(verbs)
    _add_pause(verbs)
    lab_serve.add_flags(
        _verb(verbs, "serve", lab_serve.serve, "the lab as a page in the browser, for this machine only")
    )
    down = _verb(verbs, "down", lab_life.down, "remove a lab, also a half-made one; nothing else is touched")
    down.add_argument("--all", action="store_true", help="every lab of this user")


def _add_up(verbs: "Parsers") -> None:
    up = _verb(verbs, "up", lab_life.up, "make a lab and draw it")
    up.add_argument(
        "file", metavar="lab.toml", nargs="?", help="names, networks and checks of the lab; flags win over it"
    )
    up.add_argument("--nodes", metavar="N", type=_count, help="nodes (default: 2)")
    up.add_argument("--pods", metavar="M", type=_count, help="pods per node (default: 2)")
    up.add_argument(
        "--underlay", choices=UNDERLAYS, help="one segment, or a router between the nodes (default: switch)"
    )
    up.add_argument("--backend", choices=BACKENDS, help="a tunnel between the nodes, or plain routes (default: vxlan)")
    up.add_argument(
        "--routed", action="store_const", const="routed", dest="pod_mode", help="pods without a bridge: a route to each"
    )
    up.add_argument("--ipv6", action="store_true", default=None, help="IPv4 and IPv6 (dual stack)")
    up.add_argument(
        "--outside", action="store_true", default=None, help="a host on the underlay that is no part of the cluster"
    )
    up.add_argument(
        "--store",
        choices=STORES,
        help="what the agents share: a file, or a real etcd on a host of its own (default: sqlite)",
    )
    _drawn(up)
    up.add_argument("-q", "--quiet", action="store_true", help="print nothing when it works")


def _add_ping(verbs: "Parsers") -> None:
    ping = _verb(verbs, "ping", inside.ping, "echo requests from one place to another; exit code 1 when one is lost")
    ping.add_argument("source", metavar="FROM", help="a node or pod")
    ping.add_argument("target", metavar="TO", help="a node, a pod, or an address")
    ping.add_argument("-6", dest="ipv6", action="store_true", help="over IPv6")
    ping.add_argument("-c", "--count", metavar="N", type=_count, default=3, help="how many (default: 3)")
    _waiting(ping)


def _add_check(verbs: "Parsers") -> None:
    check = _verb(
        verbs, "check", lab_check.check, "prove what shall reach what; exit code 1 when something does not hold"
    )
    check.add_argument(
        "sentences",
        metavar="CHECK",
        nargs="*",
        help='like "pod1 reaches pod4 with mtu 1450" (default: those of lab.toml, else each pod reaches the next)',
    )
    _waiting(check)


def _add_inside(verbs: "Parsers") -> None:
    execute = _verb(verbs, "exec", inside.execute, "run a command in a node or pod", facts=False)
    shell = _verb(verbs, "sh", inside.shell, "a shell in a node or pod", facts=False)
    for parser in (execute, shell):
        parser.add_argument(
            "place", metavar="NAME", help="a node, a pod, outside, etcd, or the underlay (switch, router)"
        )
    execute.add_argument("words", metavar="-- COMMAND", nargs=argparse.REMAINDER, help="the command and its arguments")


def _add_node(verbs: "Parsers") -> None:
    growing = ("add", lab_life.add, "add a node to a running lab")
    shrinking = ("remove", lab_life.remove, "take a node out of a running lab")
    for verb, run, text in (growing, shrinking):
        parser = verbs.add_parser(verb, help=text, description=_sentence(text))
        what = parser.add_subparsers(title="verbs", dest="what", metavar="node", required=True)
        node = _verb(what, "node", run, text)
        if verb == "add":
            node.add_argument("node", metavar="NODE", nargs="?", help="its name (default: node and its number)")
            node.add_argument("--pods", metavar="M", type=_count, default=2, help="pods on it (default: 2)")
        else:
            node.add_argument("node", metavar="NODE", help="its name")


def _add_pause(verbs: "Parsers") -> None:
    pausing = _verb(verbs, "pause", lab_life.pause, "hold a node's agent where it is: nothing is repaired meanwhile")
    resuming = _verb(verbs, "resume", lab_life.resume, "let a paused agent go on: it repairs what it finds")
    for parser in (pausing, resuming):
        parser.add_argument("node", metavar="NODE", help="its name, or etcd for the lab's store")


def _verb(
    verbs: "Parsers",
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    *,
    which: str = "which lab (default: TULLE_LAB, else lab)",
    facts: bool = True,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=_sentence(text))
    parser.add_argument("--name", metavar="LAB", help=which)
    if facts:
        parser.add_argument("--json", action="store_true", help="print the facts as JSON")
    parser.set_defaults(run=run)
    return parser


def _drawn(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--ascii", action="store_true", help="draw with plain characters")


def _waiting(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-W", "--timeout", metavar="S", type=_seconds, default=1.0, help="seconds to wait for each (default: 1)"
    )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number of at most nine digits, not negative")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds <= LONGEST_WAIT_S:
        raise argparse.ArgumentTypeError(f"{text!r} must be seconds, above 0 and at most {LONGEST_WAIT_S:g}")
    return seconds
