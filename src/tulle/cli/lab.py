"""``tulle lab``: a cluster on one machine, from the command line."""

import argparse
import json
import os
import shutil
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tulle.cli import inside
from tulle.errors import EXIT_YES, ConfigError
from tulle.lab.topology import DEFAULT_LAB, UNDERLAYS, Topology, Wishes, check_name, design, grown

if TYPE_CHECKING:
    from tulle.agent.options import AgentOptions
    from tulle.lab.folder import LabFolder

    Parsers = argparse._SubParsersAction[argparse.ArgumentParser]  # pyright: ignore[reportPrivateUsage]  # argparse names it so

WORDS: Final = {
    "gone": ("lab {} is gone", "实验 {} 已删除"),
    "was not": ("there was no lab {}", "没有名为 {} 的实验"),
    "added": ("{} is up: {}", "{} 已启动：{}"),
    "removed": ("{} is gone", "{} 已删除"),
}


def add_parser(subparsers: "Parsers") -> None:
    description = "A cluster in network namespaces on this machine: real agents, real packets, root not needed."
    parser = subparsers.add_parser("lab", help="a cluster on this machine", description=description)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    _add_up(verbs)
    down = _verb(verbs, "down", _down, "remove a lab, also a half-made one; nothing else is touched")
    down.add_argument("--all", action="store_true", help="every lab of this user")
    _verb(verbs, "ls", _ls, "the labs that there are", named=False)
    _add_inside(verbs)
    for verb, run, text in (("add", _add, "add a node"), ("remove", _remove, "take a node out")):
        parser = verbs.add_parser(verb, help=text, description=f"{text.capitalize()}.")
        node = _verb(parser.add_subparsers(dest="what", metavar="node", required=True), "node", run, text)
        node.add_argument("node", metavar="NODE", nargs="?" if verb == "add" else None, help="its name")
        if verb == "add":
            node.add_argument("--pods", metavar="M", type=_count, default=2, help="pods on it (default: 2)")


def _add_up(verbs: "Parsers") -> None:
    up = _verb(verbs, "up", _up, "make a lab: namespaces, the underlay, an agent per node, pods through CNI")
    up.add_argument("file", metavar="lab.toml", nargs="?", help="a topology; flags win over it")
    up.add_argument("--nodes", metavar="N", type=_count, help="nodes (default: 2)")
    up.add_argument("--pods", metavar="M", type=_count, help="pods per node (default: 2)")
    up.add_argument(
        "--underlay", choices=UNDERLAYS, help="one segment, or a router between the nodes (default: switch)"
    )
    up.add_argument("--ipv6", action="store_true", default=None, help="dual stack")
    up.add_argument("--ascii", action="store_true", help="draw with plain characters")
    up.add_argument("-q", "--quiet", action="store_true", help="print nothing when it works")


def _add_inside(verbs: "Parsers") -> None:
    shell = _verb(verbs, "sh", inside.shell, "a shell in a node or pod", facts=False)
    execute = _verb(verbs, "exec", inside.execute, "run a command in a node or pod", facts=False)
    for parser in (shell, execute):
        parser.add_argument("place", metavar="NAME", help="a node, a pod, or the underlay (switch, router)")
    execute.add_argument("words", metavar="-- COMMAND", nargs=argparse.REMAINDER, help="the command and its arguments")
    ping = _verb(verbs, "ping", inside.ping, "echo requests from one place to another; exit code 1 when one is lost")
    ping.add_argument("source", metavar="FROM", help="a node or pod")
    ping.add_argument("target", metavar="TO", help="a node, a pod, or an address")
    ping.add_argument("-6", dest="ipv6", action="store_true", help="over IPv6")
    ping.add_argument("-c", "--count", metavar="N", type=_count, default=3, help="how many (default: 3)")
    ping.add_argument(
        "-W", "--timeout", metavar="S", type=float, default=1.0, help="seconds to wait for each (default: 1)"
    )


def _verb(
    verbs: "Parsers",
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    *,
    named: bool = True,
    facts: bool = True,
) -> argparse.ArgumentParser:
    parser = verbs.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
    if named:
        parser.add_argument("--name", metavar="LAB", help="which lab (default: TULLE_LAB, else lab)")
    if facts:
        parser.add_argument("--json", action="store_true", help="print the facts as JSON")
    parser.set_defaults(run=run)
    return parser


# -- making and removing --------------------------------------------------------------


