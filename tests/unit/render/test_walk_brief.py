"""The short forms: one line (``-q``), the arrow line (``-1``), the verdict."""

import pytest

from tests.kit.walks import UNMEASURED, WALKS, cross_node, hostile
from tulle.render.walk_brief import arrow_lines, one_line, same_way, verdict_lines
from tulle.render.walk_text import printed, width
from tulle.trace.journey import Journey

RTT = "RTT 18.0 µs traced, 9.0 µs untraced."
ARRIVED = "✔ pod1 → pod4: arrived in 7.0 µs over 12 hops"
LOST = "✘ pod1 → pod4: did not arrive: stopped at step"
QUIET = {
    "cross-node": f"{ARRIVED}; reply came back the same way in 12 hops. {RTT}",
    "reply-by-another-way": f"{ARRIVED}; reply came back another way in 10 hops. {RTT}",
    "port-unreachable": f"{ARRIVED}; the answer is ICMP port unreachable from 10.244.2.5. {RTT}",
    "no-fdb-entry": (
        f"{LOST} 3b, last seen on node1 root flannel.1; DROPPED in vxlan_xmit: VXLAN_NO_REMOTE; "
        "D01 node1 has no FDB entry for VTEP 02:00:0a:f4:02:00 (10.244.2.0)"
    ),
    "network-unreachable": (
        f"{LOST} 3a, last seen on node1 root cbr0; answered with ICMP network unreachable from 10.244.1.1; "
        "D17 node1 has no route to 10.244.2.5"
    ),
    "reply-lost": (
        "✘ pod1 → pod4: arrived, but the reply did not: it stopped at step 3a, last seen on node2 root cbr0; "
        "D17 node2 has no route to 10.244.1.2"
    ),
    "never-left": "✘ pod1 → pod4: never left pod1; D27 pod1 asks for 10.244.1.1 and nobody answers",
    "not-accepted": (
        f"{LOST} 8, last seen on node2 pod4 eth0; "
        "pod4 got a frame for 10.244.2.5 with MAC 4e:5a:00:00:00:68, but its own is 4e:5a:00:00:03:e7"
    ),
}


@pytest.mark.parametrize(("walk", "text"), QUIET.items())
def test_one_line_says_who_to_whom_and_how_it_ended(walk: str, text: str) -> None:
    assert printed(one_line(WALKS[walk](), "en")) == text + "\n"


def test_one_line_in_chinese() -> None:
    there_and_back = "用时 7.0 µs 到达，经过 12 跳；应答原路返回，经过 12 跳。"
    rtt = "往返时间：跟踪时 18.0 µs，不跟踪时 9.0 µs。"
    assert printed(one_line(cross_node(), "zh")) == f"✔ pod1 → pod4：{there_and_back}{rtt}\n"


def arrows(journey: Journey, columns: int = 400) -> str:
    both = [*arrow_lines(journey, "request", "en", columns), *arrow_lines(journey, "reply", "en", columns)]
    return printed(both)


def test_the_arrow_line_names_a_namespace_where_it_changes_and_doubles_the_arrow_in_the_tunnel() -> None:
    assert arrows(cross_node()).splitlines()[0] == (
        "1 pod1 eth0 → root vethp1 → 2 cbr0 → 3a [flannel.1] → 3b flannel.1 → 3c eth0 ⇒ 4 switch port1 ⇒ 5 port2 ⇒ "
        "6a root eth0 → 6b flannel.1 → 6c cbr0 → 7 vethp4 → 8 pod4 eth0 (7.0 µs)"
    )


def test_what_was_not_seen_and_what_was_refused_are_marked() -> None:
    assert "3c eth0 → 4 (?) → 5 (?) → 6a root eth0" in arrows(WALKS["wire-unseen"]())
    assert arrows(WALKS["network-unreachable"]()).startswith("1 pod1 eth0 → root vethp1 → 2 cbr0 → 3a [✘] (")


def test_a_direction_that_nobody_saw_has_no_line() -> None:
    assert arrow_lines(WALKS["never-left"](), "request", "en", 80) == []


@pytest.mark.parametrize("walk", [*WALKS, "hostile"])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_brief_forms_keep_to_the_columns_and_break_only_at_arrows(walk: str, lang: str) -> None:
    journey = hostile() if walk == "hostile" else WALKS[walk]()
    lines = [line.text for line in arrow_lines(journey, "request", lang, 80)]
    assert all(width(line) <= 80 for line in [*lines, *(line.text for line in verdict_lines(journey, lang, 80))])
    if walk != "hostile":
        assert all(line.endswith(("→", "⇒", ")")) for line in lines)


@pytest.mark.parametrize(
    ("walk", "same"),
    [("cross-node", True), ("same-node", True), ("reply-by-another-way", False), ("never-left", False)],
)
def test_the_same_way_is_the_same_devices_backwards(walk: str, same: bool) -> None:
    assert same_way(WALKS[walk]()) == same


def test_the_drop_is_left_out_where_the_walk_shows_it() -> None:
    journey = WALKS["no-fdb-entry"]()
    assert journey.overhead == UNMEASURED
    assert "DROPPED" in printed(verdict_lines(journey, "en", 200))
    assert "DROPPED" not in printed(verdict_lines(journey, "en", 200, with_drop=False))


def test_the_slowest_legs_are_measured_ones() -> None:
    text = printed(verdict_lines(cross_node(), "en", 200))
    assert "slowest: 5 port2 2.0 µs, 3b flannel.1 1.9 µs" in text
