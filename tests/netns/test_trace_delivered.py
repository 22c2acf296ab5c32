"""Walks of packets that arrive, on networks that tulle did not build."""

import socket
from base64 import b64decode
from collections.abc import Iterator

import pytest

from tests.kit.kernels import NEEDS_HOST_ROOT, NEEDS_ROOT
from tests.kit.topology import MISSING, Net, Shape, two_nodes
from tests.kit.tracing import REQUEST, devices, hop_at, steps, traced, traces
from tulle.kernel.netns import inside
from tulle.trace.journey import Journey
from tulle.trace.probe_packet import Protocol
from tulle.wire.frames import Ethernet, Ipv4, Udp, Vxlan
from tulle.wire.frames_decode import decode_frame

needs_host_root = pytest.mark.skipif(NEEDS_HOST_ROOT is not None, reason=NEEDS_HOST_ROOT or "")
pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=NEEDS_ROOT or ""),
    pytest.mark.skipif(MISSING is not None, reason=f"{MISSING} is not installed"),
]
PORT = 4789


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    """VNI 7 on port 4789, a bridge and a tunnel with names of their own; both address families."""
    with Net() as made:
        two_nodes(made, Shape(vni=7, port=PORT, bridge="cni0", tunnel="vx7", ipv6=True))
        yield made


@pytest.fixture(scope="module")
def first(net: Net) -> Journey:
    """The first packet that this network ever saw."""
    return traced(net, "pod1", "pod4")


def test_the_first_packet_is_seen_at_every_step_there_and_back(first: Journey) -> None:
    assert (first.verdict.status, first.verdict.finding) == ("delivered", None)
    assert steps(first) == steps(first, "reply") == REQUEST
    assert devices(first) == [
        "pod1/eth0",
        "node1/vethpod1",
        "node1/cni0",
        "node1/vx7",
        "node1/eth0",
        "switch/port1",
        "switch/port2",
        "node2/eth0",
        "node2/vx7",
        "node2/cni0",
        "node2/vethpod4",
        "pod4/eth0",
    ]
    assert devices(first, "reply") == devices(first)[::-1]


def test_the_first_packet_shows_whom_it_waited_for(first: Journey) -> None:
    waited = {
        hop.step: reason.facts["ip"] for hop in first.walk("request") for reason in hop.why if reason.kind == "arp"
    }
    assert waited == {"1": "10.244.1.1", "3c": "192.168.64.12", "7": "10.244.2.3"}
    assert all(side.answered_by for side in first.side)


def test_the_tunnel_is_found_and_not_assumed(first: Journey) -> None:
    overlay = first.overlay
    assert overlay is not None
    assert (overlay.backend, overlay.vni, overlay.port, overlay.device) == ("vxlan", 7, PORT, "vx7")
    assert overlay.nodes == ("192.168.64.11", "192.168.64.12")


def test_each_hop_cites_the_frame_that_was_captured_there(first: Journey) -> None:
    for hop in first.hops:
        if hop.n is None:
            continue
        frame = decode_frame(memoryview(b64decode(hop.frame)), wire_len=hop.len, vxlan_ports=frozenset({PORT}))
        inner = _inner(frame)
        assert hop.inner is not None
        assert (str(inner.source), str(inner.destination), inner.ttl) == (hop.inner.src, hop.inner.dst, hop.inner.ttl)


def _inner(frame: Ethernet) -> Ipv4:
    packet = frame.payload
    assert isinstance(packet, Ipv4)
    if isinstance(packet.payload, Udp) and isinstance(packet.payload.payload, Vxlan):
        return _inner(packet.payload.payload.inner)
    return packet


def test_each_decision_has_the_kernels_own_bytes_and_the_command_that_asks_again(net: Net, first: Journey) -> None:
    reasons = [(hop, reason) for hop in first.hops for reason in hop.why if reason.source == "rtnetlink"]
    assert {reason.kind for _, reason in reasons} >= {
        "route",
        "neigh",
        "fdb",
        "bridge-fdb",
        "underlay-route",
        "underlay-neigh",
    }
    for hop, reason in reasons:
        if reason.kind == "link":
            continue
        assert b64decode(reason.raw), reason
        place = hop.node if hop.netns == "root" else hop.netns
        said = net.run(place if place != "underlay" else hop.netns, *reason.ask.split())
        key = reason.facts.get("mac") or reason.facts.get("ip") or reason.facts["dst"].removesuffix("/32")
        assert key.replace("0.0.0.0/0", "default") in said, (reason, said)


def test_times_never_run_backwards_and_a_tie_is_never_a_zero(first: Journey) -> None:
    for direction in ("request", "reply"):
        times = [hop.t_ns for hop in first.sightings(direction)]
        assert None not in times
        assert times == sorted(times, key=lambda ns: ns or 0)
        for before, hop in zip(first.sightings(direction), first.sightings(direction)[1:], strict=False):
            assert hop.t_shared_with is not None or (hop.t_ns or 0) > (before.t_ns or 0)


