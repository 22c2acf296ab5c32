"""The verbs of a lab's life: ``up``, ``down``, ``ls``, ``add node``, ``remove node``, ``pause``, ``resume``.

Imports what is heavy where it is used: what is wrong on the command line is said at once.
"""

import argparse
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tulle.errors import EXIT_YES, ConfigError, TulleError
from tulle.lab.hosts import ETCD
from tulle.lab.topology import DEFAULT_LAB, LabFile, Topology, Wishes, check_name, design, grown

if TYPE_CHECKING:
    from tulle.agent.options import AgentOptions
    from tulle.lab.folder import LabFolder

T = TypeVar("T")
JsonObject = dict[str, Any]

WORDS: Final = {
    "gone": ("lab {} is gone", "实验 {} 已删除"),
    "was not": ("there was no lab {}", "没有名为 {} 的实验"),
    "no labs": ("there was no lab", "没有实验"),
    "added": ("{} is up: {}", "{} 已启动：{}"),
    "removed": ("{} is gone", "{} 已删除"),
    "agent": ("the agent of {}", "{} 的代理"),
    "etcd": ("{}", "{} "),
    "paused": ("{} is paused", "{}已暂停"),
    "was paused": ("{} was paused already", "{}原本就已暂停"),
    "resumed": ("{} goes on", "{}已恢复运行"),
    "was running": ("{} was not paused", "{}并未暂停"),
}
FILE_LIMIT: Final = 1 << 20


def up(args: argparse.Namespace) -> int:
    """Make a lab and draw it."""
    topology = _topology(args)
    from tulle.lab.facts import lab_json
    from tulle.lab.runtime import up as make
    from tulle.render.lab import format_up

    _warm()
    folder = _folder()
    facts = lab_json(folder, make(folder, topology, _serve))
    seconds = _age_s()
    if args.json:
        _print_json({**facts, "elapsed_ns": int(seconds * 1e9)})
    elif not args.quiet:
        _draw(args, format_up(facts, seconds, args.lang, shutil.get_terminal_size().columns))
    return EXIT_YES


def down(args: argparse.Namespace) -> int:
    """Remove a lab, or all of them; one that cannot be removed does not keep the others."""
    from tulle.lab.runtime import down as remove_lab

    folder = _folder()
    if args.all and args.name:
        raise ConfigError("--all", f"does not go with --name {args.name}", "leave one of them out")
    names = folder.names() if args.all else (_chosen(args),)
    answers, errors = _each(names, lambda name: remove_lab(folder, name))
    removed = [name for name, was_there in answers.items() if was_there]
    if args.json:
        print(json.dumps({"schema": "tulle.lab/1", "removed": removed}))
    else:
        for name in answers:
            print(_say(args, "gone" if name in removed else "was not").format(name))
        if not names:
            print(_say(args, "no labs"))
    return _finish(errors)


def add(args: argparse.Namespace) -> int:
    """Add a node to a running lab."""
    from tulle.lab.runtime import add_node

    _warm()
    name = _chosen(args)
    node = add_node(_folder(), name, lambda topology: grown(topology, args.node, args.pods, ()), _serve)
    return _changed(args, name, _say(args, "added").format(node.name, " ".join(node.pods) or node.subnet))


def remove(args: argparse.Namespace) -> int:
    """Take a node out of a running lab."""
    from tulle.lab.runtime import remove_node

    name = _chosen(args)
    node = remove_node(_folder(), name, args.node)
    return _changed(args, name, _say(args, "removed").format(node.name))


def pause(args: argparse.Namespace) -> int:
    """Hold a node's agent, or the lab's etcd; that it is held already is no fault."""
    from tulle.lab.runtime import pause as hold

    name = _chosen(args)
    word = "paused" if hold(_folder(), name, args.node) else "was paused"
    return _changed(args, name, _say(args, word).format(_whose(args)))


def resume(args: argparse.Namespace) -> int:
    """Let a held agent or etcd go on; that it was not held is no fault."""
    from tulle.lab.runtime import resume as let_go

    name = _chosen(args)
    word = "resumed" if let_go(_folder(), name, args.node) else "was running"
    return _changed(args, name, _say(args, word).format(_whose(args)))


