"""A node's plugin through its days: crowds, full subnets and disks, deaths of the agent, late and lost DELs."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from tests.kit.kernels import NEEDS_HOST_ROOT, NEEDS_ROOT
from tests.kit.plugin import NETWORK, PluginNode, plugin_node
from tulle.cni.attach import host_device
from tulle.cni.spares import SPARE, STOCK
from tulle.kernel import netns

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))


NONE_VALID: dict[str, Any] = {"cni.dev/valid-attachments": list[object]()}


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path) as made:
        yield made


# -- crowds ------------------------------------------------------------------------------


@pytest.mark.parametrize(("subnet", "crowd", "at_once"), [("10.244.1.0/28", 60, 60), ("10.244.1.0/24", 270, 60)])
def test_a_crowd_gets_every_address_once_and_the_rest_is_refused(
    node: PluginNode, subnet: str, crowd: int, at_once: int
) -> None:
    node.network = replace(NETWORK, subnet=IPv4Network(subnet))
    capacity = IPv4Network(subnet).num_addresses - 3
    node.start()
    pods = [node.new_pod() for _ in range(crowd)]
    with ThreadPoolExecutor(at_once) as threads:
        calls = [threads.submit(node.run, "ADD", pod) for pod in pods]
    adds = [call.result() for call in calls]
    attached = {pod: done.answer["ips"][0]["address"] for pod, done in zip(pods, adds, strict=True) if done.code == 0}
    refused = [pod for pod in pods if pod not in attached]
    assert {done.error for done in adds if done.code} == {100}
    assert len(set(attached.values())) == len(attached) == capacity
    assert node.addresses == {address.partition("/")[0]: pod for pod, address in attached.items()}
    assert node.devices == {host_device(pod, "eth0") for pod in attached}
    assert "eth0" not in node.ip("link", refused[0])
    with ThreadPoolExecutor(at_once) as threads:
        ended = [threads.submit(node.run, "DEL", pod) for pod in pods]
    assert {done.result().code for done in ended} == {0}
    assert node.is_clean()


def test_a_full_subnet_refuses_and_status_says_so_beforehand(node: PluginNode) -> None:
    node.network = replace(NETWORK, subnet=IPv4Network("10.244.1.0/28"))
    node.start()
    pods = [node.new_pod() for _ in range(14)]
    for pod in pods[:13]:
        assert node.run("STATUS").code == 0
        node.add(pod)
    assert node.run("STATUS").error == 50
    assert node.run("ADD", pods[13]).error == 100
    assert "eth0" not in node.ip("link", pods[13])
    node.run("DEL", pods[4])
    assert node.run("STATUS").code == 0
    assert node.add(pods[13])["ips"][0]["address"] == "10.244.1.6/28"


def test_two_networks_of_one_node_share_its_subnet(node: PluginNode) -> None:
    node.start()
    first, second = node.new_pod(), node.new_pod()
    assert node.add(first)["ips"] != node.add(second, name="other")["ips"]


# -- the agent dies ----------------------------------------------------------------------


def test_without_an_agent_check_del_and_gc_are_done_alone(node: PluginNode) -> None:
    node.start()
    node.write_subnet_env()
    first, second = node.new_pod(), node.new_pod()
    result = node.add(first)
    node.add(second)
    node.stop()
    assert node.run("CHECK", first, prevResult=result).code == 0
    node.ip("route del default", first)
    assert node.run("CHECK", first, prevResult=result).error == 103
    assert node.run("DEL", first).code == 0
    assert set(node.addresses.values()) == {second}
    assert node.run("GC", **NONE_VALID).code == 0
    assert node.is_clean()
    assert node.run("ADD", first).error == 11
    assert node.run("STATUS").error == 50


def test_a_pod_outlives_the_agent_and_the_files_of_its_address(node: PluginNode) -> None:
    node.start()
    pod, other = node.new_pod(), node.new_pod()
    node.add(pod)
    node.stop()
    for path in (node.root / "var/lib/cni/networks/net").iterdir():
        path.unlink()
    node.socket.unlink()
    node.start()
    assert node.addresses == {"10.244.1.2": pod}
    assert node.add(other)["ips"][0]["address"] == "10.244.1.3/24"


@pytest.mark.parametrize("cut", range(0, 30, 4))
def test_a_record_that_is_cut_short_costs_a_living_pod_nothing(node: PluginNode, cut: int) -> None:
    node.start()
    pod, other = node.new_pod(), node.new_pod()
    result = node.add(pod)
    (record,) = (node.root / "var/lib/tulle/attachments/net").glob("*.json")
    record.write_bytes(record.read_bytes()[:cut])
    node.restart()
    assert node.run("CHECK", pod, prevResult=result).code == 0
    assert node.add(other)["ips"][0]["address"] == "10.244.1.3/24"
    assert node.run("DEL", pod).code == 0
    assert set(node.addresses.values()) == {other}


def test_an_agent_killed_at_any_moment_of_an_add_leaks_nothing(node: PluginNode) -> None:
    moments = random.Random(7)
    for _ in range(25):
        node.start()
        pod = node.new_pod()
        with ThreadPoolExecutor(1) as thread:
            adding = thread.submit(node.run, "ADD", pod)
            time.sleep(moments.uniform(0, 0.012))
            node.stop()
            adding.result()
        assert node.run("DEL", pod).code == 0
        node.socket.unlink(missing_ok=True)
        assert node.is_clean(), (node.addresses, node.records, node.devices)
    node.start()
    assert node.add(node.new_pod())


def test_a_frozen_agent_is_not_waited_for_and_its_del_is_not_lost(node: PluginNode) -> None:
    node.start()
    pod = node.new_pod()
    node.add(pod)
    assert node.pid is not None
    os.kill(node.pid, signal.SIGSTOP)
    other = node.new_pod()
    assert node.run("ADD", other).error == 11
    assert node.run("DEL", pod).code == 0
    tombstones = list((node.root / "var/lib/tulle/tombstones").iterdir())
    assert len(tombstones) == 1
    node.restart()
    assert not tombstones[0].exists()
    assert pod not in node.addresses.values()
    assert node.add(pod)


def test_f47_what_nobody_waits_for_any_more_is_not_done_by_a_thawed_agent(node: PluginNode) -> None:
    """The runtime gave up, and deleted: an ADD that still lies in the agent's socket would attach a pod for nobody."""
    node.start()
    pod, other = node.new_pod(), node.new_pod()
    assert node.pid is not None
    os.kill(node.pid, signal.SIGSTOP)
    assert node.run("ADD", pod).error == 11
    assert node.run("DEL", pod).code == 0
    os.kill(node.pid, signal.SIGCONT)
    node.add(other)
    assert node.run("DEL", other).code == 0
    assert node.is_clean(), (node.addresses, node.records, node.devices)


