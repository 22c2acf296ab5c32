"""The same trace on networks of other shapes: each has the steps that apply, and none that it did not take."""

import pytest

from tests.kit.kernels import NEEDS_ROOT
from tests.kit.topology import MISSING, Net, Shape, two_nodes
from tests.kit.tracing import devices, hop_at, steps, traced

pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=NEEDS_ROOT or ""),
    pytest.mark.skipif(MISSING is not None, reason=f"{MISSING} is not installed"),
]


def test_routed_veths_have_no_bridge_and_so_no_step_2() -> None:
    with Net() as net:
        two_nodes(net, Shape(routed=True))
        journey = traced(net, "pod1", "pod4")
        beside = traced(net, "pod1", "pod2")
    assert journey.verdict.status == "delivered"
    assert steps(journey) == steps(journey, "reply") == ["1", "", "3b", "3c", "4", "5", "6a", "6b", "7", "8"]
    route = hop_at(journey, "6c").reason("route")  # a decision: no bridge saw the packet
    assert route is not None
    assert route.text == "10.244.2.3 dev vethpod4"
    assert [hop.step for hop in beside.walk("request")] == ["1", "", "", "7", "8"]
    assert [hop.kind for hop in beside.walk("request")][2] == "decision"


def test_another_bridge_on_the_way_is_shown_without_a_step_of_its_own() -> None:
    with Net() as net:
        two_nodes(net, Shape(extra=True))
        journey = traced(net, "pod1", "pod4")
    assert journey.verdict.status == "delivered"
    assert devices(journey)[5:9] == ["patch/left", "patch/right", "switch/port1", "switch/port2"]
    assert steps(journey)[5:9] == ["4", "", "", "5"]
    assert devices(journey, "reply") == devices(journey)[::-1]


def test_host_routes_need_no_tunnel() -> None:
    with Net() as net:
        two_nodes(net, Shape(plain=True))
        journey = traced(net, "pod1", "pod4")
    assert journey.verdict.status == "delivered"
    assert journey.overlay is None
    assert steps(journey) == steps(journey, "reply") == ["1", "", "2", "3c", "4", "5", "6a", "6c", "7", "8"]
    assert all(hop.outer is None for hop in journey.hops)


def test_a_reply_by_another_path_has_a_walk_of_its_own() -> None:
    with Net() as net:
        two_nodes(net)
        net.veth(("node1", "back0"), ("node2", "back0"))
        net.ip("node1", "addr add 192.168.99.1/24 dev back0")
        net.ip("node2", "addr add 192.168.99.2/24 dev back0", "route replace 10.244.1.0/24 via 192.168.99.1")
        for name in ("node1", "node2"):
            for device in ("all", "back0"):
                net.sysctl(name, f"net/ipv4/conf/{device}/rp_filter", "0")
        journey = traced(net, "pod1", "pod4")
    assert journey.verdict.status == "delivered"
    assert "switch/port1" in devices(journey)
    assert devices(journey, "reply")[3:5] == ["node2/back0", "node1/back0"]
    assert not any(device.startswith("switch") for device in devices(journey, "reply"))
    assert all(hop.outer is None for hop in journey.walk("reply"))


def test_a_rewritten_source_is_followed_by_the_payload() -> None:
    masquerade = (
        "table ip n {\nchain p {\ntype nat hook postrouting priority 100;\nip daddr 10.244.2.0/24 masquerade\n}\n}\n"
    )
    with Net() as net:
        two_nodes(net)
        net.run("node1", "nft", masquerade)
        journey = traced(net, "pod1", "pod4")
    assert journey.verdict.status == "delivered"
    assert "src 10.244.1.2→10.244.1.0" in hop_at(journey, "3b").diff
    assert steps(journey)[-1] == "8"
    assert steps(journey, "reply")[-1] == "8"


def test_two_ends_that_nothing_joins_are_said_to_be_so() -> None:
    with Net() as net:
        net.add("here", "there")
        net.ip("here", "link add eth0 type bridge", "addr add 10.9.0.1/24 dev eth0", "link set eth0 up")
        net.ip("there", "link add eth0 type bridge", "addr add 10.9.0.2/24 dev eth0", "link set eth0 up")
        journey = traced(net, "here", "there", timeout_s=0.2)
    assert journey.verdict.status == "lost"
    assert "unjoined:" in journey.notes
