"""tulle and the real flannel on one etcd: traffic both ways, the same bytes, and nodes that change sides."""

import json
import re
import shutil
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kit.agents import until
from tests.kit.etcd import NEEDS_ETCD
from tests.kit.flanneld import NEEDS_FLANNELD, Flanneld
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.mixed import DIRECT, FULL_SIZE, Site, mixed
from tests.kit.stream import stream

pytestmark = [pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)), NEEDS_ETCD, NEEDS_FLANNELD]


def shape(value: str) -> str:
    """A lease value without what differs between any two nodes."""
    value = re.sub(r"192\.168\.64\.1\d|fd64::1\d", "IP", value)
    return re.sub(r"([0-9a-f]{2}:){5}[0-9a-f]{2}", "MAC", value)


def test_traffic_crosses_both_ways_also_at_full_size(tmp_path: Path) -> None:
    with mixed(tmp_path) as site:
        site.start()
        for source, sink in ((1, 2), (2, 1)):
            assert site.crosses(source, sink, 64)
            assert site.crosses(source, sink, FULL_SIZE[socket.AF_INET])
        env = (site.tulle.root / "run/flannel/subnet.env").read_text()
        assert env == site.flannel.subnet_file.read_text().replace("10.244.2.1", "10.244.1.1")


def test_both_families_cross_both_ways_also_at_full_size(tmp_path: Path) -> None:
    with mixed(tmp_path, ipv6=True) as site:
        site.cluster.net.sysctl("node2", "net/ipv6/conf/all/forwarding", "1")
        site.start()
        for family, size in FULL_SIZE.items():
            for source, sink in ((1, 2), (2, 1)):
                assert site.crosses(source, sink, 64, family), (family, source)
                assert site.crosses(source, sink, size, family), (family, source)
        keys = site.server.keys("subnets/")
        assert keys == [f"subnets/10.244.{number}.0-24&fd10:244:0:{number}::-64" for number in (1, 2)]
        ours, theirs = (site.server.get(key) for key in keys)
        assert shape(ours) == shape(theirs)
        assert site.tulle.status()["refused"] == []


def test_with_direct_routing_both_go_past_the_tunnel_and_tulle_decides_anew(tmp_path: Path) -> None:
    with mixed(tmp_path, config=DIRECT) as site:
        site.start()
        for source, sink in ((1, 2), (2, 1)):
            assert site.crosses(source, sink, FULL_SIZE[socket.AF_INET])
        ways = {name: site.cluster.net.run(name, "ip", "route") for name in ("node1", "node2")}
        assert "10.244.2.0/24 via 192.168.64.12 dev eth0" in ways["node1"]
        assert "10.244.1.0/24 via 192.168.64.11 dev eth0" in ways["node2"]
        assert site.tulle.sh("bridge", "fdb", "show", "dev", "flannel.1") == ""

        site.tulle.ip("route add 192.168.64.12/32 via 192.168.64.1 dev eth0")
        tunnel = "10.244.2.0/24 via 10.244.2.0 dev flannel.1"
        until(lambda: tunnel in site.tulle.sh("ip", "route"), "no neighbour any more", lambda: site.tulle.log)
        assert "192.168.64.12" in site.tulle.sh("bridge", "fdb", "show", "dev", "flannel.1")
        site.tulle.ip("route del 192.168.64.12/32")
        until(lambda: tunnel not in site.tulle.sh("ip", "route"), "a neighbour again", lambda: site.tulle.log)
        site.tulle.converge(1)
        assert site.crosses(1, 2, 64)


def test_what_they_store_differs_in_nothing_but_addresses(tmp_path: Path) -> None:
    with mixed(tmp_path) as site:
        site.start()
        ours, theirs = (site.server.get(f"subnets/10.244.{number}.0-24") for number in (1, 2))
        assert shape(ours) == shape(theirs)
        (mine,) = site.server.json("get", "/coreos.com/network/subnets/10.244.1.0-24")["kvs"]
        lease = site.server.ctl("lease", "timetolive", f"{mine['lease']:x}")
        assert "granted with TTL(86400s)" in lease
        assert site.tulle.status()["refused"] == []


