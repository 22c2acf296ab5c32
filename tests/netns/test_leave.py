"""``tulle leave``: a node given back with the rules that flannel's daemon looks for, or clean."""

import signal
from pathlib import Path

import pytest

from tests.kit.agents import Cluster, Node, cluster, until
from tests.kit.damage import picture
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.stream import stream

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))


def gone(site: Cluster, way: str) -> bool:
    return way not in site.node(2).sh("ip", "route")


def held(node: Node) -> tuple[list[str], str, str]:
    """Devices by name, since carriers settle; routes and rules."""
    links = [link["ifname"] for link in node.json("ip", "-j", "link")]
    return links, node.sh("ip", "route"), node.sh("nft", "list", "ruleset")


@pytest.mark.parametrize("nftables", [True, False])
def test_handed_back_the_data_path_stays_and_flannels_rules_stand(tmp_path: Path, nftables: bool) -> None:
    with cluster(tmp_path, pods=True, config={"EnableNFTables": nftables}) as site:
        site.start("--ip-masq")
        node = site.node(1)
        refused = node.leave()
        assert refused.returncode == 2
        assert "agent: is running" in refused.stderr
        with stream(site.net.path("pod1"), site.net.path("pod2"), "10.244.2.2") as flow:
            until(lambda: len(flow.received) > 20, "the stream flows")
            node.stop()
            before = (
                node.sh("ip", "route"),
                node.sh("bridge", "fdb"),
                node.sh("ip", "neigh", "show", "nud", "permanent"),
            )
            planned = node.leave("--dry-run")
            assert planned.returncode == 1
            done = node.leave()
            assert (done.returncode, done.stderr) == (0, "")
            after = node.sh("ip", "route"), node.sh("bridge", "fdb"), node.sh("ip", "neigh", "show", "nud", "permanent")
            assert after == before
            rules = node.sh("nft", "list", "ruleset")
            assert "tulle" not in rules.lower()
            for name in ("flannel-ipv4", "postrtg") if nftables else ("FLANNEL-FWD", "FLANNEL-POSTRTG"):
                assert name in rules
                assert name in planned.stdout
            count = len(flow.received)
            until(lambda: len(flow.received) > count + 20, "the stream goes on")
        assert node.leave("--dry-run").returncode == 0, "a second time there is nothing to do"


def test_a_cleaned_node_holds_nothing_of_tulle_and_its_lease_is_free(tmp_path: Path) -> None:
    with cluster(tmp_path, pods=True) as site:
        node = site.node(1)
        node.ip("route add 10.98.0.0/16 dev eth0 proto static")
        before = held(node)
        site.start("--ip-masq")
        node.stop()
        attached = node.leave("--clean")
        assert attached.returncode == 2
        assert "vethpod" in attached.stderr
        assert "flannel.1" in picture(node), "refused before anything is taken away"
        planned = node.leave("--clean", "--force", "--dry-run")
        assert "ip link delete flannel.1" in planned.stdout
        assert node.leave("--clean", "--force").returncode == 0
        assert held(node) == before
        assert not (node.root / "run/flannel/subnet.env").exists()
        until(lambda: gone(site, "10.244.1.0/24"), "its peer sees it go")
        assert node.leave("--clean", "--force").returncode == 0


@pytest.mark.parametrize("before", ["0", "1"])
def test_a_switch_that_tulle_turned_is_turned_back_and_no_other(tmp_path: Path, before: str) -> None:
    with cluster(tmp_path, nodes=1) as site:
        node = site.node(1)
        node.net.sysctl(node.name, "net/ipv4/ip_forward", before)
        site.start()
        assert forwarding(node) == "1"
        node.stop()
        node.start()
        node.converge(0)
        node.stop()
        planned = node.leave("--clean", "--dry-run").stdout
        assert ("echo 0 > /proc/sys/net/ipv4/ip_forward" in planned) is (before == "0")
        assert node.leave("--clean").returncode == 0
        assert forwarding(node) == before


def test_handed_back_a_node_still_forwards_since_flannels_pods_need_it(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=1) as site:
        node = site.node(1)
        node.net.sysctl(node.name, "net/ipv4/ip_forward", "0")
        site.start()
        node.stop()
        assert node.leave().returncode == 0
        assert forwarding(node) == "1"
        assert node.leave("--clean").returncode == 0
        assert forwarding(node) == "0"


def forwarding(node: Node) -> str:
    return node.sh("cat", "/proc/sys/net/ipv4/ip_forward").strip()


def test_an_agent_that_does_not_answer_is_running_all_the_same(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=1) as site:
        site.start()
        node = site.node(1)
        assert node.process is not None
        before = held(node)
        node.process.send_signal(signal.SIGSTOP)
        refused = node.leave("--clean")
        assert refused.returncode == 2
        assert refused.stderr.startswith("tulle: agent: is running")
        assert held(node) == before
