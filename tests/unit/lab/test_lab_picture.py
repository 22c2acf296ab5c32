"""A lab drawn: every name and address is in the picture, and a narrow terminal gets a table instead."""

from dataclasses import replace
from pathlib import Path

import pytest

from tulle.lab.facts import lab_json
from tulle.lab.folder import LabFolder
from tulle.lab.state import PodRecord, planned
from tulle.lab.topology import LabNode, Wishes, design
from tulle.render.lab import ASCII, JsonObject, format_lab, format_labs, format_up, suggestions
from tulle.render.walk_text import width

PICTURE = """\
┌───────────── node1 ─────────────┐    ┌───────────── node2 ─────────────┐
│ ┌─── pod1 ────┐ ┌─── pod2 ────┐ │    │ ┌─── pod3 ────┐ ┌─── pod4 ────┐ │
│ │ 10.244.1.2  │ │ 10.244.1.3  │ │    │ │ 10.244.2.2  │ │ 10.244.2.3  │ │
│ └──────┬──────┘ └──────┬──────┘ │    │ └──────┬──────┘ └──────┬──────┘ │
│        └───────┬───────┘        │    │        └───────┬───────┘        │
│       cbr0 10.244.1.0/24        │    │       cbr0 10.244.2.0/24        │
│                │ route          │    │                │ route          │
│            flannel.1            │    │            flannel.1            │
│                │ UDP 8472       │    │                │ UDP 8472       │
│       eth0 192.168.64.11        │    │       eth0 192.168.64.12        │
└────────────────┬────────────────┘    └────────────────┬────────────────┘
                 │                                      │
                 └────────── underlay: switch ──────────┘"""

ROUTED = """\
┌────────── node1 ──────────┐
│    ┌───── pod1 ──────┐    │
│    │   10.244.1.2    │    │
│    │ fd10:244:0:1::2 │    │
│    └────────┬────────┘    │
│             │             │
│    cbr0 10.244.1.0/24     │
│     fd10:244:0:1::/64     │
│             │ 路由        │
│ flannel.1 · flannel-v6.1  │
│             │ UDP 8472    │
│    eth0 192.168.64.11     │
│          fd64::b          │
└─────────────┬─────────────┘
              │
              └──┤ 底层网络：路由器 router"""


PLAIN = Wishes()


def facts(wishes: Wishes = PLAIN, *, agents: bool = True, ready: bool = True) -> JsonObject:
    topology = design(wishes)
    records = tuple(
        PodRecord(name=pod, node=node.name, container_id=pod, addresses=addresses(node, number + 2))
        for node in topology.nodes
        for number, pod in enumerate(node.pods)
    )
    state = replace(planned(topology, "boot", rootless=False), pods=records, ready=ready)
    lab = lab_json(LabFolder(Path("/run/tulle/lab"), rootless=False), state)
    for node in lab["nodes"]:
        node["agent_pid"] = 4711 if agents else None
    return lab


def addresses(node: LabNode, number: int) -> tuple[str, ...]:
    six = (f"{node.subnet6[number]}/64",) if node.subnet6 else ()
    return (f"{node.subnet[number]}/24", *six)


def widest(text: str) -> int:
    return max(width(line) for line in text.splitlines())


def test_two_nodes_are_the_picture_of_the_packet_walk() -> None:
    assert format_lab(facts(), "en", 80) == PICTURE


def test_a_dual_stack_node_behind_a_router_shows_both_families() -> None:
    text = format_lab(facts(Wishes(nodes=1, pods=1, ipv6=True, underlay="router")), "zh", 80)
    assert text == ROUTED


def test_without_a_tunnel_the_route_leads_straight_to_the_underlay() -> None:
    text = format_lab(facts(Wishes(backend="host-gw")), "en", 80)
    assert "flannel" not in text
    assert "UDP" not in text
    assert widest(text) == widest(PICTURE)


@pytest.mark.parametrize(
    ("wishes", "lang", "line"),
    [
        (Wishes(outside=True), "en", "underlay: switch, with outside 192.168.64.2"),
        (Wishes(outside=True, underlay="router"), "zh", "底层网络：路由器 router，另有 outside 192.168.64.2"),
    ],
)
def test_a_host_outside_is_told_with_the_underlay_that_it_is_on(wishes: Wishes, lang: str, line: str) -> None:
    assert format_lab(facts(wishes), lang, 80).splitlines()[-1].strip() == line


