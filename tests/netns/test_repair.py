"""Damage to a node under traffic, each repaired because the kernel announced it: the audit is an hour away.

What nobody announces is mended by the audit; a test at the end has a short one for that.  How
fast all this is, ``bench/repair.py`` measures.
"""

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.agents import QUIET_AUDIT, Cluster, Node, cluster, until
from tests.kit.damage import ANNOUNCED, Damage, picture
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.stream import Stream, stream
from tests.kit.watching import announcements
from tulle.wire.rtnetlink.parts import RTM_DELROUTE, RTM_NEWROUTE

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))


@dataclass
class Scene:
    """Two converged nodes, datagrams from pod1 to pod2, and how node 1 looked at first."""

    site: Cluster
    flow: Stream
    whole: str

    @property
    def node(self) -> Node:
        return self.site.node(1)

    def hurt(self, *damages: Damage) -> None:
        """Do the damage, and wait until the node is as it was and the datagrams arrive again."""
        repairs = self.node.status()["repairs"]
        injured_ns = time.monotonic_ns()
        for damage in damages:
            damage.do(self.node)
        until(lambda: picture(self.node) == self.whole, "the node is whole", self._explain)
        until(lambda: self.flow.outage(injured_ns), "the datagrams arrive", self._explain)
        assert self.node.status()["repairs"] > repairs
        until(lambda: self.node.status()["state"] == "ready", "the node is ready", self._explain)

    def _explain(self) -> str:
        return f"{self.node.log}\nwas:\n{self.whole}\nis:\n{picture(self.node)}"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with cluster(tmp_path_factory.mktemp("repair"), pods=True) as site:
        site.start(*QUIET_AUDIT)
        with stream(site.net.path("pod1"), site.net.path("pod2"), "10.244.2.2") as flow:
            until(lambda: len(flow.received) > 20, "the datagrams arrive")
            yield Scene(site, flow, picture(site.node(1)))


@pytest.mark.parametrize("damage", ANNOUNCED, ids=lambda damage: damage.what)
def test_f19_it_is_repaired_by_its_event(scene: Scene, damage: Damage) -> None:
    scene.hurt(damage)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("route deleted", "nft table deleted"),
        ("FDB entry deleted", "neighbour deleted"),
        ("flannel.1 deleted", "nft table flushed"),
        ("flannel.1 MAC changed", "flannel.1 MTU changed"),
        ("ip addr flush on flannel.1", "flannel.1 down and up"),
    ],
)
def test_two_damages_at_once_are_both_repaired(scene: Scene, first: str, second: str) -> None:
    by_name = {damage.what: damage for damage in ANNOUNCED}
    scene.hurt(by_name[first], by_name[second])


def test_f32_what_was_lost_in_an_overflowed_socket_is_found(scene: Scene) -> None:
    """A stopped agent, twenty thousand changes, and among them those that matter."""
    node = scene.node
    assert node.process is not None
    lines = [f"route {verb} 172.16.{n >> 8}.{n & 255}/32 dev lo" for verb in ("add", "del") for n in range(10_000)]
    node.process.send_signal(signal.SIGSTOP)
    try:
        node.ip("route del 10.244.2.0/24")
        node.ip(*lines)
        drops = _drops(node)
    finally:
        node.process.send_signal(signal.SIGCONT)
    assert drops > 0, "the socket did overflow"
    until(lambda: picture(node) == scene.whole, "the node is whole", lambda: node.log)


def test_f13_an_underlay_that_goes_down_and_loses_its_address_comes_back(scene: Scene) -> None:
    node = scene.node
    injured_ns = time.monotonic_ns()
    node.ip("addr del 192.168.64.11/24 dev eth0", "link set eth0 down")
    until(lambda: "underlay" in str(node.status()["problems"]), "the agent says what is missing")
    node.ip("link set eth0 up", "addr add 192.168.64.11/24 dev eth0")
    until(lambda: node.status()["state"] == "ready", "the agent is content", lambda: node.log)
    until(lambda: picture(node) == scene.whole, "the node is whole", lambda: node.log)
    until(lambda: scene.flow.outage(injured_ns), "the datagrams arrive")


def test_f14_an_underlay_device_that_is_made_anew_is_followed_by_name(scene: Scene) -> None:
    """With it goes the tunnel, and all that was on it."""
    site, node = scene.site, scene.node
    node.ip("link del eth0")
    until(lambda: node.status()["failures"], "the agent says what it cannot make")
    assert node.status()["failures"][0]["reason"].startswith("ip link add flannel.1 ")
    site.net.veth(("node1", "eth0"), ("switch", "port1"))
    site.net.ip("switch", "link set port1 master br0")
    injured_ns = time.monotonic_ns()
    node.ip("addr add 192.168.64.11/24 dev eth0")
    until(lambda: node.status()["state"] == "ready", "the agent is content", lambda: node.log)
    until(lambda: picture(node) == scene.whole, "the node is whole", lambda: f"{scene.whole}\n{picture(node)}")
    until(lambda: scene.flow.outage(injured_ns), "the datagrams arrive")


def test_a_removed_device_comes_back_with_its_mac(scene: Scene) -> None:
    node = scene.node
    (before,) = node.json("ip", "-j", "link", "show", "flannel.1")
    node.ip("link del flannel.1")
    until(lambda: picture(node) == scene.whole, "the node is whole", lambda: node.log)
    (after,) = node.json("ip", "-j", "link", "show", "flannel.1")
    assert after["address"] == before["address"]
    assert after["ifindex"] != before["ifindex"]


def test_repairs_change_nothing_beyond_the_damage(scene: Scene) -> None:
    """One route deleted, one route made."""
    node = scene.node
    with announcements(scene.site.net.path("node1")) as heard:
        node.ip("route del 10.244.2.0/24")
        until(lambda: picture(node) == scene.whole, "the node is whole")
        kinds = [message.kind for message in heard() if message.kind in {RTM_NEWROUTE, RTM_DELROUTE}]
    assert kinds == [RTM_DELROUTE, RTM_NEWROUTE]


def test_what_nobody_announces_is_mended_by_the_audit(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=1) as site:
        site.start("--audit-period", "1")
        node, path = site.node(1), "/proc/sys/net/ipv6/conf/flannel.1/accept_ra"
        node.sh("sh", "-c", f"echo 1 > {path}")
        until(lambda: node.sh("cat", path) == "0\n", "the audit comes", lambda: node.log)
        assert "repaired" in node.log


def _drops(node: Node) -> int:
    """What the kernel could not deliver to netlink sockets of this namespace.  Source: /proc/net/netlink."""
    lines = node.sh("cat", "/proc/net/netlink").splitlines()[1:]
    return sum(int(line.split()[8]) for line in lines)
