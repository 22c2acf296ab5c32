"""A lab drawn: every name and address is in the picture, and a narrow terminal gets a table instead."""

from dataclasses import replace
from pathlib import Path

import pytest

from tulle.lab.facts import lab_json
from tulle.lab.folder import LabFolder
from tulle.lab.state import PodRecord, planned
from tulle.lab.topology import Wishes, design
from tulle.render.lab import ASCII, JsonObject, format_lab, format_labs, format_up, suggestions

PICTURE = """\
┌──────────── node1 ────────────┐    ┌──────────── node2 ────────────┐
│ ┌─── pod1 ───┐ ┌─── pod2 ───┐ │    │ ┌─── pod3 ───┐ ┌─── pod4 ───┐ │
│ │ 10.244.1.2 │ │ 10.244.1.3 │ │    │ │ 10.244.2.2 │ │ 10.244.2.3 │ │
│ └─────┬──────┘ └─────┬──────┘ │    │ └─────┬──────┘ └─────┬──────┘ │
│      cbr0 · 10.244.1.0/24     │    │      cbr0 · 10.244.2.0/24     │
│           flannel.1           │    │           flannel.1           │
│      eth0 · 192.168.64.11     │    │      eth0 · 192.168.64.12     │
└───────────────┬───────────────┘    └───────────────┬───────────────┘
                │                                    │
                └─────── underlay: one switch ───────┘"""


def facts(nodes: int = 2, pods: int = 2, name: str = "lab") -> JsonObject:
    topology = design(Wishes(name=name, nodes=nodes, pods=pods))
    state = planned(topology, "boot", rootless=False)
    records = tuple(
        PodRecord(name=pod, node=node.name, container_id=pod, addresses=(f"{node.subnet[2 + number]}/24",))
        for node in topology.nodes
        for number, pod in enumerate(node.pods)
    )
    folder = LabFolder(Path("/run/tulle/lab"), rootless=False)
    return lab_json(folder, replace(state, pods=records, ready=True))


def test_two_nodes_are_the_picture_of_the_packet_walk() -> None:
    assert format_lab(facts(), "en", 80) == PICTURE


def test_plain_characters_draw_the_same_picture() -> None:
    assert format_lab(facts(), "en", 80).translate(ASCII).isascii()


@pytest.mark.parametrize("nodes", [1, 2, 3])
def test_every_pod_and_node_is_in_the_picture(nodes: int) -> None:
    lab = facts(nodes)
    text = format_lab(lab, "en", 200)
    for item in (*lab["nodes"], *lab["pods"]):
        assert item["name"] in text
    assert max(len(line) for line in text.splitlines()) <= 200


@pytest.mark.parametrize("width", [40, 79])
def test_no_line_of_the_picture_is_wider_than_the_terminal(width: int) -> None:
    for nodes in (1, 2, 3):
        text = format_lab(facts(nodes), "en", width)
        assert "┌" not in text or max(len(line) for line in text.splitlines()) <= width


def test_many_nodes_are_a_table_of_one_line_each() -> None:
    lines = format_lab(facts(50, 4), "en", 120).splitlines()
    assert len(lines) == 51
    assert lines[49].startswith("node50     192.168.64.60   10.244.50.0/24")


def test_an_end_of_up_names_three_commands_of_this_lab() -> None:
    text = format_up(facts(name="shop"), 1.234, "en", 80)
    assert "lab shop: 2 nodes, 4 pods, ready in 1.23 s" in text
    assert suggestions(facts(name="shop")) == [
        "tulle trace pod1 pod4 --name shop",
        "tulle lab exec --name shop node1 -- ip route",
        "tulle lab down --name shop",
    ]


def test_a_lab_without_pods_still_has_something_to_try() -> None:
    assert suggestions(facts(pods=0))[0] == "tulle peers --node node1"
    assert "cbr0" not in format_lab(facts(pods=0), "en", 80)


def test_labs_are_listed_with_what_is_wrong_with_them() -> None:
    text = format_labs([facts()], "en")
    assert text.splitlines()[0] == "lab: ready, underlay: one switch"
    assert "(no agent)" in text
    assert format_labs([], "en") == "no lab"
    assert format_labs([], "zh") == "没有实验"
