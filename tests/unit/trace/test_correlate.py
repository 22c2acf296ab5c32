"""From evidence to a journey: the seven facts that a naive tracer gets wrong, and that nothing is ever filled in."""

from base64 import b64decode
from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.kit.answers import route
from tests.kit.journeys import START_NS, Story, freed, story
from tests.kit.machines import NODE1, NODE2, POD1, POD4, SWITCH, mac, same_node, two_nodes
from tulle.trace.correlate import correlate
from tulle.trace.journey import Hop, Journey, Overhead
from tulle.trace.trail import Events, SkbEvent


@pytest.fixture(scope="module")
def journey() -> Journey:
    return story().walks().turns_round().walks().journey()


def hop(journey: Journey, step: str, direction: str = "request") -> Hop:
    return next(hop for hop in journey.hops if (hop.step, hop.direction) == (step, direction))


# What a journey holds


def test_every_sighting_is_numbered_over_both_directions_and_cites_its_frame(journey: Journey) -> None:
    told = story().walks().turns_round().walks()
    assert [hop.n for hop in journey.hops if hop.n is not None] == list(range(1, 25))
    frames = [b64decode(hop.frame) for hop in journey.hops if hop.n is not None]
    assert frames == [capture.data for capture in told.captures]


def test_times_are_nanoseconds_after_the_first_sighting(journey: Journey) -> None:
    assert hop(journey, "1").t_ns == 0
    assert hop(journey, "3b").t_ns == 2100
    assert all(isinstance(hop.t_ns, int) for hop in journey.hops if hop.n is not None)


def test_the_ends_the_packet_and_the_tunnel_are_named(journey: Journey) -> None:
    assert (journey.source.pod, journey.source.ip, journey.source.node) == ("pod1", "10.244.1.2", "node1")
    assert (journey.target.pod, journey.target.role) == ("pod4", "pod")
    assert (journey.packet.id, journey.packet.len, journey.packet.port) == ("7f3a90c1", 98, None)
    assert journey.overlay is not None
    assert (journey.overlay.vni, journey.overlay.port, journey.overlay.mtu) == (1, 8472, 1450)
    assert journey.overlay.nodes == ("192.168.64.11", "192.168.64.12")
    assert journey.clock.domains[0].nodes == ("node1", "node2")


def test_a_node_as_target_is_named_so() -> None:
    machine = two_nodes(pods=(POD1, NODE2))
    told = story(machine)
    assert (told.journey().target.role, told.journey().target.ip) == ("node", "192.168.64.12")


def test_ports_are_told_of_what_has_ports() -> None:
    packet = story(two_nodes(), "tcp", 80).walks().journey().packet
    assert (packet.proto, packet.source_port, packet.port) == ("tcp", 40000, 80)


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(story(same_node()).is_switched(), id="same node"),
        pytest.param(story(two_nodes(overlay=False)).walks_plain(), id="host routes"),
    ],
)
def test_where_no_tunnel_is_none_is_shown(told: Story) -> None:
    assert told.journey().overlay is None


def test_a_node_that_is_reached_past_the_tunnel_shows_none() -> None:
    machine = two_nodes(pods=(POD1, NODE2))
    answers = {("request", NODE1): (route(NODE1, machine.target.node_ip, "192.168.64.0/24", "eth0"),)}
    told = story(machine).leaves_pod()
    assert correlate(told.findings(answers)).overlay is None  # pyright: ignore[reportArgumentType]  # a narrower key


def test_a_target_that_nobody_may_look_into_is_not_said_to_be_behind_the_tunnel() -> None:
    machine = two_nodes(wire=False).without(NODE2, POD4)
    assert story(machine).leaves_pod().journey().overlay is None
    wrapped = story(machine).leaves_pod().wraps().goes_out().journey().overlay
    assert wrapped is not None


def test_a_packet_that_never_reached_its_tunnel_still_names_the_one_that_it_should_have_had() -> None:
    overlay = story(two_nodes(vni=7, port=4789)).leaves_pod().journey().overlay
    assert overlay is not None
    assert (overlay.vni, overlay.port, overlay.nodes) == (7, 4789, ())