def _up(args: argparse.Namespace) -> int:
    topology = _topology(args)  # what is wrong in it is said before anything heavy is imported
    from tulle.lab.facts import lab_json
    from tulle.lab.runtime import up
    from tulle.render.lab import ASCII, format_up

    _warm()
    folder = _folder()
    state = up(folder, topology, _serve)
    facts = lab_json(folder, state)
    seconds = _age_s()
    if args.json:
        print(json.dumps({**facts, "elapsed_ns": int(seconds * 1e9)}, indent=2, ensure_ascii=False))
    elif not args.quiet:
        text = format_up(facts, seconds, args.lang, shutil.get_terminal_size().columns)
        print(text.translate(ASCII) if args.ascii else text)
    return EXIT_YES


def _topology(args: argparse.Namespace) -> Topology:
    name = args.name or (None if args.file else os.environ.get("TULLE_LAB"))
    wishes = Wishes(name=name, nodes=args.nodes, pods=args.pods, underlay=args.underlay, ipv6=args.ipv6)
    if args.file is None:
        return design(wishes)
    from tulle.lab.labfile import parse_lab_file  # a TOML parser, for those who have a file

    try:
        text = Path(args.file).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ConfigError(args.file, "not UTF-8 text") from None
    return design(wishes, parse_lab_file(text, args.file))


def _down(args: argparse.Namespace) -> int:
    from tulle.lab.runtime import down

    folder = _folder()
    if args.all and args.name:
        raise ConfigError("--all", f"does not go with --name {args.name}")
    names = folder.names() if args.all else (_chosen(args),)
    removed = [name for name in names if down(folder, name)]
    if args.json:
        print(json.dumps({"schema": "tulle.lab/1", "removed": removed}))
    else:
        for name in names:
            print(_say(args, "gone" if name in removed else "was not").format(name))
    return EXIT_YES


def _add(args: argparse.Namespace) -> int:
    from tulle.lab.runtime import add_node

    _warm()
    node = add_node(_folder(), _chosen(args), lambda topology: grown(topology, args.node, args.pods, ()), _serve)
    return _changed(args, "added", node.name, " ".join(node.pods) or str(node.subnet))


def _remove(args: argparse.Namespace) -> int:
    from tulle.lab.runtime import remove_node

    node = remove_node(_folder(), _chosen(args), args.node)
    return _changed(args, "removed", node.name)


def _changed(args: argparse.Namespace, word: str, *facts: str) -> int:
    if args.json:
        return _print_labs(args)
    print(_say(args, word).format(*facts))
    return EXIT_YES


def _ls(args: argparse.Namespace) -> int:
    args.name = None
    return _print_labs(args)


def _print_labs(args: argparse.Namespace) -> int:
    from tulle.lab.facts import lab_json
    from tulle.render.lab import format_labs

    folder = _folder()
    names = (args.name,) if args.name else folder.names()
    labs = [lab_json(folder, state) for name in names if (state := folder.read(name)) is not None]
    if args.json:
        print(json.dumps({"schema": "tulle.lab/1", "labs": labs}, indent=2, ensure_ascii=False))
    else:
        print(format_labs(labs, args.lang))
    return EXIT_YES


# -- shared ---------------------------------------------------------------------------


def _serve(options: "AgentOptions") -> None:
    """What a forked agent does with its life."""
    import asyncio  # everything heavy is here, and in the parent before it forks

    from tulle.cli.agent import run_until_signalled, start_logging

    start_logging(0)
    with asyncio.Runner() as runner:
        runner.run(run_until_signalled(options))


def _warm() -> None:
    """Import what an agent needs once, in the parent."""
    import_module("tulle.cli.agent")
    import_module("tulle.agent.daemon")


def _folder() -> "LabFolder":
    from tulle.lab.folder import lab_folder

    return lab_folder(os.environ, os.getuid())


def _chosen(args: argparse.Namespace) -> str:
    """The lab that is named, else ``lab``, else the only one that there is."""
    name = args.name or os.environ.get("TULLE_LAB")
    names = () if name else _folder().names()
    only = names[0] if len(names) == 1 else DEFAULT_LAB
    return check_name("lab", name or only)


def _say(args: argparse.Namespace, word: str) -> str:
    return WORDS[word][args.lang == "zh"]


def _count(text: str) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, not negative")
    return int(text)


def _age_s() -> float:
    """Seconds since this process was started, the interpreter's own start included (in clock ticks of 10 ms)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
