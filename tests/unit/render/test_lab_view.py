"""The lab's page: every entry with its meaning, what is missing marked, and only the overlay's own to delete."""

import re
from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.kit.lab_views import TWO, fdb_entry, kernel_of, shared, view
from tests.kit.pictures import HOSTILE
from tests.kit.svg_texts import parsed
from tulle.errors import DecodeError
from tulle.lab.topology import Wishes, design
from tulle.model.network import MacAddress
from tulle.model.objects import FdbEntry, Link, Neighbor, OtherKind, Route
from tulle.model.state import KernelState
from tulle.render.cluster import Cluster, ClusterNode, ClusterPod
from tulle.render.lab_rows import Row, node_rows
from tulle.render.lab_view import LabView, NodeView, decode_view, encode_view, picture, tables, view_event
from tulle.render.scene import Said

NODE1 = TWO.nodes[0]


def rows_with(*objects: Route | Neighbor | FdbEntry) -> tuple[Row, ...]:
    state = KernelState.of((*kernel_of(NODE1), *objects))
    return node_rows(NODE1, state, shared())


def test_a_healthy_node_has_what_its_peers_leases_ask_for() -> None:
    rows = node_rows(NODE1, kernel_of(NODE1), shared())
    assert [(row.kind, row.step, row.state, row.removal[:1]) for row in rows] == [
        ("route", "3a", "right", ("ip",)),
        ("route", "6c", "other", ()),
        ("neighbour", "3b", "right", ("ip",)),
        ("neighbour", "7", "other", ()),
        ("fdb", "3b", "right", ("bridge",)),
    ]
    assert rows[0].means.en == "node2's pods are reached through flannel.1"
    assert rows[4].text == "02:00:00:00:00:02 dev flannel.1 dst 192.168.64.12 self permanent"


def test_what_is_deleted_is_shown_as_missing_and_cannot_be_deleted_again() -> None:
    state = KernelState.of(obj for obj in kernel_of(NODE1) if not isinstance(obj, FdbEntry))
    row = next(row for row in node_rows(NODE1, state, shared()) if row.kind == "fdb")
    assert (row.state, row.removal) == ("missing", ())
    assert row.text.startswith("02:00:00:00:00:02 dev flannel.1")


def test_an_entry_with_another_value_is_wrong_and_may_go() -> None:
    rows = rows_with(
        FdbEntry(device="flannel.1", mac=MacAddress("02:00:00:00:00:02"), dst=IPv4Address("192.168.64.99"))
    )
    row = next(row for row in rows if row.kind == "fdb")
    assert row.state == "wrong"
    assert "192.168.64.99" in row.removal


def test_what_others_put_there_stays_and_what_a_removed_node_left_may_go() -> None:
    rows = rows_with(
        Route(dst=IPv4Network("10.9.0.0/16"), device="eth0", via=IPv4Address("192.168.64.1"), protocol=3),
        Route(dst=IPv4Network("10.244.7.0/24"), device="flannel.1", via=IPv4Address("10.244.7.0")),
        Neighbor(device="eth0", ip=IPv4Address("192.168.64.12"), mac=MacAddress("02:00:00:00:00:33"), permanent=False),
    )
    told = {row.text.split()[0]: row for row in rows if row.state == "other"}
    assert told["10.9.0.0/16"].removal == ()
    assert told["192.168.64.12"].removal == ()
    assert told["10.244.7.0/24"].removal[:3] == ("ip", "route", "delete")


def test_what_every_device_has_for_itself_is_not_shown() -> None:
    rows = rows_with(
        Route(dst=IPv4Network("224.0.0.0/4"), device="eth0", protocol=2),
        Route(dst=IPv4Network("10.1.0.0/24"), device="eth0", table=77),
        Neighbor(device="lo", ip=IPv4Address("0.0.0.0"), mac=MacAddress("00:00:00:00:00:00"), permanent=False),
        Neighbor(device="eth0", ip=IPv4Address("192.168.64.77"), mac=None, permanent=False),
    )
    assert len(rows) == len(rows_with())


def test_a_view_is_the_same_after_a_way_through_json() -> None:
    seen = view(broken="node1", paused="node1")
    assert decode_view(encode_view(seen)) == seen
    with pytest.raises(DecodeError):
        decode_view(b'{"cluster": 7}')


def test_places_are_pods_then_nodes() -> None:
    assert view().places == ("pod1", "pod2", "pod3", "pod4", "node1", "node2")


@pytest.mark.parametrize("columns", [1, 2, 3])
def test_every_pod_of_the_picture_is_a_button(columns: int) -> None:
    drawn = picture(view().cluster, columns)
    parsed(drawn)
    assert re.findall(r'role="button" tabindex="0" data-place="(\w+)"', drawn) == ["pod1", "pod2", "pod3", "pod4"]
    assert "<switch" not in drawn


def test_what_is_broken_is_in_the_picture_and_in_the_tables() -> None:
    seen = view(broken="node1", paused="node1")
    drawn = picture(seen.cluster, 2)
    assert "10.244.2.0/24 ✘ FDB entry" in drawn
    assert "agent paused" in drawn
    told = tables(seen)
    assert "<tr class=missing>" in told
    assert told.count("data-act=resume data-node=node1>") == 1
    assert told.count("data-act=pause data-node=node2>") == 1


def test_a_route_that_is_missing_is_in_the_picture_though_no_table_has_it() -> None:
    topology = design(Wishes(nodes=2))
    node = topology.nodes[0]
    state = KernelState.of(obj for obj in kernel_of(node) if not isinstance(obj, Route))
    rows = node_rows(node, state, shared())
    assert [row.state for row in rows if row.kind == "route"] == ["missing"]


def test_a_long_table_is_counted() -> None:
    many = view(design(Wishes(nodes=70, pods=0)))
    assert "and 10 more" in tables(LabView(cluster=many.cluster, nodes=many.nodes))


def test_hostile_names_stay_text() -> None:
    row = Row(kind="route", text=HOSTILE, step=HOSTILE, means=Said(HOSTILE, HOSTILE), state="right", removal=(HOSTILE,))
    node = ClusterNode(
        name=HOSTILE, source="kernel", pods=(ClusterPod(name=HOSTILE, address=HOSTILE),), agent="running"
    )
    seen = LabView(
        cluster=Cluster(name=HOSTILE, nodes=(node,)), nodes=(NodeView(name=HOSTILE, lease=HOSTILE, rows=(row,)),)
    )
    for markup in (tables(seen), picture(seen.cluster, 1)):
        assert "<img" not in markup
        assert "</script" not in markup
    assert b"\n" not in view_event(seen, 1)


def test_a_named_row_is_found_by_its_name_only() -> None:
    node = view().node("node1")
    assert node is not None
    assert node.row(fdb_entry("node1", view())) is not None
    assert node.row("fdb") is None
    assert view().node("pod1") is None


def test_of_a_kernel_that_holds_nothing_everything_is_missing() -> None:
    state = KernelState.of([Link(name="eth0", kind=OtherKind())])
    assert {row.state for row in node_rows(NODE1, state, shared())} == {"missing"}
