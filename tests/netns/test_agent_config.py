"""The network's configuration changes under a running agent: applied, or refused with its reason."""

import asyncio
import json
import socket
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.kit.agents import Cluster, cluster, until
from tests.kit.enter import enter
from tests.kit.etcd import NEEDS_ETCD, etcd
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.stream import stream
from tulle.kernel.netns import inside
from tulle.kernel.system import SystemClock
from tulle.store.open import open_store

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))


def write(site: Cluster, **changes: Any) -> None:
    """Store another configuration, as 'tulle network set' does."""
    shared = {"Network": "10.244.0.0/16", "SubnetLen": 24, "Backend": {"Type": "vxlan"}} | changes

    async def story() -> None:
        store = open_store(f"sqlite://{site.store}", SystemClock())
        try:
            await store.write_network_config(json.dumps(shared).encode())
        finally:
            await store.close()

    asyncio.run(story())


def test_a_change_is_applied_in_place_or_refused_by_name(tmp_path: Path) -> None:
    with cluster(tmp_path) as site:
        site.start()
        node = site.node(1)
        (before,) = node.json("ip", "-j", "link", "show", "flannel.1")
        write(site, Backend={"Type": "vxlan", "MTU": 1400})
        until(lambda: node.json("ip", "-j", "link", "show", "flannel.1")[0]["mtu"] == 1350, "the MTU", lambda: node.log)
        env = node.root / "run/flannel/subnet.env"
        until(lambda: "FLANNEL_MTU=1350" in env.read_text(), "pods hear of it", lambda: node.log)
        (after,) = node.json("ip", "-j", "link", "show", "flannel.1")
        assert (after["ifindex"], after["address"]) == (before["ifindex"], before["address"]), "in place"
        until(lambda: node.status()["state"] == "ready", "ready again")

        write(site, Backend={"Type": "vxlan", "MTU": 1400, "VNI": 9})
        until(lambda: "Backend.VNI is 9 now" in str(node.status()["problems"]), "a refusal", lambda: node.log)
        assert node.sh("ip", "link", "show", "flannel.1"), "the old one stays"

        with closing(sqlite3.connect(site.store)) as db, db:
            db.execute("DELETE FROM fact WHERE name = 'config'")
        until(lambda: "gone from the store; the last one stays" in str(node.status()["problems"]), "a missing key")
        write(site, Backend={"Type": "vxlan", "MTU": 1400})
        until(lambda: node.status()["state"] == "ready", "all is well again", lambda: node.log)


def crosses(site: Cluster, address: str) -> bool:
    """Does a datagram from node 1 reach this address of node 2?"""
    with ExitStack() as stack:
        with inside(site.net.path("node1")):
            sender = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        with inside(site.net.path("node2")):
            receiver = stack.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
        receiver.bind((address, 9909))
        receiver.settimeout(5)
        sender.sendto(b"over six", (address, 9909))
        return receiver.recv(64) == b"over six"


def test_two_nodes_without_ipv4_reach_each_other(tmp_path: Path) -> None:
    only6: dict[str, object] = {
        "EnableIPv4": False,
        "EnableIPv6": True,
        "IPv6Network": "fd10:244::/48",
        "IPv6SubnetLen": 64,
    }
    with cluster(tmp_path, ipv6=True, config=only6) as site:
        site.start()
        leases = [node.status()["lease"] for node in site.nodes]
        assert [lease["subnet"] for lease in leases] == [None, None]
        assert leases[0]["subnet6"] != leases[1]["subnet6"]
        assert crosses(site, leases[1]["subnet6"].removesuffix("/64"))
        (device,) = site.node(1).json("ip", "-j", "link", "show", "type", "vxlan")
        assert (device["ifname"], device["mtu"]) == ("flannel-v6.1", 1430)
        env = (site.node(1).root / "run/flannel/subnet.env").read_text().split()
        assert [line.split("=")[0] for line in env] == [
            "FLANNEL_IPV6_NETWORK",
            "FLANNEL_IPV6_SUBNET",
            "FLANNEL_MTU",
            "FLANNEL_IPMASQ",
        ]
        assert "FLANNEL_MTU=1430" in env


@NEEDS_ETCD
def test_two_nodes_without_ipv4_share_an_etcd_each_with_a_subnet_of_its_own(tmp_path: Path) -> None:
    """Two of flannel's would take one subnet: to them the second's address is the first's, 0.0.0.0."""
    only6 = '{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd10:244::/48","Backend":{"Type":"vxlan"}}'
    with cluster(tmp_path, ipv6=True) as site:
        site.net.ip("switch", "addr add fd64::1/64 dev br0 nodad")
        with etcd(tmp_path, host="[fd64::1]", before=enter(site.net.full("switch"))) as server:
            server.put("config", only6)
            for node in site.nodes:
                node.ip("addr flush dev eth0 scope global", "link set eth0 down", "link set eth0 up")
                node.ip(f"addr add fd64::1{node.number}/64 dev eth0 nodad")
                node.store_url = server.url
            site.start()
            keys = server.keys("subnets/")
            assert len(keys) == 2
            assert all(key.startswith("subnets/0.0.0.0-0&fd10:244:0:") for key in keys)
            assert all('"PublicIP":"0.0.0.0","PublicIPv6":"fd64::1' in server.get(key) for key in keys)
            assert crosses(site, site.node(2).status()["lease"]["subnet6"].removesuffix("/64"))
            subnets = [node.status()["lease"]["subnet6"] for node in site.nodes]
            for node in site.nodes:
                node.stop()
            site.start()
            assert [node.status()["lease"]["subnet6"] for node in site.nodes] == subnets


def test_a_blackhole_takes_what_is_for_none_of_our_pods_and_nothing_else(tmp_path: Path) -> None:
    with cluster(tmp_path, pods=True) as site:
        site.start("--ip-blackhole-route")
        node = site.node(1)
        hole = "blackhole 10.244.1.0/24 proto 116 metric 4294967294"
        assert hole in node.sh("ip", "route")
        with stream(site.net.path("pod2"), site.net.path("pod1"), "10.244.1.2") as flow:
            until(lambda: len(flow.received) > 5, "the pod is reached past it", lambda: node.log)
        node.ip("route del blackhole 10.244.1.0/24")
        until(lambda: hole in node.sh("ip", "route"), "repaired", lambda: node.log)
        node.stop()
        node.start("--ip-blackhole-route=false")
        node.converge(1)
        assert "blackhole" not in node.sh("ip", "route")
