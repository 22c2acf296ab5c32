"""Pods without a bridge, by executing the binary: what is made, who reaches whom, what is kept true, what is left."""

import json
import shutil
import socket
import subprocess
from collections.abc import Generator
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.kit.enter import enter
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.plugin import NETWORK, PluginNode, plugin_node
from tulle.cni.attach import host_device, host_mac
from tulle.kernel import netns
from tulle.lab.ping import ping

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))

DUAL = replace(NETWORK, subnet6=IPv6Network("fd10:244:0:1::/64"), networks=(IPv4Network("10.244.0.0/16"),))
ROUTED: dict[str, Any] = {"mode": "routed", "bridge": None}
FORWARDING = ("net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1")


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path) as made:
        made.network = DUAL
        run(made.netns.name, "sysctl", "-qw", *FORWARDING)
        made.start()
        yield made


def run(namespace: str, *words: str) -> str:
    return subprocess.run([*enter(namespace), *words], check=True, capture_output=True, text=True).stdout


def routed_pod(node: PluginNode) -> tuple[str, dict[str, Any]]:
    pod = node.new_pod()
    return pod, node.add(pod, **ROUTED)


def reaches(pod: str, target: str) -> bool:
    with netns.inside(Path("/run/netns") / pod):
        (echo,) = ping(ip_address(target), count=1, timeout_s=5.0)
    return echo.rtt_ns is not None


