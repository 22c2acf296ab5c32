"""Labs of other shapes: no tunnel between the nodes, and a host that is no part of the cluster."""

from collections.abc import Iterator

import pytest

from tests.kit.labs import NEEDS_ROOT, LabCommand, a_lab

pytestmark = pytest.mark.skipif(bool(NEEDS_ROOT), reason=str(NEEDS_ROOT))


@pytest.fixture(scope="module")
def lab() -> Iterator[LabCommand]:
    """Both at once."""
    with a_lab() as command:
        command.must("up", "-q", "--backend", "host-gw", "--outside", "--ipv6")
        yield command


def test_without_a_tunnel_pods_reach_each_other_with_the_underlays_whole_mtu(lab: LabCommand) -> None:
    lab.must("check", "pod1 reaches pod4 with mtu 1500", "pod1 reaches pod4 over ipv6 with mtu 1500")
    assert "flannel" not in lab.inside("node1", "ip", "link")
    assert "10.244.2.0/24 → eth0 → node2 192.168.64.12" in lab.must("", "--name", lab.name, tulle=["graph"])


def test_a_host_outside_answers_pods_by_their_nodes_address_and_reaches_none(lab: LabCommand) -> None:
    lab.must("check", "-W", "0.2", "pod1 reaches outside", "outside does not reach pod1", "outside reaches node1")
    walk = lab.must("", "pod1", "outside", "--name", lab.name, tulle=["trace"])
    assert "source rewritten" in walk
    assert "accepted by outside" in walk


def test_a_router_stands_between_a_pod_and_the_host_outside_too() -> None:
    with a_lab() as lab:
        lab.must("up", "-q", "--underlay", "router", "--outside", "--nodes", "1", "--pods", "1")
        lab.must("check", "pod1 reaches outside")


def test_a_lab_without_neighbours_cannot_do_without_a_tunnel() -> None:
    with a_lab() as lab:
        done = lab.run("up", "--backend", "host-gw", "--underlay", "router")
        assert done.returncode == 2
        assert "backend host-gw: its nodes must be neighbours" in done.stderr
