"""From looks to a view: rates, drops, and what happened between two looks."""

from dataclasses import replace
from typing import Any

import pytest

from tests.kit.watched import NOTHING, PEER, STATUS, a_link, a_sample, after, news, the_links
from tulle.model.network import MacAddress
from tulle.render.watch_json import watch_json
from tulle.render.watch_links import Rates, WatchedLink, rates, total, watched_links
from tulle.render.watch_view import KEPT, merged_events
from tulle.wire.proc_net import IpCounters
from tulle.wire.rtnetlink.links import IFF_LOWER_UP, IFF_UP, LinkMessage
from tulle.wire.rtnetlink.parts import IfIndex

OTHER_PEER: dict[str, Any] = {**PEER, "key": "10.244.3.0-24", "subnet": "10.244.3.0/24"}


# -- devices --------------------------------------------------------------------------------


def message(index: int, name: str, **fields: Any) -> LinkMessage:
    made = LinkMessage(index=IfIndex(index), name=name, flags=IFF_UP | IFF_LOWER_UP, statistics=NOTHING)
    return replace(made, **fields)


NODE = (
    message(1, "lo"),
    message(2, "eth0", kind="veth", alias="tulle:lab lab", mac=MacAddress("02:42:c0:a8:40:0b")),
    message(3, "flannel.1", kind="vxlan", link=IfIndex(2)),
    message(4, "docker0", kind="bridge"),
    message(5, "cbr0", kind="bridge"),
    message(6, "veth2", kind="veth", master=IfIndex(5), alias="tulle:bbb"),
    message(7, "veth1", kind="veth", master=IfIndex(5), alias="tulle:aaa"),
    message(8, "veth9", kind="veth", master=IfIndex(4)),
    message(9, "routed", kind="veth", alias="tulle:ccc"),
)


@pytest.mark.parametrize("underlay", ["eth0", None])
def test_only_the_devices_of_the_overlay_are_watched(underlay: str | None) -> None:
    found = watched_links(NODE, underlay, {"aaa": "pod1"})
    assert [(link.name, link.role, link.pod) for link in found] == [
        ("eth0", "underlay", ""),
        ("flannel.1", "tunnel", ""),
        ("cbr0", "bridge", ""),
        ("routed", "pod", ""),
        ("veth2", "pod", ""),
        ("veth1", "pod", "pod1"),
    ]


def test_a_rate_is_a_difference_in_its_time() -> None:
    before, now = a_link("tunnel", "flannel.1"), a_link("tunnel", "flannel.1", rx_bytes=500, tx_packets=4, rx_errors=2)
    assert rates(before, now, 2_000_000_000) == Rates(rx_bytes=250, tx_packets=2, dropped=1)


@pytest.mark.parametrize(
    "before",
    [
        pytest.param(None, id="first look"),
        pytest.param(a_link("tunnel", "flannel.1", rx_bytes=9), id="counters began anew"),
        pytest.param(replace(a_link("tunnel", "flannel.1"), index=99), id="another device of this name"),
    ],
)
def test_without_two_looks_at_one_device_there_is_no_rate(before: WatchedLink | None) -> None:
    assert rates(before, a_link("tunnel", "flannel.1", rx_bytes=5), 1_000_000_000) is None


def test_what_nobody_counts_has_no_total() -> None:
    assert total([None, None]) is None
    assert total([Rates(rx_bytes=1), None, Rates(rx_bytes=2)]) == Rates(rx_bytes=3)


# -- views ----------------------------------------------------------------------------------


def test_the_second_look_knows_what_passed() -> None:
    assert after(a_sample(0)).passing("tunnel") is None
    view = after(a_sample(0), a_sample(2, links=the_links(10)))
    assert view.passing("tunnel") == Rates(rx_bytes=500, tx_bytes=500, rx_packets=5, tx_packets=5)


