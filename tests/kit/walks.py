"""Walks with a name, for renderings: what a trace shows in health and in sickness, made by the real ``correlate``."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import ip_address

from tests.kit.answers import changed, fdb, healthy_answers, neighbour, no_route, route
from tests.kit.journeys import Story, freed, story, unreachable
from tests.kit.machines import NODE1, NODE2, POD1, POD4, Machine, mac, same_node, two_nodes
from tulle.trace.correlate import correlate
from tulle.trace.journey import Journey, Overhead, ReasonKind

BEYOND: tuple[ReasonKind, ...] = ("neigh", "fdb", "bridge-fdb", "underlay-route", "underlay-neigh")
UNMEASURED = Overhead(rtt_traced_ns=None, rtt_plain_ns=None)


def cross_node(machine: Machine | None = None) -> Journey:
    return story(machine or two_nodes()).walks().turns_round().walks().journey()


def first_packet() -> Journey:
    """The first packet after a long silence: its gateway and the target had to be asked for."""
    machine = two_nodes()
    told = story(machine).asks(POD1, "eth0", machine.source.gateway, machine.source.bridge_mac)
    told.asks(NODE2, "cbr0", machine.target.pod_ip, machine.target.pod_mac)
    return told.walks().turns_round().walks().journey()


def tcp() -> Journey:
    told = story(two_nodes(), "tcp", 80).walks().turns_round().walks()
    told.captures = [replace(capture, csum_partial=True) for capture in told.captures]
    return told.journey()


def on_one_node() -> Journey:
    return story(same_node()).is_switched().turns_round().is_switched().journey()


def host_routes() -> Journey:
    return story(two_nodes(overlay=False)).walks_plain().turns_round().walks_plain().journey()


def pod_to_node() -> Journey:
    """To another node's own address, past the tunnel, masqueraded on the way."""
    machine = two_nodes(pods=(POD1, NODE2))
    told, pod_ip = story(machine).leaves_pod(), machine.source.pod_ip
    told.ttl -= 1
    _rewritten(told, machine.source.node_ip, lambda: told.seen(NODE1, "eth0", "tx", 1500).crosses().comes_in())
    told.turns_round()
    _rewritten(told, machine.source.node_ip, lambda: told.seen(NODE2, "eth0", "tx").crosses().seen(NODE1, "eth0", "rx"))
    assert told.probe.source == pod_ip
    told.delivers()
    answers = {
        **healthy_answers(machine),
        ("request", NODE1): (
            route(NODE1, machine.target.node_ip, "192.168.64.0/24", "eth0", owner="kernel"),
            neighbour(NODE1, machine.target.node_ip, machine.target.nic_mac, "eth0"),
        ),
    }
    return correlate(told.findings(answers))  # pyright: ignore[reportArgumentType]  # "request" is a direction


def _rewritten(told: Story, source: object, tell: Callable[[], object]) -> None:
    probe = told.probe
    told.probe = replace(probe, source=ip_address(str(source)))
    tell()
    told.probe = probe


def reply_by_another_way() -> Journey:
    """There through the tunnel, back over a plain route."""
    told = story(two_nodes()).walks().turns_round().leaves_pod()
    told.ttl -= 1
    told.macs = told.near.nic_mac, told.far.nic_mac
    told.seen(NODE2, "eth0", "tx").crosses().seen(NODE1, "eth0", "rx").delivers()
    machine = told.machine
    over_eth0 = route(
        NODE2, machine.source.pod_ip, machine.source.subnet, "eth0", via=machine.source.node_ip, owner="boot"
    )
    answers = changed(healthy_answers(machine), "reply", NODE2, over_eth0, gone=BEYOND)
    return correlate(told.findings(answers))


def port_unreachable() -> Journey:
    told = story(two_nodes(), "udp", 33434).walks().turns_round()
    told.answer = unreachable(told.probe)
    return told.walks().journey()


def no_fdb_entry(machine: Machine | None = None) -> Journey:
    machine = machine or two_nodes()
    told = story(machine).leaves_pod().wraps()
    missing = fdb(NODE1, machine.target.tunnel_mac, None, machine.tunnel)
    answers = changed(healthy_answers(machine), "request", NODE1, missing, gone=("underlay-route", "underlay-neigh"))
    events = freed(told, "VXLAN_NO_REMOTE", "vxlan_xmit")
    return correlate(told.findings(answers, events=events, overhead=UNMEASURED))


