"""The cluster's picture and its tree: everything in them, nothing on one another, whatever the names are."""

from dataclasses import replace

import pytest

from tests.kit.pictures import HOSTILE
from tests.kit.svg_texts import SVG, Reader, overlaps, parsed
from tulle.lab.topology import Wishes, design
from tulle.render.cluster import Cluster, ClusterHost, ClusterNode, ClusterPod, ClusterWay, planned
from tulle.render.graph import graph_svg
from tulle.render.graph_text import graph_lines
from tulle.render.walk_text import printed, width

TWO = planned(design(Wishes()))
BROKEN = replace(
    TWO,
    nodes=(
        replace(
            TWO.nodes[0], ways=(ClusterWay(subnet="10.244.2.0/24", device="flannel.1", via="", missing=("FDB entry",)),)
        ),
        *TWO.nodes[1:],
    ),
)
NAMES = Cluster(
    name=HOSTILE,
    nodes=(
        ClusterNode(
            name=HOSTILE,
            source="kernel",
            nic=HOSTILE,
            bridge=HOSTILE,
            addresses=(HOSTILE,),
            subnets=(HOSTILE,),
            pods=(ClusterPod(name=HOSTILE, address=HOSTILE),) * 9,
            ways=(ClusterWay(subnet=HOSTILE, device=HOSTILE, via=HOSTILE),) * 9,
        ),
        ClusterNode(name="far", source="peer"),
    ),
)
CLUSTERS = {
    "two nodes": TWO,
    "an entry missing": BROKEN,
    "dual stack": planned(design(Wishes(nodes=3, ipv6=True))),
    "seven nodes, many pods": planned(design(Wishes(nodes=7, pods=11, underlay="router"))),
    "hosts on the underlay": planned(design(Wishes(nodes=4, outside=True, store="etcd", ipv6=True))),
    "a store that is away": replace(TWO, hosts=(ClusterHost(name="etcd", addresses=("192.168.64.3",), state="gone"),)),
    "one node": planned(design(Wishes(nodes=1))),
    "no pods": planned(design(Wishes(nodes=2, pods=0))),
    "hostile names": NAMES,
    "an empty machine": Cluster(name="host", nodes=(ClusterNode(name="host", source="kernel"),)),
}


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("cluster", CLUSTERS.values(), ids=CLUSTERS)
def test_the_picture_is_whole_and_no_text_stands_on_another(cluster: Cluster, lang: str) -> None:
    root = parsed(graph_svg(cluster))
    reader = Reader(lang)
    reader.read(root)
    across, height = (float(number) for number in root.get("viewBox", "").split()[2:])
    shown = reader.layers["always"]
    assert overlaps(shown) == []
    assert all(text.left >= 0 and text.right <= across and text.bottom <= height for text in shown)
    assert not list(root.iter(f"{SVG}script"))
    assert graph_svg(cluster) == graph_svg(cluster)


def test_every_node_pod_and_way_is_in_the_picture() -> None:
    drawn = graph_svg(TWO)
    for node in TWO.nodes:
        for word in (
            node.name,
            node.bridge,
            node.nic,
            *(pod.name for pod in node.pods),
            *(way.subnet for way in node.ways),
        ):
            assert f">{word}" in drawn or f" {word}" in drawn


def test_what_does_not_fit_is_counted() -> None:
    drawn = graph_svg(CLUSTERS["seven nodes, many pods"])
    assert ">+ 6<" in drawn
    assert ">and 1 more<" in drawn


def test_a_missing_entry_is_marked() -> None:
    assert "10.244.2.0/24 ✘ FDB entry" in graph_svg(BROKEN)
    assert "10.244.2.0/24 → flannel.1 ✘ no FDB entry" in printed(graph_lines(BROKEN, "en", 80))


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("columns", [60, 80, 132])
@pytest.mark.parametrize("cluster", [c for name, c in CLUSTERS.items() if name != "hostile names"])
def test_the_tree_keeps_to_its_columns(cluster: Cluster, columns: int, lang: str) -> None:
    body = [line for line in graph_lines(cluster, lang, columns) if line.text[:1] in "├└│ "]
    assert all(width(line.text) <= columns for line in body)


def test_the_tree_is_plain_ascii_when_asked() -> None:
    assert printed(graph_lines(TWO, "en", 80), ascii_only=True).isascii()


def test_the_tree_of_the_default_lab() -> None:
    assert printed(graph_lines(TWO, "en", 80)) == (
        "lab: from the topology, not running\n"
        "\n"
        "node1  eth0 192.168.64.11  10.244.1.0/24\n"
        "├ pods    pod1   pod2\n"
        "├ bridge  cbr0\n"
        "├ tunnel  flannel.1  VNI 1  udp/8472\n"
        "└ peers   10.244.2.0/24 → flannel.1 → node2 192.168.64.12\n"
        "\n"
        "node2  eth0 192.168.64.12  10.244.2.0/24\n"
        "├ pods    pod3   pod4\n"
        "├ bridge  cbr0\n"
        "├ tunnel  flannel.1  VNI 1  udp/8472\n"
        "└ peers   10.244.1.0/24 → flannel.1 → node1 192.168.64.11\n"
        "\n"
        "underlay: one switch\n"
    )
