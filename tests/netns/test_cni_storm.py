"""A node's plugin in a storm: crowds of calls while its agent is killed, frozen and started again, round by round.

After each round nothing may be doubled or lost, and after DEL or GC nothing may be left.  ``TULLE_STORM`` is how
many rounds are played (two, unless it says otherwise), each with a seed of its own.
"""

import os
import random
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from tests.kit.kernels import NEEDS_ROOT
from tests.kit.plugin import NETWORK, PluginNode, plugin_node
from tests.kit.storms import Agents, Client, Pod, pause, restarting
from tulle.cni.attach import PodNetwork, host_device
from tulle.cni.spares import SPARE

pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)),
    pytest.mark.timeout(3600),
]

DUAL = PodNetwork(subnet=IPv4Network("10.244.1.0/24"), subnet6=IPv6Network("fd10:244:0:1::/64"), mtu=1430)
BRIDGED: dict[str, Any] = {}
ROUTED: dict[str, Any] = {"bridge": None, "mode": "routed"}
ROUNDS = int(os.environ.get("TULLE_STORM", "2"))
THREADS, STEPS = 6, 12
TOMBSTONES = ("var/lib/tulle/tombstones", "run/tulle/tombstones")


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path) as made:
        yield made


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_f47_calls_among_deaths_of_the_agent_double_nothing_and_leave_nothing(node: PluginNode, seed: int) -> None:
    chance = random.Random(seed)
    conf = (BRIDGED, ROUTED)[seed % 2]
    node.network = (NETWORK, DUAL)[seed // 2 % 2]
    node.write_subnet_env()
    clients = [Client(node, seed, number, conf) for number in range(THREADS)]
    with restarting(node) as agents:
        with ThreadPoolExecutor(THREADS) as threads:
            calls = [threads.submit(client.work, STEPS) for client in clients]
            while not _all_done(calls, 0):
                pause(chance, 0.15)
                if chance.random() < 0.05:
                    agents.freeze(2.5)
                else:
                    agents.kill()
        assert [wrong for client in clients for wrong in client.wrong] == []
        pods = [pod for client in clients for pod in client.pods]
        _settle(node, agents)
        _check_what_lives(node, pods)
        _collect(node, pods)
        _remove(node, pods, chance)


def _all_done(calls: Iterable[Future[Any]], timeout_s: float) -> bool:
    done, waiting = wait(calls, timeout_s)
    for call in done:
        call.result()
    return not waiting


def _settle(node: PluginNode, agents: Agents) -> None:
    """A last agent has read its files, and every DEL that was left is done."""
    agents.kill()
    agents.wait_until_ready()
    assert [path for place in TOMBSTONES for path in (node.root / place).glob("[!.l]*")] == []


def _check_what_lives(node: PluginNode, pods: list[Pod]) -> None:
    """Every attached pod has its addresses, in its files and in its namespace, and nobody else has them."""
    living = {ip: pod.name for pod in pods if pod.known == "attached" for ip in _addresses(pod)}
    attached = [pod for pod in pods if pod.known == "attached"]
    assert len(living) == sum(len(_addresses(pod)) for pod in attached)
    unsure = {pod.name for pod in pods if pod.known == "unsure"}
    assert {ip: name for ip, name in node.addresses.items() if name not in unsure} == living
    for pod in attached:
        inside = node.ip("address show eth0", pod.name)
        assert [ip for ip in _addresses(pod) if f" {ip}/" not in inside] == []
    assert {host_device(pod.name, "eth0") for pod in attached} <= node.devices


def _addresses(pod: Pod) -> list[str]:
    return [entry["address"].partition("/")[0] for entry in pod.result["ips"]]


def _collect(node: PluginNode, pods: list[Pod]) -> None:
    """The runtime's GC leaves what it lists, and nothing else."""
    living = sorted(pod.name for pod in pods if pod.known == "attached")
    valid: Any = [{"containerID": name, "ifname": "eth0"} for name in living]
    assert node.run("GC", **{"cni.dev/valid-attachments": valid}).code == 0
    assert sorted(set(node.addresses.values())) == living
    assert sorted(record["container_id"] for record in node.records) == living
    assert node.devices == {host_device(name, "eth0") for name in living}


def _remove(node: PluginNode, pods: list[Pod], chance: random.Random) -> None:
    """Whatever a DEL finds, nothing of it is left."""
    chance.shuffle(pods)
    for pod in pods:
        assert node.run("DEL", pod.name).code == 0
    assert node.is_clean()
    folders = ("var/lib/cni/networks/net", "var/lib/tulle/attachments/net", *TOMBSTONES)
    names = {path.name for folder in folders for path in (node.root / folder).glob("*")}
    assert names <= {"lock", "released", "last_reserved_ip.0", "last_reserved_ip.1", SPARE}
    node.nft_settles(lambda rules: "elements" not in rules or _elements(rules) == 1)


def _elements(rules: str) -> int:
    """The bridge's own MAC stays."""
    return rules.count("elements")
