"""Three real agents on a real etcd that dies, freezes, forgets and compacts: the data path never changes for it."""

import json
import signal
import subprocess
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.agents import Cluster, Node, cluster, until
from tests.kit.certificates import NEEDS_OPENSSL, Authority
from tests.kit.enter import enter
from tests.kit.etcd import NEEDS_ETCD, Etcd, etcd
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.stream import Stream, stream

pytestmark = [pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)), NEEDS_ETCD]

ADDRESS = "192.168.64.1"
CONFIG = '{"Network":"10.244.0.0/16","SubnetLen":24,"Backend":{"Type":"vxlan"}}'
STRANGER = (
    '{"PublicIP":"192.168.64.77","PublicIPv6":null,"BackendType":"vxlan",'
    '"BackendData":{"VNI":1,"VtepMAC":"3e:ae:f2:d4:ca:39"}}'
)
STATE = (
    ("ip", "-j", "route", "show", "table", "all"),
    ("bridge", "-j", "fdb", "show", "dev", "flannel.1"),
    ("ip", "-j", "neigh", "show", "nud", "permanent"),
    ("ip", "-j", "-d", "link", "show", "flannel.1"),
)
"""What leads to peers, as the kernel's own tools print it."""


@dataclass
class Site:
    """Three nodes with a pod each, etcd beside the switch, and a stream from pod1 to pod3."""

    cluster: Cluster
    server: Etcd
    flow: Stream

    @property
    def nodes(self) -> list[Node]:
        return self.cluster.nodes

    def picture(self) -> list[str]:
        return [node.sh(*command) for node in self.nodes for command in STATE]

    def reachable(self, wanted: bool) -> None:
        """Wait until every agent says so of the store."""
        for node in self.nodes:
            until(
                lambda node=node: node.status()["store"]["reachable"] is wanted,
                f"{node.name}: store reachable {wanted}",
                lambda node=node: node.log,
            )

    def routes(self, node: Node) -> set[str]:
        """The pod subnets of others that ``node`` knows a way to."""
        return {route["dst"] for route in node.json("ip", "-j", "route", "show", "dev", "flannel.1")}

    def learns(self, subnet: str, *, known: bool = True) -> None:
        """Wait until every node has, or has no more, a route to ``subnet``."""
        for node in self.nodes:
            until(
                lambda node=node: (subnet in self.routes(node)) is known,
                f"{node.name}: {subnet} known {known}",
                lambda node=node: node.log,
            )


@contextmanager
def running(folder: Path) -> Generator[Site]:
    with cluster(folder, nodes=3, pods=True) as nodes:
        nodes.net.ip("switch", f"addr add {ADDRESS}/24 dev br0")
        inside = enter(nodes.net.full("switch"))
        with etcd(folder, host=ADDRESS, before=inside) as server:
            server.put("config", CONFIG)
            for node in nodes.nodes:
                node.store_url = server.url
                server.put(f"subnets/10.244.{node.number}.0-24", f'{{"PublicIP":"192.168.64.1{node.number}"}}')
            nodes.start()
            with stream(nodes.net.path("pod1"), nodes.net.path("pod3"), "10.244.3.2") as flow:
                until(lambda: len(flow.received) > 20, "the stream flows", lambda: nodes.node(1).log)
                yield Site(nodes, server, flow)


@contextmanager
def nothing_lost(site: Site) -> Generator[None]:
    """Every datagram of the body arrives, and no route, neighbour or FDB entry is another one afterwards."""
    before, started_ns = site.picture(), time.monotonic_ns()
    yield
    count = len(site.flow.sent)
    until(lambda: len(site.flow.sent) > count + 20, "the stream goes on")
    time.sleep(0.2)  # what is under way arrives
    assert site.flow.lost_since(started_ns) == 0
    assert site.picture() == before


def stranger_joins(site: Site, number: int) -> str:
    """A flanneld's lease appears; its subnet."""
    site.server.put(f"subnets/10.244.{number}.0-24", STRANGER, "--lease", site.server.lease(600))
    return f"10.244.{number}.0/24"


def test_leases_are_flannels_and_changes_arrive(tmp_path: Path) -> None:
    with running(tmp_path) as site:
        for node in site.nodes:
            value = json.loads(site.server.get(f"subnets/10.244.{node.number}.0-24"))
            (link,) = node.json("ip", "-j", "link", "show", "flannel.1")
            assert value["BackendData"] == {"VNI": 1, "VtepMAC": link["address"]}
            assert node.status()["store"]["url"] == site.server.url
        with nothing_lost(site):
            subnet = stranger_joins(site, 77)
            site.learns(subnet)
            site.server.ctl("del", "/coreos.com/network/subnets/10.244.77.0-24")
            site.learns(subnet, known=False)


def test_f03_a_store_that_is_killed_and_comes_back_changes_nothing_and_is_followed_again(tmp_path: Path) -> None:
    with running(tmp_path) as site:
        with nothing_lost(site):
            site.server.kill()
            site.reachable(False)
            site.server.start()
            site.reachable(True)
        site.learns(stranger_joins(site, 77))


