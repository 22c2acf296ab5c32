"""Every verb as a runtime uses it, by executing the binary: results, chains, flannel's keys, CHECK, GC."""

import asyncio
import json
from collections.abc import Generator
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.kit.kernels import NEEDS_ROOT
from tests.kit.plugin import NETWORK, PluginNode, plugin_node
from tulle.cni.attach import host_device
from tulle.cni.collect import Collector
from tulle.cni.service import serving
from tulle.kernel import netns
from tulle.lab.ping import ping

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))

DUAL = replace(NETWORK, subnet6=IPv6Network("fd10:244:0:1::/64"), networks=(IPv4Network("10.244.0.0/16"),))


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path) as made:
        made.network = DUAL
        made.start()
        yield made


def link(node: PluginNode, words: str, pod: str | None = None) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(node.ip(f"-j -d link show {words}", pod))
    return found[0]


def routes(node: PluginNode, pod: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(node.ip("-j route", pod))
    return found


# -- results -----------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_every_version_attaches_and_detaches(node: PluginNode, version: str) -> None:
    pod = node.new_pod()
    result = node.add(pod, cniVersion=version)
    assert result["cniVersion"] == version
    if version < "0.3.0":
        assert (result["ip4"]["ip"], result["ip6"]["ip"]) == ("10.244.1.2/24", "fd10:244:0:1::2/64")
    else:
        assert [ip["address"] for ip in result["ips"]] == ["10.244.1.2/24", "fd10:244:0:1::2/64"]
        assert [each["mac"] for each in result["interfaces"]] == [
            link(node, "cbr0")["address"],
            link(node, host_device(pod, "eth0"))["address"],
            link(node, "eth0", pod)["address"],
        ]
    if version >= "0.4.0":
        assert node.run("CHECK", pod, cniVersion=version, prevResult=result).code == 0
    assert node.run("DEL", pod, cniVersion=version, prevResult=result).code == 0
    assert node.is_clean()


def test_a_plugin_before_us_in_the_chain_keeps_its_result(node: PluginNode) -> None:
    pod = node.new_pod()
    before = {"interfaces": [{"name": "dummy0"}], "ips": [{"address": "192.0.2.1/24", "interface": 0}]}
    result = node.add(pod, prevResult=before)
    assert [each["name"] for each in result["interfaces"]] == ["dummy0", "cbr0", host_device(pod, "eth0"), "eth0"]
    assert [ip["interface"] for ip in result["ips"]] == [0, 3, 3]
    assert node.run("CHECK", pod, prevResult=result).code == 0


# -- the configuration's keys ------------------------------------------------------------


def test_a_configuration_of_flannels_attaches_with_only_its_type_changed(node: PluginNode) -> None:
    pod = node.new_pod()
    conf: dict[str, Any] = {"bridge": None, "delegate": {"hairpinMode": True, "isDefaultGateway": True}}
    result = node.add(pod, cniVersion="0.3.1", **conf)
    assert result["interfaces"][0]["name"] == "cni0"
    assert link(node, host_device(pod, "eth0"))["linkinfo"]["info_slave_data"]["hairpin"] is True
    with netns.inside(Path("/run/netns") / pod):
        for gateway in ("10.244.1.1", "fd10:244:0:1::1"):
            (echo,) = ping(ip_address(gateway), count=1, timeout_s=5.0)
            assert echo.rtt_ns is not None


def test_the_bridge_that_the_node_has_is_used_when_none_is_named(node: PluginNode) -> None:
    node.ip("link add br7 type bridge")
    node.ip("addr add 10.244.1.1/24 dev br7")
    assert node.add(node.new_pod(), bridge=None)["interfaces"][0]["name"] == "br7"
    node.ip("link add cbr0 type bridge")
    assert node.add(node.new_pod(), bridge=None)["interfaces"][0]["name"] == "cbr0"


def test_mtu_hairpin_and_default_gateway_are_as_configured(node: PluginNode) -> None:
    pod = node.new_pod()
    node.add(pod, delegate={"mtu": 1300, "hairpinMode": False, "isDefaultGateway": False})
    assert link(node, "eth0", pod)["mtu"] == 1300
    outside = link(node, host_device(pod, "eth0"))
    assert (outside["mtu"], outside["linkinfo"]["info_slave_data"]["hairpin"]) == (1300, False)
    found = routes(node, pod)
    assert [route["dst"] for route in found] == ["10.244.0.0/16", "10.244.1.0/24"]
    assert found[0]["gateway"] == "10.244.1.1"


def test_a_promiscuous_bridge_has_ports_without_hairpin(node: PluginNode) -> None:
    pod = node.new_pod()
    result = node.add(pod, promiscMode=True)
    assert "PROMISC" in link(node, "cbr0")["flags"]
    assert link(node, host_device(pod, "eth0"))["linkinfo"]["info_slave_data"]["hairpin"] is False
    assert node.run("CHECK", pod, promiscMode=True, prevResult=result).code == 0
    node.ip("link set cbr0 promisc off")
    assert node.run("CHECK", pod, promiscMode=True, prevResult=result).error == 103


def test_wanted_routes_are_added(node: PluginNode) -> None:
    pod = node.new_pod()
    wanted = [{"dst": "192.0.2.0/24"}, {"dst": "198.51.100.0/24", "gw": "10.244.1.77"}]
    result = node.add(pod, ipam={"type": "host-local", "routes": wanted})
    gateways = {route["dst"]: route.get("gateway") for route in routes(node, pod)}
    assert gateways["192.0.2.0/24"] == "10.244.1.1"
    assert gateways["198.51.100.0/24"] == "10.244.1.77"
    assert {"dst": "198.51.100.0/24", "gw": "10.244.1.77"} in result["routes"]


def test_wanted_address_mac_and_dns_are_given(node: PluginNode) -> None:
    pod = node.new_pod()
    dns = {"servers": ["192.0.2.53"]}
    runtime = {"ips": ["10.244.1.77/24"], "mac": "02:11:22:33:44:55", "dns": dns}
    result = node.add(pod, runtimeConfig=runtime, capabilities={"ips": True, "mac": True, "dns": True})
    assert result["ips"][0]["address"] == "10.244.1.77/24"
    assert link(node, "eth0", pod)["address"] == "02:11:22:33:44:55"
    assert result["dns"] == dns
    assert node.run("ADD", node.new_pod(), runtimeConfig={"ips": ["10.244.1.77"]}).error == 104
    assert node.run("ADD", node.new_pod(), runtimeConfig={"ips": ["10.9.9.9"]}).error == 105


def test_other_addresses_of_the_bridge_stay_unless_told_otherwise(node: PluginNode) -> None:
    node.ip("link add cbr0 type bridge")
    node.ip("addr add 10.244.9.1/24 dev cbr0")
    node.add(node.new_pod())
    assert "10.244.9.1/24" in node.ip("addr show cbr0")
    node.add(node.new_pod(), delegate={"forceAddress": True})
    assert "10.244.9.1/24" not in node.ip("addr show cbr0")
    assert "10.244.1.1/24" in node.ip("addr show cbr0")


# -- what an ADD leaves alone ------------------------------------------------------------


def test_a_name_that_is_taken_in_the_pod_stays_as_it_is(node: PluginNode) -> None:
    pod = node.new_pod()
    node.ip("link add eth0 type bridge", pod)
    before = node.ip("-d link", pod)
    assert node.run("ADD", pod).error == 101
    assert node.ip("-d link", pod) == before
    assert node.is_clean()


def test_a_default_route_of_another_plugin_is_in_the_way_and_stays(node: PluginNode) -> None:
    pod = node.new_pod()
    node.ip("link add other type veth peer name far", pod)
    for words in ("link set other up", "addr add 192.0.2.2/24 dev other", "route add default via 192.0.2.1"):
        node.ip(words, pod)
    assert node.run("ADD", pod).error == 107
    assert [route["dev"] for route in routes(node, pod) if route["dst"] == "default"] == ["other"]
    assert node.is_clean()


def test_a_second_add_is_an_error_and_changes_nothing(node: PluginNode) -> None:
    pod = node.new_pod()
    result = node.add(pod)
    assert node.run("ADD", pod).error == 101
    assert node.run("CHECK", pod, prevResult=result).code == 0


# -- CHECK -------------------------------------------------------------------------------

DAMAGE = {
    "route": ("pod", "route del default"),
    "address": ("pod", "addr del 10.244.1.2/24 dev eth0"),
    "interface down": ("pod", "link set eth0 down"),
    "mac": ("pod", "link set eth0 address 02:00:00:00:00:77"),
    "mtu": ("pod", "link set eth0 mtu 1200"),
    "bridge port": ("node", "link set {device} nomaster"),
    "gateway": ("node", "addr del 10.244.1.1/24 dev cbr0"),
    "pair": ("node", "link del {device}"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_check_finds(node: PluginNode, damage: str) -> None:
    pod = node.new_pod()
    result = node.add(pod)
    where, words = DAMAGE[damage]
    node.ip(words.format(device=host_device(pod, "eth0")), pod if where == "pod" else None)
    done = node.run("CHECK", pod, prevResult=result)
    assert done.error == 103
    assert done.answer["msg"] == f"{pod} eth0"


def test_check_finds_a_lost_address_file_and_a_result_of_another_pod(node: PluginNode) -> None:
    pod = node.new_pod()
    result = node.add(pod)
    other = {**result, "ips": [{"address": "10.244.1.99/24"}]}
    assert node.run("CHECK", pod, prevResult=other).error == 103
    (node.root / "var/lib/cni/networks/net/10.244.1.2").unlink()
    assert node.run("CHECK", pod, prevResult=result).error == 103


def test_check_lets_pass_what_later_plugins_are_for(node: PluginNode) -> None:
    pod = node.new_pod()
    result = node.add(pod)
    node.ip("link set eth0 address 02:00:00:00:00:77", pod)
    node.ip("route add default via 10.244.1.1 table 100", pod)
    node.ip("route del default", pod)
    tuned = {
        **result,
        "interfaces": [*result["interfaces"][:2], {**result["interfaces"][2], "mac": "02:00:00:00:00:77"}],
    }
    assert node.run("CHECK", pod, prevResult=result).error == 103
    assert node.run("CHECK", pod, prevResult=tuned).code == 0


# -- GC ----------------------------------------------------------------------------------


def test_gc_keeps_what_is_valid_and_only_that(node: PluginNode) -> None:
    first, second, third = (node.new_pod() for _ in range(3))
    for pod in (first, second, third):
        node.add(pod)
    node.remove_pod(third)
    valid: dict[str, Any] = {"cni.dev/valid-attachments": [{"containerID": second, "ifname": "eth0"}]}
    assert node.run("GC", **valid).code == 0
    assert set(node.addresses.values()) == {second}
    assert node.devices == {host_device(second, "eth0")}


def test_the_agent_collects_by_itself_what_was_dead_in_two_looks(node: PluginNode) -> None:
    dead, living = node.new_pod(), node.new_pod()
    node.add(dead)
    node.add(living)
    foreign = node.root / "var/lib/cni/networks/net/10.244.1.99"
    foreign.write_text("made-by-host-local\r\neth0")
    cut_short = foreign.with_name("10.244.1.98")
    cut_short.write_text("")
    node.stop()
    node.remove_pod(dead)

    node.wait_until(lambda: host_device(dead, "eth0") not in node.devices, "the pair to go")

    async def looks() -> list[int]:
        found: list[int] = []
        async with serving(node.root, lambda: node.network, node.netns) as server:
            collector = Collector(server.site)
            for _ in range(3):
                await collector.look()
                found.append(len(node.addresses))
        return found

    assert asyncio.run(looks()) == [6, 3, 3]
    assert set(node.addresses.values()) == {living, "made-by-host-local"}


def test_a_pod_that_is_being_attached_is_never_collected(node: PluginNode) -> None:
    node.stop()
    pod = node.new_pod()

    async def story() -> int:
        environment = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": pod, "CNI_NETNS": f"/run/netns/{pod}"}
        conf = json.dumps({"cniVersion": "1.1.0", "name": "net", "type": "tulle", "bridge": "cbr0"}).encode()
        async with serving(node.root, lambda: node.network, node.netns) as server, asyncio.TaskGroup() as tasks:
            collector = Collector(server.site)
            adding = tasks.create_task(server.handle({**environment, "CNI_IFNAME": "eth0"}, conf))
            while not adding.done():
                await collector.look()
                await asyncio.sleep(0)
        return adding.result()[0]

    assert asyncio.run(story()) == 0
    assert set(node.addresses.values()) == {pod}
    assert host_device(pod, "eth0") in node.devices