def test_a_late_del_does_not_take_a_new_attachment_away(node: PluginNode) -> None:
    node.stop()
    pod = node.new_pod()
    assert node.run("DEL", pod).code == 0  # nobody there, nothing known: it is kept
    assert len(list((node.root / "var/lib/tulle/tombstones").iterdir())) == 1
    node.start()
    node.add(pod)
    assert not list((node.root / "var/lib/tulle/tombstones").iterdir())
    node.restart()
    assert list(node.addresses.values()) == [pod]


# -- disks -------------------------------------------------------------------------------


@contextmanager
def small_disk(path: Path) -> Generator[None]:
    """Sixteen pages at ``path``."""
    path.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,nr_inodes=64", "none", path], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_refuses_adds_and_takes_dels(node: PluginNode) -> None:
    with small_disk(node.root / "var/lib/cni"):
        node.start()
        first, second = node.new_pod(), node.new_pod()
        node.add(first)
        filler = node.root / "var/lib/cni/filler"
        with pytest.raises(OSError, match="No space"), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        assert node.run("STATUS").error == 50
        assert node.run("ADD", second).error == 11
        assert node.run("DEL", first).code == 0
        assert node.is_clean()
        filler.unlink()
        assert node.run("STATUS").code == 0
        assert node.add(second)


@pytest.mark.skipif(NEEDS_HOST_ROOT is not None, reason=str(NEEDS_HOST_ROOT))
def test_a_read_only_disk_refuses_adds_and_keeps_dels_for_later(node: PluginNode) -> None:
    disk = node.root / "var/lib/cni"
    with small_disk(disk):
        node.start()
        first, second = node.new_pod(), node.new_pod()
        node.add(first)
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert node.run("STATUS").error == 50
        assert node.run("ADD", second).error == 11
        assert node.run("DEL", first).code == 0
        assert not node.devices
        assert set(node.addresses.values()) == {first}
        subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
        node.add(second)
        assert set(node.addresses.values()) == {second}


# -- DEL in any state --------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", ["never added", "namespace gone", "no namespace given", "a file", "bridge gone", "twice"]
)
def test_del_succeeds(node: PluginNode, state: str) -> None:
    node.start()
    pod, path = node.new_pod(), None
    if state != "never added":
        node.add(pod)
    match state:
        case "namespace gone":
            node.remove_pod(pod)
        case "no namespace given":
            path = ""
        case "a file":
            path = str(node.root / "var/lib/tulle/cni-offline")
        case "bridge gone":
            node.ip("link del cbr0")
        case "twice":
            assert node.run("DEL", pod).code == 0
        case _:
            pass
    assert node.run("DEL", pod, path=path).code == 0
    assert node.is_clean()


