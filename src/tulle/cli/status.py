"""``tulle status``, ``peers``, ``leases`` and ``plan``: ask this node's agent and print the answer."""

import argparse
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tulle.agent.control import ask
from tulle.agent.options import Paths
from tulle.errors import EXIT_NO, EXIT_YES
from tulle.render.status import format_leases, format_peers, format_plan_answer, format_status

if TYPE_CHECKING:
    Parsers = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # argparse's name

JsonObject = dict[str, Any]

VERBS = {
    "status": "what this node's agent holds, repairs and misses",
    "peers": "the other nodes, and the kernel entries that reach each",
    "leases": "who holds which pod subnet",
    "plan": "what the agent would change now, as ip/bridge/nft text (the dry run)",
}


def add_parser(subparsers: "Parsers") -> None:
    for verb, text in VERBS.items():
        parser = subparsers.add_parser(verb, help=text, description=text[0].upper() + text[1:] + ".")
        parser.add_argument("--root", metavar="DIR", help="the agent's root (default: TULLE_ROOT, else /)")
        parser.add_argument("--node", metavar="NODE", help="a node of a lab instead of this machine")
        parser.add_argument("--name", metavar="LAB", help="which lab (default: TULLE_LAB, else lab)")
        parser.add_argument("--json", action="store_true", help="print the facts as JSON")
        if verb == "plan":
            parser.add_argument(
                "--from-scratch",
                action="store_true",
                help="as if the kernel held nothing of it: the whole state as text",
            )
        parser.set_defaults(run=run, verb=verb)


def run(args: argparse.Namespace) -> int:
    """Exit 0: all is as it should be; 1: degraded, or (plan) something would change.

    A plan from scratch is no verdict on anything: 0.
    """
    request: JsonObject = {"verb": args.verb}
    if args.verb == "plan":
        request["from_scratch"] = args.from_scratch
    answer = ask(_socket(args), request, timeout_s=10)
    print(json.dumps(answer, indent=2, ensure_ascii=False) if args.json else _text(args.verb, answer, args.lang))
    verdict = not request.get("from_scratch")
    return EXIT_NO if verdict and not _healthy(args.verb, answer) else EXIT_YES


def _socket(args: argparse.Namespace) -> Path:
    if args.node:
        from tulle.cli.places import node_root  # labs are looked up only when one is named

        return Paths(node_root(args.node, args.name)).socket
    return Paths(Path(args.root or os.environ.get("TULLE_ROOT") or "/")).socket


def _text(verb: str, answer: JsonObject, lang: str) -> str:
    match verb:
        case "status":
            return format_status(answer, lang)
        case "peers":
            return format_peers(answer, lang)
        case "leases":
            return format_leases(answer, lang)
        case _:
            return format_plan_answer(answer, lang)


def _healthy(verb: str, answer: JsonObject) -> bool:
    match verb:
        case "status":
            return bool(answer["state"] == "ready")
        case "peers":
            return all(peer["state"] == "ok" for peer in answer["peers"])
        case "plan":
            return bool(answer["empty"]) and not answer["conflicts"]
        case _:
            return True
