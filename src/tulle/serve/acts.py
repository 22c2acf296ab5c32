"""What an act comes to: the command that it is, and what its answer tells.  Pure.

An act names things; here each name is looked up in what the lab has now, and only what was found
there becomes a word of a command.
"""

from typing import TypeAlias, assert_never

from tulle.errors import DecodeError
from tulle.render.lab_view import LabView
from tulle.render.scene import Said
from tulle.render.walk_brief import one_line
from tulle.serve.requests import Act, Pause, Refusal, Remove, Resume, Trace
from tulle.trace.journey import Journey
from tulle.trace.json import decode_journey

Command: TypeAlias = tuple[str, ...]
"""Words after ``tulle``."""


def command_of(act: Act, view: LabView) -> Command | Refusal:
    """The command that does it, made of what the lab has."""
    name = ("--name", view.cluster.name)
    match act:
        case Trace():
            ends = [_known(place, view) for place in (act.source, act.target)]
            if act.source == act.target:
                return Refusal(status=400, line=f"{act.target}: is where the packet starts: choose another")
            wrong = next((end for end in ends if isinstance(end, Refusal)), None)
            return wrong or ("trace", act.source, act.target, *name, "--jsonl")
        case Pause(node):
            return _on_a_node("pause", node, view)
        case Resume(node):
            return _on_a_node("resume", node, view)
        case Remove():
            return _removal(act, view)
        case _:
            assert_never(act)


def _known(place: str, view: LabView) -> str | Refusal:
    if place in view.places:
        return place
    return Refusal(status=404, line=f"{_shown(place)}: no such pod or node: the lab has {', '.join(view.places[:12])}")


def _on_a_node(verb: str, node: str, view: LabView) -> Command | Refusal:
    if view.node(node) is None:
        return _no_node(node, view)
    return "lab", verb, node, "--name", view.cluster.name


def _removal(act: Remove, view: LabView) -> Command | Refusal:
    node = view.node(act.node)
    if node is None:
        return _no_node(act.node, view)
    row = node.row(act.entry)
    if row is None or row.state == "missing":
        return Refusal(status=404, line=f"{_shown(act.entry)}: {act.node} has no such entry now")
    if not row.removal:
        return Refusal(status=403, line=f"{_shown(act.entry)}: not the overlay's own: it stays")
    return "lab", "exec", "--name", view.cluster.name, act.node, "--", *row.removal


def _no_node(node: str, view: LabView) -> Refusal:
    there = ", ".join(node.name for node in view.nodes[:12])
    return Refusal(status=404, line=f"{_shown(node)}: no such node: the lab has {there}")


def _shown(text: str) -> str:
    """A stranger's word in a line of ours: short, and nothing that drives a terminal."""
    return ascii(text[:60])[1:-1]


def said_of(act: Act) -> Said:
    """What is told once an act that is no trace is done."""
    match act:
        case Pause(node):
            return Said(
                f"The agent of {node} is paused: what you delete on it stays deleted.",
                f"{node} 的代理已暂停：在它上面删除的表项不会被补回。",
            )
        case Resume(node):
            return Said(
                f"The agent of {node} goes on: it repairs what it finds.",
                f"{node} 的代理继续运行，并修复所发现的问题。",
            )
        case Remove():
            return Said(f"Deleted on {act.node}. Trace again to see.", f"已在 {act.node} 上删除。再跟踪一次看看。")
        case Trace():
            return Said("", "")
        case _:
            assert_never(act)


def journey_of(out: bytes) -> Journey | None:
    """The journey that a trace printed; None: it printed none."""
    try:
        return decode_journey(out.strip())
    except DecodeError:
        return None


def outcome_of(journey: Journey) -> dict[str, object]:
    """What the page is told of a trace: how it ended, in both languages, and where."""
    en, zh = (" ".join(line.text for line in one_line(journey, lang)).lstrip("✔✘ ") for lang in ("en", "zh"))
    delivered = journey.verdict.status == "delivered"
    last = journey.hops[-1].node if journey.hops else journey.source.node
    return {
        "delivered": delivered,
        "en": en,
        "zh": zh,
        "stopped": "" if delivered else last,
        "nodes": sorted({hop.node for hop in journey.hops if hop.node}),
    }
