"""What an agent remembers over a reboot: the way to its peers, its own lease and MAC, while etcd is away and after."""

import signal
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.agents import Cluster, Node, cluster, until
from tests.kit.enter import enter
from tests.kit.etcd import NEEDS_ETCD, Etcd, etcd
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.stream import stream

pytestmark = [pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)), NEEDS_ETCD]

ADDRESS = "192.168.64.1"
CONFIG = '{"Network":"10.244.0.0/16","SubnetLen":24,"Backend":{"Type":"vxlan"}}'


@dataclass
class Site:
    """Three nodes that know each other and have written it down; a pod each; etcd beside the switch."""

    cluster: Cluster
    server: Etcd

    def node(self, number: int) -> Node:
        return self.cluster.node(number)

    def reboot(self, number: int) -> Node:
        """All that a power cycle takes from the kernel and from /run; the agent does not run afterwards."""
        node = self.node(number)
        node.stop(signal.SIGKILL)
        node.ip("link del flannel.1")
        node.sh("nft", "flush", "ruleset")
        node.net.sysctl(node.name, "net/ipv4/ip_forward", "0")
        (node.root / "run/flannel/subnet.env").unlink()
        return node

    def flows(self, source: int, sink: int) -> None:
        """Wait until datagrams from one pod reach another."""
        net = self.cluster.net
        with stream(net.path(f"pod{source}"), net.path(f"pod{sink}"), f"10.244.{sink}.2") as flow:
            until(lambda: len(flow.received) > 20, f"pod{source} reaches pod{sink}", lambda: self.node(source).log)


def remembers(node: Node, *numbers: int) -> bool:
    """Does its file name these peers?"""
    path = node.root / "var/lib/tulle/memory.jsonl"
    text = path.read_text() if path.exists() else ""
    return all(f'{{"key":"10.244.{number}.0-24"' in text for number in numbers)


@contextmanager
def remembering(folder: Path) -> Generator[Site]:
    with cluster(folder, nodes=3, pods=True) as nodes:
        nodes.net.ip("switch", f"addr add {ADDRESS}/24 dev br0")
        with etcd(folder, host=ADDRESS, before=enter(nodes.net.full("switch"))) as server:
            server.put("config", CONFIG)
            for node in nodes.nodes:
                node.store_url = server.url
                server.put(f"subnets/10.244.{node.number}.0-24", f'{{"PublicIP":"192.168.64.1{node.number}"}}')
            nodes.start()
            for node in nodes.nodes:
                peers = {1, 2, 3} - {node.number}
                until(lambda node=node, peers=peers: remembers(node, *peers), f"{node.name}: written down")
            yield Site(nodes, server)


def mac(node: Node) -> str:
    (link,) = node.json("ip", "-j", "link", "show", "flannel.1")
    return link["address"]


@pytest.mark.parametrize("frozen", [False, True], ids=["refuses", "is-silent"])
def test_f01_a_node_that_boots_without_its_store_reaches_its_peers(tmp_path: Path, frozen: bool) -> None:
    with remembering(tmp_path) as site:
        before = mac(site.node(1))
        node = site.reboot(1)
        if frozen:
            site.server.signal(signal.SIGSTOP)
        else:
            site.server.kill()
        node.start()
        site.flows(1, 3)
        site.flows(2, 1)
        assert mac(node) == before
        status = node.status()
        assert status["state"] == "degraded: store"
        assert status["store"]["recalled_ns"] > 0
        assert "goes by its own memory of 20" in " ".join(node.tulle("status").stdout.split())
        assert "FLANNEL_SUBNET=10.244.1.1/24" in (node.root / "run/flannel/subnet.env").read_text()

        if frozen:
            site.server.signal(signal.SIGCONT)
        else:
            site.server.start()
        node.converge(2)
        assert node.status()["store"]["recalled_ns"] is None
        until(lambda: node.status()["lease"]["owner"] == node.status()["node_id"], "its own lease", lambda: node.log)
        assert mac(node) == before


def test_what_is_no_lease_any_more_goes_with_the_first_snapshot(tmp_path: Path) -> None:
    with remembering(tmp_path) as site:
        node = site.reboot(1)
        site.node(3).stop(signal.SIGKILL)
        site.server.ctl("del", "/coreos.com/network/subnets/10.244.3.0-24")
        site.server.kill()
        node.start()
        until(lambda: "10.244.3.0/24" in node.sh("ip", "route"), "recalled", lambda: node.log)
        site.server.start()
        node.converge(1)
        assert "10.244.3.0" not in node.sh("ip", "route") + node.sh("ip", "neigh")
        assert "192.168.64.13" not in node.sh("bridge", "fdb", "show", "dev", "flannel.1")
        site.flows(1, 2)


def test_the_entry_of_a_peer_that_left_goes_though_its_neighbour_was_removed_meanwhile(tmp_path: Path) -> None:
    with remembering(tmp_path) as site:
        node = site.node(1)
        node.stop(signal.SIGKILL)
        node.ip("neigh del 10.244.3.0 dev flannel.1")
        site.node(3).stop(signal.SIGKILL)
        site.server.ctl("del", "/coreos.com/network/subnets/10.244.3.0-24")
        node.start()
        node.converge(1)
        assert "192.168.64.13" not in node.sh("bridge", "fdb", "show", "dev", "flannel.1")
        assert node.status()["strangers"] == []


def test_after_a_reboot_a_node_has_the_mac_that_its_peers_know(tmp_path: Path) -> None:
    """Its lease says which, also to a node that lost its memory: no neighbour of a peer changes."""
    with remembering(tmp_path) as site:
        before = mac(site.node(1)), site.node(2).sh("ip", "neigh", "show", "dev", "flannel.1", "nud", "permanent")
        steps = site.node(2).status()["steps"]
        node = site.reboot(1)
        (node.root / "var/lib/tulle/memory.jsonl").unlink()
        node.start()
        node.converge(2)
        site.flows(2, 1)
        after = mac(node), site.node(2).sh("ip", "neigh", "show", "dev", "flannel.1", "nud", "permanent")
        assert after == before
        assert site.node(2).status()["steps"] == steps


def test_a_node_leaves_also_while_its_store_is_away_and_says_that_its_lease_stays(tmp_path: Path) -> None:
    with remembering(tmp_path) as site:
        node = site.node(1)
        node.stop()
        site.server.kill()
        done = node.leave("--clean", "--force")
        assert done.returncode == 0, done
        assert done.stdout.startswith("the lease stays until it expires"), done
        assert "flannel.1" not in node.sh("ip", "link")
        assert "tulle" not in node.sh("nft", "list", "ruleset")
        again = node.leave("--clean", "--force")
        assert again.returncode == 2
        assert "remembers nothing" in again.stderr, "what it knew went with the rest"
        site.server.start()
        assert site.server.keys("subnets/10.244.1.0-24")
        assert node.leave("--clean", "--force").returncode == 0
        assert site.server.keys("subnets/10.244.1.0-24") == []
