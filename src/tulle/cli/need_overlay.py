"""``tulle need-overlay``: would plain routes do?  Asked of the network itself, from this node to each peer."""

import argparse
import json
import os
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tulle.agent.control import ask
from tulle.agent.options import Paths
from tulle.cli.grammar import Subparsers
from tulle.errors import EXIT_COULD_NOT, EXIT_NO, EXIT_YES

if TYPE_CHECKING:
    from tulle.doctor.overlay import Finding, Target
    from tulle.model.network import IPAddress

JsonObject = dict[str, Any]

SCHEMA: Final = "tulle.need-overlay/1"
EXITS: Final = {"refused": EXIT_YES, "plain": EXIT_NO, "unknown": EXIT_COULD_NOT}
WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "plain": ("plain routes would work", "普通路由可行"),
    "refused": ("plain routes are refused, here", "普通路由在此处被拒绝"),
    "unknown": ("not known", "无法得知"),
    "no peers": ("no peers to ask", "没有可询问的对等节点"),
    "overall plain": (
        "no overlay is needed from here: plain routes would do",
        "从本节点看不需要覆盖网络：普通路由即可",
    ),
    "overall refused": ("an overlay is needed", "需要覆盖网络"),
    "overall unknown": ("not known whether an overlay is needed", "无法得知是否需要覆盖网络"),
}


def add_parser(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "need-overlay",
        help="whether plain routes to the peers would do",
        description="Ask the network whether an overlay is needed: an echo request to each peer's pod side, past the "
        "tunnel, and what comes back. Changes nothing.",
        epilog="Each node answers for itself: its packets there, and the answers back. Exit code 0: an overlay is "
        "needed, 1: plain routes would do for every peer, 2: not known.",
    )
    parser.add_argument("--root", metavar="DIR", help="the agent's root (default: TULLE_ROOT, else /)")
    parser.add_argument("--node", metavar="NODE", help="a node of a lab instead of this machine")
    parser.add_argument("--name", metavar="LAB", help="which lab (default: TULLE_LAB, else lab)")
    parser.add_argument("--json", action="store_true", help="print the facts as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Exit 0: an overlay is needed; 1: it is not; 2: not known."""
    root = Path(args.root or os.environ.get("TULLE_ROOT") or "/")
    if args.node:
        from tulle.cli.inside import enter_place  # labs are looked up only when one is named
        from tulle.cli.places import node_root

        root = node_root(args.node, args.name)
        enter_place(args.node, args.name)
    socket = Paths(root).socket
    status, peers = (ask(socket, {"verb": verb}, timeout_s=10) for verb in ("status", "peers"))
    from tulle.doctor.overlay import overall
    from tulle.doctor.overlay_probe import find_out

    findings = find_out(_targets(peers), _sources(status))
    verdict = overall(findings).value
    print(_json(findings, verdict) if args.json else _text(findings, verdict, args.lang))
    return EXITS[verdict]


def _targets(peers: JsonObject) -> "list[Target]":
    from tulle.doctor.overlay import Target

    sides = [
        (peer[subnet], peer[public])
        for peer in peers["peers"]
        for subnet, public in (("subnet", "public_ip"), ("subnet6", "public_ip6"))
    ]
    return [Target(subnet=ip_network(net), public_ip=ip_address(ip)) for net, ip in sides if net and ip]


def _sources(status: JsonObject) -> "dict[int, IPAddress]":
    """Our underlay address of each IP version."""
    underlay = status.get("underlay", {})
    found = [ip_address(ip) for name in ("address", "address6") if (ip := underlay.get(name))]
    return {ip.version: ip for ip in found}


def _json(findings: "list[Finding]", verdict: str) -> str:
    rows = [
        {
            "subnet": str(finding.target.subnet),
            "public_ip": str(finding.target.public_ip),
            "verdict": finding.verdict.value,
            "evidence": finding.evidence,
        }
        for finding in findings
    ]
    return json.dumps({"schema": SCHEMA, "verdict": verdict, "peers": rows}, indent=2)


def _text(findings: "list[Finding]", verdict: str, lang: str) -> str:
    column = int(lang == "zh")
    lines = [
        f"{finding.target.subnet} ({finding.target.public_ip}): {WORDS[finding.verdict.value][column]}\n"
        f"  {finding.evidence}"
        for finding in findings
    ]
    return "\n".join([*(lines or [WORDS["no peers"][column]]), WORDS[f"overall {verdict}"][column]])
