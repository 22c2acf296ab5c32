"""libcni's own client, and the plugins that follow in a chain: what they need from us, CHECK after what they did."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.kit.kernels import NEEDS_HOST_ROOT, NEEDS_ROOT
from tests.kit.peers import PLACES, needs_peers, peer
from tests.kit.plugin import PluginNode, plugin_node
from tests.kit.shims import BINARY, NO_BINARY
from tulle.cli.main import main
from tulle.kernel import netns

CNITOOL = peer("cnitool")

pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)),
    pytest.mark.skipif(NO_BINARY is not None, reason=str(NO_BINARY)),
    pytest.mark.skipif(NEEDS_HOST_ROOT is not None, reason=str(NEEDS_HOST_ROOT)),  # cnitool writes below /var/lib/cni
    needs_peers("cnitool"),
]

CHAINS: dict[str, dict[str, Any]] = {
    "portmap": {"backend": "nftables", "capabilities": {"portMappings": True}},
    "bandwidth": {"ingressRate": 8_000_000, "ingressBurst": 8_000_000},
    "firewall": {},
    "sbr": {},
    "tuning": {"mac": "02:11:22:33:44:55", "sysctl": {"net.ipv4.conf.IFNAME.arp_filter": "1"}},
}
NEEDS = {"firewall": "iptables"}
BRIDGED: dict[str, Any] = {"bridge": "cbr0"}
ROUTED: dict[str, Any] = {"mode": "routed"}


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path / "root") as made:
        made.start()
        yield made


def cnitool(
    node: PluginNode,
    folder: Path,
    verb: str,
    pod: str,
    *chain: str,
    version: str = "1.0.0",
    ours: Mapping[str, Any] = BRIDGED,
) -> dict[str, Any]:
    """One command of cnitool's on a network whose chain is ours and then ``chain``; what it printed."""
    plugins = folder / "bin"
    plugins.mkdir(exist_ok=True)
    if not (plugins / "tulle").exists():
        shutil.copy(BINARY, plugins / "tulle")  # libcni looks for a file that is called as the type
    entries: list[dict[str, Any]] = [{"type": "tulle", **ours}, *({"type": c, **CHAINS[c]} for c in chain)]
    conflist = {"cniVersion": version, "cniVersions": ["0.4.0", "1.0.0", "1.1.0"], "name": "net", "plugins": entries}
    (folder / "10-net.conflist").write_text(json.dumps(conflist))
    environment = {
        **os.environ,
        "NETCONFPATH": str(folder),
        "CNI_PATH": os.pathsep.join((str(plugins), PLACES)),
        "TULLE_ROOT": str(node.root),
        "CAP_ARGS": json.dumps({"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}]}),
    }
    words = [str(CNITOOL), verb, "net", f"/run/netns/{pod}"]
    done = _inside(node, words, environment)
    assert done.returncode == 0, done
    found: dict[str, Any] = json.loads(done.stdout or "{}")
    return found


def _inside(node: PluginNode, words: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return netns.run_in(
        node.netns, lambda: subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    )


def test_libcnis_client_attaches_checks_and_detaches(node: PluginNode, tmp_path: Path) -> None:
    pod = node.new_pod()
    result = cnitool(node, tmp_path, "add", pod)
    assert result["cniVersion"] == "1.1.0"  # the newest of cniVersions
    assert result["ips"][0]["address"] == "10.244.1.2/24"
    cnitool(node, tmp_path, "check", pod)
    cnitool(node, tmp_path, "status", pod)
    cnitool(node, tmp_path, "del", pod)
    cnitool(node, tmp_path, "del", pod)
    assert node.is_clean()


def test_libcnis_gc_removes_everything_that_it_does_not_know(node: PluginNode, tmp_path: Path) -> None:
    pod = node.new_pod()
    cnitool(node, tmp_path, "add", pod)
    cnitool(node, tmp_path, "gc", pod)
    assert node.is_clean()


def test_libcnis_client_uses_what_was_installed(node: PluginNode, tmp_path: Path) -> None:
    bin_dir, conf_dir = tmp_path / "bin", tmp_path / "conf"
    words = ["cni", "install", "--root", str(node.root), "--name", "net"]
    assert main([*words, "--bin-dir", str(bin_dir), "--conf-dir", str(conf_dir)]) == 0
    pod = node.new_pod()
    environment = {"NETCONFPATH": str(conf_dir), "CNI_PATH": str(bin_dir), "TULLE_ROOT": str(node.root)}
    for verb in ("add", "check", "status", "del"):
        command = [str(CNITOOL), verb, "net", f"/run/netns/{pod}"]
        done = _inside(node, command, environment)
        assert done.returncode == 0, done
    assert node.is_clean()


@pytest.mark.parametrize("follower", CHAINS)
def test_a_chain_attaches_checks_and_detaches(node: PluginNode, tmp_path: Path, follower: str) -> None:
    for program in (follower, NEEDS.get(follower, "sh")):
        if peer(program) is None:
            pytest.skip(f"{program} is not installed")
    if follower == "bandwidth":
        try:
            node.ip("link add probe type ifb")
        except subprocess.CalledProcessError:
            pytest.skip("this kernel has no ifb")
        node.ip("link del probe")
    pod = node.new_pod()
    cnitool(node, tmp_path, "add", pod, follower)
    cnitool(node, tmp_path, "check", pod, follower)
    cnitool(node, tmp_path, "del", pod, follower)
    assert node.is_clean()


@pytest.mark.parametrize("ours", [BRIDGED, ROUTED], ids=["bridged", "routed"])
def test_a_host_port_leads_to_its_pod_from_the_node_from_another_pod_and_from_the_pod_itself(
    node: PluginNode, tmp_path: Path, ours: dict[str, Any]
) -> None:
    if peer("portmap") is None:
        pytest.skip("portmap is not installed")
    server, client = node.new_pod(), node.new_pod()
    netns.run_in(node.netns, lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))
    node.ip("addr add 192.0.2.1/32 dev lo")  # the node's own address
    cnitool(node, tmp_path, "add", server, "portmap", ours=ours)
    cnitool(node, tmp_path, "check", server, "portmap", ours=ours)
    conf: dict[str, Any] = {"bridge": None, **ours}
    node.add(client, **conf)
    with netns.run_in(Path("/run/netns") / server, lambda: socket.create_server(("", 80))):
        for source in (node.netns, Path("/run/netns") / client, Path("/run/netns") / server):
            netns.run_in(source, lambda: socket.create_connection(("192.0.2.1", 8080), timeout=5).close())
    cnitool(node, tmp_path, "del", server, "portmap", ours=ours)
    assert node.run("DEL", client, **conf).code == 0
    assert node.is_clean()