def test_a_store_that_freezes_changes_nothing_and_a_node_restarts_meanwhile(tmp_path: Path) -> None:
    with running(tmp_path) as site:
        with nothing_lost(site):
            memory = site.nodes[0].root / "var/lib/tulle/memory.jsonl"
            until(lambda: memory.exists() and memory.read_text().count("\n") == 3, "both peers are written down")
            site.server.signal(signal.SIGSTOP)
            site.nodes[0].stop(signal.SIGKILL)
            site.nodes[0].start()
            until(lambda: "store: away" in site.nodes[0].log, "it goes by its memory", lambda: site.nodes[0].log)
            assert site.nodes[1].stop() < 1.0
            site.nodes[1].start()
            site.server.signal(signal.SIGCONT)
            for node in site.nodes:
                node.converge(2)
        site.learns(stranger_joins(site, 77))


def test_f04_a_wiped_store_takes_no_peer_away_and_the_nodes_write_themselves_in_again(tmp_path: Path) -> None:
    with running(tmp_path) as site:
        with nothing_lost(site):
            site.server.kill()
            site.server.wipe()
            site.reachable(False)
            site.server.start()
            mine = [f"subnets/10.244.{node.number}.0-24" for node in site.nodes]
            until(lambda: site.server.keys("subnets/") == mine, "three leases", lambda: site.nodes[0].log)
            site.server.put("config", CONFIG)
            for node in site.nodes:
                node.converge(2)
        site.learns(stranger_joins(site, 77))


def test_f05_compaction_while_a_node_is_cut_off_loses_no_change(tmp_path: Path) -> None:
    with running(tmp_path) as site, nothing_lost(site):
        first = stranger_joins(site, 77)
        site.learns(first)
        for node in site.nodes:
            assert node.process is not None
            node.process.send_signal(signal.SIGSTOP)
        site.server.ctl("del", "/coreos.com/network/subnets/10.244.77.0-24")
        second = stranger_joins(site, 78)
        site.server.kill()
        site.server.start()
        site.server.compact()
        for node in site.nodes:
            assert node.process is not None
            node.process.send_signal(signal.SIGCONT)
        site.learns(second)
        site.learns(first, known=False)
        site.server.ctl("del", "/coreos.com/network/subnets/10.244.78.0-24")
        site.learns(second, known=False)


def test_f31_a_poison_key_and_a_poison_value_delay_nobody(tmp_path: Path) -> None:
    with running(tmp_path) as site, nothing_lost(site):
        site.server.put("subnets/hello", "x")
        site.server.put("subnets/0.0.0.0-0", STRANGER)
        site.server.put("subnets/10.244.78.0-24", "{" * 1000)
        subnet = stranger_joins(site, 77)
        site.learns(subnet)
        site.server.ctl("del", "/coreos.com/network/subnets/10.244.77.0-24")
        site.learns(subnet, known=False)


def test_f09_a_fourth_agent_with_the_address_of_the_first_is_refused(tmp_path: Path) -> None:
    with running(tmp_path) as site, nothing_lost(site):
        site.cluster.net.add("node4")
        site.cluster.net.veth(("node4", "eth0"), ("switch", "port4"))
        site.cluster.net.ip("switch", "link set port4 master br0")
        site.cluster.net.ip("node4", "addr add 192.168.64.14/24 dev eth0")
        root = tmp_path / "node4"
        root.mkdir()
        fourth = Node(site.cluster.net, 4, root, site.server.url)
        done = fourth.run("--public-ip", "192.168.64.11")
        assert done.returncode == 2
        assert "192.168.64.11" in done.stderr


@NEEDS_OPENSSL
def test_agents_with_certificates_and_with_a_password_share_a_store_that_asks_for_both(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca")
    made, node, root = (authority.sign(name, ADDRESS) for name in ("server", "node", "root"))
    trusted = ("--client-cert-auth", "--trusted-ca-file", str(authority.ca))
    flags = ("--cert-file", str(made.cert), "--key-file", str(made.key), *trusted)
    ctl = ("--cacert", str(authority.ca), "--cert", str(root.cert), "--key", str(root.key))
    password = tmp_path / "password"
    password.write_text("canary-3141\n")
    files = ("--etcd-cafile", str(authority.ca), "--etcd-certfile", str(node.cert), "--etcd-keyfile", str(node.key))
    with cluster(tmp_path, nodes=2) as nodes:
        nodes.net.ip("switch", f"addr add {ADDRESS}/24 dev br0")
        inside = enter(nodes.net.full("switch"))
        with etcd(tmp_path, host=ADDRESS, scheme="https", before=inside, flags=flags, ctl_flags=ctl) as server:
            server.put("config", CONFIG)
            server.enable_users(password.read_text().strip())
            first, second = nodes.nodes
            first.store_url = second.store_url = server.url
            first.start(*files)
            second.start(*files, "--etcd-username", "node", "--etcd-password-file", str(password))
            first.converge(1)
            second.converge(1)
            assert "canary-3141" not in first.log + second.log


def test_f65_a_password_on_the_command_line_is_not_seen_for_long_nor_logged(tmp_path: Path) -> None:
    secret = "canary-8812"  # noqa: S105 - to be looked for
    with running(tmp_path) as site, nothing_lost(site):
        node = site.nodes[1]
        node.stop()
        node.start("--etcd-username", "root", "--etcd-password", secret)
        node.converge(2)
        assert node.process is not None
        pid = node.process.pid
        title = subprocess.run(["ps", "-ww", "-o", "args=", "-p", str(pid)], check=True, capture_output=True, text=True)
        assert "--etcd-password" in title.stdout
        assert secret not in title.stdout + node.log + json.dumps(node.status())
