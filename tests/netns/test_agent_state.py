"""What a converged agent's kernel holds, as the kernel's own tools show it, and what it tells CNI plugins."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.agents import Cluster, Node, cluster, only
from tests.kit.kernels import NEEDS_ROOT

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("agents"), nodes=2, ipv6=True) as made:
        made.start("--ip-masq")
        yield made


@pytest.fixture
def node(site: Cluster) -> Node:
    return site.node(1)


def mac(site: Cluster, number: int, device: str) -> str:
    return site.node(number).json("ip", "-j", "link", "show", device)[0]["address"]


@pytest.mark.parametrize(
    ("device", "local", "mtu"),
    [
        pytest.param("flannel.1", {"local": "192.168.64.11"}, 1450, id="IPv4"),
        pytest.param("flannel-v6.1", {"local6": "fd64::11"}, 1430, id="IPv6, whose outer header is 20 bytes larger"),
    ],
)
def test_the_vxlan_device_is_flannels(node: Node, device: str, local: dict[str, str], mtu: int) -> None:
    (link,) = node.json("ip", "-d", "-j", "link", "show", device)
    info = link["linkinfo"]
    assert link["mtu"] == mtu
    assert "UP" in link["flags"]
    assert int(link["address"][:2], 16) & 3 == 2, "locally administered, unicast"
    assert info["info_kind"] == "vxlan"
    wanted = {"id": 1, "port": 8472, "link": "eth0", "learning": False, **local}
    assert {name: info["info_data"].get(name) for name in wanted} == wanted


def test_its_address_is_the_subnets_first_as_a_host_address(node: Node) -> None:
    (four,) = node.json("ip", "-j", "-4", "address", "show", "flannel.1")
    assert [(a["local"], a["prefixlen"], a["scope"]) for a in four["addr_info"]] == [("10.244.1.0", 32, "global")]
    (six,) = node.json("ip", "-j", "-6", "address", "show", "flannel-v6.1", "scope", "global")
    assert [(a["local"], a["prefixlen"]) for a in six["addr_info"] if a] == [("fd10:244:0:1::", 128)]


def test_a_peer_is_one_onlink_route(node: Node) -> None:
    (route,) = node.json("ip", "-j", "route", "show", "10.244.2.0/24")
    assert (route["gateway"], route["dev"], route["protocol"]) == ("10.244.2.0", "flannel.1", "116")
    assert "onlink" in route["flags"]
    (route6,) = node.json("ip", "-j", "-6", "route", "show", "fd10:244:0:2::/64")
    assert (route6["gateway"], route6["dev"], route6["protocol"]) == ("fd10:244:0:2::", "flannel-v6.1", "116")
    assert "onlink" in route6["flags"]


def test_a_peer_is_one_permanent_neighbour(site: Cluster, node: Node) -> None:
    for device, version, ip in (("flannel.1", "-4", "10.244.2.0"), ("flannel-v6.1", "-6", "fd10:244:0:2::")):
        found = node.json("ip", "-j", version, "neigh", "show", "dev", device, "nud", "permanent")
        assert [(row["dst"], row["lladdr"]) for row in found] == [(ip, mac(site, 2, device))]


def test_a_peer_is_one_fdb_entry(site: Cluster, node: Node) -> None:
    for device, underlay in (("flannel.1", "192.168.64.12"), ("flannel-v6.1", "fd64::12")):
        found = only(node.json("bridge", "-j", "fdb", "show", "dev", device), state="permanent")
        assert [(row["mac"], row["dst"]) for row in found] == [(mac(site, 2, device), underlay)]


def test_nothing_else_is_programmed(node: Node) -> None:
    """No route, link, table or address beside those that the other tests name."""
    ours = node.json("ip", "-j", "route", "show", "table", "all", "proto", "116")
    assert sorted(row["dst"] for row in ours) == ["10.244.2.0/24", "fd10:244:0:2::/64"]
    assert {row["ifname"] for row in node.json("ip", "-j", "link")} == {"lo", "eth0", "flannel.1", "flannel-v6.1"}
    assert node.sh("nft", "list", "tables").split() == ["table", "inet", "tulle"]


def test_the_table_accepts_and_masquerades_as_flannel_does(node: Node) -> None:
    chains = {row["chain"]["name"]: row["chain"] for row in _nft(node) if "chain" in row}
    assert {(c["hook"], c["prio"], c["type"], c["policy"]) for c in chains.values()} == {
        ("forward", 0, "filter", "accept"),
        ("postrouting", 100, "nat", "accept"),
    }
    text = node.sh("nft", "-s", "list", "table", "inet", "tulle")
    rules = [line.split(" comment ")[0].strip() for line in text.splitlines() if "comment" in line]
    assert rules == [
        "ip saddr 10.244.0.0/16 accept",
        "ip daddr 10.244.0.0/16 accept",
        "ip6 saddr fd10:244::/48 accept",
        "ip6 daddr fd10:244::/48 accept",
        "meta mark & 0x00004000 == 0x00004000 return",
        "ip saddr 10.244.1.0/24 ip daddr 10.244.0.0/16 return",
        "ip saddr 10.244.0.0/16 ip daddr 10.244.1.0/24 return",
        "ip saddr != 10.244.0.0/16 ip daddr 10.244.1.0/24 return",
        "ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random",
        "ip saddr != 10.244.0.0/16 ip daddr 10.244.0.0/16 masquerade fully-random",
        "ip6 saddr fd10:244:0:1::/64 ip6 daddr fd10:244::/48 return",
        "ip6 saddr fd10:244::/48 ip6 daddr fd10:244:0:1::/64 return",
        "ip6 saddr != fd10:244::/48 ip6 daddr fd10:244:0:1::/64 return",
        "ip6 saddr fd10:244::/48 ip6 daddr != ff00::/8 masquerade fully-random",
        "ip6 saddr != fd10:244::/48 ip6 daddr fd10:244::/48 masquerade fully-random",
    ]


def test_the_node_forwards_and_takes_no_router_from_the_overlay(node: Node) -> None:
    for path, value in (
        ("net/ipv4/ip_forward", "1"),
        ("net/ipv6/conf/all/forwarding", "1"),
        ("net/ipv6/conf/flannel.1/accept_ra", "0"),
        ("net/ipv6/conf/flannel-v6.1/accept_ra", "0"),
    ):
        assert node.sh("cat", f"/proc/sys/{path}").strip() == value


def test_subnet_env_is_byte_for_byte_flannels(node: Node) -> None:
    path = node.root / "run/flannel/subnet.env"
    assert path.read_bytes() == (
        b"FLANNEL_NETWORK=10.244.0.0/16\n"
        b"FLANNEL_SUBNET=10.244.1.1/24\n"
        b"FLANNEL_IPV6_NETWORK=fd10:244::/48\n"
        b"FLANNEL_IPV6_SUBNET=fd10:244:0:1::1/64\n"
        b"FLANNEL_MTU=1430\n"
        b"FLANNEL_IPMASQ=true\n"
    )
    assert (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o644, 0)
    assert path.parent.stat().st_mode & 0o777 == 0o755
    assert [entry.name for entry in path.parent.iterdir()] == ["subnet.env"], "nothing half-written is left beside it"


def test_a_node_with_ipv4_only_has_ipv4s_lines_and_mtu(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=1) as site:
        site.start()
        content = (site.node(1).root / "run/flannel/subnet.env").read_bytes()
        assert content == (
            b"FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n"
        )


def test_a_network_with_its_own_vni_port_and_mtu_has_a_device_of_that_name(tmp_path: Path) -> None:
    backend = {"Type": "vxlan", "VNI": 7, "Port": 4789, "MTU": 1400}
    with cluster(tmp_path, nodes=1, config={"Backend": backend}) as site:
        site.start()
        (link,) = site.node(1).json("ip", "-d", "-j", "link", "show", "flannel.7")
        data = link["linkinfo"]["info_data"]
        assert (data["id"], data["port"], link["mtu"]) == (7, 4789, 1350)


def _nft(node: Node) -> list[dict[str, dict[str, object]]]:
    return json.loads(node.sh("nft", "-j", "list", "table", "inet", "tulle"))["nftables"]
