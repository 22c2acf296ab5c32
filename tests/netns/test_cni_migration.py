"""A node full of pods of flannel's chain changes to tulle, and back: no address twice, each undoes the other's."""

import json
import subprocess
from collections.abc import Generator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from tests.kit.kernels import NEEDS_ROOT
from tests.kit.peers import needs_peers, peer
from tests.kit.plugin import NETWORK, PluginNode, plugin_node
from tulle.cni.spares import SPARE
from tulle.kernel import netns

pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)),
    needs_peers("bridge", "host-local"),
]
SMALL = replace(NETWORK, subnet=IPv4Network("10.244.1.0/28"))
POD_ADDRESSES = 13


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path) as made:
        made.network = SMALL
        made.start()
        yield made


def chain(node: PluginNode, verb: str, pod: str, **conf: Any) -> dict[str, Any]:
    """What flannel's plugin delegates to, with its files where tulle has its own."""
    plugin = peer("bridge")
    assert plugin is not None
    folder = str(node.root / "var/lib/cni/networks")
    request = {
        "cniVersion": "1.0.0",
        "name": "net",
        "type": "bridge",
        "bridge": "cbr0",
        "isDefaultGateway": True,
        "mtu": 1450,
        "ipam": {"type": "host-local", "subnet": "10.244.1.0/28", "dataDir": folder},
        **conf,
    }
    environment = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": pod,
        "CNI_NETNS": f"/run/netns/{pod}",
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(Path(plugin).parent),
    }
    done = netns.run_in(
        node.netns,
        lambda: subprocess.run(
            [plugin], input=json.dumps(request), env=environment, capture_output=True, text=True, check=False
        ),
    )
    assert done.returncode == 0, done
    found: dict[str, Any] = json.loads(done.stdout or "{}")
    return found


def address(result: dict[str, Any]) -> str:
    text: str = result["ips"][0]["address"]
    return text.partition("/")[0]


def test_tulle_takes_over_a_node_of_flannels_pods_and_detaches_them(node: PluginNode) -> None:
    results = {pod: chain(node, "ADD", pod) for pod in (node.new_pod() for _ in range(4))}
    theirs = {pod: address(result) for pod, result in results.items()}
    ours = {pod: address(node.add(pod)) for pod in (node.new_pod() for _ in range(POD_ADDRESSES - 4))}
    assert len({*theirs.values(), *ours.values()}) == POD_ADDRESSES
    assert node.run("ADD", node.new_pod()).error == 100
    for pod, result in results.items():
        assert node.run("CHECK", pod, prevResult=result).code == 0
    node.ip("route del default", next(iter(theirs)))
    assert node.run("CHECK", next(iter(theirs)), prevResult=next(iter(results.values()))).error == 103
    for pod in theirs:
        assert node.run("DEL", pod).code == 0
        assert node.ip("-j link show type veth", pod).strip() in {"[]", ""}
    assert set(node.addresses.values()) == set(ours)
    assert len(node.devices) == len(ours)


def test_flannels_chain_gives_no_address_that_tulle_gave_and_detaches_its_pods(node: PluginNode) -> None:
    results = {pod: node.add(pod) for pod in (node.new_pod() for _ in range(4))}
    ours = {pod: address(result) for pod, result in results.items()}
    node.stop()
    theirs = {pod: address(chain(node, "ADD", pod)) for pod in (node.new_pod() for _ in range(4))}
    assert len({*ours.values(), *theirs.values()}) == 8
    for pod, result in results.items():
        chain(node, "DEL", pod, prevResult=result)
    assert set(node.addresses.values()) == set(theirs)
    assert len(node.devices) == len(theirs)


def test_flannels_chain_finds_nobody_in_what_tulle_keeps_of_removed_files(node: PluginNode) -> None:
    gone, stays = node.new_pod(), node.new_pod()
    node.add(gone)
    kept = node.add(stays)
    assert node.run("DEL", gone).code == 0
    spare = node.root / "var/lib/cni/networks/net" / SPARE
    assert len(list(spare.iterdir())) == 1
    node.stop()
    address(chain(node, "ADD", gone))
    assert sorted(node.addresses.values()) == sorted((gone, stays))
    chain(node, "DEL", stays, prevResult=kept)
    assert set(node.addresses.values()) == {gone}
    node.socket.unlink()
    node.start()
    assert node.run("DEL", gone).code == 0
    assert not node.addresses
    assert len(list(spare.iterdir())) == 2


def test_tulle_collects_what_flannels_chain_detached_while_it_was_away(node: PluginNode) -> None:
    pod = node.new_pod()
    result = node.add(pod)
    node.stop()
    chain(node, "DEL", pod, prevResult=result)
    node.socket.unlink()
    node.start()
    again = node.new_pod()
    assert address(node.add(again)) in {f"10.244.1.{last}" for last in range(2, 15)}
    assert node.run("DEL", pod).code == 0
    assert set(node.addresses.values()) == {again}


def test_a_full_subnet_gives_the_address_that_has_been_free_for_longest(node: PluginNode) -> None:
    """The quarantine yields before an ADD is refused."""
    pods = [node.new_pod() for _ in range(POD_ADDRESSES)]
    given = [address(node.add(pod)) for pod in pods]
    assert node.run("STATUS").error == 50
    for pod in (pods[5], pods[2]):
        assert node.run("DEL", pod).code == 0
    assert node.run("STATUS").code == 0
    assert [address(node.add(pod)) for pod in (pods[2], pods[5])] == [given[5], given[2]]
    assert node.run("ADD", node.new_pod()).error == 100