@pytest.mark.parametrize(
    ("etcd", "lang", "line"),
    [
        ({"pid": 7, "paused": False}, "en", "underlay: switch, with etcd 192.168.64.3"),
        ({"pid": 7, "paused": True}, "en", "underlay: switch, with etcd 192.168.64.3 (paused)"),
        ({"pid": None, "paused": False}, "zh", "底层网络：交换机 switch，另有 etcd 192.168.64.3（未运行）"),
    ],
)
def test_the_etcd_is_told_with_how_it_is(etcd: JsonObject, lang: str, line: str) -> None:
    lab = facts(Wishes(store="etcd"))
    lab["etcd"] |= etcd
    assert format_lab(lab, lang, 80).splitlines()[-1].strip() == line


def test_plain_characters_draw_the_same_picture() -> None:
    assert format_lab(facts(), "en", 80).translate(ASCII).isascii()


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("columns", [20, 40, 80, 200])
@pytest.mark.parametrize(
    "wishes",
    [
        pytest.param(Wishes(nodes=1, pods=0), id="one node, no pod"),
        pytest.param(Wishes(nodes=1, pods=1), id="one pod"),
        pytest.param(Wishes(), id="as it comes"),
        pytest.param(Wishes(ipv6=True, underlay="router"), id="dual stack behind a router"),
        pytest.param(Wishes(nodes=7), id="seven nodes"),
        pytest.param(Wishes(nodes=3, pods=4, ipv6=True), id="many pods"),
    ],
)
def test_everything_is_shown_in_straight_lines_that_fit_the_terminal(wishes: Wishes, columns: int, lang: str) -> None:
    lab = facts(wishes)
    text = format_lab(lab, lang, columns)
    for node in lab["nodes"]:
        assert node["name"] in text
        assert node["address"] in text
        assert (node["address6"] or "") in text
    for pod in lab["pods"]:
        assert pod["name"] in text
        assert all(address.partition("/")[0] in text for address in pod["addresses"])
    if "┌" in text:
        boxes = [line for line in text.splitlines() if line[0] in "┌│└" and line[-1] in "┐│┘"]
        assert {width(line) for line in boxes if line[0] != " "} == {width(boxes[0])}
        assert widest(text) <= columns
    elif columns >= 80:
        assert widest(text) <= columns


def test_many_nodes_are_a_table_of_one_line_each() -> None:
    lines = format_lab(facts(Wishes(nodes=50, pods=4)), "en", 120).splitlines()
    assert lines[0].split() == ["NODE", "ADDRESS", "SUBNET", "PODS"]
    assert lines[50].startswith("node50  192.168.64.60  10.244.50.0/24  pod197 10.244.50.2  pod198 10.244.50.3")
    assert lines[51:] == ["", "underlay: switch"]


def test_an_end_of_up_names_three_commands_of_this_lab() -> None:
    text = format_up(facts(Wishes(name="shop")), 1.234, "en", 80)
    assert "lab shop: 2 nodes, 4 pods, ready in 1.23 s" in text
    assert suggestions(facts(Wishes(name="shop"))) == [
        "tulle trace pod1 pod4 --name shop",
        "tulle lab exec --name shop node1 -- ip route",
        "tulle lab down --name shop",
    ]


def test_a_lab_without_pods_still_has_something_to_try() -> None:
    empty = facts(Wishes(pods=0))
    assert suggestions(empty)[0] == "tulle status --node node1"
    assert "cbr0" not in format_lab(empty, "en", 80)


@pytest.mark.parametrize("columns", [40, 80])
def test_a_node_without_its_agent_says_so(columns: int) -> None:
    assert format_lab(facts(agents=False), "en", columns).count("(no agent)") == 2


@pytest.mark.parametrize("columns", [40, 80])
def test_a_node_whose_agent_is_held_says_so(columns: int) -> None:
    lab = facts()
    lab["nodes"][1]["agent_paused"] = True
    assert format_lab(lab, "en", columns).count("node2 (agent paused)" if columns == 80 else "(agent paused)") == 1


def test_labs_are_listed_with_what_is_wrong_with_them() -> None:
    labs = [facts(Wishes(nodes=1, pods=1)), facts(Wishes(name="shop"), ready=False)]
    text = format_labs(labs, "en", 80)
    assert text.splitlines()[0] == "lab lab: 1 node, 1 pod, ready"
    assert "lab shop: 2 nodes, 4 pods, not finished: 'tulle lab down --name shop' removes it" in text
    assert format_labs([], "en", 80) == "no lab: make one with 'tulle lab up'"
    assert format_labs([], "zh", 80).startswith("没有实验")
