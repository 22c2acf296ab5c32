"""The agent's plugin killed at its every system call that changes something: what comes next finishes the job."""

import os
import re
import shutil
from collections.abc import Generator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.kit.deaths import CALLS, CHANGES, MISSING, deaths, killed_at
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.plugin import PATIENCE_S, PluginNode, plugin_node
from tulle.cni.attach import host_device
from tulle.kernel import netns
from tulle.kernel.netns import NETNS_FOLDER
from tulle.lab.ping import ping

pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)),
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
    pytest.mark.timeout(600),
]

ADDRESSES, RECORDS, TOMBSTONES = "var/lib/cni/networks/net", "var/lib/tulle/attachments/net", "var/lib/tulle/tombstones"
OFFLINE = "var/lib/tulle/cni-offline"


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path) as made:
        yield made


# -- ADD and DEL ---------------------------------------------------------------------------


def check_a_del_finishes(node: PluginNode, pod: str) -> None:
    """Restarted, the agent serves a DEL that leaves nothing, and the pod can be attached again."""
    if node.pid is None:
        node.start()
    assert node.run("DEL", pod).code == 0
    assert node.is_clean(), (node.addresses, node.records, node.devices, node.unfinished)


@pytest.mark.parametrize("call", CALLS)
def test_an_add_killed_at_every_call_is_undone_by_del(node: PluginNode, call: str) -> None:
    pod = node.new_pod()
    for number in deaths():
        if node.pid is None:
            node.start()
        with killed_at(node.agent, call, number):
            node.run("ADD", pod)
        died = node.has_died()
        check_a_del_finishes(node, pod)
        if not died:
            break


@pytest.mark.parametrize("call", CALLS)
def test_a_del_killed_at_every_call_is_finished_by_the_next(node: PluginNode, call: str) -> None:
    pod = node.new_pod()
    for number in deaths():
        if node.pid is None:
            node.start()
        node.add(pod)
        with killed_at(node.agent, call, number):
            node.run("DEL", pod)
        died = node.has_died()
        check_a_del_finishes(node, pod)
        if not died:
            break


# -- a node with everything on it that can be found there -------------------------------------


@dataclass
class Found:
    """What a start, or a GC, comes upon: pods that live, each with its address, and attachments that are to go."""

    node: PluginNode
    living: dict[str, str] = field(default_factory=dict[str, str])
    doomed: list[str] = field(default_factory=list[str])

    @property
    def valid(self) -> Any:
        """What the runtime lists."""
        return [{"containerID": pod, "ifname": "eth0"} for pod in self.living]

    def check(self) -> None:
        """The living have their addresses, in files and in truth, and nobody else has any."""
        node = self.node
        assert {pod: ip for ip, pod in node.addresses.items()} == self.living
        node.wait_until(  # where nft was killed instead, the agent lives, and asks it again
            lambda: {record["container_id"] for record in node.records} == self.living.keys(), "the records"
        )
        assert node.devices == {host_device(pod, "eth0") for pod in self.living}
        assert not node.unfinished
        if shutil.which("nft"):
            node.nft_settles(lambda rules: set(re.findall("veth[0-9a-f]{8}", rules)) == set(node.devices))
        self.check_they_live()

    def check_they_live(self) -> None:
        for pod, ip in self.living.items():
            assert f" {ip}/" in self.node.ip("address show eth0", pod)
            netns.run_in(NETNS_FOLDER / pod, reaches_its_gateway)

    def remove(self) -> None:
        """DELs of all of them leave nothing."""
        for pod in (*self.living, *self.doomed):
            assert self.node.run("DEL", pod).code == 0
            self.node.remove_pod(pod)
        assert self.node.is_clean(), (self.node.addresses, self.node.records, self.node.devices)


def reaches_its_gateway() -> None:
    (echo,) = ping(ip_address("10.244.1.1"), count=1, timeout_s=PATIENCE_S)
    assert echo.rtt_ns is not None, echo


def of_an_earlier_boot(node: PluginNode, pod: str) -> None:
    path = record_of(node, pod)
    path.write_bytes(path.read_bytes().replace(b'"boot_id":"', b'"boot_id":"earlier-'))


def record_of(node: PluginNode, pod: str) -> Path:
    (found,) = (path for path in (node.root / RECORDS).glob("*.json") if pod.encode() in path.read_bytes())
    return found


def after_many_troubles(node: PluginNode) -> Found:
    """A node without an agent, with whatever a start has to set right.

    Of pods that live one address file is lost, one cut short, one record names an earlier boot, and one is lost.  Two
    are dead since that boot, and the DEL of one is a tombstone.
    """
    if node.pid is None:
        node.start()
    found = Found(node)
    whole, lost, cut, misdated, unrecorded, dead, gone, left = (node.new_pod() for _ in range(8))
    for pod in (whole, lost, cut, misdated, unrecorded):
        found.living[pod] = node.add(pod)["ips"][0]["address"].partition("/")[0]
    found.doomed = [dead, gone, left]
    for pod in found.doomed:
        node.add(pod)
    node.stop()
    node.socket.unlink()
    (node.root / OFFLINE).unlink()
    assert node.run("DEL", left).code == 0
    assert len(list((node.root / TOMBSTONES).iterdir())) == 1
    (node.root / ADDRESSES / found.living[lost]).unlink()
    (node.root / ADDRESSES / found.living[cut]).write_bytes(cut.encode()[:5])
    record_of(node, unrecorded).unlink()
    for pod in (misdated, dead, gone):
        of_an_earlier_boot(node, pod)
    for pod in (dead, gone):
        node.ip(f"link del {host_device(pod, 'eth0')}")
    (node.root / RECORDS / ".new").write_bytes(b'{"netw')
    return found


# -- the agent's start ---------------------------------------------------------------------------


@pytest.mark.parametrize("call", CHANGES)
def test_an_agent_killed_at_every_call_of_its_start_is_followed_by_one_that_puts_all_in_order(
    node: PluginNode, call: str
) -> None:
    for number in deaths():
        found = after_many_troubles(node)
        hold, go = os.pipe()
        node.fork_agent(lambda hold=hold: os.read(hold, 1))
        with killed_at(node.agent, call, number):
            os.write(go, b"x")
            node.wait_until(lambda: node.answers() or node.has_ended(), "an agent, or its end")
        os.close(hold)
        os.close(go)
        died = node.has_died()
        found.check_they_live()
        if died:
            node.start()
        found.check()
        found.remove()
        if not died:
            break


# -- GC ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("call", CALLS)
def test_a_gc_killed_at_every_call_is_finished_by_the_next(node: PluginNode, call: str) -> None:
    for number in deaths():
        if node.pid is None:
            node.start()
        found = Found(node)
        for _ in range(2):
            pod = node.new_pod()
            found.living[pod] = node.add(pod)["ips"][0]["address"].partition("/")[0]
        found.doomed = [node.new_pod() for _ in range(3)]
        for pod in found.doomed:
            node.add(pod)
        lost, _ = found.living.values()
        (node.root / ADDRESSES / lost).unlink()
        with killed_at(node.agent, call, number):
            node.run("GC", **{"cni.dev/valid-attachments": found.valid})
        died = node.has_died()
        found.check_they_live()
        if died:
            node.start()
        assert node.run("GC", **{"cni.dev/valid-attachments": found.valid}).code == 0
        found.check()
        found.remove()
        if not died:
            break
