"""A node changes from flannel's daemon to tulle and back in place: its pods lose nothing, whatever carries them."""

import re
import shutil
import signal
import time
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.kit.agents import Node, until
from tests.kit.etcd import NEEDS_ETCD
from tests.kit.flanneld import NEEDS_FLANNELD
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.mixed import CONFIG, DIRECT, DUAL, Site, mixed
from tests.kit.stream import Stream, stream

pytestmark = [pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)), NEEDS_ETCD, NEEDS_FLANNELD]

IPTABLES = ("iptables", "iptables-save", "iptables-restore", "ip6tables", "ip6tables-save", "ip6tables-restore")
LEGACY = "iptables-legacy"
LISTS = ("conflicts", "strangers", "unclaimed", "failures", "problems", "refused")


@dataclass(frozen=True)
class Way:
    """How the pods of two nodes reach each other."""

    config: str
    ipv6: bool = False
    engine: str = "nft"

    @property
    def families(self) -> tuple[str, ...]:
        """Where pod ``{}`` is, once for each family."""
        return ("10.244.{0}.2", "fd10:244:0:{0}::2")[: 1 + self.ipv6]


WAYS = {
    "vxlan": Way(CONFIG),
    "vxlan-dual-stack": Way(DUAL, ipv6=True),
    "direct-routing": Way(DIRECT),
    "direct-routing-dual-stack": Way(DUAL.replace('"vxlan"', '"vxlan","DirectRouting":true'), ipv6=True),
    "host-gw": Way(CONFIG.replace("vxlan", "host-gw")),
    "host-gw-dual-stack": Way(DUAL.replace("vxlan", "host-gw"), ipv6=True),
    "vxlan-iptables-nft": Way(CONFIG.replace("true", "false"), engine="iptables-nft"),
    "vxlan-iptables-legacy": Way(CONFIG.replace("true", "false"), engine=LEGACY),
    "vxlan-dual-stack-iptables-legacy": Way(
        DUAL.replace('"EnableNFTables":true', '"EnableNFTables":false'), ipv6=True, engine=LEGACY
    ),
}


def tools_of(engine: str, folder: Path) -> Path | None:
    """A folder in which ``iptables`` is ``engine``; None: flannel's daemon needs none."""
    if engine == "nft":
        return None
    folder.mkdir()
    for name in IPTABLES:
        variant = name.replace("tables", f"tables-{engine.removeprefix('iptables-')}", 1)
        found = shutil.which(variant)
        if found is None:
            pytest.skip(f"{variant} is not installed")
        (folder / name).symlink_to(found)
    return folder


@contextmanager
def flows(site: Site, way: Way) -> Generator[list[Stream]]:
    """A datagram every 5 ms in each family, from and to the pod of the node that changes sides."""
    net = site.cluster.net
    with ExitStack() as stack:
        yield [
            stack.enter_context(stream(net.path(f"pod{source}"), net.path(f"pod{sink}"), pod.format(sink)))
            for pod in way.families
            for source, sink in ((1, 2), (2, 1))
        ]


def all_go_on(streams: list[Stream]) -> None:
    """Wait until each has brought another twenty datagrams."""
    counts = [len(flow.received) for flow in streams]
    until(lambda: all(len(f.received) > n + 20 for f, n in zip(streams, counts, strict=True)), "the streams flow")


def rules_of(node: Node, engine: str) -> str:
    """All rules of the node in one engine, both families."""
    if engine == "nft":
        return node.sh("nft", "list", "ruleset")
    return node.sh(f"{engine}-save") + node.sh(f"{engine.replace('ip', 'ip6', 1)}-save")


def flannels_stand(node: Node, way: Way) -> bool:
    """Has flannel's daemon written all its rules?  In iptables it does so after ``subnet.env``."""
    rules = rules_of(node, way.engine)
    if way.engine == "nft":
        return "masquerade" in rules and "chain forward" in rules
    return rules.count('"flanneld ') == 10 * len(way.families)


@pytest.mark.parametrize("way", [pytest.param(way, id=name) for name, way in WAYS.items()])
def test_a_node_changes_from_flannel_to_tulle_and_back_and_no_packet_is_lost(tmp_path: Path, way: Way) -> None:
    tools = tools_of(way.engine, tmp_path / "tools")
    with mixed(tmp_path, ipv6=way.ipv6, config=way.config) as site:
        net, second = site.cluster.net, site.cluster.node(2)
        site.flannel.tools = tools
        for name in ("bridge-nf-call-iptables", "bridge-nf-call-ip6tables"):
            net.sysctl("node2", f"net/bridge/{name}", "0")
        if way.ipv6:
            net.sysctl("node2", "net/ipv6/conf/all/forwarding", "1")
        site.start("--ip-masq")
        (key,) = (key for key in site.server.keys("subnets/") if "10.244.2.0" in key)
        value = site.server.get(key)
        until(lambda: flannels_stand(second, way), "flannel's rules", lambda: site.flannel.log)
        with flows(site, way) as streams:
            all_go_on(streams)
            started_ns = time.monotonic_ns()
            site.flannel.stop(signal.SIGTERM)
            second.start("--ip-masq")
            second.converge(1)
            assert site.server.get(key) == value, "the same lease: address, MAC and all"
            status = second.status()
            assert status["lease"]["owner"] == status["node_id"]
            assert {name: status[name] for name in LISTS} == {name: [] for name in LISTS}
            rules = rules_of(second, way.engine)
            assert "tulle" in rules
            assert re.findall(r"flannel-ipv\d|FLANNEL-\w+", rules) == []
            for family in ("-4", "-6"):
                assert "proto boot" not in second.sh("ip", family, "route"), "every route of flannel's is adopted"
            second.stop()
            site.flannel.start("--ip-masq")
            site.meet()
            assert site.server.get(key) == value
            all_go_on(streams)
            time.sleep(0.2)  # what is under way arrives
            assert [flow.lost_since(started_ns) for flow in streams] == [0] * len(streams)
