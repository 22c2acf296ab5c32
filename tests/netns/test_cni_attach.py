"""Pods on a real kernel: what ADD makes, what DEL leaves, and what neither touches."""

import asyncio
import json
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

import pytest

from tests.kit.enter import enter
from tulle.cni.attach import PodNetwork, host_device
from tulle.cni.service import serving
from tulle.kernel import netns
from tulle.lab.ping import ping

DUAL = PodNetwork(subnet=IPv4Network("10.244.1.0/24"), subnet6=IPv6Network("fd10:244:0:1::/64"), mtu=1430)
SINGLE = PodNetwork(subnet=IPv4Network("10.244.1.0/29"), subnet6=None, mtu=1450)
CONF = {"cniVersion": "1.0.0", "name": "net", "type": "tulle", "bridge": "cbr0"}


@dataclass
class Site:
    """A node's namespace, namespaces for pods, and the node's plugin."""

    node: Path
    pods: list[Path]
    root: Path
    network: PodNetwork | None = SINGLE

    @property
    def folder(self) -> Path:
        return self.root / "var/lib/cni/networks"

    def call(self, command: str, pod: str, netns_path: Path | str, **conf: object) -> tuple[int, dict[str, object]]:
        """Execute one verb; (exit code, answer)."""

        async def story() -> tuple[int, bytes]:
            async with serving(self.root, lambda: self.network, self.node) as server:
                environment = {
                    "CNI_COMMAND": command,
                    "CNI_CONTAINERID": pod,
                    "CNI_NETNS": str(netns_path),
                    "CNI_IFNAME": "eth0",
                }
                return await server.handle(environment, json.dumps({**CONF, **conf}).encode())

        code, stdout = asyncio.run(story())
        return code, json.loads(stdout) if stdout else {}


def sh(namespace: Path, *words: str) -> str:
    return subprocess.run([*enter(namespace.name), *words], check=True, capture_output=True, text=True).stdout


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    names = [f"tullet-{secrets.token_hex(3)}" for _ in range(3)]
    made: list[str] = []
    try:
        for name in names:
            netns.create(name)
            made.append(name)
        paths = [Path("/run/netns") / name for name in names]
        sh(paths[0], "ip", "link", "set", "lo", "up")
        yield Site(node=paths[0], pods=paths[1:], root=tmp_path)
    finally:
        for name in made:
            netns.delete(name)


def test_two_pods_of_a_node_reach_each_other_and_their_gateway(site: Site) -> None:
    site.network = DUAL
    first = site.call("ADD", "a", site.pods[0])
    second = site.call("ADD", "b", site.pods[1])
    assert [first[0], second[0]] == [0, 0], (first, second)
    for target in ("10.244.1.1", "10.244.1.3", "fd10:244:0:1::1", "fd10:244:0:1::3"):
        with netns.inside(site.pods[0]):
            (echo,) = ping(ip_address(target), count=1, timeout_s=5.0)
        assert echo.rtt_ns is not None, (target, echo)


def test_the_result_names_what_the_kernel_has(site: Site) -> None:
    _, answer = site.call("ADD", "a", site.pods[0])
    link = json.loads(sh(site.pods[0], "ip", "-j", "link", "show", "eth0"))[0]
    bridge = json.loads(sh(site.node, "ip", "-j", "link", "show", "cbr0"))[0]
    assert answer["ips"] == [{"address": "10.244.1.2/29", "gateway": "10.244.1.1", "interface": 2}]
    assert answer["interfaces"][2] == {"name": "eth0", "mac": link["address"], "sandbox": str(site.pods[0])}  # type: ignore[index]
    assert answer["interfaces"][0] == {"name": "cbr0", "mac": bridge["address"]}  # type: ignore[index]
    assert link["mtu"] == 1450


def test_check_passes_after_add_and_fails_after_damage(site: Site) -> None:
    _, result = site.call("ADD", "a", site.pods[0])
    assert site.call("CHECK", "a", site.pods[0], prevResult=result) == (0, {})
    sh(site.pods[0], "ip", "route", "del", "default")
    code, answer = site.call("CHECK", "a", site.pods[0], prevResult=result)
    assert (code, answer["code"]) == (1, 103)


