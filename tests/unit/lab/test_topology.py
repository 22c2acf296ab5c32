"""Which lab flags, file and defaults describe, and what is refused in one line."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from tulle.errors import ConfigError
from tulle.lab.labfile import parse_lab_file
from tulle.lab.topology import Wishes, design, grown

TEN_LINES = """
name = "shop"
underlay = "router"
mtu = 1400
ipv6 = true
network = "10.9.0.0/20"

[nodes]
left = ["web", "cart"]
right = ["db"]
"""


def test_the_default_is_the_picture_of_the_packet_walk() -> None:
    lab = design(Wishes())
    assert [(node.name, node.pods) for node in lab.nodes] == [("node1", ("pod1", "pod2")), ("node2", ("pod3", "pod4"))]
    assert [node.address for node in lab.nodes] == [IPv4Address("192.168.64.11"), IPv4Address("192.168.64.12")]
    assert [node.subnet for node in lab.nodes] == [IPv4Network("10.244.1.0/24"), IPv4Network("10.244.2.0/24")]
    assert lab.nodes[0].address6 is None
    assert lab.name == "lab"
    assert lab.settings.underlay == "switch"


def test_ipv6_gives_each_node_both_families() -> None:
    node = design(Wishes(nodes=12, ipv6=True)).nodes[11]
    assert node.address6 == IPv6Address("fd64::16")
    assert node.subnet6 == IPv6Network("fd10:244:0:c::/64")


def test_pods_are_numbered_through() -> None:
    assert design(Wishes(nodes=3, pods=1)).pods == ("pod1", "pod2", "pod3")
    assert design(Wishes(nodes=3, pods=0)).pods == ()


def test_a_file_of_ten_lines_describes_a_whole_lab() -> None:
    lab = design(Wishes(), parse_lab_file(TEN_LINES, "lab.toml"))
    assert (lab.name, lab.settings.underlay, lab.settings.mtu, lab.settings.ipv6) == ("shop", "router", 1400, True)
    assert [(node.name, node.pods) for node in lab.nodes] == [("left", ("web", "cart")), ("right", ("db",))]
    assert lab.nodes[1].subnet == IPv4Network("10.9.2.0/24")


def test_a_host_outside_is_a_place_but_no_node() -> None:
    lab = design(Wishes(outside=True, ipv6=True), parse_lab_file("checks = ['pod1 reaches outside']", "f"))
    assert lab.places == ("switch", "outside", "node1", "node2", "pod1", "pod2", "pod3", "pod4")
    outsider = lab.settings.outsider
    assert outsider is not None
    assert (outsider.address, outsider.address6) == (IPv4Address("192.168.64.2"), IPv6Address("fd64::2"))


def test_a_flag_wins_over_the_file() -> None:
    lab = design(Wishes(name="mine", nodes=1), parse_lab_file('name = "theirs"\nnodes = 5\npods = 3', "f"))
    assert (lab.name, len(lab.nodes), len(lab.pods)) == ("mine", 1, 3)


def test_as_many_nodes_as_fit() -> None:
    assert design(Wishes(nodes=244, pods=0)).nodes[-1].address == IPv4Address("192.168.64.254")


def test_a_lab_grows_at_the_lowest_free_number_and_names_its_pods_onward() -> None:
    lab = design(Wishes(nodes=2))
    node = grown(lab, None, 2, taken=())
    assert (node.name, node.number, node.pods) == ("node3", 3, ("pod5", "pod6"))
    assert grown(lab, "edge", 0, taken=(3,)).subnet == IPv4Network("10.244.4.0/24")


REFUSED_WISHES = [
    pytest.param(Wishes(nodes=0), "nodes 0: must be 1 or more", id="no node"),
    pytest.param(Wishes(pods=-1), "pods -1: must be 0 or more", id="less than no pods"),
    pytest.param(Wishes(nodes=245, pods=0), "underlay 192.168.64.0/24: has room for 244 nodes", id="underlay full"),
    pytest.param(Wishes(nodes=1, pods=254), "node node1: its /24 subnet has room for 253 pods", id="subnet full"),
    pytest.param(Wishes(name="../../etc"), "lab '../../etc': must be 1 to 15", id="a path as name"),
    pytest.param(Wishes(name="sixteen-letters-"), "must be 1 to 15", id="long name"),
    pytest.param(Wishes(name=""), "must be 1 to 15", id="empty name"),
    pytest.param(Wishes(underlay="hub"), "underlay hub: must be switch or router", id="unknown underlay"),
    pytest.param(Wishes(backend="udp"), "backend udp: must be vxlan or host-gw", id="unknown backend"),
    pytest.param(
        Wishes(backend="host-gw", underlay="router"),
        "backend host-gw: its nodes must be neighbours",
        id="no neighbours",
    ),
]


@pytest.mark.parametrize(("wishes", "line"), REFUSED_WISHES)
def test_a_wish_that_breaks_a_rule_is_one_line_naming_it(wishes: Wishes, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        design(wishes)
    assert line in str(error.value)
    assert "\n" not in str(error.value)


REFUSED_FILES = [
    pytest.param("nodes = [", "not TOML", id="not TOML"),
    pytest.param("colour = 1", "lab.toml: colour: unknown key: one of", id="unknown key"),
    pytest.param("mtu = '1500'", "lab.toml: mtu: must be a whole number", id="a number in quotes"),
    pytest.param("ipv6 = 1", "lab.toml: ipv6: must be true or false", id="a number for a truth"),
    pytest.param("nodes = true", "lab.toml: nodes: must be a whole number", id="a truth for a number"),
    pytest.param("network = '10.0.0.1/8'", "must be an IPv4 network", id="host bits"),
    pytest.param("network = '10.1.0.0/23'\nnodes = 2", "network 10.1.0.0/23: has room for 1 nodes", id="small network"),
    pytest.param("network = '10.1.0.0/24'", "subnet_len 24: must be 25 to 30", id="no room for a subnet"),
    pytest.param("network = '192.168.0.0/16'", "overlaps the underlay 192.168.64.0/24", id="overlap"),
    pytest.param("mtu = 625", "mtu 625: must be 626 to 65535: IPv4 needs 576 and VXLAN adds 50", id="MTU too small"),
    pytest.param("mtu = 1349\nipv6 = true", "must be 1350 to 65535: IPv6 needs 1280", id="MTU too small for IPv6"),
    pytest.param(
        "mtu = 575\nbackend = 'host-gw'",
        "mtu 575: must be 576 to 65535: IPv4 needs 576",
        id="MTU too small untunnelled",
    ),
    pytest.param("outside = 'yes'", "lab.toml: outside: must be true or false", id="text for a truth"),
    pytest.param("outside = true\n[nodes]\noutside = []", "is taken by the host outside", id="a second outside"),
    pytest.param("store = 'redis'", "store redis: must be sqlite or etcd", id="unknown store"),
    pytest.param("store = 'etcd'\n[nodes]\netcd = []", "is taken by the host etcd", id="a node named as the store"),
    pytest.param("checks = ['pod1 reaches outside']", "outside is no node or pod", id="nobody outside"),
    pytest.param("vni = 0", "lab.toml: vni 0: must be 1 to 16777215", id="VNI zero"),
    pytest.param("[nodes]\na = ['b', 'b']", "pod b: the name is taken by a pod", id="pod twice"),
    pytest.param("[nodes]\na = ['a']", "pod a: the name is taken by a node", id="pod named as its node"),
    pytest.param("[nodes]\nswitch = []", "node switch: the name is taken by the underlay", id="reserved name"),
    pytest.param("[nodes]\n'a b' = []", "node 'a b': must be 1 to 15", id="space in a name"),
    pytest.param("[nodes]\na = 'b'", "lab.toml: nodes.a: must be a list of pod names", id="pods not a list"),
    pytest.param("pods = 1\n[nodes]\na = []", "lab.toml: pods: [nodes] already lists", id="pods twice"),
]


@pytest.mark.parametrize(("text", "line"), REFUSED_FILES)
def test_a_file_that_breaks_a_rule_is_one_line_naming_the_key(text: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        design(Wishes(), parse_lab_file(text, "lab.toml"))
    assert line in str(error.value)
    assert "\n" not in str(error.value)


def test_counts_on_the_command_line_do_not_go_with_named_nodes() -> None:
    with pytest.raises(ConfigError, match="the file names its nodes"):
        design(Wishes(nodes=3), parse_lab_file(TEN_LINES, "lab.toml"))