def test_del_of_one_interface_leaves_the_other(node: PluginNode) -> None:
    node.start()
    pod = node.new_pod()
    node.add(pod)
    assert node.run("ADD", pod, ifname="net1", isDefaultGateway=False).code == 0
    assert node.run("DEL", pod, ifname="net1").code == 0
    assert "eth0" in node.ip("link", pod)
    assert "net1" not in node.ip("link", pod)
    assert list(node.addresses.values()) == [pod]


def test_del_leaves_a_pod_alone_that_has_the_path_of_one_that_is_gone(node: PluginNode) -> None:
    node.start()
    old, new = node.new_pod(), node.new_pod()
    node.add(old)
    node.add(new)
    node.remove_pod(old)
    assert node.run("DEL", old, path=f"/run/netns/{new}").code == 0
    assert "eth0" in node.ip("link", new)
    assert list(node.addresses.values()) == [new]


def test_del_frees_what_flannels_chain_attached(node: PluginNode) -> None:
    node.start()
    pod = node.new_pod()
    node.ip(f"link add vethflannel type veth peer name eth0 netns {pod}")
    node.ip("addr add 10.244.1.9/24 dev eth0", pod)
    folder = node.root / "var/lib/cni/networks/net"
    folder.mkdir(parents=True)
    (folder / "10.244.1.9").write_text(f"{pod}\r\neth0")
    assert node.run("DEL", pod).code == 0
    assert node.is_clean()


# -- GC ----------------------------------------------------------------------------------


def test_gc_without_a_list_takes_only_what_an_earlier_boot_left(node: PluginNode) -> None:
    node.start()
    old, living = node.new_pod(), node.new_pod()
    node.add(old)
    node.add(living)
    for path in (node.root / "var/lib/tulle/attachments/net").glob("*.json"):
        if old in path.read_text():
            path.write_text(path.read_text().replace('"boot_id":"', '"boot_id":"earlier-'))
    node.ip(f"link del {host_device(old, 'eth0')}")
    assert node.run("GC").code == 0
    assert list(node.addresses.values()) == [living]


def test_gc_touches_no_other_network(node: PluginNode) -> None:
    node.start()
    pod = node.new_pod()
    node.add(pod, name="other")
    assert node.run("GC", **NONE_VALID).code == 0
    assert (node.root / "var/lib/cni/networks/other/10.244.1.2").exists()


def test_the_caller_is_left_as_it_was(node: PluginNode) -> None:
    node.start()
    pod = node.new_pod()
    before = netns.identify(node.netns)
    node.add(pod)
    assert netns.identify(node.netns) == before
    assert node.run("DEL", pod).stderr == b""


def test_the_offline_code_is_this_interpreters(node: PluginNode) -> None:
    node.start()
    word = (node.root / "var/lib/tulle/cni-offline").read_bytes()
    assert word.split(b"\0")[:4] == [os.fsencode(sys.executable), b"-I", b"-m", b"tulle.cni.offline"]
    assert (node.root / "var/lib/tulle/cni-offline").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "lost", ["var/lib/cni/networks/net", "var/lib/tulle/attachments/net"], ids=["addresses", "records"]
)
def test_files_that_somebody_deletes_make_no_duplicates(node: PluginNode, lost: str) -> None:
    node.start()
    pods = [node.new_pod() for _ in range(6)]
    given = {node.add(pod)["ips"][0]["address"] for pod in pods[:3]}
    for path in (node.root / lost).iterdir():
        path.unlink()
    given |= {node.add(pod)["ips"][0]["address"] for pod in pods[3:5]}
    node.restart()
    given.add(node.add(pods[5])["ips"][0]["address"])
    assert len(given) == 6
    for pod in pods:
        assert node.run("DEL", pod).code == 0
    assert node.is_clean()


def test_after_a_reboot_the_addresses_of_the_dead_are_free_at_once(node: PluginNode) -> None:
    node.start()
    pods = [node.new_pod() for _ in range(3)]
    for pod in pods:
        node.add(pod)
    node.stop()
    for pod in pods:
        node.remove_pod(pod)
    node.wait_until(lambda: not node.devices, "the pairs to go with their namespaces")
    for path in (node.root / "var/lib/tulle/attachments/net").glob("*.json"):
        path.write_text(path.read_text().replace('"boot_id":"', '"boot_id":"earlier-'))
    node.socket.unlink()
    node.start()
    assert node.is_clean()
    assert node.run("DEL", pods[0], path="").code == 0  # the runtime's late one
    assert node.add(node.new_pod())["ips"][0]["address"] == "10.244.1.5/24", "the others rest"


def test_files_for_the_next_pods_are_laid_in_when_the_first_has_come(node: PluginNode) -> None:
    node.start()
    node.add(node.new_pod())
    for folder in ("var/lib/cni/networks/net", "var/lib/tulle/attachments/net"):
        place = node.root / folder / SPARE
        node.wait_until(lambda place=place: place.is_dir() and len(os.listdir(place)) == STOCK, f"spares in {folder}")
