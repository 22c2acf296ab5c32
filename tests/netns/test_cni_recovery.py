"""Records that are gone while their pods live: they are written again, and the pods stay guarded and reachable."""

import shutil
from collections.abc import Callable, Generator
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from tests.kit.kernels import NEEDS_ROOT
from tests.kit.plugin import PluginNode, plugin_node
from tulle.cni.attach import PodNetwork, host_device
from tulle.wire.cni_error import ALREADY_ATTACHED

pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)),
    pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed"),
]

DUAL = PodNetwork(
    subnet=IPv4Network("10.244.1.0/24"),
    subnet6=IPv6Network("fd10:244:0:1::/64"),
    mtu=1430,
    networks=(IPv4Network("10.244.0.0/16"), IPv6Network("fd10:244::/48")),
    masquerades=False,
)
RECORDS = "var/lib/tulle/attachments/net"
ROUTED: dict[str, Any] = {"bridge": None, "mode": "routed"}
TABLES = ("bridge tulle", "inet tulle-routed", "inet tulle-pods")


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path) as made:
        made.network = DUAL
        made.write_subnet_env()
        made.start()
        yield made


def lose(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20])


def notices(node: PluginNode) -> None:
    """An agent that runs looks at once when somebody changes the ruleset."""
    node.nft("add table inet somebody")


def starts(node: PluginNode) -> None:
    node.restart()


def rules(node: PluginNode) -> list[str]:
    """Every line of the tables about single pods, in any order: sets are printed as they are hashed."""
    listed = "".join(node.nft(f"list table {table}") for table in TABLES)
    return sorted(word.strip(" ,") for line in listed.splitlines() for word in line.split(","))


def written(node: PluginNode) -> list[bytes]:
    return [path.read_bytes() for path in (node.root / RECORDS).glob("*.json")]


def records(node: PluginNode) -> list[dict[str, Any]]:
    return sorted(node.records, key=lambda record: record["container_id"])


CONFS: dict[str, dict[str, Any]] = {
    "bridged": {},
    "routed": ROUTED,
    "without guard": {"tulle": {"guard": False}},
    "with a MAC of its own": {"args": {"cni": {"mac": "02:00:00:00:07:07"}}},
    "hidden": {"ipMasq": True},
    "routed and hidden": {**ROUTED, "ipMasq": True},
}


@pytest.mark.parametrize("agent", [notices, starts])
@pytest.mark.parametrize("damage", [lose, cut])
@pytest.mark.parametrize("conf", CONFS.values(), ids=CONFS.keys())
def test_f43_a_living_pods_record_is_written_again_and_its_rules_stay(
    node: PluginNode, conf: dict[str, Any], damage: Callable[[Path], None], agent: Callable[[PluginNode], None]
) -> None:
    pod, other = node.new_pod(), node.new_pod()
    result = node.add(pod, **conf)
    node.add(other, **conf)
    before, known = rules(node), records(node)
    for path in (node.root / RECORDS).glob("*.json"):
        damage(path)
    agent(node)
    node.wait_until(lambda: [content[-2:] for content in written(node)] == [b"}\n"] * 2, "the records")
    again = records(node)
    node.wait_until(lambda: rules(node) == before, "the rules")
    for was, is_now in zip(known, again, strict=True):
        assert {**is_now, "netns": was["netns"]} == was | ({"mac": is_now["mac"]} if not was["guard"] else {})
    assert node.run("CHECK", pod, prevResult=result, **conf).code == 0
    for each in (pod, other):
        assert node.run("DEL", each, **conf).code == 0
    assert node.is_clean(), (node.addresses, node.records, node.devices)
    node.wait_until(lambda: host_device(pod, "eth0") not in "".join(rules(node)), "the pod's rules to go")


def test_f43_a_routed_pod_without_record_is_still_kept(node: PluginNode) -> None:
    node.ip("link add cbr0 type bridge")
    pod = node.new_pod()
    four = node.add(pod, **ROUTED)["ips"][0]["address"]
    for path in (node.root / RECORDS).glob("*.json"):
        path.unlink()
    node.restart()
    node.wait_until(lambda: node.records, "the record")
    node.ip(f"route del {four}")
    node.wait_until(lambda: four.partition("/")[0] in node.ip("route"), "the route")


@pytest.mark.parametrize("agent", [notices, starts])
def test_the_record_of_a_pod_that_is_gone_or_another_device_is_not_written(
    node: PluginNode, agent: Callable[[PluginNode], None]
) -> None:
    gone, foreign, living = (node.new_pod() for _ in range(3))
    for pod in (gone, foreign):
        node.add(pod)
    node.add(living)
    for pod in (gone, foreign):
        node.ip(f"link del {host_device(pod, 'eth0')}")
    node.ip(f"link add {host_device(foreign, 'eth0')} type veth peer name stranger")
    for path in (node.root / RECORDS).glob("*.json"):
        path.unlink()
    agent(node)
    node.wait_until(lambda: [record["container_id"] for record in node.records] == [living], "the record")
    assert node.run("DEL", living).code == 0
    assert node.records == []


def test_a_pod_whose_bridge_is_gone_does_not_become_a_routed_one(node: PluginNode) -> None:
    pod, other = node.new_pod(), node.new_pod()
    node.add(pod)
    node.add(other)
    node.ip(f"link set {host_device(pod, 'eth0')} nomaster")
    for path in (node.root / RECORDS).glob("*.json"):
        path.unlink()
    node.restart()
    node.wait_until(lambda: node.records, "the other's record")
    assert [record["container_id"] for record in node.records] == [other]
    assert set(node.addresses.values()) == {pod, other}


@pytest.mark.parametrize("is_standing", [False, True], ids=["the first pod", "pods came a moment ago"])
@pytest.mark.parametrize("place", ["on the node", "in the pod"])
def test_a_device_that_was_there_stays_and_nothing_else_is_left(
    node: PluginNode, place: str, is_standing: bool
) -> None:
    """Of a pod whose files were all lost it is what still works."""
    others = [node.new_pod() for _ in range(3 if is_standing else 0)]
    for other in others:
        node.add(other)
    pod = node.new_pod()
    device = host_device(pod, "eth0") if place == "on the node" else "eth0"
    before = node.addresses, sorted(map(str, node.records)), rules(node)
    where = None if place == "on the node" else pod
    node.ip(f"link add {device} type veth peer name other", where)
    node.ip(f"link set {device} alias tulle:{pod}", where)
    done = node.run("ADD", pod)
    assert done.code == 1, done
    assert done.answer["code"] == ALREADY_ATTACHED
    assert device in node.ip("link show type veth", where)
    assert (node.addresses, sorted(map(str, node.records))) == before[:2]
    if is_standing:
        assert rules(node) == before[2]
    node.ip(f"link del {device}", where)
    node.add(pod)
