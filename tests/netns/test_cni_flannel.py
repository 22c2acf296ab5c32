"""flannel's own CNI plugin, with bridge and host-local, on the ``subnet.env`` that tulle writes."""

import json
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.kit.etcd import NEEDS_ETCD
from tests.kit.flanneld import NEEDS_FLANNELD
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.mixed import Site, mixed
from tests.kit.peers import needs_peers, peer
from tulle.kernel import netns

pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)),
    NEEDS_ETCD,
    NEEDS_FLANNELD,
    needs_peers("flannel", "bridge", "host-local"),
]
MANIFESTS: dict[str, Any] = {"hairpinMode": True, "isDefaultGateway": True}
"""What flannel's manifest delegates."""
UDP4, UDP6 = 28, 48
"""The headers of a datagram."""


def execute(site: Site, verb: str, number: int) -> dict[str, Any]:
    """What flannel's plugin answers for pod ``number`` on node ``number``, as its manifest configures it."""
    plugin = peer("flannel")
    assert plugin is not None
    root = site.cluster.node(number).root
    request = {
        "cniVersion": "0.3.1",
        "name": "cbr0",
        "type": "flannel",
        "subnetFile": str(root / "run/flannel/subnet.env"),
        "dataDir": str(root / "var/lib/cni/flannel"),
        "ipam": {"dataDir": str(root / "var/lib/cni/networks")},
        "delegate": MANIFESTS,
    }
    environment = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": f"pod{number}",
        "CNI_NETNS": str(site.cluster.net.path(f"pod{number}")),
        "CNI_IFNAME": "eth0",
        "CNI_PATH": str(Path(plugin).parent),
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",  # its bridge plugin executes iptables where it masquerades
    }
    done = netns.run_in(
        site.cluster.net.path(f"node{number}"),
        lambda: subprocess.run(
            [plugin], input=json.dumps(request), env=environment, capture_output=True, text=True, check=False
        ),
    )
    assert done.returncode == 0, done
    found: dict[str, Any] = json.loads(done.stdout or "{}")
    return found


def attach(site: Site) -> list[dict[str, Any]]:
    """A pod on each node, attached by flannel's plugin; its results."""
    for number in (1, 2):
        site.cluster.net.add(f"pod{number}")
    return [execute(site, "ADD", number) for number in (1, 2)]


def mtu(site: Site, number: int) -> int:
    (link,) = json.loads(site.cluster.net.run(f"pod{number}", "ip", "-j", "link", "show", "eth0"))
    return link["mtu"]


def test_its_pods_reach_those_of_a_flannel_node_at_full_size_and_are_detached(tmp_path: Path) -> None:
    with mixed(tmp_path, pods=False) as site:
        site.start("--ip-masq")
        ours, theirs = attach(site)
        assert [found["address"] for found in ours["ips"]] == ["10.244.1.2/24"]
        assert mtu(site, 1) == mtu(site, 2) == 1450
        assert json.dumps(ours["routes"]) == json.dumps(theirs["routes"]).replace("10.244.2.", "10.244.1.")
        for source, sink in ((1, 2), (2, 1)):
            assert site.crosses(source, sink, 1450 - UDP4), (source, sink)
        execute(site, "DEL", 1)
        assert site.cluster.net.run("node1", "ip", "-j", "link", "show", "type", "veth").count("ifname") == 1  # eth0
        assert list((site.tulle.root / "var/lib/cni/networks/cbr0").glob("10.*")) == []


def test_on_tulles_mtu_full_size_packets_of_both_families_arrive(tmp_path: Path) -> None:
    """flannel's own says 1450 for both, which the tunnel of IPv6 does not carry."""
    with mixed(tmp_path, ipv6=True, pods=False) as site:
        site.cluster.net.sysctl("node2", "net/ipv6/conf/all/forwarding", "1")
        site.start()
        ours, _ = attach(site)
        assert [found["address"] for found in ours["ips"]] == ["10.244.1.2/24", "fd10:244:0:1::2/64"]
        assert (mtu(site, 1), mtu(site, 2)) == (1430, 1450)
        for family, headers in ((socket.AF_INET, UDP4), (socket.AF_INET6, UDP6)):
            assert site.crosses(1, 2, 1430 - headers, family), family
            assert site.crosses(2, 1, 1430 - headers, family), family
