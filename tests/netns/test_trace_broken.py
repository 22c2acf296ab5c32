"""A packet that does not arrive: the walk ends where it ended, with the kernel's reason and the repair that helps.

One network for all of it: each case damages a healthy network, traces, and mends it again; that the next case
finds it healthy is part of the proof, for most cases by the very repair that the finding names.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.kit.kernels import NEEDS_HOST_ROOT
from tests.kit.topology import MISSING, Net, Shape, two_nodes, vtep
from tests.kit.tracing import broken, devices, finding_of, traced
from tulle.trace import session
from tulle.trace.flow import Flow
from tulle.trace.journey import Direction, Status
from tulle.trace.tracepoints import EventSource, NoTracepoints

pytestmark = [
    pytest.mark.skipif(NEEDS_HOST_ROOT is not None, reason=NEEDS_HOST_ROOT or ""),
    pytest.mark.skipif(MISSING is not None, reason=f"{MISSING} is not installed"),
]

TUNNEL = "dev flannel.1"
AWAY = "route add 10.244.{}.0/24 via 10.244.{}.0 dev flannel.1 onlink"
VXLAN = "link add flannel.1 address {} type vxlan id {} dstport {} local 192.168.64.12 dev eth0 nolearning"
OTHER = "02:00:0a:f4:02:77"


def drop(family: str, hook: str, rule: str = "") -> str:
    """A table that drops at ``hook``, all or what ``rule`` matches."""
    policy = "accept" if rule else "drop"
    return f"table {family} t {{\nchain c {{\ntype filter hook {hook} priority 0; policy {policy};\n{rule}\n}}\n}}\n"


def tunnel_again(number: int = 1, port: int = 8472) -> tuple[str, ...]:
    """node2's tunnel made anew with this VNI and port, and its entries."""
    return (
        "ip link del flannel.1",
        "ip " + VXLAN.format(vtep(2), number, port),
        "ip link set flannel.1 mtu 1450 up",
        "ip addr add 10.244.2.0/32 dev flannel.1",
        "ip " + AWAY.format(1, 1),
        f"ip neigh replace 10.244.1.0 lladdr {vtep(1)} {TUNNEL} nud permanent",
        f"bridge fdb append {vtep(1)} {TUNNEL} dst 192.168.64.11",
    )


@dataclass(frozen=True, kw_only=True)
class Damage:
    """What is done where, what the trace must say of it, and what mends it ("repair": the finding's own command)."""

    where: str
    do: tuple[str, ...]
    undo: tuple[str, ...] = ()
    rule: str
    fault: str = ""
    status: Status = "lost"
    direction: Direction = "request"
    last: str = ""
    """The device of the last sighting; "" nothing was seen."""
    reason: str = ""
    place: str = ""


