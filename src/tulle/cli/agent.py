"""``tulle agent`` and ``tulled``: the daemon's command line."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, cast

from tulle.agent.options import AUDIT_PERIOD_S, AgentOptions
from tulle.cli import etcd_flags
from tulle.errors import EXIT_YES, ConfigError, TulleError
from tulle.plan.desired import Settings
from tulle.store.etcd_address import FORM

if TYPE_CHECKING:
    Parsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # argparse's name

DESCRIPTION = "Be this node's agent: hold a lease, and keep the kernel's overlay state true."
SHORTEST_PERIOD_S, LONGEST_PERIOD_S = 1.0, 86_400.0
BOOLEANS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


def add_parser(subparsers: "Parsers") -> None:
    parser = subparsers.add_parser("agent", help="run the node agent", description=DESCRIPTION)
    add_arguments(parser)
    parser.set_defaults(run=run)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The agent's flags, named as flanneld names them where it has the same."""
    parser.add_argument("--root", metavar="DIR", help="keep every file below DIR (default: TULLE_ROOT, else /)")
    parser.add_argument(
        "--store",
        metavar="URL",
        help=f"sqlite:///path or {FORM} (default: the embedded store in the state folder)",
    )
    parser.add_argument("--iface", metavar="NAME|IP", help="underlay device (default: that of the default route)")
    parser.add_argument("--public-ip", metavar="IP", help="IPv4 address that other nodes send to")
    parser.add_argument("--public-ipv6", metavar="IP", help="IPv6 address that other nodes send to")
    parser.add_argument("--subnet-file", metavar="PATH", help="where to write subnet.env")
    _add_boolean(parser, "--ip-masq", default=False, text="masquerade what leaves the overlay")
    accept = "accept the overlay's traffic in forward chains"
    _add_boolean(parser, "--iptables-forward-rules", default=True, text=accept)
    parser.add_argument(
        "--audit-period",
        metavar="SECONDS",
        default=f"{AUDIT_PERIOD_S:g}",
        help="how often everything is compared with the kernel (default: %(default)s)",
    )
    etcd_flags.add_arguments(parser)
    parser.add_argument("--log-file", metavar="PATH", help="append the log to PATH instead of stderr")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more")


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM or SIGINT: exit 0; the data path stays up."""
    start_logging(args.verbose, args.log_file)
    etcd_flags.hide_password(args)
    options = options_from(args, os.environ)
    with asyncio.Runner() as runner:
        runner.run(run_until_signalled(options))
    return EXIT_YES


def options_from(args: argparse.Namespace, environment: Mapping[str, str]) -> AgentOptions:
    """The command line as a value.  Raises ConfigError naming the flag and the rule."""
    return AgentOptions(
        root=Path(args.root or environment.get("TULLE_ROOT") or "/"),
        store=etcd_flags.store_url(args, environment),
        etcd=etcd_flags.access(args, environment),
        iface=args.iface,
        public_ip=_ipv4("--public-ip", args.public_ip),
        public_ip6=_ipv6("--public-ipv6", args.public_ipv6),
        subnet_file=Path(args.subnet_file) if args.subnet_file else None,
        settings=Settings(
            ip_masq=_truth("--ip-masq", args.ip_masq),
            forward_rules=_truth("--iptables-forward-rules", args.iptables_forward_rules),
        ),
        audit_period_s=_seconds("--audit-period", args.audit_period),
    )


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


def _add_boolean(parser: argparse.ArgumentParser, flag: str, *, default: bool, text: str) -> None:
    """A Go-style boolean flag: ``--x`` is true, ``--x=false`` is false."""
    word = "true" if default else "false"
    parser.add_argument(
        flag, nargs="?", const="true", default=word, metavar="true|false", help=f"{text} (default: {word})"
    )


def _truth(flag: str, text: str) -> bool:
    try:
        return BOOLEANS[text.lower()]
    except KeyError:
        raise ConfigError(f"{flag} {text}", "must be true or false") from None


def _seconds(flag: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not SHORTEST_PERIOD_S <= value <= LONGEST_PERIOD_S:
        raise ConfigError(
            f"{flag} {text}", f"must be a number of seconds from {SHORTEST_PERIOD_S:g} to {LONGEST_PERIOD_S:g}"
        )
    return value


def _ipv4(flag: str, text: str | None) -> IPv4Address | None:
    try:
        return IPv4Address(text) if text else None
    except ValueError:
        raise ConfigError(f"{flag} {text}", "must be an IPv4 address") from None


def _ipv6(flag: str, text: str | None) -> IPv6Address | None:
    try:
        return IPv6Address(text) if text else None
    except ValueError:
        raise ConfigError(f"{flag} {text}", "must be an IPv6 address") from None