def test_del_leaves_neither_device_nor_address_and_can_be_repeated(site: Site) -> None:
    site.call("ADD", "a", site.pods[0])
    for _ in range(2):
        assert site.call("DEL", "a", site.pods[0]) == (0, {})
    assert host_device("a", "eth0") not in sh(site.node, "ip", "link")
    assert not (site.folder / "net" / "10.244.1.2").exists()


def test_del_works_when_the_namespace_is_gone(site: Site) -> None:
    site.call("ADD", "a", site.pods[0])
    netns.delete(site.pods[0].name)
    assert site.call("DEL", "a", "") == (0, {})
    assert not (site.folder / "net" / "10.244.1.2").exists()


def test_a_second_add_changes_nothing(site: Site) -> None:
    site.call("ADD", "a", site.pods[0])
    before = sh(site.pods[0], "ip", "-j", "address")
    code, answer = site.call("ADD", "a", site.pods[0])
    assert (code, answer["code"]) == (1, 101)
    assert sh(site.pods[0], "ip", "-j", "address") == before
    assert (site.folder / "net" / "10.244.1.2").exists()


def test_a_full_subnet_says_so_and_leaves_nothing(site: Site) -> None:
    for number in range(5):
        (site.folder / "net").mkdir(parents=True, exist_ok=True)
        (site.folder / "net" / f"10.244.1.{2 + number}").write_text(f"other{number}\r\neth0")
    code, answer = site.call("ADD", "a", site.pods[0])
    assert (code, answer["code"]) == (1, 100)
    assert host_device("a", "eth0") not in sh(site.node, "ip", "link")


@pytest.mark.parametrize("path", ["/etc/passwd", "/nonexistent", "/proc/self/ns/net", "/proc/self/ns/mnt"])
def test_what_is_no_pods_namespace_is_refused(site: Site, path: str) -> None:
    code, answer = site.call("ADD", "a", path)
    assert (code, answer["code"]) == (1, 8)
    assert not (site.folder / "net" / "10.244.1.2").exists()


def test_without_a_lease_the_runtime_is_told_to_try_again(site: Site) -> None:
    site.network = None
    code, answer = site.call("ADD", "a", site.pods[0])
    assert (code, answer["code"]) == (1, 11)


def test_a_foreign_device_called_like_the_bridge_survives(site: Site) -> None:
    sh(site.node, "ip", "link", "add", "cbr0", "type", "veth", "peer", "name", "other")
    code, answer = site.call("ADD", "a", site.pods[0])
    assert (code, answer["code"]) == (1, 106)
    assert "veth" in sh(site.node, "ip", "-d", "link", "show", "cbr0")
    assert not (site.folder / "net" / "10.244.1.2").exists()


def test_an_existing_bridge_is_adopted_with_its_mac_and_foreign_ports(site: Site) -> None:
    sh(site.node, "ip", "link", "add", "cbr0", "address", "02:00:00:00:00:77", "type", "bridge")
    sh(site.node, "ip", "link", "add", "foreign", "master", "cbr0", "type", "veth", "peer", "name", "other")
    assert site.call("ADD", "a", site.pods[0])[0] == 0
    site.call("DEL", "a", site.pods[0])
    bridge = json.loads(sh(site.node, "ip", "-j", "link", "show", "cbr0"))[0]
    assert bridge["address"] == "02:00:00:00:00:77"
    assert "master cbr0" in sh(site.node, "ip", "link", "show", "foreign")


def test_gc_removes_what_is_not_valid_and_keeps_the_rest(site: Site) -> None:
    site.call("ADD", "a", site.pods[0])
    site.call("ADD", "b", site.pods[1])
    valid = [{"containerID": "b", "ifname": "eth0"}]
    assert site.call("GC", "", "", **{"cniVersion": "1.1.0", "cni.dev/valid-attachments": valid})[0] == 0
    assert host_device("a", "eth0") not in sh(site.node, "ip", "link")
    assert host_device("b", "eth0") in sh(site.node, "ip", "link")