def test_the_tunnel_that_the_packet_was_seen_in_wins_over_the_devices_setting() -> None:
    machine = replace(two_nodes(), vni=9)
    overlay = story(machine).leaves_pod().wraps().goes_out().journey().overlay
    assert overlay is not None
    assert overlay.vni == 9


# Fact 1: a received frame keeps one stamp


def test_a_shared_stamp_is_shown_as_shared_with_the_sighting_that_owns_it(journey: Journey) -> None:
    shared = {hop.step: hop.t_shared_with for hop in journey.walk("request") if hop.t_shared_with}
    assert shared == {"2": 2, "6b": 8, "8": 11}
    assert hop(journey, "2").t_ns == 200


def test_a_receipt_from_the_tracepoints_tells_a_tie_apart() -> None:
    told = story().walks()
    events = Events(
        skbs=(
            SkbEvent(t_ns=START_NS + 60, kind="xmit", skb=1, device="eth0", length=98),
            SkbEvent(t_ns=START_NS + 900, kind="receive", skb=1, device="cbr0"),
        )
    )
    found = hop(correlate(told.findings(events=events)), "2")
    assert (found.t_ns, found.t_source, found.t_shared_with) == (900, "tracepoint", None)


def test_a_stamp_that_lies_before_its_near_end_never_runs_backwards() -> None:
    told = story(same_node()).is_switched()
    told.captures[-1] = replace(told.captures[-1], t_ns=told.captures[-2].t_ns - 100)
    times = [hop.t_ns for hop in told.journey().walk("request") if hop.t_ns is not None]
    assert times == sorted(times)


# Fact 2: the observer costs


def test_the_overhead_stands_beside_the_walk_and_is_none_when_it_was_not_measured() -> None:
    told = story().walks()
    assert told.journey().overhead == Overhead(rtt_traced_ns=18_000, rtt_plain_ns=9_000)
    unmeasured = Overhead(rtt_traced_ns=None, rtt_plain_ns=None)
    assert correlate(told.findings(overhead=unmeasured)).overhead == unmeasured


# Fact 3: seen is not accepted


def test_a_frame_for_another_mac_keeps_its_packet_type() -> None:
    told = story().leaves_pod().wraps().goes_out().crosses().comes_in().unwraps().delivers("otherhost")
    assert hop(told.journey(), "8").pkttype == "otherhost"
    assert told.journey().verdict.status == "lost"


# Fact 4: drops are the whole host's


def test_a_drop_is_joined_by_the_skb_of_the_probe() -> None:
    told = story().leaves_pod().wraps()
    ours = freed(told, "VXLAN_NO_REMOTE", "vxlan_xmit")
    noise = tuple(replace(event, skb=2, length=1500, reason="NO_SOCKET") for event in ours.skbs)
    drop = correlate(told.findings(events=Events(skbs=noise + ours.skbs))).verdict.drop
    assert drop is not None
    assert (drop.reason, drop.place, drop.source) == ("VXLAN_NO_REMOTE", "vxlan_xmit", "skb:kfree_skb")
    assert correlate(told.findings(events=Events(skbs=noise))).verdict.drop is None


# Fact 5: segments that the NIC will cut and finish


def test_a_checksum_left_to_the_nic_is_said_and_does_not_hide_the_frame() -> None:
    told = story(two_nodes(), "tcp", 80).walks()
    told.captures = [replace(capture, csum_partial=True) for capture in told.captures]
    found = told.journey()
    first, wrapped = hop(found, "1"), hop(found, "3c")
    assert first.inner is not None
    assert wrapped.outer is not None
    assert (first.inner.csum, wrapped.outer.csum) == ("partial", "partial")
    assert len(found.sightings("request")) == 12


def test_a_segment_larger_than_the_mtu_is_seen_though_only_its_start_was_kept() -> None:
    told = story(two_nodes(), "tcp", 80).leaves_pod()
    told.captures = [replace(capture, length=65_226) for capture in told.captures]
    assert [hop.len for hop in told.journey().sightings("request")] == [65_226] * 3


# Fact 6: counters are no evidence, and nothing here reads one