CASES = {
    "the pod has no default route": Damage(
        where="pod1",
        do=("ip route del default",),
        undo=("ip route add default via 10.244.1.1",),
        rule="source-no-route",
        fault="D25",
    ),
    "the gateway is silent": Damage(
        where="node1",
        do=("ip addr del 10.244.1.1/24 dev cbr0", "forget pod1"),
        undo=("ip addr add 10.244.1.1/24 dev cbr0", "forget pod1"),
        rule="gateway-silent",
        fault="D27",
    ),
    "the pod's own filter refuses": Damage(
        where="pod1", do=(drop("inet", "output"),), undo=("nft delete table inet t",), rule="source-filter"
    ),
    "the sender's node has no route": Damage(
        where="node1",
        do=("ip route del 10.244.2.0/24",),
        undo=("ip " + AWAY.format(2, 2),),
        rule="no-route",
        fault="D17",
        last="node1/cbr0",
        reason="IP_INNOROUTES",
        place="ip_error",
    ),
    "a blackhole": Damage(
        where="node1",
        do=("ip route add blackhole 10.244.2.3/32",),
        undo=("ip route del blackhole 10.244.2.3/32",),
        rule="refusing-route",
        fault="D21",
        last="node1/cbr0",
        place="ip_error",
    ),
    "no neighbour for the tunnel's end": Damage(
        where="node1",
        do=(f"ip neigh del 10.244.2.0 {TUNNEL}",),
        rule="no-neighbour",
        fault="D03",
        last="node1/cbr0",
    ),
    "no FDB entry": Damage(
        where="node1",
        do=(f"bridge fdb del {vtep(2)} {TUNNEL} dst 192.168.64.12",),
        rule="no-fdb-entry",
        fault="D01",
        last="node1/flannel.1",
        reason="NO_TX_TARGET",
        place="vxlan_xmit",
    ),
    "an FDB entry that leads nowhere": Damage(
        where="node1",
        do=(f"bridge fdb replace {vtep(2)} {TUNNEL} dst 192.168.64.99",),
        rule="wrong-node",
        fault="D02",
        last="node1/flannel.1",
    ),
    "the tunnel's own address is gone": Damage(
        where="node1",
        do=("ip addr del 192.168.64.11/24 dev eth0",),
        undo=("ip addr add 192.168.64.11/24 dev eth0",),
        rule="no-underlay-route",
        fault="D13",
        last="node1/flannel.1",
        reason="IP_OUTNOROUTES",
        place="vxlan_xmit_one",
    ),
    "the sender's node filters the tunnel": Damage(
        where="node1",
        do=(drop("inet", "output", "udp dport 8472 drop"),),
        undo=("nft delete table inet t",),
        rule="tunnel-filter-out",
        fault="D47",
        last="node1/flannel.1",
        reason="NETFILTER_DROP",
    ),
    "the underlay filters the tunnel": Damage(
        where="switch",
        do=(drop("bridge", "forward", "udp dport 8472 drop"),),
        undo=("nft delete table bridge t",),
        rule="underlay-lost",
        fault="D61",
        last="switch/port1",
        reason="NETFILTER_DROP",
    ),
    "the receiver's node filters the tunnel": Damage(
        where="node2",
        do=(drop("inet", "input", "udp dport 8472 drop"),),
        undo=("nft delete table inet t",),
        rule="tunnel-filter-in",
        fault="D46",
        last="node2/eth0",
        reason="NETFILTER_DROP",
    ),
    "another VNI": Damage(
        where="node2",
        do=tunnel_again(9),
        undo=tunnel_again(),
        rule="wrong-vni",
        fault="D09",
        last="node2/eth0",
        reason="VXLAN_VNI_NOT_FOUND",
        place="vxlan_rcv",
    ),
    "another port": Damage(
        where="node2",
        do=tunnel_again(1, 4789),
        undo=tunnel_again(),
        rule="wrong-port",
        fault="D10",
        last="node2/eth0",
        reason="NO_SOCKET",
    ),
    "the receiver's tunnel is down": Damage(
        where="node2",
        do=("ip link set flannel.1 down",),
        undo=tunnel_again(),
        rule="tunnel-down",
        fault="D12",
        last="node2/eth0",
        reason="NO_SOCKET",
    ),
    "the inner frame is for another MAC": Damage(
        where="node1",
        do=(
            f"ip neigh replace 10.244.2.0 lladdr {OTHER} {TUNNEL} nud permanent",
            f"bridge fdb append {OTHER} {TUNNEL} dst 192.168.64.12",
        ),
        undo=(
            f"ip neigh replace 10.244.2.0 lladdr {vtep(2)} {TUNNEL} nud permanent",
            f"bridge fdb del {OTHER} {TUNNEL} dst 192.168.64.12",
        ),
        rule="wrong-inner-mac",
        fault="D04",
        last="node2/flannel.1",
        reason="OTHERHOST",
        place="ip_rcv_core",
    ),
    "the sender's node drops what it forwards": Damage(
        where="node1",
        do=(drop("inet", "forward"),),
        undo=("nft delete table inet t",),
        rule="forward-filter",
        fault="D43",
        last="node1/cbr0",
        reason="NETFILTER_DROP",
    ),
    "the receiver's node drops what it forwards": Damage(
        where="node2",
        do=(drop("inet", "forward"),),
        undo=("nft delete table inet t",),
        rule="forward-filter",
        fault="D44",
        last="node2/flannel.1",
        reason="NETFILTER_DROP",
    ),
    "the sender's node does not forward": Damage(
        where="node1",
        do=("sysctl net/ipv4/ip_forward 0",),
        rule="no-forwarding",
        fault="D41",
        last="node1/cbr0",
        reason="IP_INADDRERRORS",
    ),
    "the receiver's node does not forward": Damage(
        where="node2",
        do=("sysctl net/ipv4/ip_forward 0",),
        rule="no-forwarding",
        fault="D41",
        last="node2/flannel.1",
        reason="IP_INADDRERRORS",
    ),
    "the way back is missing and rp_filter is on": Damage(
        where="node2",
        do=("ip route del 10.244.1.0/24", "sysctl net/ipv4/conf/all/rp_filter 1"),
        undo=("ip " + AWAY.format(1, 1), "sysctl net/ipv4/conf/all/rp_filter 0"),
        rule="reverse-path",
        fault="D19",
        last="node2/flannel.1",
        reason="IP_RPFILTER",
    ),
    "the way back is missing": Damage(
        where="node2",
        do=(
            "ip route del 10.244.1.0/24",
            "sysctl net/ipv4/conf/all/rp_filter 0",
            "sysctl net/ipv4/conf/flannel.1/rp_filter 0",
        ),
        undo=("ip " + AWAY.format(1, 1),),
        rule="no-route",
        fault="D17",
        status="no-reply",
        direction="reply",
        last="node2/cbr0",
        reason="IP_INNOROUTES",
    ),
    "the neighbour of an earlier pod": Damage(
        where="node2",
        do=(
            "ip neigh replace 10.244.2.3 lladdr 02:99:99:99:99:99 dev cbr0 nud permanent",
            "bridge fdb replace 02:99:99:99:99:99 dev vethpod4 master static",
        ),
        undo=("ip neigh del 10.244.2.3 dev cbr0", "bridge fdb del 02:99:99:99:99:99 dev vethpod4 master"),
        rule="stale-neighbour",
        last="pod4/eth0",
        reason="OTHERHOST",
    ),
    "the target's own filter": Damage(
        where="pod4",
        do=(drop("inet", "input"),),
        undo=("nft delete table inet t",),
        rule="target-filter",
        last="pod4/eth0",
        reason="NETFILTER_DROP",
    ),
    "the sender's pair is in no bridge": Damage(
        where="node1",
        do=("ip link set vethpod1 nomaster",),
        rule="not-in-the-bridge",
        fault="D28",
        last="node1/vethpod1",
        reason="OTHERHOST",
    ),
    "the receiver's bridge filters": Damage(
        where="node2",
        do=(drop("bridge", "output", "ether type ip drop"),),
        undo=("nft delete table bridge t",),
        rule="bridge-filter",
        fault="D36",
        last="node2/cbr0",
        reason="NETFILTER_DROP",
    ),
    "the target's address is gone": Damage(
        where="node2",
        do=("sh pod4 ip addr del 10.244.2.3/24 dev eth0", "ip neigh flush all"),
        undo=(
            "sh pod4 ip addr add 10.244.2.3/24 dev eth0",
            "sh pod4 ip route add default via 10.244.2.1",
            "ip neigh flush all",
        ),
        rule="target-silent",
        fault="D33",
        last="node2/flannel.1",
    ),
    "the sender's tunnel is down": Damage(
        where="node1",
        do=("ip link set flannel.1 down",),
        undo=(
            "ip link set flannel.1 up",
            "ip " + AWAY.format(2, 2),
            f"ip neigh replace 10.244.2.0 lladdr {vtep(2)} {TUNNEL} nud permanent",
        ),
        rule="device-down",
        fault="D11",
        last="node1/cbr0",
        reason="IP_INNOROUTES",
    ),
}


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with Net() as made:
        two_nodes(made, Shape())
        yield made


