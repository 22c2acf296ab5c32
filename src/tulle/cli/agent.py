"""``tulle agent`` and ``tulled``: the daemon's command line."""

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Final, cast

from tulle import __version__
from tulle.agent.notify import STOPPING, notify
from tulle.agent.options import AgentOptions
from tulle.cli import etcd_flags
from tulle.cli.agent_flags import add_arguments, explain_ignored, flannels_etcd, options_from, verbosity
from tulle.cli.go_flags import respell
from tulle.cli.grammar import Subparsers
from tulle.cli.main import OneLineParser, make_parser
from tulle.errors import EXIT_YES, TulleError

DESCRIPTION: Final = "Be this node's agent: hold a lease, and keep the kernel's overlay state true."
EMBEDDED: Final = "the embedded store in the state folder"
FLANNELS: Final = "etcd where flanneld looks for it"


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser("agent", help="run the node agent", description=DESCRIPTION)
    add_arguments(parser, store_default=EMBEDDED)


def make_agent_parser(lang: str, *, as_flanneld: bool) -> OneLineParser:
    """The parser of ``tulled`` (``as_flanneld``) or of ``tulle agent``."""
    prog, default = ("tulled", FLANNELS) if as_flanneld else ("tulle agent", EMBEDDED)
    parser = make_parser(lang, prog=prog, description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"{prog} {__version__}", help="print the version")
    add_arguments(parser, store_default=default)
    return parser


def run(words: Sequence[str], lang: str, *, as_flanneld: bool) -> int:
    """Run until SIGTERM or SIGINT: exit 0; the data path stays up.

    ``as_flanneld``: where nothing names a store, look where flanneld looks.
    """
    parser = make_agent_parser(lang, as_flanneld=as_flanneld)
    args = parser.parse_args(respell(words, parser))
    start_logging(verbosity(args, os.environ), args.log_file)
    etcd_flags.hide_password(args)
    options = options_from(args, os.environ, store_default=flannels_etcd() if as_flanneld else None)
    explain_ignored(args, os.environ)
    with asyncio.Runner() as runner:
        runner.run(run_until_signalled(options))
    return EXIT_YES


async def run_until_signalled(options: AgentOptions) -> None:
    """``run_agent`` with SIGTERM and SIGINT as the polite ways to end it; one error of its group surfaces."""
    from tulle.agent.daemon import run_agent

    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    stopping = False

    def stop() -> None:
        nonlocal stopping
        stopping = True
        notify(os.environ, STOPPING)
        task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        with suppress(asyncio.CancelledError):
            await run_agent(options)
    except BaseExceptionGroup as group:
        errors = list(_leaves(group))
        known = [error for error in errors if isinstance(error, TulleError)]
        if known and len(known) == len(errors):
            raise known[0] from group
        if not stopping:
            raise
    if not stopping and task.cancelling():
        raise asyncio.CancelledError


def start_logging(verbose: int, path: str | None = None) -> None:
    """One line per transition on stderr or in a file; a steady state is silent."""
    handler = logging.FileHandler(path) if path else logging.StreamHandler(sys.stderr)
    logging.basicConfig(
        format="%(asctime)s %(levelname).1s %(name)s: %(message)s",
        level=logging.DEBUG if verbose else logging.INFO,
        handlers=[handler],
        force=True,
    )


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        yield error
        return
    for inner in cast("BaseExceptionGroup[BaseException]", error).exceptions:
        yield from _leaves(inner)
