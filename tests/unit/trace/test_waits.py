"""What a packet waited for stands beside the hop that waited."""

from ipaddress import ip_address

from tests.kit.journeys import story
from tests.kit.machines import NODE2, POD1, mac, two_nodes
from tulle.trace.journey import Hop, Journey
from tulle.trace.waits import first_askers

MACHINE = two_nodes()
GATEWAY = MACHINE.source.gateway


def waited(journey: Journey) -> dict[str, str]:
    """Step → address that was asked for."""
    return {hop.step: wait for hop in journey.hops if (wait := _wait(hop))}


def _wait(hop: Hop) -> str:
    reason = hop.reason("arp") or hop.reason("nd")
    return reason.facts["ip"] if reason else ""


def test_the_gateways_mac_is_waited_for_by_the_first_hop() -> None:
    told = story().asks(POD1, "eth0", GATEWAY, mac(7))
    assert waited(told.walks().journey()) == {"1": str(GATEWAY)}


def test_in_ipv6_it_is_called_what_it_is() -> None:
    gateway = two_nodes(6).source.gateway
    journey = story(two_nodes(6)).asks(POD1, "eth0", gateway, mac(7)).walks().journey()
    asked = journey.hops[0].reason("nd")
    assert asked is not None
    assert asked.text.startswith(f"neighbor solicitation, who has {gateway}, from ")
    assert not any(hop.reason("arp") for hop in journey.hops)


def test_a_question_that_nobody_answered_is_no_wait() -> None:
    assert waited(story().asks(POD1, "eth0", GATEWAY).walks().journey()) == {}


def test_a_question_about_somebody_else_is_no_wait() -> None:
    other = ip_address("10.244.1.99")
    assert waited(story().asks(POD1, "eth0", other, mac(7)).walks().journey()) == {}


def test_a_question_after_the_packet_has_gone_is_no_wait() -> None:
    told = story().walks().asks(NODE2, "cbr0", MACHINE.target.pod_ip, mac(7))
    assert waited(told.journey()) == {}


def test_a_question_seen_at_many_taps_was_asked_once_by_its_asker() -> None:
    told = story().asks(POD1, "eth0", GATEWAY).asks(POD1, "eth0", GATEWAY)
    questions = told.findings({}).seen.questions
    assert len(questions) == 2
    assert first_askers(questions) == (questions[0],)
