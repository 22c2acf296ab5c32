"""The host-gw backend on real kernels: plain routes, whole packets, every kind of damage, and the real flannel."""

import asyncio
import time
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from tests.kit.agents import QUIET_AUDIT, Cluster, Node, cluster, only, until
from tests.kit.enter import enter
from tests.kit.etcd import NEEDS_ETCD, etcd
from tests.kit.flanneld import NEEDS_FLANNELD, Flanneld
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.stream import Stream, stream
from tulle.kernel.system import SystemClock
from tulle.model.lease import Lease, NodeId
from tulle.store.open import open_store
from tulle.wire.leases import lease_key

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))

CONFIG: dict[str, object] = {"Backend": {"Type": "host-gw"}}
REPAIR_LIMIT_MS = 5_000
"""Far above the promise, which bench/ measures: a loaded machine must not fail a test."""


def route(node: Node, number: int) -> list[dict[str, object]]:
    return node.json("ip", "-j", "route", "show", f"10.244.{number}.0/24")


def test_peers_are_one_route_each_and_pods_have_the_whole_mtu(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=3, pods=True, config=CONFIG) as site:
        site.start()
        node = site.node(1)
        for number in (2, 3):
            (found,) = route(node, number)
            assert found["gateway"] == f"192.168.64.1{number}"
            assert (found["dev"], found["protocol"]) == ("eth0", "116")
        assert only(node.json("ip", "-j", "link"), ifname="flannel.1") == []
        assert "FLANNEL_MTU=1500" in (node.root / "run/flannel/subnet.env").read_text()
        assert node.status()["backend"] == {"type": "host-gw"}
        assert "host-gw" in node.tulle("status").stdout
        with stream(site.net.path("pod1"), site.net.path("pod3"), "10.244.3.2") as flow:
            until(lambda: len(flow.received) > 20, "the stream flows")


DAMAGE = {
    "a route is deleted": ("route del 10.244.2.0/24",),
    "a route is replaced": ("route replace 10.244.2.0/24 via 192.168.64.99 dev eth0 proto 116 onlink",),
    "the underlay goes down and up": ("link set eth0 down", "link set eth0 up"),
    "the underlay's address goes and comes": (
        "addr del 192.168.64.11/24 dev eth0",
        "addr add 192.168.64.11/24 dev eth0",
    ),
}


@pytest.mark.parametrize("commands", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_repaired_by_its_event(tmp_path: Path, commands: tuple[str, ...]) -> None:
    with cluster(tmp_path, pods=True, config=CONFIG) as site:
        site.start(*QUIET_AUDIT)
        with stream(site.net.path("pod1"), site.net.path("pod2"), "10.244.2.2") as flow:
            until(lambda: len(flow.received) > 20, "the stream flows")
            injured_ns = time.monotonic_ns()
            site.node(1).ip(*commands)
            outage = until(lambda: flow.outage(injured_ns), "whole again", lambda: explained(site, flow))
        assert outage is not None
        assert outage[0] < REPAIR_LIMIT_MS


def explained(site: Cluster, flow: Stream) -> str:
    node = site.node(1)
    return f"{len(flow.received)} of {len(flow.sent)}\n{node.sh('ip', 'route')}\n{node.status()}\n{node.log}"


def test_a_node_that_stops_and_comes_again_keeps_the_data_path_and_drops_who_left(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=3, pods=True, config=CONFIG) as site:
        site.start()
        node = site.node(1)
        with stream(site.net.path("pod1"), site.net.path("pod2"), "10.244.2.2") as flow:
            until(lambda: len(flow.received) > 20, "the stream flows")
            started_ns = time.monotonic_ns()
            node.stop()
            site.node(3).stop()
            site.delete("10.244.3.0-24")
            assert route(node, 3) != []
            node.start()
            node.converge(1)
            until(lambda: route(node, 3) == [], "the peer that left is gone", lambda: node.log)
            time.sleep(0.2)  # what is under way arrives
            assert flow.lost_since(started_ns) == 0


def test_a_gateway_that_is_no_neighbour_is_a_failed_step_of_that_peer_alone(tmp_path: Path) -> None:
    with cluster(tmp_path, config=CONFIG) as site:
        site.start()
        node = site.node(1)
        asyncio.run(far_peer_joins(site))
        until(lambda: node.status()["failures"], "the failure is reported", lambda: node.log)
        assert route(node, 2) != []


async def far_peer_joins(site: Cluster) -> None:
    """A lease whose node is on no segment of ours."""
    subnet = IPv4Network("10.244.9.0/24")
    lease = Lease(
        key=lease_key(subnet, None),
        subnet=subnet,
        public_ip=IPv4Address("203.0.113.9"),
        backend_type="host-gw",
        owner=NodeId("far"),
    )
    store = open_store(f"sqlite://{site.store}", SystemClock())
    try:
        await store.create(lease, 3600.0)
    finally:
        await store.close()


def test_a_public_address_that_is_not_the_underlays_is_refused(tmp_path: Path) -> None:
    with cluster(tmp_path, config=CONFIG) as site:
        done = site.node(1).run("--public-ip", "203.0.113.1")
        assert done.returncode == 2
        assert "--public-ip 203.0.113.1" in done.stderr


@NEEDS_ETCD
@NEEDS_FLANNELD
def test_a_plain_network_shared_with_the_real_flannel(tmp_path: Path) -> None:
    shared = '{"Network":"10.244.0.0/16","SubnetLen":24,"EnableNFTables":true,"Backend":{"Type":"host-gw"}}'
    with cluster(tmp_path, pods=True) as site:
        site.net.ip("switch", "addr add 192.168.64.1/24 dev br0")
        site.net.sysctl("node2", "net/ipv4/ip_forward", "1")
        inside = enter(site.net.full("switch"))
        with etcd(tmp_path, host="192.168.64.1", before=inside) as server:
            server.put("config", shared)
            for node in site.nodes:
                node.store_url = server.url
                server.put(f"subnets/10.244.{node.number}.0-24", f'{{"PublicIP":"192.168.64.1{node.number}"}}')
            flannel = Flanneld(site.net, "node2", site.node(2).root, f"http://{server.endpoint}")
            try:
                site.node(1).start()
                flannel.start()
                site.node(1).converge(1)
                ours, theirs = (server.get(f"subnets/10.244.{number}.0-24") for number in (1, 2))
                assert ours == theirs.replace("192.168.64.12", "192.168.64.11")
                for source, sink in ((1, 2), (2, 1)):
                    way = (site.net.path(f"pod{source}"), site.net.path(f"pod{sink}"), f"10.244.{sink}.2")
                    with stream(*way) as flow:
                        until(lambda flow=flow: len(flow.received) > 20, "the stream flows", lambda: flannel.log)
            finally:
                flannel.stop()
