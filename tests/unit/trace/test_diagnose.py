"""Every way to stop that the diagnosis knows, told as a walk that ends there: one row, one finding.

A row is named after its rule.  ``lost`` tells the walk and the kernels' answers about it; what decides between
two rows with the same last sighting is in the answers, the drop reason or the device list.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import pytest

from tests.kit.answers import (
    changed,
    fdb,
    healthy_answers,
    local_route,
    neighbour,
    no_route,
    refusing_route,
    underlay_route,
)
from tests.kit.journeys import Story, freed, story
from tests.kit.machines import NODE1, NODE2, POD1, POD2, POD4, SWITCH, Machine, mac, same_node, two_nodes
from tulle.model.network import MacAddress
from tulle.render.walk_findings import FINDINGS
from tulle.trace.correlate import correlate
from tulle.trace.decided import Decision, NodeFacts
from tulle.trace.journey import Finding, Journey, ReasonKind
from tulle.trace.topology import NetnsId
from tulle.trace.trail import NO_EVENTS

BEYOND_ROUTE: tuple[ReasonKind, ...] = ("neigh", "fdb", "bridge-fdb", "underlay-route", "underlay-neigh")
MACHINE = two_nodes()
FAR, NEAR = MACHINE.target, MACHINE.source


@dataclass(frozen=True, kw_only=True)
class Case:
    """A walk that stopped.

    ``tell`` is its story; ``instead`` and ``gone`` change the answers of namespace ``at``; ``dropped`` is
    the kernel's reason.
    """

    fault: str
    tell: Callable[[Story], object]
    machine: Machine = MACHINE
    at: NetnsId = NODE1
    instead: tuple[Decision, ...] = ()
    gone: tuple[ReasonKind, ...] = ()
    dropped: str = ""
    facts: Mapping[NetnsId, NodeFacts] = field(default_factory=dict[NetnsId, NodeFacts])
    send_error: str = ""
    size: int | None = None
    repair: str = ""
    says: Mapping[str, str] = field(default_factory=dict[str, str])


def stopped(case: Case) -> Journey:
    """The journey of ``case``."""
    told = story(case.machine, size=case.size)
    case.tell(told)
    answers = changed(healthy_answers(case.machine), "request", case.at, *case.instead, gone=case.gone)
    events = freed(told, case.dropped, "some_function") if case.dropped else NO_EVENTS
    return correlate(told.findings(answers, facts=case.facts, events=events, send_error=case.send_error))


def nothing(told: Story) -> None:
    """No tap saw the probe."""


def sent(told: Story) -> None:
    told.macs = NEAR.pod_mac, NEAR.bridge_mac
    told.seen(POD1, "eth0", "tx")


def at_the_bridge(told: Story) -> None:
    told.leaves_pod()


def in_the_tunnel(told: Story) -> None:
    told.leaves_pod().wraps()


def on_the_wire(told: Story) -> None:
    told.leaves_pod().wraps().goes_out().crosses()


def at_the_pair_for_the_bridge(told: Story) -> None:
    sent(told)
    told.seen(NODE1, "vethp1", "rx", pkttype="otherhost")


def at_the_switch(told: Story) -> None:
    told.leaves_pod().wraps().goes_out()
    told.seen(SWITCH, "port1", "rx")


def at_the_node(told: Story) -> None:
    told.leaves_pod().wraps().goes_out().crosses().comes_in()


def unwrapped(told: Story) -> None:
    told.leaves_pod().wraps().goes_out().crosses().comes_in().unwraps()


def on_the_far_bridge(told: Story) -> None:
    unwrapped(told)
    told.ttl -= 1
    told.seen(NODE2, "cbr0", "tx")


def unwrapped_for_another(told: Story) -> None:
    told.leaves_pod().wraps().goes_out().crosses().comes_in().unwraps("otherhost")


def into_the_bridge(told: Story) -> None:
    unwrapped(told)
    told.seen(NODE2, "cbr0", "tx")


def at_the_pod_for_another(told: Story) -> None:
    told.leaves_pod().wraps().goes_out().crosses().comes_in().unwraps().delivers("otherhost")


def at_the_pod(told: Story) -> None:
    told.walks()


def asked_by_the_node(told: Story) -> None:
    unwrapped(told)
    told.asks(NODE2, "cbr0", FAR.pod_ip)


POD_OFF = {NODE1: NodeFacts(forwarding=False)}
OLD_MAC = MacAddress("02:00:0a:f4:02:99")

CASES: Mapping[str, list[Case]] = {
    "source-no-route": [
        Case(fault="D25", tell=nothing, at=POD1, instead=(no_route(POD1, FAR.pod_ip),), gone=("neigh",)),
    ],
    "source-filter": [Case(fault="", tell=nothing, send_error="EPERM")],
    "too-big": [
        Case(fault="", tell=nothing, send_error="EMSGSIZE", size=1451, says={"device": "eth0", "mtu": "1450"}),
        Case(
            fault="",
            tell=at_the_bridge,
            machine=MACHINE.with_device(NODE1, "flannel.1", mtu=1350),
            size=1450,
            says={"node": "node1", "device": "flannel.1", "mtu": "1350", "size": "1450"},
        ),
        Case(
            fault="",
            tell=unwrapped,
            machine=MACHINE.with_device(NODE2, "cbr0", mtu=1350),
            at=NODE2,
            size=1450,
            says={"node": "node2", "device": "cbr0"},
        ),
    ],
    "too-big-learnt": [
        Case(fault="", tell=nothing, send_error="EMSGSIZE", size=1450, says={"target": str(FAR.pod_ip)}),
    ],
    "narrow-link": [
        Case(
            fault="D55",
            tell=lambda told: told.leaves_pod().wraps().goes_out(),
            machine=MACHINE.with_device(SWITCH, "port1", mtu=1400),
            size=1450,
            says={"where": "switch", "device": "port1", "mtu": "1400", "size": "1500"},
        ),
        Case(
            fault="D55",
            tell=at_the_switch,
            machine=MACHINE.with_device(SWITCH, "port2", mtu=1400),
            size=1450,
            says={"where": "switch", "device": "port2"},
        ),
        Case(
            fault="D55",
            tell=sent,
            machine=MACHINE.with_device(NODE1, "vethp1", mtu=1300),
            size=1450,
            says={"where": "node1", "device": "vethp1"},
        ),
    ],
    "gateway-silent": [
        Case(fault="D27", tell=lambda told: told.asks(POD1, "eth0", NEAR.gateway), says={"ip": "10.244.1.1"}),
    ],
    "veth-down": [
        Case(
            fault="D30",
            tell=on_the_far_bridge,
            machine=MACHINE.with_device(POD4, "eth0", up=False),
            at=NODE2,
            repair="ip link set eth0 up",
            says={"where": "pod4"},
        ),
        Case(
            fault="D30",
            tell=lambda told: told.seen(POD1, "eth0", "tx").seen(NODE1, "vethp1", "rx"),
            machine=same_node().with_device(POD2, "eth0", up=False),
            repair="ip link set eth0 up",
            says={"where": "pod2"},
        ),
        Case(
            fault="D30",
            tell=sent,
            machine=MACHINE.with_device(NODE1, "vethp1", up=False),
            repair="ip link set vethp1 up",
            says={"where": "node1"},
        ),
        Case(
            fault="D30",
            tell=asked_by_the_node,
            machine=MACHINE.with_device(NODE2, "vethp4", up=False),
            at=NODE2,
            instead=(neighbour(NODE2, FAR.pod_ip, None, "cbr0"),),
            repair="ip link set vethp4 up",
            says={"where": "node2"},
        ),
        Case(
            fault="D30",
            tell=nothing,
            machine=MACHINE.with_device(NODE1, "vethp1", up=False),
            repair="ip link set vethp1 up",
            says={"where": "node1"},
        ),
        Case(fault="D30", tell=nothing, machine=MACHINE.with_device(POD1, "eth0", up=False), says={"where": "pod1"}),
        Case(
            fault="D60",
            tell=at_the_switch,
            machine=MACHINE.with_device(SWITCH, "port2", up=False),
            repair="ip link set port2 up",
            says={"where": "switch"},
        ),
    ],
    "no-forwarding": [
        Case(fault="D41", tell=at_the_bridge, facts=POD_OFF, repair="sysctl -w net.ipv4.ip_forward=1"),
        Case(fault="D41", tell=unwrapped, at=NODE2, facts={NODE2: NodeFacts(forwarding=False)}, says={"node": "node2"}),
        Case(
            fault="D41",
            tell=at_the_bridge,
            machine=two_nodes(6),
            facts=POD_OFF,
            repair="sysctl -w net.ipv6.conf.all.forwarding=1",
        ),
    ],
    "no-route": [
        Case(fault="D17", tell=at_the_bridge, instead=(no_route(NODE1, FAR.pod_ip),), gone=BEYOND_ROUTE),
        Case(
            fault="D17",
            tell=unwrapped,
            at=NODE2,
            instead=(no_route(NODE2, FAR.pod_ip, "EHOSTUNREACH"),),
            gone=BEYOND_ROUTE,
            says={"node": "node2"},
        ),
        Case(
            fault="D17",
            tell=nothing,
            machine=two_nodes(pods=(NODE1, POD4)),
            instead=(no_route(NODE1, FAR.pod_ip),),
            gone=BEYOND_ROUTE,
            says={"node": "node1"},
        ),
    ],
    "refusing-route": [
        Case(fault="D21", tell=at_the_bridge, instead=(refusing_route(NODE1, FAR.pod_ip, kind),), says={"kind": kind})
        for kind in ("blackhole", "unreachable", "prohibit", "throw")
    ],
    "no-neighbour": [
        Case(
            fault="D03",
            tell=at_the_bridge,
            instead=(neighbour(NODE1, FAR.vtep_ip, None, "flannel.1"),),
            gone=("fdb", "underlay-route", "underlay-neigh"),
            repair="ip neigh replace 10.244.2.0 lladdr 02:00:0a:f4:02:00 dev flannel.1 nud permanent",
        ),
    ],
    "no-fdb-entry": [
        Case(
            fault="D01",
            tell=in_the_tunnel,
            instead=(fdb(NODE1, FAR.tunnel_mac, None, "flannel.1"),),
            gone=("underlay-route", "underlay-neigh"),
            dropped="VXLAN_NO_REMOTE",
            repair="bridge fdb append 02:00:0a:f4:02:00 dev flannel.1 dst 192.168.64.12",
            says={"ip": "10.244.2.0"},
        ),
    ],
    "no-underlay-route": [
        Case(fault="D13", tell=in_the_tunnel, instead=(underlay_route(NODE1, FAR.node_ip, error="ENETUNREACH"),)),
    ],
    "wrong-node": [
        Case(
            fault="D02",
            tell=tell,
            instead=(fdb(NODE1, FAR.tunnel_mac, NEAR.gateway, "flannel.1"),),
            repair="bridge fdb replace 02:00:0a:f4:02:00 dev flannel.1 dst 192.168.64.12",
        )
        for tell in (in_the_tunnel, on_the_wire)
    ],
    "underlay-silent": [
        Case(
            fault="D60",
            tell=in_the_tunnel,
            instead=(neighbour(NODE1, FAR.node_ip, None, "eth0", kind="underlay-neigh"),),
            says={"ip": "192.168.64.12"},
        ),
    ],
    "tunnel-filter-out": [
        Case(fault="D47", tell=in_the_tunnel, dropped="NETFILTER_DROP", says={"port": "8472"}),
    ],
    "tunnel-filter-in": [
        Case(
            fault="D46",
            tell=at_the_node,
            at=NODE2,
            instead=(local_route(NODE2, FAR.node_ip),),
            dropped="NETFILTER_DROP",
            says={"port": "8472"},
        ),
    ],
    "forward-filter": [
        Case(fault="D43", tell=at_the_bridge, dropped="NETFILTER_DROP", says={"place": "some_function"}),
        Case(fault="D44", tell=unwrapped, at=NODE2, dropped="NETFILTER_DROP", says={"node": "node2"}),
        Case(
            fault="D43",
            tell=lambda told: told.seen(POD1, "eth0", "tx").seen(NODE1, "vethp1", "rx"),
            machine=same_node(),
            dropped="NETFILTER_DROP",
        ),
    ],
    "bridge-filter": [
        Case(fault="D36", tell=into_the_bridge, at=NODE2, dropped="NETFILTER_DROP", says={"device": "cbr0"}),
    ],
    "tables-agree": [
        Case(fault="", tell=at_the_bridge),
        Case(fault="", tell=unwrapped, at=NODE2),
        Case(fault="", tell=at_the_node, at=NODE2, instead=(local_route(NODE2, FAR.node_ip),)),
    ],
    "underlay-lost": [
        Case(fault="D61", tell=on_the_wire, says={"device": "port2"}),
    ],
    "wrong-vni": [
        Case(
            fault="D09",
            tell=at_the_node,
            machine=MACHINE.with_device(NODE2, "flannel.1", vni=7),
            at=NODE2,
            says={"vni": "1", "theirs": "7", "sender": "node1"},
        ),
    ],
    "wrong-port": [
        Case(
            fault="D10",
            tell=at_the_node,
            machine=MACHINE.with_device(NODE2, "flannel.1", port=4789),
            at=NODE2,
            says={"port": "8472", "theirs": "flannel.1 4789"},
        ),
        Case(
            fault="D10",
            tell=at_the_node,
            machine=MACHINE.with_device(NODE2, "flannel.1", kind="dummy"),
            at=NODE2,
            says={"theirs": "-"},
        ),
    ],
    "tunnel-down": [
        Case(
            fault="D12",
            tell=at_the_node,
            machine=MACHINE.with_device(NODE2, "flannel.1", up=False),
            at=NODE2,
            repair="ip link set flannel.1 up",
        ),
    ],
    "device-down": [
        Case(
            fault="D11",
            tell=at_the_bridge,
            machine=MACHINE.with_device(NODE1, "flannel.1", up=False),
            instead=(no_route(NODE1, FAR.pod_ip),),
            gone=BEYOND_ROUTE,
            repair="ip link set flannel.1 up",
        ),
        Case(
            fault="D31",
            tell=unwrapped,
            machine=MACHINE.with_device(NODE2, "cbr0", up=False),
            at=NODE2,
            instead=(no_route(NODE2, FAR.pod_ip),),
            gone=BEYOND_ROUTE,
            repair="ip link set cbr0 up",
        ),
    ],
    "not-in-the-bridge": [
        Case(
            fault="D28",
            tell=at_the_pair_for_the_bridge,
            machine=MACHINE.with_device(NODE1, "vethp1", master=None),
            repair="ip link set vethp1 master cbr0",
        ),
    ],
    "wrong-inner-mac": [
        Case(
            fault="D04",
            tell=unwrapped_for_another,
            machine=MACHINE.with_device(NODE2, "flannel.1", mac=OLD_MAC),
            at=NODE2,
            says={"mac": "02:00:0a:f4:02:00", "own": OLD_MAC},
        ),
    ],
    "reverse-path": [
        Case(fault="D19", tell=unwrapped, at=NODE2, dropped="IP_RPFILTER", says={"source": "10.244.1.2"}),
        Case(
            fault="D19",
            tell=unwrapped,
            at=NODE2,
            instead=(no_route(NODE2, FAR.pod_ip, "EXDEV"),),
            gone=BEYOND_ROUTE,
            says={"device": "flannel.1"},
        ),
        Case(fault="D19", tell=at_the_bridge, instead=(no_route(NODE1, FAR.pod_ip, "EXDEV"),), gone=BEYOND_ROUTE),
    ],
    "target-silent": [
        Case(fault="D33", tell=asked_by_the_node, at=NODE2, says={"node": "node2", "ip": "10.244.2.5"}),
        Case(fault="D33", tell=unwrapped, at=NODE2, instead=(neighbour(NODE2, FAR.pod_ip, None, "cbr0"),)),
        Case(
            fault="D33",
            tell=lambda told: told.asks(POD1, "eth0", same_node().target.pod_ip),
            machine=same_node(),
            at=POD1,
            instead=(neighbour(POD1, same_node().target.pod_ip, None, "eth0"),),
            says={"node": "node1", "ip": "10.244.1.3"},
        ),
    ],
    "stale-neighbour": [
        Case(
            fault="",
            tell=at_the_pod_for_another,
            machine=MACHINE.with_device(POD4, "eth0", mac=mac(999)),
            at=NODE2,
            repair="ip neigh del 10.244.2.5 dev cbr0",
            says={"own": mac(999)},
        ),
    ],
    "target-filter": [Case(fault="", tell=at_the_pod, dropped="NETFILTER_DROP")],
}  # fmt: skip

ROWS = [
    pytest.param(rule, case, id=f"{rule} {case.tell.__name__}".removesuffix(" <lambda>"))
    for rule, cases in CASES.items()
    for case in cases
]


def test_every_rule_that_has_a_sentence_is_told_here() -> None:
    assert set(CASES) == set(FINDINGS)


@pytest.mark.parametrize(("rule", "case"), ROWS)
def test_a_stop_has_its_one_finding(rule: str, case: Case) -> None:
    finding = stopped(case).verdict.finding
    assert finding is not None
    assert (finding.rule, finding.id) == (rule, case.fault)
    assert finding.repair == case.repair or not case.repair
    assert case.says.items() <= finding.facts.items()


@pytest.mark.parametrize(("rule", "case"), ROWS)
def test_the_evidence_is_a_command_and_its_answer(rule: str, case: Case) -> None:
    finding = stopped(case).verdict.finding
    assert finding is not None
    assert bool(finding.evidence) == bool(finding.answer)
    assert finding.evidence or rule in WITHOUT_A_QUESTION


WITHOUT_A_QUESTION = {"underlay-lost"}
"""Shown by the taps of the other node, which saw nothing."""


def test_the_replys_stop_is_diagnosed_on_the_replys_way() -> None:
    told = story(MACHINE).walks().turns_round().leaves_pod()
    answers = changed(healthy_answers(MACHINE), "reply", NODE2, no_route(NODE2, NEAR.pod_ip), gone=BEYOND_ROUTE)
    verdict = correlate(told.findings(answers)).verdict
    assert verdict.finding is not None
    assert (verdict.finding.rule, verdict.finding.node) == ("no-route", "node2")
    assert verdict.finding.facts["target"] == "10.244.1.2"


def test_a_target_that_knows_no_way_back_is_told_by_its_own_tables() -> None:
    told = story(MACHINE).walks().turns_round()
    answers = changed(healthy_answers(MACHINE), "reply", POD4, no_route(POD4, NEAR.pod_ip), gone=("neigh",))
    finding = correlate(told.findings(answers)).verdict.finding
    assert finding is not None
    assert (finding.rule, finding.id, finding.node) == ("source-no-route", "D25", "pod4")
    assert finding.facts["target"] == "10.244.1.2"


def test_a_healthy_walk_has_no_finding() -> None:
    assert story(MACHINE).walks().turns_round().walks().journey().verdict.finding is None


def test_an_unanswered_question_that_is_not_about_the_gateway_blames_nobody() -> None:
    told = story(MACHINE).asks(POD1, "eth0", FAR.gateway)
    assert found(told) is None


def test_a_question_that_somebody_answered_elsewhere_is_answered() -> None:
    told = story(MACHINE).asks(POD1, "eth0", NEAR.gateway).asks(NODE1, "cbr0", NEAR.gateway, NEAR.bridge_mac)
    assert found(told) is None


def test_without_any_evidence_there_is_no_finding() -> None:
    assert correlate(story(MACHINE).findings({})).verdict.finding is None
    unread = story(MACHINE).leaves_pod()
    assert correlate(unread.findings({})).verdict.finding is None


def test_what_left_the_node_and_did_not_come_was_lost_between_though_the_underlay_cannot_be_seen() -> None:
    finding = found(story(two_nodes(wire=False)).leaves_pod().wraps().goes_out())
    assert finding is not None
    assert (finding.rule, finding.facts["device"]) == ("underlay-lost", "eth0")


def test_a_target_node_that_nobody_may_look_into_is_not_said_to_have_missed_the_packet() -> None:
    machine = two_nodes(wire=False).without(NODE2, POD4)
    assert found(story(machine).leaves_pod().wraps().goes_out()) is None


def test_a_drop_elsewhere_on_the_host_changes_nothing() -> None:
    told = story(MACHINE).leaves_pod()
    events = freed(told, "NETFILTER_DROP", "nf_hook_slow")
    foreign = replace(events, skbs=tuple(replace(event, length=60, skb=1) for event in events.skbs))
    finding = correlate(told.findings(events=foreign)).verdict.finding
    assert finding is not None
    assert finding.rule == "tables-agree"


def found(told: Story) -> Finding | None:
    return correlate(told.findings()).verdict.finding


def test_the_switch_is_not_a_node_that_could_be_repaired() -> None:
    finding = found(story(MACHINE).leaves_pod().wraps().goes_out().crosses())
    assert finding is not None
    assert finding.node == "switch"
    assert SWITCH in MACHINE.topology.namespaces
