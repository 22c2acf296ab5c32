"""``tulle lab check``: does what the lab's file says hold?  One echo request for each sentence, from where it says."""

import argparse
import json
from typing import TYPE_CHECKING, Any, Final

from tulle.errors import EXIT_NO, EXIT_YES, ConfigError

if TYPE_CHECKING:
    from tulle.cli.places import Place
    from tulle.lab.checks import Check
    from tulle.lab.ping import Echo
    from tulle.lab.state import LabState
    from tulle.model.network import IPAddress

JsonObject = dict[str, Any]

WORDS: Final = {
    "yes": ("yes", "是"),
    "NO": ("NO", "否"),
    "silence": ("no reply in {:g} s", "{:g} 秒内无应答"),
    "reply": ("reply after {:.3f} ms", "{:.3f} 毫秒后应答"),
    "all": ("all {} hold", "{} 项全部成立"),
    "some": ("{} of {} do not hold", "{1} 项中有 {0} 项不成立"),
}


def check(args: argparse.Namespace) -> int:
    """Exit 0: everything holds; 1: something does not; 2 (ConfigError): something could not be tried."""
    from tulle.cli.places import existing_lab, resolve

    state = existing_lab(args.name)
    checks = _wanted(args, state)
    ways = [
        (resolve(each.source, state.name), _target(each, state.name)) for each in checks
    ]  # judged before any packet
    results = [_prove(args, each, *way) for each, way in zip(checks, ways, strict=True)]
    failed = sum(not result["holds"] for result in results)
    if args.json:
        facts = {"schema": "tulle.check/1", "lab": state.name, "checks": results}
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        summary = _say(args, "some").format(failed, len(results)) if failed else _say(args, "all").format(len(results))
        print(summary)
    return EXIT_NO if failed else EXIT_YES


def _wanted(args: argparse.Namespace, state: "LabState") -> tuple["Check", ...]:
    """What the command line says, else what the file said, else a ring through all pods."""
    from tulle.lab.checks import parse_check, ring
    from tulle.lab.topology import judge_check

    checks = tuple(parse_check(sentence) for sentence in args.sentences) or state.settings.checks
    if not checks:
        checks = ring([pod.name for pod in state.pods], (4, 6) if state.settings.ipv6 else (4,))
    if not checks:
        raise ConfigError(f"lab {state.name}", "has nothing to check", "say what, like 'node1 reaches node2'")
    for check in checks:
        judge_check(state.topology, check)
    return checks


def _target(check: "Check", lab: str) -> "IPAddress":
    from tulle.cli.inside import address_of

    return address_of(check.target, lab, check.version)


def _prove(args: argparse.Namespace, check: "Check", place: "Place", target: "IPAddress") -> JsonObject:
    """Send the packet and say at once what came of it."""
    from tulle.kernel.netns import inside
    from tulle.lab.ping import ping
    from tulle.render.walk_text import fit

    place.enter()
    with inside(place.netns):
        (echo,) = ping(target, 1, args.timeout, mtu=check.mtu)
    holds = (echo.rtt_ns is not None) is check.reaches
    if not args.json:
        print(f"{fit(_say(args, 'yes' if holds else 'NO'), 5)}{check}: {_seen(args, echo)}", flush=True)
    return {"check": str(check), "holds": holds, "to": str(target), "rtt_ns": echo.rtt_ns, "error": echo.error or None}


def _seen(args: argparse.Namespace, echo: "Echo") -> str:
    if echo.rtt_ns is not None:
        return _say(args, "reply").format(echo.rtt_ns / 1e6)
    return echo.error or _say(args, "silence").format(args.timeout)


def _say(args: argparse.Namespace, word: str) -> str:
    return WORDS[word][bool(args.lang == "zh")]