def reply_lost() -> Journey:
    machine = two_nodes()
    told = story(machine).walks().turns_round().leaves_pod()
    answers = changed(healthy_answers(machine), "reply", NODE2, no_route(NODE2, machine.source.pod_ip), gone=BEYOND)
    return correlate(told.findings(answers, overhead=UNMEASURED))


def network_unreachable() -> Journey:
    """A node without a route says so itself."""
    machine = two_nodes()
    told = story(machine).leaves_pod().turns_round()
    told.answer, told.answerer = unreachable(told.probe, code=0), machine.source.gateway
    told.macs = machine.source.bridge_mac, machine.source.pod_mac
    told.seen(NODE1, "cbr0", "tx").seen(NODE1, "vethp1", "tx").seen(POD1, "eth0", "rx", 0)
    answers = changed(healthy_answers(machine), "request", NODE1, no_route(NODE1, machine.target.pod_ip), gone=BEYOND)
    return correlate(told.findings(answers, overhead=UNMEASURED))


def never_left() -> Journey:
    """Nobody answers for the gateway."""
    machine = two_nodes()
    told = story(machine).asks(POD1, "eth0", machine.source.gateway)
    silent = neighbour(POD1, machine.source.gateway, None, "eth0")
    answers = changed(healthy_answers(machine), "request", POD1, silent)
    return correlate(told.findings(answers, overhead=UNMEASURED, notes=("tracepoints:reason=not root",)))


def not_accepted() -> Journey:
    """Seen at pod4 under the MAC of an earlier pod4."""
    machine = two_nodes().with_device(POD4, "eth0", mac=mac(999))
    told = story(machine).leaves_pod().wraps().goes_out().crosses().comes_in().unwraps().delivers("otherhost")
    return correlate(told.findings(overhead=UNMEASURED))


def lost_on_the_wire() -> Journey:
    told = story(two_nodes(wire=False)).leaves_pod().wraps().goes_out()
    return correlate(told.findings(overhead=UNMEASURED))


def hostile() -> Journey:
    """Names that would drive a terminal, or turn the text round, if anybody let them."""
    journey = first_packet()
    names = {
        "pod1": "\x1b[31mpod1\x07\n",
        "node1": "no\u202ede1" + "x" * 200,
        "eth0": "et\x9bh0",
        "pod4": "容器四" * 30,
    }
    return replace(
        journey,
        source=replace(journey.source, pod=names["pod1"], node=names["node1"]),
        target=replace(journey.target, pod=names["pod4"]),
        hops=tuple(
            replace(
                hop,
                node=names.get(hop.node, hop.node),
                netns=names.get(hop.netns, hop.netns),
                dev=names.get(hop.dev, hop.dev),
                why=tuple(replace(reason, text=f"{reason.text}\r\x00\x1b]0;title\x07") for reason in hop.why),
            )
            for hop in journey.hops
        ),
        notes=("tracepoints:reason=\x1b[2J", "\x1b[1mnews of a later version"),
    )


WALKS: Mapping[str, Callable[[], Journey]] = {
    "cross-node": cross_node,
    "first-packet": first_packet,
    "tcp": tcp,
    "same-node": on_one_node,
    "host-routes": host_routes,
    "pod-to-node": pod_to_node,
    "ipv6": lambda: cross_node(two_nodes(6)),
    "wire-unseen": lambda: cross_node(two_nodes(wire=False)),
    "another-tunnel": lambda: cross_node(two_nodes(vni=7, port=4789, bridge="cni0")),
    "reply-by-another-way": reply_by_another_way,
    "port-unreachable": port_unreachable,
    "no-fdb-entry": no_fdb_entry,
    "no-fdb-entry-ipv6": lambda: no_fdb_entry(two_nodes(6)),
    "reply-lost": reply_lost,
    "network-unreachable": network_unreachable,
    "never-left": never_left,
    "not-accepted": not_accepted,
    "lost-on-the-wire": lost_on_the_wire,
}
