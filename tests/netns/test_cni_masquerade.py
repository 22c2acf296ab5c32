"""``ipMasq`` of one network, on a node whose agent masquerades nobody: as flannel's chain has it by default."""

import shutil
from collections.abc import Generator
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.kit.kernels import NEEDS_ROOT
from tests.kit.plugin import NETWORK, PluginNode, plugin_node
from tulle.kernel import netns
from tulle.kernel.netns import NETNS_FOLDER
from tulle.lab.ping import ping

pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)),
    pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed"),
]

WORLD = "192.0.2.2"
TABLE = "list table inet tulle-pods"


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    """A node with a world beyond it that knows no way back to pods."""
    with plugin_node(tmp_path / "root") as made:
        made.network = replace(NETWORK, masquerades=False, networks=(ip_network("10.244.0.0/16"),))
        world = made.new_pod()
        made.ip(f"link add uplink type veth peer name eth0 netns {world}")
        made.ip("address add 192.0.2.1/24 dev uplink")
        made.ip("link set uplink up")
        made.ip(f"address add {WORLD}/24 dev eth0", world)
        made.ip("link set eth0 up", world)
        made.forward()
        made.start()
        yield made


def reaches_the_world(pod: str) -> bool:
    with netns.inside(NETNS_FOLDER / pod):
        return any(echo.rtt_ns is not None for echo in ping(ip_address(WORLD), count=2, timeout_s=1.0))


def test_its_pods_reach_the_world_and_no_other_network_s_do(node: PluginNode) -> None:
    hidden, open_ = node.new_pod(), node.new_pod()
    node.add(hidden, delegate={"isDefaultGateway": True})  # flannel's default, where its agent does not
    node.add(open_, delegate={"isDefaultGateway": True, "ipMasq": False})
    assert reaches_the_world(hidden)
    assert not reaches_the_world(open_)


def test_its_rules_are_repaired_and_go_with_the_pod(node: PluginNode) -> None:
    pod = node.new_pod()
    node.add(pod, ipMasq=True)
    before = node.nft(TABLE)
    assert "10.244.1.2" in before
    node.nft("flush ruleset")
    node.wait_until(lambda: node.nft(TABLE) == before, "the table")
    node.stop()
    node.socket.unlink()
    assert node.run("DEL", pod).code == 0
    assert "10.244.1.2" not in node.nft(TABLE)


def test_what_goes_to_the_overlay_keeps_its_source(node: PluginNode) -> None:
    node.add(node.new_pod(), ipMasq=True)
    assert "ip daddr != { 10.244.0.0/16, 224.0.0.0/4 }" in node.nft(TABLE)
    assert "oifname @bridges return" in node.nft(TABLE)
