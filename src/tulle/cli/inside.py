"""The verbs that are inside a node or pod: a shell, a command, a ping."""

import argparse
import json
import os
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from tulle.errors import EXIT_NO, EXIT_YES, ConfigError, ProcessFailed

if TYPE_CHECKING:
    from tulle.lab.ping import Echo
    from tulle.model.network import IPAddress

JsonObject = dict[str, Any]

WORDS: Final = {
    "reply": ("reply from {}: sequence {}, {:.3f} ms", "来自 {} 的应答：序号 {}，{:.3f} 毫秒"),
    "silence": ("no reply from {}: sequence {}", "{} 无应答：序号 {}"),
    "summary": ("{} sent, {} received", "已发送 {}，已收到 {}"),
}


def shell(args: argparse.Namespace) -> int:
    """Become an interactive shell in a place."""
    program = os.environ.get("SHELL") or "/bin/sh"
    quiet = ["--norc"] if Path(program).name == "bash" else []  # its files would overwrite the prompt
    os.environ["PS1"] = f"{args.place}:\\w\\$ " if quiet else f"{args.place}$ "
    _become(args, [program, *quiet])


def execute(args: argparse.Namespace) -> int:
    """Become a command in a place; its exit code is ours."""
    words = args.words[1:] if args.words[:1] == ["--"] else args.words
    if not words:
        raise ConfigError("lab exec", "no command", f"like 'tulle lab exec {args.place} -- ip route'")
    _become(args, words)


def _become(args: argparse.Namespace, words: list[str]) -> NoReturn:
    """Replace this process by a command in the named place; in a node, ``tulle`` then means that node's agent."""
    from tulle.cli.places import node_root, resolve

    place = resolve(args.place, args.name)
    if place.kind == "node":
        os.environ["TULLE_ROOT"] = str(node_root(place.name, place.lab))
    enter_place(args.place, args.name)
    sys.stdout.flush()
    try:
        os.execvp(words[0], words)  # noqa: S606  # becoming the command is what was asked for
    except OSError as error:
        raise ProcessFailed(words[0], f"cannot be executed: {error.strerror}") from None


def ping(args: argparse.Namespace) -> int:
    """Exit 0: every request was answered; 1: one was not."""
    from tulle.lab import ping as wire

    target = address_of(args.target, args.name, 6 if args.ipv6 else 4)
    enter_place(args.source, args.name)
    echoes: list[JsonObject] = []
    for echo in wire.ping(target, max(1, args.count), args.timeout):
        echoes.append({"sequence": echo.sequence, "rtt_ns": echo.rtt_ns, "error": echo.error or None})
        if not args.json:
            print(_line(args, target, echo), flush=True)
    received = sum(echo["rtt_ns"] is not None for echo in echoes)
    if args.json:
        facts = {"schema": "tulle.ping/1", "from": args.source, "to": str(target), "echoes": echoes}
        print(json.dumps(facts, indent=2))
    else:
        print(_say(args, "summary").format(len(echoes), received))
    return EXIT_YES if received == len(echoes) else EXIT_NO


def address_of(name: str, lab: str | None, version: int) -> "IPAddress":
    """The address written out in ``name``, or the one that the node or pod of this name has in family ``version``.

    Raises ConfigError: there is no such place, or it has none.
    """
    from tulle.cli.places import resolve

    try:
        return ip_address(name)
    except ValueError:
        place = resolve(name, lab)
    for address in place.addresses:
        if address.version == version:
            return address
    raise ConfigError(name, f"has no IPv{version} address", "give the address itself")


def enter_place(name: str, lab: str | None) -> None:
    """Move this thread into a place, for good."""
    from tulle.cli.places import resolve
    from tulle.kernel.netns import enter

    place = resolve(name, lab)
    place.enter()
    enter(place.netns)


def _line(args: argparse.Namespace, target: "IPAddress", echo: "Echo") -> str:
    if echo.rtt_ns is not None:
        return _say(args, "reply").format(target, echo.sequence, echo.rtt_ns / 1e6)
    reason = f": {echo.error}" if echo.error else ""
    return _say(args, "silence").format(target, echo.sequence) + reason


def _say(args: argparse.Namespace, word: str) -> str:
    return WORDS[word][bool(args.lang == "zh")]