def ls(args: argparse.Namespace) -> int:
    """Draw the labs that there are; one that cannot be read does not hide the others."""
    from tulle.cli.places import existing_lab
    from tulle.lab.facts import lab_json
    from tulle.render.lab import format_labs

    folder = _folder()
    if args.name:
        states, errors = {args.name: existing_lab(args.name)}, []
    else:
        states, errors = _each(folder.names(), folder.read)
    labs = [lab_json(folder, state) for state in states.values() if state is not None]
    if args.json:
        _print_json({"schema": "tulle.lab/1", "labs": labs})
    elif labs or not errors:
        _draw(args, format_labs(labs, args.lang, shutil.get_terminal_size().columns))
    return _finish(errors)


def _whose(args: argparse.Namespace) -> str:
    """What was paused or resumed: only a lab with an etcd has a place of this name."""
    return _say(args, "etcd" if args.node == ETCD else "agent").format(args.node)


def _changed(args: argparse.Namespace, name: str, line: str) -> int:
    """Say that a lab has changed: one line, or its facts."""
    from tulle.lab.facts import lab_json

    folder = _folder()
    if not args.json:
        print(line)
    elif (state := folder.read(name)) is not None:
        _print_json(lab_json(folder, state))
    return EXIT_YES


# -- what was asked for -----------------------------------------------------------------


def _topology(args: argparse.Namespace) -> Topology:
    file = _file(args.file) if args.file else None
    unnamed = file is None or "name" not in file.settings
    name = args.name or (os.environ.get("TULLE_LAB") or None if unnamed else None)
    wishes = Wishes(
        name=name,
        nodes=args.nodes,
        pods=args.pods,
        underlay=args.underlay,
        backend=args.backend,
        pod_mode=args.pod_mode,
        ipv6=args.ipv6,
        outside=args.outside,
        store=args.store,
    )
    return design(wishes, file)


def _file(path: str) -> LabFile:
    from tulle.lab.labfile import parse_lab_file  # a TOML parser, for those who have a file

    return parse_lab_file(_text(path), path)


def _text(path: str) -> str:
    with open(path, "rb") as file:
        content = file.read(FILE_LIMIT + 1)
    if len(content) > FILE_LIMIT:
        raise ConfigError(path, "is larger than 1 MiB", "a lab takes ten lines")
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ConfigError(path, "not UTF-8 text", "save it as UTF-8") from None


def _folder() -> "LabFolder":
    from tulle.cli.places import folder

    return folder()


def _chosen(args: argparse.Namespace) -> str:
    """The lab that is named, else ``lab``, else the only one that there is."""
    name = args.name or os.environ.get("TULLE_LAB")
    names = () if name else _folder().names()
    only = names[0] if len(names) == 1 else DEFAULT_LAB
    return check_name("lab", name or only)


# -- agents -----------------------------------------------------------------------------


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


# -- answers ----------------------------------------------------------------------------


def _each(names: Sequence[str], work: Callable[[str], T]) -> tuple[dict[str, T], list[TulleError]]:
    """The results of ``work`` by name, and what went wrong with the others."""
    done: dict[str, T] = {}
    errors: list[TulleError] = []
    for name in names:
        try:
            done[name] = work(name)
        except TulleError as error:
            errors.append(error)
    return done, errors


def _finish(errors: Sequence[TulleError]) -> int:
    """The exit code once each error was said; nothing failed: 0."""
    from tulle.cli.main import complain  # no cycle: main imports this module when it runs it

    sys.stdout.flush()
    return max((complain(str(error)) for error in errors), default=EXIT_YES)


def _print_json(facts: JsonObject) -> None:
    print(json.dumps(facts, indent=2, ensure_ascii=False))


def _draw(args: argparse.Namespace, text: str) -> None:
    """Print a picture; in plain characters where that was asked for, or where the locale has no others."""
    from tulle.render.lab import ASCII

    try:
        text.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        args.ascii = True
    print(text.translate(ASCII) if args.ascii else text)


def _say(args: argparse.Namespace, word: str) -> str:
    return WORDS[word][bool(args.lang == "zh")]


def _age_s() -> float:
    """Seconds since this process was started, the interpreter's own start included (in clock ticks of 10 ms)."""
    ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
