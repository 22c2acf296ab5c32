"""Journeys for pictures: every kind of walk told by ``journeys``, and those that were recorded in real labs."""

from dataclasses import replace
from pathlib import Path

from tests.kit.answers import changed, fdb, healthy_answers, no_route
from tests.kit.journeys import freed, story
from tests.kit.machines import NODE1, NODE2, POD1, same_node, two_nodes
from tulle.trace.correlate import correlate
from tulle.trace.journey import Hop, Journey
from tulle.trace.json import decode_journey

RECORDED = Path(__file__).parents[1] / "unit" / "render" / "journeys"
HOSTILE = "</script></text><img src=x onerror=alert(1)>\"'&\x1b[2J\u202e\u2028<!--]]>"
"""What a kernel may call a thing, more or less."""


def recorded(name: str) -> Journey:
    """A journey that ``tulle trace --json`` wrote in a real lab."""
    return decode_journey((RECORDED / f"{name}.json").read_bytes())


def recordings() -> dict[str, Journey]:
    """All recorded journeys by name."""
    return {path.stem: recorded(path.stem) for path in sorted(RECORDED.glob("*.json"))}


def cross_node() -> Journey:
    """The picture of ``packet-walk``, and back."""
    return story().walks().turns_round().walks().journey()


def request_only() -> Journey:
    """It arrives and nobody answers."""
    return story().walks().journey()


def host_routes() -> Journey:
    """Without an overlay: no 3b, no 6b."""
    return story(two_nodes(overlay=False)).walks_plain().turns_round().walks_plain().journey()


def no_fdb_entry() -> Journey:
    """Lost in the tunnel device, with the kernel's drop and the diagnosis."""
    told = story()
    told.leaves_pod().wraps()
    answers = changed(
        healthy_answers(told.machine),
        "request",
        NODE1,
        fdb(NODE1, told.machine.target.tunnel_mac, None, "flannel.1"),
        gone=("underlay-route", "underlay-neigh"),
    )
    return correlate(told.findings(answers, events=freed(told, "VXLAN_NO_REMOTE", "vxlan_xmit")))


def lost_at(last: str) -> Journey:
    """Last seen at a step of the way there, and nobody knows why."""
    told = story()
    told.leaves_pod()
    for step, verb in (
        ("3b", told.wraps),
        ("3c", told.goes_out),
        ("5", told.crosses),
        ("6a", told.comes_in),
        ("6b", told.unwraps),
    ):
        if last == "2":
            break
        verb()
        if step == last:
            break
    return told.journey({})


def no_route_on_node() -> Journey:
    """Stopped at a decision: the node has no route."""
    told = story().leaves_pod()
    answers = healthy_answers(told.machine)
    return told.journey(changed(answers, "request", NODE1, no_route(NODE1, told.probe.target), gone=("neigh", "fdb")))


def reply_lost() -> Journey:
    """There and not back: the reply stops in node2's tunnel."""
    return story().walks().turns_round().leaves_pod().wraps().journey()


def never_left() -> Journey:
    """No hop at all: the kernel refused to send."""
    told = story()
    return correlate(told.findings({}, send_error="EPERM"))


def every_journey() -> dict[str, Journey]:
    """One of every kind, and all that were recorded."""
    told = {
        "cross node": cross_node(),
        "cross node IPv6": story(two_nodes(6)).walks().turns_round().walks().journey(),
        "no tap between the nodes": story(two_nodes(wire=False)).walks().turns_round().walks().journey(),
        "TCP": story(None, "tcp", 80).walks().turns_round().walks().journey(),
        "UDP": story(None, "udp", 53).walks().turns_round().walks().journey(),
        "same node": story(same_node()).is_switched().turns_round().is_switched().journey(),
        "host routes": host_routes(),
        "request only": request_only(),
        "no FDB entry": no_fdb_entry(),
        "no route": no_route_on_node(),
        "reply lost": reply_lost(),
        "never left": never_left(),
        "pod to node": story(two_nodes(overlay=False, pods=(POD1, NODE2))).leaves_pod().journey(),
        **{f"lost after {step}": lost_at(step) for step in ("2", "3b", "3c", "5", "6a", "6b")},
        "hostile names": hostile(),
        "no bridge": without(cross_node(), "2", "6c"),
        "a long wire": lengthened(cross_node(), 7),
        "a pod without a pair": without(host_routes(), "2", "", "6c", "7"),
        "node to node": node_to_node(),
    }
    return told | recordings()


def without(journey: Journey, *steps: str) -> Journey:
    """The walk on a machine that lacks what these steps stand for."""
    return replace(journey, hops=tuple(hop for hop in journey.hops if hop.step not in steps or hop.kind == "pod"))


def node_to_node() -> Journey:
    """Without pods: the two NICs and the wire."""
    journey = without(host_routes(), "2", "", "6c", "7")
    hops = tuple(hop for hop in journey.hops if hop.netns not in ("pod1", "pod4"))
    ends = (replace(end, pod=end.node, role="node") for end in (journey.source, journey.target))
    return replace(journey, source=next(ends), target=next(ends), hops=hops)


def lengthened(journey: Journey, count: int) -> Journey:
    """``count`` more devices between the nodes, there and back."""
    hops: list[Hop] = []
    for hop in journey.hops:
        hops.append(hop)
        if hop.step == "4":
            more = [replace(hop, step="", dev=f"hop{number}") for number in range(count)]
            hops += more if hop.direction == "request" else reversed(more)
    return replace(journey, hops=tuple(hops))


def hostile() -> Journey:
    """Every name and text is one that tries to get out."""
    journey = no_fdb_entry()
    hops = tuple(
        replace(
            hop,
            dev=HOSTILE,
            node=HOSTILE if hop.node == "node1" else hop.node,
            why=tuple(replace(reason, text=HOSTILE, ask=HOSTILE) for reason in hop.why),
        )
        for hop in journey.hops
    )
    return replace(journey, source=replace(journey.source, pod=HOSTILE, node=HOSTILE), hops=hops, tool=HOSTILE)