def perform(net: Net, where: str, commands: tuple[str, ...]) -> None:
    for command in commands:
        tool, _, rest = command.partition(" ")
        match tool:
            case "ip":
                net.ip(where, rest)
            case "bridge":
                net.bridge(where, rest)
            case "sysctl":
                net.sysctl(where, *rest.removeprefix("-w ").replace("=", " ").replace(".", "/").split())
            case "forget":
                net.ip(rest, "neigh flush all")
            case "sh":
                name, *argv = rest.split()
                net.run(name, *argv)
            case _:
                net.run(where, "nft", command.removeprefix("nft "))


@pytest.mark.parametrize("case", [pytest.param(case, id=name) for name, case in CASES.items()])
def test_a_stop_is_shown_where_it_is_with_its_reason_and_mended(net: Net, case: Damage) -> None:
    perform(net, case.where, case.do)
    journey = broken(net, target="10.244.2.3" if case.rule == "target-silent" else "pod4")
    verdict, finding = journey.verdict, finding_of(journey)
    perform(net, case.where, case.undo or (finding.repair,))  # before all else: the next case needs a whole network
    mended = traced(net, "pod1", "pod4")
    assert (verdict.status, verdict.direction) == (case.status, case.direction)
    assert (finding.rule, finding.id) == (case.rule, case.fault)
    seen = devices(journey, case.direction)
    assert (seen[-1] if seen else "") == case.last
    assert (verdict.drop.reason if verdict.drop else "") == case.reason or not case.reason
    assert (verdict.drop.place if verdict.drop else "") == case.place or not case.place
    assert mended.verdict.status == "delivered", f"not mended by {case.undo or finding.repair}"


