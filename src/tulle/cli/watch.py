"""``tulle watch``: nodes as they live: peers, rates, repairs, drops, and leases that are held or refused."""

import argparse
import asyncio
import json
import math
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tulle.errors import EXIT_NO, EXIT_YES

if TYPE_CHECKING:
    from tulle.cli.grammar import Subparsers
    from tulle.cli.watch_look import Targets, Watcher
    from tulle.lab.state import LabState
    from tulle.render.watch_board import Board, Look

DESCRIPTION: Final = (
    "Watch nodes live: peers, what passes each device, what is repaired or dropped, leases held or refused."
)
EPILOG: Final = (
    "Without --node, --name or --root: the running lab, else this machine's agent. Keys: q quits, ? explains, arrows "
    "and Tab choose a node, p pauses. Exit code with --once 0: all is well, 1: something is not."
)
SHORTEST_S: Final = 0.1
LONGEST_S: Final = 3600.0


def add_parser(subparsers: "Subparsers") -> None:
    parser = subparsers.add_parser(
        "watch", help="the live view in the terminal", description=DESCRIPTION, epilog=EPILOG
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--root", metavar="DIR", help="the agent's root (default: TULLE_ROOT, else /)")
    where.add_argument("--node", metavar="NODE", help="only this node of a lab")
    parser.add_argument("--name", metavar="LAB", help="which lab (default: TULLE_LAB, else lab)")
    parser.add_argument(
        "-i", "--interval", metavar="S", type=_seconds, default=1.0, help="seconds between two looks (default: 1)"
    )
    parser.add_argument("--once", action="store_true", help="two looks, one picture, and the verdict as exit code")
    parser.add_argument("--json", action="store_true", help="one line of JSON (tulle.watch/1) for each look")
    parser.add_argument("--ascii", action="store_true", help="draw with plain characters")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """On a terminal: until somebody quits.  Elsewhere a picture for each look, until it is interrupted."""
    from tulle.cli.watch_look import Watcher

    watcher = Watcher(_targets(args), args.interval)
    if args.json:
        return asyncio.run(_each(watcher, args, _print_json(args)))
    if args.once or not sys.stdout.isatty() or os.environ.get("TERM", "") in {"", "dumb"}:
        return asyncio.run(_each(watcher, args, _print_picture(args)))
    return _live(watcher, args)


def _live(watcher: "Watcher", args: argparse.Namespace) -> int:
    from tulle.cli.screen import Screen
    from tulle.cli.terminal import draws_boxes
    from tulle.cli.watch_live import Live

    plain = args.ascii or not draws_boxes()
    keyboard = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else None
    with Screen(sys.stdout.fileno(), keyboard) as screen:
        look = _look(args, *screen.size)
        live = Live(watcher, screen, look, args.interval, color=not os.environ.get("NO_COLOR"), ascii_only=plain)
        return asyncio.run(live.run())


async def _each(watcher: "Watcher", args: argparse.Namespace, tell: "Callable[[Board, bool], None]") -> int:
    """Tell of every look; once: of the second, which knows rates.  The verdict is that of the last."""
    board = await watcher.look()
    tell(board, not args.once)
    async for _ in ticks(args.interval):
        board = await watcher.look()
        tell(board, True)
        if args.once:
            break
    return EXIT_YES if board.views and all(_well(view.sample.status) for view in board.views) else EXIT_NO


def _well(status: dict[str, object] | None) -> bool:
    """Nothing is wrong, though there may be something to do: an agent at work is not a fault."""
    return status is not None and status["state"] in {"ready", "converging"}


async def ticks(interval_s: float) -> AsyncGenerator[None]:
    """One for each interval from now on, in step; those that are missed are left out."""
    loop = asyncio.get_running_loop()
    due_s = loop.time() + interval_s
    while True:
        await asyncio.sleep(max(0.0, due_s - loop.time()))
        yield
        late = max(0.0, loop.time() - due_s)
        due_s += interval_s * (1 + late // interval_s)


def _print_json(args: argparse.Namespace) -> "Callable[[Board, bool], None]":
    from tulle.render.watch_json import watch_json

    def tell(board: "Board", wanted: bool) -> None:
        if wanted:
            facts = watch_json(board.views, board.wall_ns, int(args.interval * 1e9))
            print(json.dumps(facts, ensure_ascii=False, separators=(",", ":")), flush=True)

    return tell


def _print_picture(args: argparse.Namespace) -> "Callable[[Board, bool], None]":
    from tulle.cli.terminal import columns, draws_boxes
    from tulle.render.walk_text import painted
    from tulle.render.watch import watch_rows

    color = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    plain = args.ascii or not draws_boxes()

    def tell(board: "Board", wanted: bool) -> None:
        if wanted:
            rows = watch_rows(board, _look(args, columns(), None))
            text = "".join(painted(row, color=color, ascii_only=plain) + "\n" for row in rows)
            print(text, end="\n" if not args.once else "", flush=True)

    return tell


def _look(args: argparse.Namespace, columns: int, rows: int | None) -> "Look":
    from tulle.render.watch_board import Look

    return Look(columns=columns, rows=rows, lang=args.lang, utc_offset_s=time.localtime().tm_gmtoff)


# -- which nodes ----------------------------------------------------------------------------


def _targets(args: argparse.Namespace) -> "Callable[[], Targets]":
    """What is looked at, asked anew at each look.  Raises ConfigError: no such lab or node."""
    from tulle.cli.places import chosen_lab, existing_lab

    root = args.root or (None if args.node or args.name else os.environ.get("TULLE_ROOT"))
    if root is not None:
        return _this_machine(Path(root))
    state = existing_lab(args.name) if args.node or args.name else chosen_lab()
    if state is None:
        return _this_machine(Path("/"))
    if args.node:
        state.node(args.node)
    _enter(state)
    return lambda: _lab(state.name, args.node)


def _this_machine(root: Path) -> "Callable[[], Targets]":
    from tulle.agent.options import Paths
    from tulle.cli.watch_look import Target, Targets

    name = os.uname().nodename
    return lambda: Targets(title=str(root), every=(Target(name=name, socket=Paths(root).socket),))


def _lab(name: str, node: str | None) -> "Targets":
    """The lab's nodes as its state lists them now; a lab that is gone may come back."""
    from tulle.agent.options import Paths
    from tulle.cli.places import folder
    from tulle.cli.watch_look import Target, Targets
    from tulle.lab.state import namespace_name

    title = f"lab {name}"
    state = folder().read(name)
    if state is None:
        return Targets(title=title, nobody=f"{title} is gone; 'tulle lab up' brings it back")
    pods = {pod.container_id: pod.name for pod in state.pods}
    found = tuple(
        Target(
            name=each.name,
            socket=Paths(folder().node_root(name, each.name)).socket,
            netns=folder().netns(name) / namespace_name(name, each.name),
            pods=pods,
        )
        for each in state.nodes
        if node in (None, each.name)
    )
    return Targets(title=title, every=found, nobody="" if found else f"{title} has no node {node or ''}".rstrip())


def _enter(state: "LabState") -> None:
    """Join a rootless lab's namespaces, so that its nodes' can be opened."""
    from tulle.cli.places import resolve

    resolve(state.settings.underlay, state.name).enter()


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text!r} must be seconds, from {SHORTEST_S:g} to {LONGEST_S:g}")
    return seconds