def test_flannel_notices_nothing_of_what_tulle_keeps_for_itself(tmp_path: Path) -> None:
    with mixed(tmp_path) as site:
        site.start()
        assert [key for key in site.server.keys("tulle/") if key.startswith("tulle/subnets")]
        assert re.findall(r"^E\d{4} .*", site.flannel.log, re.MULTILINE) == []
        site.flannel.stop()
        site.flannel.start()
        site.meet()
        assert site.crosses(1, 2, 64)
        assert re.findall(r"^E\d{4} .*", site.flannel.log, re.MULTILINE) == []


HOST_GW = '{"Network":"10.244.0.0/16","SubnetLen":24,"EnableNFTables":false,"Backend":{"Type":"host-gw"}}'


@pytest.mark.skipif(not shutil.which("iptables-nft"), reason="iptables-nft is not installed")
def test_with_host_gw_and_iptables_a_node_changes_sides_and_what_no_lease_has_is_unclaimed(tmp_path: Path) -> None:
    with mixed(tmp_path, config=HOST_GW) as site:
        net, second = site.cluster.net, site.cluster.node(2)
        net.sysctl("node2", "net/bridge/bridge-nf-call-iptables", "0")
        site.tulle.start("--ip-masq")
        site.flannel.start("--ip-masq")
        site.meet()
        net.ip("node2", "route add 10.244.9.0/24 via 192.168.64.19 dev eth0")
        with stream(net.path("pod1"), net.path("pod2"), "10.244.2.2") as flow:
            until(lambda: len(flow.received) > 20, "the stream flows")
            started_ns = time.monotonic_ns()
            site.flannel.stop(signal.SIGTERM)
            second.start("--ip-masq")
            second.converge(1)
            assert "proto 116" in second.sh("ip", "route", "show", "10.244.1.0/24"), "adopted"
            assert second.status()["unclaimed"] == ["route 10.244.9.0/24 via 192.168.64.19 dev eth0 proto 3"]
            assert "FLANNEL" not in second.sh("iptables-nft-save")
            assert second.sh("iptables-nft-save").count("tulle:") == 10
            second.stop()
            site.flannel.start("--ip-masq")
            site.meet()
            count = len(flow.sent)
            until(lambda: len(flow.sent) > count + 20, "the stream goes on")
            time.sleep(0.2)  # what is under way arrives
            assert flow.lost_since(started_ns) == 0
        site.flannel.stop(signal.SIGTERM)
        second.start("--ip-masq")
        second.converge(1)
        site.tulle.stop()
        site.server.ctl("del", "/coreos.com/network/subnets/10.244.1.0-24")
        until(lambda: "10.244.1.0/24" not in second.sh("ip", "route"), "an adopted route goes with its lease")
        assert "10.244.9.0/24" in second.sh("ip", "route"), "what nobody claims stays"


def test_f09_a_flanneld_at_the_address_of_a_tulle_node_takes_its_lease_and_is_found_out(tmp_path: Path) -> None:
    with mixed(tmp_path) as site:
        site.start()
        net, mine = site.cluster.net, site.tulle.status()["lease"]
        net.add("node3")
        net.veth(("node3", "eth0"), ("switch", "port3"))
        net.ip("switch", "link set port3 master br0")
        net.ip("node3", "addr add 192.168.64.13/24 dev eth0")
        third = Flanneld(net, "node3", tmp_path / "node3", f"http://{site.server.endpoint}")
        try:
            third.start("--public-ip", "192.168.64.11")
            taken = json.loads(site.server.get("subnets/10.244.1.0-24"))
            assert taken["BackendData"]["VtepMAC"] != mine["vtep_mac"]
            until(lambda: "was lost" in site.tulle.log, "the agent finds out", lambda: site.tulle.log)
            own = until(lambda: moved(site, mine["key"]), "another lease", lambda: site.tulle.log)
            assert own["public_ip"] == "192.168.64.11"
            assert json.loads(site.server.get("subnets/10.244.1.0-24")) == taken, "and it is not fought"
        finally:
            third.stop()


def moved(site: Site, key: str) -> dict[str, Any]:
    """The lease of the tulle node, once it is another one than ``key``."""
    lease = site.tulle.status()["lease"]
    return {} if lease["key"] == key else lease