BLIND = {
    "a blackhole": "refusing-route",
    "no FDB entry": "no-fdb-entry",
    "the way back is missing and rp_filter is on": "reverse-path",
    "the receiver's node filters the tunnel": "tables-agree",
    "the sender's node drops what it forwards": "tables-agree",
}


def none_here(_: Flow) -> tuple[EventSource, str]:
    return NoTracepoints(), "not here"


@pytest.mark.parametrize("name", BLIND)
def test_without_tracepoints_the_tables_decide_and_a_filter_is_not_guessed(
    net: Net, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "open_tracepoints", none_here)
    case = CASES[name]
    perform(net, case.where, case.do)
    journey = broken(net)
    finding = finding_of(journey)
    perform(net, case.where, case.undo or (finding.repair,))
    assert finding.rule == BLIND[name]
    assert journey.verdict.drop is None
    assert devices(journey)[-1] == case.last
    assert journey.notes == ("tracepoints:reason=not here",)


def test_a_router_answers_a_packet_that_does_not_fit_and_the_pod_remembers(net: Net) -> None:
    net.ip("node1", "link set flannel.1 mtu 1350")
    try:
        answered, learnt = (broken(net, size=1450) for _ in range(2))
        fits = traced(net, "pod1", "pod4", size=1350)
    finally:
        net.ip("node1", "link set flannel.1 mtu 1450")
        net.ip("pod1", "route flush cache")
    assert answered.verdict.icmp == "ICMP fragmentation needed, MTU 1350 from 10.244.1.1"
    assert (finding_of(answered).rule, devices(answered)[-1]) == ("too-big", "node1/cbr0")
    assert (finding_of(learnt).rule, devices(learnt), learnt.verdict.note) == ("too-big-learnt", [], "EMSGSIZE")
    assert (fits.verdict.status, fits.packet.len) == ("delivered", 1350 + 14)


def test_a_link_drops_without_a_word_what_its_other_end_does_not_take(net: Net) -> None:
    net.ip("switch", "link set port1 mtu 1400")
    try:
        lost = broken(net, size=1450)
        small = traced(net, "pod1", "pod4", size=1350)
    finally:
        net.ip("switch", "link set port1 mtu 1500")
    assert (finding_of(lost).rule, finding_of(lost).id, devices(lost)[-1]) == ("narrow-link", "D55", "node1/eth0")
    assert lost.verdict.icmp == ""
    assert small.verdict.status == "delivered"
