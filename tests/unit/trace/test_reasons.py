"""Which of the kernel's answers stands beside which hop."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.kit.answers import changed, fdb, healthy_answers, local_route, no_route
from tests.kit.journeys import START_NS, story
from tests.kit.machines import NODE1, NODE2, POD1, POD4, same_node, two_nodes
from tulle.trace.correlate import correlate
from tulle.trace.journey import Hop
from tulle.trace.topology import NetnsId, Topology
from tulle.trace.trail import Events, LookupEvent

MACHINE = two_nodes()
KINDS = {
    "1": ["route", "neigh"],
    "2": ["link"],
    "3a": ["route"],
    "3b": ["neigh", "fdb"],
    "3c": ["underlay-route", "underlay-neigh"],
    "4": [],
    "5": [],
    "6a": ["link"],
    "6b": ["link"],
    "6c": ["route"],
    "7": ["neigh", "bridge-fdb"],
    "8": ["route"],
}


def kinds(hops: Sequence[Hop]) -> dict[str, list[str]]:
    return {hop.step: [reason.kind for reason in hop.why] for hop in hops if hop.step}


def hop(hops: Sequence[Hop], step: str) -> Hop:
    return next(hop for hop in hops if hop.step == step)


@pytest.fixture(scope="module")
def walk() -> tuple[Hop, ...]:
    return story(MACHINE).walks().turns_round().walks().journey().walk("request")


def test_every_answer_stands_at_the_hop_that_it_caused(walk: tuple[Hop, ...]) -> None:
    found = kinds(walk)
    assert {step: found[step] for step in KINDS if step not in ("4", "5")} == {
        step: reasons for step, reasons in KINDS.items() if step not in ("4", "5")
    }


def test_3a_is_a_decision_between_what_came_in_and_what_goes_out(walk: tuple[Hop, ...]) -> None:
    order = [hop.step for hop in walk]
    decided = hop(walk, "3a")
    assert order.index("2") < order.index("3a") < order.index("3b")
    assert (decided.n, decided.kind, decided.frame, decided.dev) == (None, "decision", "", "flannel.1")
    assert decided.diff == ("ttl 64→63",)


def test_a_reason_keeps_its_command_its_answer_and_the_answers_bytes(walk: tuple[Hop, ...]) -> None:
    entry = hop(walk, "3b").reason("fdb")
    assert entry is not None
    assert entry.ask == "bridge fdb get 02:00:0a:f4:02:00 dev flannel.1 self"
    assert (entry.owner, entry.facts["dst"]) == ("tulle", "192.168.64.12")
    assert entry.raw


def test_the_device_list_says_whose_port_and_whose_mac(walk: tuple[Hop, ...]) -> None:
    port, tunnel = hop(walk, "6a").reason("link"), hop(walk, "6b").reason("link")
    assert port is not None
    assert tunnel is not None
    assert (port.found, port.facts) == (True, {"port": "8472", "dev": "flannel.1"})
    assert (tunnel.found, tunnel.facts["vni"]) == (True, "1")


def test_a_port_that_no_tunnel_owns_is_said_so() -> None:
    machine = MACHINE.with_device(NODE2, "flannel.1", port=4789)
    told = story(machine).leaves_pod().wraps().goes_out().crosses().comes_in()
    reason = hop(told.journey().walk("request"), "6a").reason("link")
    assert reason is not None
    assert (reason.found, reason.text) == (False, "no VXLAN device on udp/8472")


def test_of_two_tunnels_on_one_port_the_one_of_the_packets_family_owns_it() -> None:
    space = MACHINE.topology.namespaces[NODE2]
    other = two_nodes(6).device(NODE2, "flannel-v6.1")
    spaces = {
        **MACHINE.topology.namespaces,
        NODE2: replace(space, devices=(*space.devices, replace(other, ifindex=40))),
    }
    machine = replace(MACHINE, topology=Topology(spaces))
    reason = hop(story(machine).walks().journey().walk("request"), "6a").reason("link")
    assert reason is not None
    assert reason.facts["dev"] == "flannel.1"


def test_answers_whose_hop_is_missing_stay_with_the_decision() -> None:
    told = story(MACHINE).leaves_pod()
    answers = changed(
        healthy_answers(MACHINE), "request", NODE1, fdb(NODE1, MACHINE.target.tunnel_mac, None, "flannel.1")
    )
    found = hop(correlate(told.findings(answers)).walk("request"), "3a")
    assert [reason.kind for reason in found.why] == ["route", "neigh", "fdb", "underlay-route", "underlay-neigh"]


def test_what_never_left_the_tunnel_device_shows_the_underlays_answers_there() -> None:
    told = story(MACHINE).leaves_pod().wraps()
    found = kinds(told.journey().walk("request"))
    assert found["3b"] == ["neigh", "fdb", "underlay-route", "underlay-neigh"]


@pytest.mark.parametrize("pods", [(POD1, POD4), (POD1, NODE2)], ids=["to a pod", "to a node"])
def test_a_frame_for_another_mac_is_not_decided_about(pods: tuple[NetnsId, NetnsId]) -> None:
    told = story(two_nodes(pods=pods)).leaves_pod().wraps().goes_out().crosses().comes_in().unwraps("otherhost")
    last = told.journey().walk("request")[-1]
    assert (last.step, [reason.kind for reason in last.why]) == ("6b", ["link"])


def test_a_refused_route_is_a_decision_that_chose_nothing() -> None:
    told = story(MACHINE).leaves_pod()
    answers = changed(
        healthy_answers(MACHINE), "request", NODE1, no_route(NODE1, MACHINE.target.pod_ip), gone=("neigh", "fdb")
    )
    found = hop(correlate(told.findings(answers)).walk("request"), "3a")
    reason = found.reason("route")
    assert reason is not None
    assert (found.dev, reason.found) == ("", False)


def test_a_switched_frame_has_the_bridges_entry_as_step_2() -> None:
    found = story(same_node()).is_switched().journey().walk("request")
    decided = hop(found, "2")
    assert [hop.step for hop in found] == ["1", "", "2", "7", "8"]
    assert (decided.kind, decided.dev) == ("decision", "vethp2")


def test_a_route_to_the_node_itself_stands_at_its_last_hop() -> None:
    machine = two_nodes(pods=(POD1, NODE1))
    answers = {("request", NODE1): (local_route(NODE1, machine.target.node_ip),)}
    found = correlate(story(machine).leaves_pod().findings(answers)).walk("request")  # pyright: ignore[reportArgumentType]
    assert [reason.kind for reason in found[-1].why] == ["link", "route"]
    assert not any(hop.kind == "decision" for hop in found)


def test_without_a_bridge_tap_6c_is_a_decision() -> None:
    told = story(MACHINE).leaves_pod().wraps().goes_out().crosses().comes_in().unwraps()
    told.ttl -= 1
    told.seen(NODE2, "vethp4", "tx").seen(POD4, "eth0", "rx", 0)
    found = told.journey().walk("request")
    assert (hop(found, "6c").kind, hop(found, "7").kind) == ("decision", "veth")


def test_the_look_up_as_it_happened_stands_beside_the_answer_that_was_asked_afterwards() -> None:
    told = story(MACHINE).walks()
    lookup = LookupEvent(
        t_ns=START_NS + 300,
        source=told.probe.source,
        target=told.probe.target,
        table=254,
        device="flannel.1",
        gateway="10.244.2.0",
        error=0,
        text="table 254 ==> dev flannel.1 gw 10.244.2.0",
        raw=b"\x01\x02",
    )
    found = hop(correlate(told.findings(events=Events(lookups=(lookup,)))).walk("request"), "3a").reason("lookup")
    assert found is not None
    assert (found.source, found.text, found.raw) == ("fib:fib_table_lookup", lookup.text, "AQI=")


def test_a_look_up_that_chose_another_device_is_not_the_reason_of_this_route() -> None:
    told = story(MACHINE).walks()
    other = LookupEvent(
        t_ns=START_NS + 300,
        source=told.probe.source,
        target=told.probe.target,
        table=255,
        device="eth0",
        gateway="",
        error=0,
        text="",
        raw=b"",
    )
    found = hop(correlate(told.findings(events=Events(lookups=(other,)))).walk("request"), "3a")
    assert found.reason("lookup") is None
