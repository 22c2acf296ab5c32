"""One sentence for each hop: chosen by what the hop is, never claiming more than was seen."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.kit.walks import WALKS, cross_node, not_accepted, port_unreachable, reply_lost
from tulle.render.walk_sentences import what_happened
from tulle.trace.journey import Drop, Hop, Journey, Verdict


def sentence(journey: Journey, step: str, direction: str = "request", lang: str = "en") -> str:
    hop = next(hop for hop in journey.hops if (hop.step, hop.direction) == (step, direction))
    return what_happened(journey, hop, lang)


@pytest.mark.parametrize(
    ("step", "text"),
    [
        ("1", "leaves pod1 to its gateway 10.244.1.1 (MAC 4e:5a:00:00:01:01)"),
        ("", "other end of the pair, port of cbr0"),
        ("2", "bridge hands it up: the MAC is cbr0's own"),
        ("3a", "10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink"),
        ("3b", "wraps it: 10.244.2.0 is 02:00:0a:f4:02:00 at 192.168.64.12"),
        ("3c", "outer packet leaves: udp 42449→8472 (+50 bytes)"),
        ("4", "only node addresses are visible here"),
        ("5", "carried to node2"),
        ("6a", "port 8472 belongs to flannel.1"),
        ("6b", "unwrapped, VNI 1 matches"),
        ("6c", "10.244.2.0/24 dev cbr0"),
        ("7", "10.244.2.5 is 4e:5a:00:00:00:68 behind vethp4"),
        ("8", "accepted by pod4"),
    ],
)
def test_the_picture_in_words(step: str, text: str) -> None:
    assert sentence(cross_node(), step) == text


def test_the_replys_sentences_are_about_the_replys_ends() -> None:
    assert sentence(cross_node(), "1", "reply").startswith("leaves pod4 to its gateway 10.244.2.1")
    assert sentence(cross_node(), "5", "reply") == "carried to node1"
    assert sentence(cross_node(), "8", "reply") == "accepted by pod1"


@pytest.mark.parametrize(
    ("walk", "step", "text"),
    [
        ("same-node", "1", "leaves pod1 straight to 10.244.1.3 (MAC 4e:5a:00:00:00:66)"),
        ("same-node", "2", "bridge FDB: 4e:5a:00:00:00:66 is behind vethp2"),
        ("same-node", "7", "into the pair that ends in pod2"),
        ("host-routes", "3c", "leaves the node as it is"),
        ("host-routes", "4", "no tunnel: 10.244.1.2 → 10.244.2.5 is in the open here"),
        ("host-routes", "6a", "arrives at the node"),
        ("pod-to-node", "3c", "leaves the node as it is · source rewritten: 10.244.1.2→192.168.64.11"),
        ("pod-to-node", "4", "no tunnel: 192.168.64.11 → 192.168.64.12 is in the open here"),
        ("pod-to-node", "6a", "accepted by node2"),
        ("wire-unseen", "4", "not seen: no tap between the two nodes"),
        ("no-fdb-entry", "3b", "10.244.2.0 is 02:00:0a:f4:02:00, but no FDB entry says where that MAC lives"),
        ("another-tunnel", "6b", "unwrapped, VNI 7 matches"),
        ("another-tunnel", "2", "bridge hands it up: the MAC is cni0's own"),
    ],
)
def test_other_ways_in_words(walk: str, step: str, text: str) -> None:
    assert sentence(WALKS[walk](), step) == text


def test_a_destination_that_was_rewritten_is_not_called_the_source() -> None:
    journey = cross_node()
    hop = replace(journey.walk("request")[1], diff=("dst 10.96.0.1→10.244.2.5",))
    assert what_happened(journey, hop, "en").endswith("destination rewritten: 10.96.0.1→10.244.2.5")


def test_seen_is_not_accepted() -> None:
    assert sentence(not_accepted(), "8") == "seen, not accepted: sent to MAC 4e:5a:00:00:00:68"


def last_hop(journey: Journey) -> Hop:
    return journey.walk("request")[-1]


def without_reply(journey: Journey) -> Journey:
    verdict = Verdict(status="no-reply", direction="reply")
    return replace(journey, hops=journey.walk("request"), verdict=verdict)


def dropped_at_the_end(journey: Journey) -> Journey:
    drop = Drop(reason="NETFILTER_DROP", place="nf_hook_slow", t_ns=9000)
    return replace(journey, verdict=Verdict(status="lost", stopped_at="8", drop=drop))


@pytest.mark.parametrize(
    ("change", "text"),
    [
        pytest.param(without_reply, "handed to pod4", id="no answer: only that it was handed over is known"),
        pytest.param(dropped_at_the_end, "reached pod4, not accepted", id="the kernel freed it there"),
    ],
)
def test_accepted_is_said_only_with_proof(change: Callable[[Journey], Journey], text: str) -> None:
    journey = change(cross_node())
    assert what_happened(journey, last_hop(journey), "en") == text


def test_a_reply_that_was_lost_proves_that_the_request_was_accepted() -> None:
    assert sentence(reply_lost(), "8") == "accepted by pod4"
    assert sentence(port_unreachable(), "8") == "accepted by pod4"