@needs_host_root
def test_root_sees_ties_told_apart_and_the_look_up_as_it_happened(first: Journey) -> None:
    assert first.notes == ()
    assert {hop.t_source for hop in first.hops if hop.n is not None and hop.step in ("2", "6b")} == {"tracepoint"}
    for step in ("3a", "6c"):
        lookup = hop_at(first, step).reason("lookup")
        assert lookup is not None
        assert "10.244.1.2 -> 10.244.2.3" in lookup.text


def test_the_cost_of_looking_stands_beside_the_latency(first: Journey) -> None:
    assert first.overhead.rtt_traced_ns
    assert first.overhead.rtt_plain_ns


@needs_host_root
@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", ["icmp", "udp", "tcp"])
def test_every_protocol_walks_the_same_way_in_both_families(net: Net, protocol: Protocol, family: int) -> None:
    journey = traced(net, "pod1", "pod4", protocol=protocol, family=family)
    assert journey.verdict.status == "delivered"
    assert steps(journey) == steps(journey, "reply") == REQUEST
    assert [hop.step for hop in journey.hops if hop.t_shared_with is not None] == []  # root tells ties apart
    assert journey.packet.proto == protocol
    assert journey.packet.family == family


def test_udp_from_a_socket_leaves_its_checksum_to_the_nic(net: Net) -> None:
    journey = traced(net, "pod1", "pod4", protocol="udp")
    inner = hop_at(journey, "1").inner
    assert inner is not None
    assert inner.csum == "partial"


def test_a_port_that_is_taken_is_answered_by_whoever_has_it(net: Net) -> None:
    with inside(net.path("pod4")), socket.create_server(("10.244.2.3", 81)) as server:
        journey = traced(net, "pod1", "pod4", protocol="tcp", port=81)
        assert server.getsockname() == ("10.244.2.3", 81)
    assert journey.verdict.status == "delivered"
    answer = hop_at(journey, "1", "reply").inner
    assert answer is not None
    assert answer.text.endswith("SYN ACK")


def test_pods_of_one_node_are_joined_by_the_bridge_alone(net: Net) -> None:
    journey = traced(net, "pod1", "pod2")
    assert journey.verdict.status == "delivered"
    assert devices(journey) == ["pod1/eth0", "node1/vethpod1", "node1/vethpod2", "pod2/eth0"]
    assert [hop.step for hop in journey.walk("request")] == ["1", "", "2", "7", "8"]
    assert journey.overlay is None
    entry = hop_at(journey, "2").reason("bridge-fdb")
    assert entry is not None
    assert entry.facts["port"] == "vethpod2"


@pytest.mark.parametrize(
    ("source", "target", "there", "back"),
    [
        ("pod1", "node1", ["pod1/eth0", "node1/vethpod1", "node1/cni0"], ["node1/cni0", "node1/vethpod1", "pod1/eth0"]),
        (
            "pod1",
            "node2",
            ["pod1/eth0", "node1/vethpod1", "node1/cni0", "node1/eth0", "switch/port1", "switch/port2", "node2/eth0"],
            # node2 answers to a pod's address: through its tunnel
            [
                "node2/vx7",
                "node2/eth0",
                "switch/port2",
                "switch/port1",
                "node1/eth0",
                "node1/vx7",
                "node1/cni0",
                "node1/vethpod1",
                "pod1/eth0",
            ],
        ),
        (
            "node1",
            "node2",
            ["node1/eth0", "switch/port1", "switch/port2", "node2/eth0"],
            ["node2/eth0", "switch/port2", "switch/port1", "node1/eth0"],
        ),
    ],
)
def test_nodes_are_ends_too(net: Net, source: str, target: str, there: list[str], back: list[str]) -> None:
    journey = traced(net, source, target, roles=[("node1", "node"), ("node2", "node")])
    assert journey.verdict.status == "delivered", journey.verdict
    assert devices(journey) == there
    assert devices(journey, "reply") == back


def test_a_node_reaches_a_pod_of_another_node_through_the_tunnel(net: Net) -> None:
    journey = traced(net, "node1", "pod4")
    assert journey.verdict.status == "delivered"
    assert steps(journey) == ["3b", "3c", "4", "5", "6a", "6b", "6c", "7", "8"]
    assert steps(journey, "reply")[-1] == "6b"


def test_an_address_is_enough_when_its_namespace_can_be_seen(net: Net) -> None:
    journey = traced(net, "pod1", "10.244.2.3")
    assert (journey.target.pod, journey.target.node) == ("pod4", "node2")
    assert steps(journey) == REQUEST


@needs_host_root
def test_many_probes_are_each_seen_at_every_hop_in_the_same_order(net: Net) -> None:
    journeys = traces(net, "pod1", "pod4", count=60)
    assert len({journey.packet.id for journey in journeys}) == 60
    assert {tuple(devices(journey)) for journey in journeys} == {tuple(devices(journeys[0]))}
    assert {tuple(devices(journey, "reply")) for journey in journeys} == {tuple(devices(journeys[0], "reply"))}
    assert {tuple(steps(journey)) for journey in journeys} == {tuple(REQUEST)}
    assert {journey.verdict.status for journey in journeys} == {"delivered"}
