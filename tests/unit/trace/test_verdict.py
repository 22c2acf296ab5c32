"""Arrived or not: what counts as arrival (fact 3: seen is not accepted), and what another answer than a reply says."""

from dataclasses import replace

import pytest

from tests.kit.answers import healthy_answers
from tests.kit.journeys import Story, freed, story, unreachable
from tests.kit.machines import NODE1, NODE2, POD1, POD4, Machine, same_node, two_nodes
from tulle.trace.correlate import correlate
from tulle.trace.journey import Status, Verdict


def verdict(told: Story) -> Verdict:
    return correlate(told.findings()).verdict


def round_trip(machine: Machine) -> Story:
    return story(machine).walks().turns_round().walks()


@pytest.mark.parametrize(
    "told",
    [
        pytest.param(round_trip(two_nodes()), id="cross node"),
        pytest.param(round_trip(two_nodes(6)), id="IPv6"),
        pytest.param(round_trip(two_nodes(wire=False)), id="wire not seen"),
        pytest.param(story(two_nodes(overlay=False)).walks_plain().turns_round().walks_plain(), id="host routes"),
        pytest.param(story(same_node()).is_switched().turns_round().is_switched(), id="same node"),
    ],
)
def test_a_round_trip_is_delivered_and_stopped_nowhere(told: Story) -> None:
    assert verdict(told) == Verdict(status="delivered")


def begun(machine: Machine | None = None) -> Story:
    return story(machine or two_nodes())


def answered() -> Story:
    return begun().walks().turns_round()


STOPS: list[tuple[str, Story, Status, str | None, str]] = [
    # why, the walk, status, last step, last place
    ("no tap saw it", begun(), "lost", None, ""),
    ("in its pod", begun().seen(POD1, "eth0", "tx"), "lost", "1", "node1 pod1 eth0"),
    ("after the decision", begun().leaves_pod(), "lost", "3a", "node1 root cbr0"),
    ("in the tunnel device", begun().leaves_pod().wraps(), "lost", "3b", "node1 root flannel.1"),
    ("leaving the node", begun().leaves_pod().wraps().goes_out(), "lost", "3c", "node1 root eth0"),
    ("on the wire", begun().leaves_pod().wraps().goes_out().crosses(), "lost", "5", "underlay switch port2"),
    ("no reply at all", answered(), "no-reply", None, ""),
    ("reply in its pod", answered().seen(POD4, "eth0", "tx"), "no-reply", "1", "node2 pod4 eth0"),
    ("reply in the tunnel", answered().leaves_pod().wraps(), "no-reply", "3b", "node2 root flannel.1"),
]


@pytest.mark.parametrize(("told", "status", "step", "place"), [pytest.param(*stop[1:], id=stop[0]) for stop in STOPS])
def test_a_walk_that_ends_early_says_where(told: Story, status: Status, step: str | None, place: str) -> None:
    found = verdict(told)
    assert (found.status, found.stopped_at, found.stopped_on) == (status, step, place)
    assert found.direction == ("reply" if status == "no-reply" else "request")


def test_seen_at_the_pod_for_another_mac_is_not_accepted() -> None:
    told = story().leaves_pod().wraps().goes_out().crosses().comes_in().unwraps().delivers("otherhost")
    found = verdict(told)
    assert (found.status, found.stopped_at) == ("lost", "8")
    assert found.finding is not None
    assert found.finding.rule == "stale-neighbour"


def test_seen_at_the_pod_and_freed_there_is_not_accepted() -> None:
    told = story().walks()
    found = correlate(told.findings(events=freed(told, "NETFILTER_DROP", "nf_hook_slow"))).verdict
    assert (found.status, found.stopped_at) == ("lost", "8")
    assert found.drop is not None
    assert found.drop.place == "nf_hook_slow"


def test_a_reply_that_the_probers_socket_got_is_received_though_the_kernel_freed_it_as_nobodys() -> None:
    told = round_trip(two_nodes())
    back = Story(told.machine, told.probe, told.captures[12:])
    events = freed(back, "NO_SOCKET", "icmp_rcv")
    assert correlate(told.findings(events=events)).verdict.status == "no-reply"
    received = replace(told.findings(events=events), received=True)
    assert correlate(received).verdict == Verdict(status="delivered")


def test_the_target_answering_port_unreachable_has_taken_the_probe() -> None:
    told = story(two_nodes(), "udp", 9).walks().turns_round()
    told.answer = unreachable(told.probe)
    told.walks()
    found = verdict(told)
    assert (found.status, found.icmp) == ("delivered", "ICMP port unreachable from 10.244.2.5")


def test_a_routers_error_is_an_answer_that_says_the_probe_was_lost() -> None:
    machine = two_nodes()
    told = story(machine).leaves_pod().turns_round()
    told.answer = unreachable(told.probe, code=0)
    told.macs = machine.source.bridge_mac, machine.source.pod_mac
    told.seen(NODE1, "cbr0", "tx").seen(NODE1, "vethp1", "tx").seen(POD1, "eth0", "rx", 0)
    found = verdict(told)
    assert (found.status, found.stopped_at) == ("lost", "3a")
    assert found.icmp.startswith("ICMP network unreachable from ")


def test_the_targets_reply_proves_arrival_even_where_no_tap_saw_the_last_step() -> None:
    told = story().walks()
    del told.captures[-1]
    told.turns_round().walks()
    assert verdict(told).status == "delivered"


def test_a_switched_frame_that_only_its_port_saw_stopped_there() -> None:
    told = story(same_node()).seen(POD1, "eth0", "tx").seen(NODE1, "vethp1", "rx")
    found = correlate(told.findings({})).verdict
    assert (found.stopped_at, found.stopped_on) == ("1", "node1 root vethp1")


def test_the_kernels_refusal_to_send_is_part_of_the_verdict() -> None:
    found = correlate(story().findings(send_error="ENETUNREACH")).verdict
    assert (found.status, found.note) == ("lost", "ENETUNREACH")


def test_a_node_accepts_on_its_own_device() -> None:
    machine = two_nodes(pods=(POD1, NODE2), overlay=False)
    told = story(machine).leaves_pod()
    told.ttl -= 1
    told.seen(NODE1, "eth0", "tx").crosses().comes_in()
    answers = healthy_answers(machine)
    found = correlate(told.findings(answers)).verdict
    assert (found.status, found.direction) == ("no-reply", "reply")