def test_drops_count_from_the_first_look_on() -> None:
    first = a_sample(0, links=the_links(0, tx_dropped=5), ip=IpCounters(no_route=7, discarded=0))
    second = a_sample(1, links=the_links(0, tx_dropped=6), ip=IpCounters(no_route=9, discarded=1))
    view = after(first, second)
    assert (view.dropped, view.dropping) == (4, True)
    view = after(first, second, replace(second, at_ns=2_000_000_000))
    assert (view.dropped, view.dropping) == (4, False)


def test_a_device_made_anew_has_dropped_nothing_yet() -> None:
    before = a_sample(0, links=(a_link("tunnel", "flannel.1", tx_dropped=5),))
    anew = a_sample(1, links=(replace(a_link("tunnel", "flannel.1", tx_dropped=9), index=99),))
    assert after(before, anew).dropped == 0


def kinds(*looks: Any) -> list[tuple[str, str]]:
    return [(event.kind, event.text) for event in after(*looks).events]


def test_what_the_agent_tells_is_passed_on() -> None:
    view = after(a_sample(0, news=(news("repaired", "ip route add x", 5, took_ns=1_320_000),)))
    (event,) = view.events
    assert (event.node, event.at_ns, event.kind, event.took_ns) == ("node1", 5_000_000_000, "repaired", 1_320_000)
    assert view.fresh == view.events
    assert after(a_sample(0, news=(news("over", "x"),)), a_sample(1)).fresh == ()


def test_an_agent_that_falls_silent_and_comes_back_is_an_event_each() -> None:
    silent = a_sample(1, status=None, silence="agent: not running")
    assert kinds(a_sample(0), silent, replace(silent, at_ns=5), a_sample(2)) == [
        ("silent", "agent: not running"),
        ("answers", "pid 42"),
    ]
    assert kinds(silent) == []


def test_another_process_is_a_restart() -> None:
    assert kinds(a_sample(0), a_sample(1, status={**STATUS, "pid": 43})) == [("restarted", "pid 43")]


def test_peers_join_and_leave() -> None:
    both = a_sample(1, status={**STATUS, "peers": 2}, peers=(PEER, OTHER_PEER))
    assert kinds(a_sample(0), both, a_sample(2)) == [("joined", "10.244.3.0/24"), ("left", "10.244.3.0/24")]


def test_of_more_peers_than_are_shown_none_is_said_to_have_joined_or_left() -> None:
    many = {**STATUS, "peers": 1000}
    assert kinds(a_sample(0, status=many), a_sample(1, status=many, peers=(OTHER_PEER,))) == []


def test_events_of_all_nodes_are_in_the_order_of_time_and_not_without_end() -> None:
    one = after(a_sample(0, news=(news("over", "a", 1), news("over", "c", 3))))
    other = after(a_sample(0, name="node2", news=(news("over", "b", 2),)))
    assert [event.text for event in merged_events((one, other))] == ["c", "b", "a"]
    assert len(after(a_sample(0, news=tuple(news("over", str(n)) for n in range(KEPT + 50)))).events) == KEPT


def test_json_begins_with_its_schema_and_has_the_events_of_one_look() -> None:
    view = after(a_sample(0), a_sample(1, links=the_links(3), news=(news("held", "x"),)))
    answer = watch_json((view,), wall_ns=7, interval_ns=1_000_000_000)
    assert next(iter(answer)) == "schema"
    (node,) = answer["nodes"]
    assert [event["kind"] for event in node["events"]] == ["held"]
    tunnel = node["links"][1]
    assert (tunnel["name"], tunnel["role"], tunnel["counters"]["rx_bytes"]) == ("flannel.1", "tunnel", 300)
    assert tunnel["rates"]["rx_bytes"] == 300
    assert (node["status"]["state"], node["silence"], node["unseen"]) == ("ready", None, None)


def test_json_of_a_first_look_knows_no_rates() -> None:
    (node,) = watch_json((after(a_sample(0)),), wall_ns=7, interval_ns=1)["nodes"]
    assert {link["rates"] for link in node["links"]} == {None}