def route(node: PluginNode, words: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(node.ip(f"-j {words}") or "[]")
    return found


def test_routed_pods_reach_each_other_and_their_gateway_and_there_is_no_bridge(node: PluginNode) -> None:
    first, result = routed_pod(node)
    second, _ = routed_pod(node)
    assert [ip["address"] for ip in result["ips"]] == ["10.244.1.2/32", "fd10:244:0:1::2/128"]
    assert [ip["gateway"] for ip in result["ips"]] == ["10.244.1.1", "fd10:244:0:1::1"]
    assert [each["name"] for each in result["interfaces"]] == [host_device(first, "eth0"), "eth0"]
    for target in ("10.244.1.1", "10.244.1.3", "fd10:244:0:1::1", "fd10:244:0:1::3"):
        assert reaches(first, target), target
    assert reaches(second, "10.244.1.2")
    assert node.ip("link show type bridge") == ""


def test_routed_and_bridged_pods_share_a_node_and_its_subnet(node: PluginNode) -> None:
    bridged = node.new_pod()
    node.add(bridged)
    routed, _ = routed_pod(node)
    node.wait_until(lambda: "fd10:244:0:1::3" in node.ip("-6 neigh show proxy"), "the node to answer on the bridge")
    for target in ("10.244.1.1", "fd10:244:0:1::1", "10.244.1.2", "fd10:244:0:1::2"):
        assert reaches(routed, target), target
    for target in ("10.244.1.3", "fd10:244:0:1::3"):
        assert reaches(bridged, target), target
    assert node.run("DEL", routed, **ROUTED).code == 0
    node.wait_until(lambda: not node.ip("-6 neigh show proxy"), "no answer for who is gone")


def test_a_drop_in_the_forward_hook_stops_pods_of_one_node(node: PluginNode) -> None:
    first, _ = routed_pod(node)
    second, _ = routed_pod(node)
    for rule in (
        "add table inet sidecar",
        "add chain inet sidecar forward { type filter hook forward priority 0; }",
        "add rule inet sidecar forward ip daddr 10.244.1.3 drop",
    ):
        run(node.netns.name, "nft", rule)
    with netns.inside(Path("/run/netns") / first):
        (echo,) = ping(ip_address("10.244.1.3"), count=1, timeout_s=0.3)
    assert echo.rtt_ns is None
    run(node.netns.name, "nft", "delete table inet sidecar")
    assert reaches(first, "10.244.1.3")
    assert reaches(second, "10.244.1.2")


def test_check_notices_a_missing_route_and_the_agent_puts_it_back(node: PluginNode) -> None:
    pod, result = routed_pod(node)
    assert node.run("CHECK", pod, prevResult=result, **ROUTED).code == 0
    node.ip("route del 10.244.1.2/32")
    node.wait_until(lambda: route(node, "route show 10.244.1.2"), "the pod's route")
    node.ip(f"-6 addr del fd10:244:0:1::1/128 dev {host_device(pod, 'eth0')}")
    node.wait_until(lambda: "fd10:244:0:1::1" in node.ip("-6 addr"), "the gateway's address")

    def notices_a_sysctl() -> bool:  # the repair of the address may come by and mend this, too
        run(node.netns.name, "sysctl", "-qw", f"net.ipv4.conf.{host_device(pod, 'eth0')}.rp_filter=0")
        done = node.run("CHECK", pod, prevResult=result, **ROUTED)
        return done.code != 0 and done.error == 103

    node.wait_until(notices_a_sysctl, "CHECK says so")
    assert reaches(pod, "10.244.1.1")


def test_without_its_agent_a_missing_route_fails_check(node: PluginNode) -> None:
    pod, result = routed_pod(node)
    node.stop()
    node.write_subnet_env()
    node.ip("route del 10.244.1.2/32")
    assert node.run("CHECK", pod, prevResult=result, **ROUTED).error == 103
    node.ip(f"route add 10.244.1.2/32 dev {host_device(pod, 'eth0')}")
    assert node.run("CHECK", pod, prevResult=result, **ROUTED).code == 0


@pytest.mark.parametrize("offline", [False, True], ids=["with its agent", "without"])
def test_del_leaves_neither_device_nor_route(node: PluginNode, offline: bool) -> None:
    pod, _ = routed_pod(node)
    node.wait_until(lambda: route(node, "route show type unreachable"), "what catches the rest of the subnet")
    if offline:
        node.stop()
    assert node.run("DEL", pod, **ROUTED).code == 0
    assert node.is_clean()
    if not offline:
        node.wait_until(lambda: not node.ip("route show table main proto 117"), "no route of the plugin's")
    assert "dev veth" not in node.ip("route") + node.ip("-6 route")


def test_an_address_that_no_pod_has_is_unreachable(node: PluginNode) -> None:
    pod, _ = routed_pod(node)
    node.wait_until(lambda: route(node, "route show type unreachable"), "what catches the rest of the subnet")
    node.ip("link add out type veth peer name out2")
    node.ip("link set out up")
    node.ip("addr add 192.0.2.1/24 dev out")
    node.ip("route add default via 192.0.2.2")
    refused = subprocess.run(
        [*enter(node.netns.name), "ip", "route", "get", "10.244.1.99"], capture_output=True, check=False
    )
    assert refused.returncode != 0
    assert reaches(pod, "10.244.1.1")


@pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed")
@pytest.mark.parametrize("base", ["10.244.1.", "fd10:244:0:1::"], ids=["IPv4", "IPv6"])
def test_f62_what_a_routed_pod_forges_reaches_neither_another_pod_nor_the_node(node: PluginNode, base: str) -> None:
    """Also where the host's reverse path is loose for all devices, and IPv6 has none."""
    liar, _ = routed_pod(node)
    routed_pod(node)
    listener, _ = routed_pod(node)
    run(node.netns.name, "sysctl", "-qw", "net.ipv4.conf.all.rp_filter=2")
    own, forged, gateway = f"{base}2", f"{base}3", f"{base}1"
    assert reaches(liar, gateway)
    node.ip(f"addr add {forged} dev lo{' nodad' if ':' in base else ''}", liar)
    for place, target in ((Path("/run/netns") / listener, f"{base}4"), (node.netns, gateway)):
        assert heard(Path("/run/netns") / liar, place, target, [forged, own]) == [own]
    node.nft("flush ruleset")
    node.wait_until(lambda: host_device(liar, "eth0") in node.nft("list table inet tulle-routed"), "the guard")
    assert heard(Path("/run/netns") / liar, node.netns, gateway, [forged, own]) == [own]


def heard(sender: Path, listener: Path, target: str, sources: list[str]) -> list[str]:
    """From whom ``target`` heard, when ``sender`` sends from all ``sources``; the last sends until it was heard."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    with netns.inside(listener):
        sink = socket.socket(family, socket.SOCK_DGRAM)
    with ExitStack() as stack:
        stack.enter_context(sink)
        sink.settimeout(0.5)
        sink.bind((target, 4711))
        with netns.inside(sender):
            ways = [stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in sources]
        for out, source in zip(ways, sources, strict=True):
            out.bind((source, 0))
            out.sendto(b"", (target, 4711))
        found: list[str] = []
        for _ in range(40):
            try:
                found.append(sink.recvfrom(1)[1][0])
            except TimeoutError:
                ways[-1].sendto(b"", (target, 4711))
            if found and found[-1] == sources[-1]:
                return found
    pytest.fail(f"{target} heard {found}")


def test_a_routed_pods_rules_go_with_it(node: PluginNode) -> None:
    pod, _ = routed_pod(node)
    free = node.new_pod()
    node.add(free, **ROUTED, tulle={"guard": False})
    rules = node.nft("list table inet tulle-routed")
    assert host_device(pod, "eth0") in rules
    assert host_device(free, "eth0") not in rules
    assert node.run("DEL", pod, **ROUTED).code == 0
    assert host_device(pod, "eth0") not in node.nft("list table inet tulle-routed")


def test_an_unguarded_routed_pod_still_has_the_strict_reverse_path_of_ipv4(node: PluginNode) -> None:
    liar = node.new_pod()
    node.add(liar, **ROUTED, tulle={"guard": False})
    routed_pod(node)
    node.ip("addr add 10.244.1.3/32 dev lo", liar)
    node.ip("route add 10.244.1.1/32 dev eth0 src 10.244.1.3", liar)
    node.ip(f"neigh replace 10.244.1.1 lladdr {host_mac(liar, 'eth0')} dev eth0", liar)  # nor would ARP be answered
    with netns.inside(Path("/run/netns") / liar):
        (echo,) = ping(ip_address("10.244.1.1"), count=1, timeout_s=0.3)
    assert echo.rtt_ns is None
    dropped = run(node.netns.name, "nstat", "-asz", "TcpExtIPReversePathFilter")
    assert any(int(line.split()[1]) > 0 for line in dropped.splitlines() if "ReversePath" in line), dropped


def test_gc_collects_routed_pods_and_an_agents_restart_keeps_them(node: PluginNode) -> None:
    first, _ = routed_pod(node)
    second, _ = routed_pod(node)
    node.restart()
    node.ip("route del 10.244.1.3/32")
    node.wait_until(lambda: route(node, "route show 10.244.1.3"), "the route of a pod from before the restart")
    conf: dict[str, Any] = {**ROUTED, "cni.dev/valid-attachments": [{"containerID": second, "ifname": "eth0"}]}
    assert node.run("GC", **conf).code == 0
    assert node.devices == {host_device(second, "eth0")}
    assert first not in node.addresses.values()
    assert reaches(second, "10.244.1.1")


@pytest.mark.parametrize("key", [{"mode": "l3"}, {"bridge": "cbr0"}, {"promiscMode": True}, {"forceAddress": True}])
def test_what_asks_for_a_bridge_is_refused(node: PluginNode, key: dict[str, Any]) -> None:
    done = node.run("ADD", node.new_pod(), **{**ROUTED, **key})
    assert done.error == 7
    assert node.is_clean()