def test_a_healthy_walk_through_a_tunnel_that_dropped_something_else_has_no_finding() -> None:
    told = story().walks()
    multicast = SkbEvent(t_ns=START_NS + 500, kind="free", skb=99, reason="VXLAN_NO_REMOTE", place="vxlan_xmit")
    verdict = correlate(told.findings(events=Events(skbs=(multicast,)))).verdict
    assert (verdict.drop, verdict.finding) == (None, None)


# Fact 7: a tunnel's MAC that changed


def test_a_tunnel_whose_mac_changed_did_not_accept_what_it_unwrapped() -> None:
    machine = two_nodes().with_device(NODE2, "flannel.1", mac=mac(7))
    told = story(machine).leaves_pod().wraps().goes_out().crosses().comes_in().unwraps("otherhost")
    verdict = told.journey().verdict
    assert (verdict.status, verdict.stopped_at) == ("lost", "6b")
    assert verdict.finding is not None
    assert verdict.finding.rule == "wrong-inner-mac"


# Nothing is filled in


def test_a_wire_without_taps_is_not_seen_and_not_drawn_as_if_it_were() -> None:
    unseen = [hop for hop in story(two_nodes(wire=False)).walks().journey().hops if not hop.observed]
    assert [(hop.step, hop.kind, hop.n, hop.t_ns, hop.frame) for hop in unseen] == [
        ("4", "wire", None, None, ""),
        ("5", "wire", None, None, ""),
    ]


def test_a_packet_that_did_not_reach_the_other_node_has_no_wire_to_be_missing() -> None:
    found = story(two_nodes(wire=False)).leaves_pod().wraps().goes_out().journey()
    assert all(hop.observed for hop in found.hops)


def test_a_tap_that_missed_the_frame_leaves_its_hop_out() -> None:
    told = story().walks()
    told.captures = [capture for capture in told.captures if capture.device != told.machine.device(NODE1, "cbr0").key]
    steps = [hop.step for hop in told.journey().walk("request")]
    assert "2" not in steps
    assert len(told.journey().sightings("request")) == 11


def test_without_answers_no_decision_is_drawn() -> None:
    found = correlate(story().walks().findings({}))
    assert not [hop for hop in found.hops if hop.kind == "decision"]


# Beside the walk


def test_a_question_and_its_answer_stand_beside_the_walk_once() -> None:
    machine = two_nodes()
    told = story(machine).asks(NODE2, "cbr0", machine.target.pod_ip, machine.target.pod_mac)
    told.asks(NODE2, "cbr0", machine.target.pod_ip)
    (side,) = told.walks().journey().side
    assert (side.type, side.dev, side.q, side.answered_by) == (
        "arp",
        "node2/cbr0",
        "10.244.2.5",
        machine.target.pod_mac,
    )


def test_a_question_that_nobody_answered_says_so() -> None:
    (side,) = story().asks(POD1, "eth0", ip_address("10.244.1.1")).journey().side
    assert (side.node, side.answered_by) == ("node1", None)


def test_a_rewritten_source_is_a_change_at_the_hop_behind_it() -> None:
    told = story(two_nodes(pods=(POD1, NODE2), overlay=False)).leaves_pod()
    told.ttl -= 1
    told.probe = replace(told.probe, source=ip_address("192.168.64.11"))
    told.seen(NODE1, "eth0", "tx").crosses().comes_in()
    told.probe = replace(told.probe, source=ip_address("10.244.1.2"))
    changed = hop(told.journey(), "3c").diff
    assert "src 10.244.1.2→192.168.64.11" in changed


def test_a_reply_by_another_way_is_a_walk_of_its_own() -> None:
    told = story().walks().turns_round()
    told.leaves_pod()
    told.ttl -= 1
    told.seen(NODE2, "eth0", "tx").crosses().seen(NODE1, "eth0", "rx").delivers()
    found = told.journey()
    assert [hop.step for hop in found.walk("reply") if hop.step in ("3b", "6b")] == []
    assert found.verdict.status == "delivered"


def test_an_empty_trace_is_a_journey_that_never_began() -> None:
    found = story().journey()
    assert (found.hops, found.packet.len, found.verdict.status) == ((), 0, "lost")
    assert {POD4, SWITCH} <= set(two_nodes().topology.namespaces)
