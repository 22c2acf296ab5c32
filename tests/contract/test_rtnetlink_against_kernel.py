"""rtnetlink as the real kernel speaks it: its dumps read as pyroute2 reads the same bytes, our requests taken as meant.

Every test has a namespace of its own, with objects made by ``ip`` and ``bridge``, which are foreign
to tulle.  Where tulle makes an object, ``ip -json`` says what the kernel then holds.
"""

import json
import os
import secrets
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from errno import EEXIST, EINVAL, ENODEV, ENOENT, ERANGE, ESRCH
from importlib import import_module
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest

from tests.kit.agents import until
from tests.kit.enter import enter
from tulle.errors import KernelError
from tulle.kernel import netns
from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.model.network import MacAddress
from tulle.wire.netlink import Message, Request
from tulle.wire.rtnetlink.addresses import (
    IFA_F_NODAD,
    IFA_F_PERMANENT,
    AddressMessage,
    decode_address,
    del_address,
    dump_addresses,
    new_address,
)
from tulle.wire.rtnetlink.links import (
    LinkMessage,
    LinkSettings,
    decode_link,
    del_link,
    del_links_of_group,
    dump_links,
    get_link,
    new_bridge,
    new_veth,
    new_vxlan,
    set_hairpin,
    set_link,
    set_name_and_netns,
    set_vxlan,
)
from tulle.wire.rtnetlink.neighbors import (
    NTF_SELF,
    NeighborMessage,
    decode_neighbor,
    del_neighbor,
    dump_fdb,
    dump_neighbors,
    get_fdb_entry,
    get_neighbor,
    new_neighbor,
)
from tulle.wire.rtnetlink.nsids import decode_nsid, dump_nsids, get_nsid, new_nsid
from tulle.wire.rtnetlink.parts import AF_BRIDGE, AF_INET, AF_INET6, IfIndex
from tulle.wire.rtnetlink.routes import (
    RT_TABLE_MAIN,
    RouteMessage,
    decode_route,
    del_route,
    dump_routes,
    get_route,
    new_route,
)
from tulle.wire.rtnetlink.rules import RuleMessage, decode_rule, dump_rules
from tulle.wire.rtnetlink.vxlan import VxlanInfo

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces"),
    pytest.mark.skipif(shutil.which("ip") is None or shutil.which("bridge") is None, reason="needs iproute2"),
]

Facts: TypeAlias = dict[str, Any]
"""What a program or an oracle without types says about an object."""

MAC: Final = MacAddress("02:00:00:00:00:02")
SCENE: Final = """
link set lo up
link add eth0 address 02:00:00:00:00:01 mtu 1500 type veth peer name eth1
link set eth0 up alias an_alias
link set eth1 up
link add flannel.1 address 02:00:00:00:00:11 type vxlan id 1 dstport 8472 local 192.168.64.11 dev eth0 nolearning
link set flannel.1 mtu 1450 up
link add vx7 type vxlan id 7 dstport 4789 remote 192.168.64.99 local 192.168.64.11 ttl 9 gbp dev eth0
link add vx6 type vxlan id 9 dstport 8472 local fd64::11 dev eth0
link add vxm type vxlan dstport 4790 external
link add br0 type bridge forward_delay 0
link set br0 up
link add port0 type veth peer name port1
link set port0 up master br0
link set port0 type bridge_slave hairpin on
link add tail0 type veth peer name tail1
link set tail1 up
addr add 192.168.64.11/24 dev eth0
addr add 10.0.0.1 peer 10.0.0.2/32 dev tail0
addr add 192.168.65.1/24 dev eth0 valid_lft 3600 preferred_lft 1800 scope link
addr add fd64::11/64 dev eth0 nodad
link set tail0 up
route add 10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink proto 116
route add 10.244.3.0/24 via 192.168.64.13 mtu 1400 metric 7 src 192.168.64.11
route add 10.244.4.0/24 nexthop via 192.168.64.14 nexthop via 192.168.64.15
route add blackhole 10.244.5.0/24
route add unreachable 10.244.6.0/24 metric 9
route add 10.244.7.0/24 via inet6 fe80::7 dev eth0
route add 10.244.8.0/24 dev tail0 table 1000
nexthop add id 77 via 192.168.64.16 dev eth0
route add 10.244.9.0/24 nhid 77
route add fd10::/64 via fd64::12 dev eth0
route add fd11::/64 via fd64::12 dev eth0 metric 5
neigh add 10.244.2.0 lladdr 02:00:00:00:00:22 dev flannel.1 nud permanent
neigh add 192.168.64.12 lladdr 02:00:00:00:00:23 dev eth0 nud stale
neigh add proxy 192.168.64.50 dev eth0
neigh add fd64::12 lladdr 02:00:00:00:00:24 dev eth0 nud permanent
rule add from 10.244.0.0/16 fwmark 0x4000/0x4000 iif eth0 lookup 1000 priority 100
rule add to 10.0.0.0/8 lookup main suppress_prefixlength 0 priority 101
rule add not from 10.9.0.0/16 blackhole priority 102
"""
FDB_SCENE: Final = """
fdb append 02:00:00:00:00:22 dev flannel.1 dst 192.168.64.12
fdb append 02:00:00:00:00:25 dev flannel.1 dst 192.168.64.13 port 4789 vni 5
fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.168.64.14
fdb append 00:00:00:00:00:00 dev flannel.1 dst 192.168.64.15
fdb append 02:00:00:00:00:26 dev vx6 dst fd64::12
fdb add 02:00:00:00:00:27 dev port0 master static
"""


class Place:
    """A namespace, our socket in it, and ``ip`` beside it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = netns.create(name)
        self.socket = NetlinkSocket.open(self.path)

    def close(self) -> None:
        self.socket.close()
        netns.delete(self.name)

    def batch(self, tool: str, commands: str) -> None:
        text = "\n".join(line for line in commands.splitlines() if line)
        done = subprocess.run(
            [*enter(self.name), tool, "-batch", "-"], check=False, input=text, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr

    def json(self, tool: str, *words: str) -> list[Facts]:
        done = subprocess.run([*enter(self.name), tool, "-d", "-j", *words], check=True, capture_output=True, text=True)
        return json.loads(done.stdout or "[]")

    def index(self, name: str) -> IfIndex:
        return decode_link(self.socket.ask(get_link(name))).index

    def links(self) -> dict[str, LinkMessage]:
        return {link.name: link for link in map(decode_link, self.socket.dump(dump_links(statistics=True)))}

    def run(self, *requests: Request) -> None:
        for request in requests:
            self.socket.run(request)


@pytest.fixture
def place() -> Iterator[Place]:
    made = Place(f"tullet-{secrets.token_hex(4)}")
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def scene(place: Place) -> Place:
    place.batch("ip", SCENE)
    place.batch("bridge", FDB_SCENE)
    return place


def _oracle(name: str, messages: Sequence[Message]) -> list[Any]:
    """The same messages as pyroute2's class ``name`` decodes them; it has no types."""
    kind = getattr(import_module(f"pyroute2.netlink.rtnl.{name}"), name)
    found: list[Any] = []
    for message in messages:
        header = struct.pack("=IHHII", 16 + len(message.payload), message.kind, message.flags, message.seq, message.pid)
        decoded = kind(header + message.payload)
        decoded.decode()
        found.append(decoded)
    return found


def _nla(message: Any, *names: str) -> Any:
    """A nested attribute of pyroute2's, None when it is not there."""
    for name in names:
        message = None if message is None else message.get_attr(name)
    return message


def test_links_are_read_as_pyroute2_reads_them(scene: Place) -> None:
    messages = scene.socket.dump(dump_links(statistics=True))
    assert len(messages) >= 12
    for message, expected in zip(messages, _oracle("ifinfmsg", messages), strict=True):
        link = decode_link(message)
        stats, info = expected.get_attr("IFLA_STATS64"), expected.get_attr("IFLA_LINKINFO")
        assert link.statistics is not None
        ours = (
            *(link.index, link.name, link.flags, link.mtu, link.mac, link.alias or None, link.kind or None),
            *(link.link or None, link.master or None, link.promiscuity, int(link.carrier), link.link_netnsid),
            *(link.statistics.rx_packets, link.statistics.tx_packets, link.statistics.tx_dropped),
        )
        theirs = (
            *(expected["index"], expected.get_attr("IFLA_IFNAME"), expected["flags"], expected.get_attr("IFLA_MTU")),
            *(expected.get_attr("IFLA_ADDRESS"), expected.get_attr("IFLA_IFALIAS"), _nla(info, "IFLA_INFO_KIND")),
            *(expected.get_attr("IFLA_LINK") or None, expected.get_attr("IFLA_MASTER")),
            *(expected.get_attr("IFLA_PROMISCUITY"), expected.get_attr("IFLA_CARRIER")),
            *(expected.get_attr("IFLA_LINK_NETNSID"), stats["rx_packets"], stats["tx_packets"], stats["tx_dropped"]),
        )
        assert ours == theirs


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("flannel.1", VxlanInfo(vni=1, local=IPv4Address("192.168.64.11"), learning=False)),
        (
            "vx7",
            VxlanInfo(
                vni=7,
                local=IPv4Address("192.168.64.11"),
                group=IPv4Address("192.168.64.99"),
                port=4789,
                ttl=9,
                gbp=True,
            ),
        ),
        ("vx6", VxlanInfo(vni=9, local=IPv6Address("fd64::11"))),
        ("vxm", VxlanInfo(vni=0, port=4790, learning=False, external=True)),
    ],
)
def test_vxlan_settings_are_read(scene: Place, name: str, expected: VxlanInfo) -> None:
    found = scene.links()[name].vxlan
    assert found is not None
    assert found.link == (0 if name == "vxm" else scene.index("eth0"))
    assert {**_fields(found), "link": 0} == _fields(expected)


def _fields(vxlan: VxlanInfo) -> Facts:
    return {name: getattr(vxlan, name) for name in VxlanInfo.__dataclass_fields__}


def test_a_bridge_port_says_its_bridge_and_its_hairpin(scene: Place) -> None:
    links = scene.links()
    assert (links["port0"].master, links["port0"].hairpin) == (links["br0"].index, True)
    assert (links["eth0"].master, links["eth0"].hairpin) == (0, False)


def test_addresses_are_read_as_pyroute2_reads_them(scene: Place) -> None:
    messages = scene.socket.dump(dump_addresses())
    for message, expected in zip(messages, _oracle("ifaddrmsg", messages), strict=True):
        address = decode_address(message)
        local, remote = expected.get_attr("IFA_LOCAL"), expected.get_attr("IFA_ADDRESS")
        assert address.index == expected["index"]
        assert address.interface.ip == ip_address(local or remote)
        assert address.interface.network.prefixlen == expected["prefixlen"]
        assert address.peer == (ip_address(remote) if local not in (None, remote) else None)
        assert (address.scope, address.flags) == (expected["scope"], expected.get_attr("IFA_FLAGS"))
    by_ip = {str(a.interface.ip): a for a in map(decode_address, messages)}
    assert by_ip["10.0.0.1"].peer == IPv4Address("10.0.0.2")
    assert not by_ip["192.168.65.1"].permanent
    assert 3500 < (by_ip["192.168.65.1"].valid_s or 0) <= 3600
    assert 1700 < (by_ip["192.168.65.1"].preferred_s or 0) <= 1800
    assert by_ip["192.168.64.11"].permanent
    assert by_ip["192.168.64.11"].valid_s is None


@pytest.mark.parametrize("version", [4, 6])
def test_routes_are_read_as_pyroute2_reads_them(scene: Place, version: int) -> None:
    messages = scene.socket.dump(dump_routes(version))
    assert len(messages) >= 6
    for message, expected in zip(messages, _oracle("rtmsg", messages), strict=True):
        route = decode_route(message)
        assert route.dst.prefixlen == expected["dst_len"]
        if expected["dst_len"]:
            assert str(route.dst.network_address) == expected.get_attr("RTA_DST")
        via = expected.get_attr("RTA_VIA")
        gateway = via["addr"] if via else expected.get_attr("RTA_GATEWAY")
        assert (None if route.gateway is None else str(route.gateway)) == gateway
        assert (route.oif or None) == expected.get_attr("RTA_OIF")
        assert (None if route.prefsrc is None else str(route.prefsrc)) == expected.get_attr("RTA_PREFSRC")
        assert (route.table, route.priority) == (
            expected.get_attr("RTA_TABLE"),
            expected.get_attr("RTA_PRIORITY") or 0,
        )
        assert (route.protocol, route.scope) == (expected["proto"], expected["scope"])
        assert route.onlink == bool(expected["flags"] & 4)
        assert route.multipath == (expected.get_attr("RTA_MULTIPATH") is not None)
        assert route.mtu == _nla(expected, "RTA_METRICS", "RTAX_MTU")


def test_unusual_routes_are_told_apart(scene: Place) -> None:
    found = {str(r.dst): r for r in map(decode_route, scene.socket.dump(dump_routes(4)))}
    assert found["10.244.2.0/24"].onlink
    assert found["10.244.2.0/24"].protocol == 116
    assert (found["10.244.3.0/24"].mtu, found["10.244.3.0/24"].priority) == (1400, 7)
    assert found["10.244.4.0/24"].multipath
    assert not found["10.244.3.0/24"].multipath
    assert (found["10.244.5.0/24"].kind, found["10.244.6.0/24"].kind) == ("blackhole", "unreachable")
    assert found["10.244.7.0/24"].gateway == IPv6Address("fe80::7")
    assert found["10.244.8.0/24"].table == 1000
    assert found["10.244.9.0/24"].nexthop_id == 77


def test_a_route_of_a_device_without_carrier_is_marked(scene: Place) -> None:
    def marks() -> dict[str, bool]:
        return {str(r.dst): r.linkdown for r in map(decode_route, scene.socket.dump(dump_routes(4)))}

    scene.batch("ip", "link set eth1 down")
    until(lambda: marks()["10.244.3.0/24"], "the kernel has seen that the carrier is gone")
    assert not marks()["10.244.8.0/24"]


@pytest.mark.parametrize(
    "request_",
    [
        pytest.param(dump_neighbors(), id="neighbours"),
        pytest.param(dump_neighbors(proxy=True), id="proxies"),
        pytest.param(dump_fdb(), id="FDB"),
    ],
)
def test_neighbours_and_fdb_entries_are_read_as_pyroute2_reads_them(scene: Place, request_: Request) -> None:
    messages = scene.socket.dump(request_)
    assert messages
    for message, expected in zip(messages, _oracle("ndmsg", messages), strict=True):
        entry = decode_neighbor(message)
        assert (entry.family, entry.ifindex, entry.state, entry.flags) == tuple(
            expected[name] for name in ("family", "ifindex", "state", "flags")
        )
        assert (None if entry.dst is None else str(entry.dst)) == expected.get_attr("NDA_DST")
        assert entry.lladdr == expected.get_attr("NDA_LLADDR")
        assert (entry.master or None) == expected.get_attr("NDA_MASTER")
        assert (entry.vni or None) == expected.get_attr("NDA_VNI")
        assert (entry.port or None) == expected.get_attr("NDA_PORT")
        assert (entry.vlan or None) == expected.get_attr("NDA_VLAN")


def test_fdb_entries_of_every_shape_are_told_apart(scene: Place) -> None:
    found = [decode_neighbor(m) for m in scene.socket.dump(dump_fdb(scene.index("flannel.1")))]
    assert {(e.lladdr, str(e.dst), e.port, e.vni) for e in found} == {
        ("02:00:00:00:00:22", "192.168.64.12", 0, 0),
        ("02:00:00:00:00:25", "192.168.64.13", 4789, 5),
        ("00:00:00:00:00:00", "192.168.64.14", 0, 0),
        ("00:00:00:00:00:00", "192.168.64.15", 0, 0),
    }
    assert all(e.permanent and e.flags & NTF_SELF for e in found)


def test_rules_are_read_as_pyroute2_reads_them(scene: Place) -> None:
    messages = scene.socket.dump(dump_rules(4))
    rules: dict[int, RuleMessage] = {}
    for message, expected in zip(messages, _oracle("fibmsg", messages), strict=True):
        rule = decode_rule(message)
        rules[rule.priority] = rule
        assert (rule.priority or None) == expected.get_attr("FRA_PRIORITY")
        assert (rule.table, rule.action) == (expected.get_attr("FRA_TABLE"), expected["action"])
        assert (rule.iif or None) == expected.get_attr("FRA_IIFNAME")
        assert (rule.mark or None) == expected.get_attr("FRA_FWMARK")
    assert rules[100].src == (IPv4Address("10.244.0.0"), 16)
    assert (rules[100].table, rules[100].mark, rules[100].mark_mask, rules[100].iif) == (1000, 0x4000, 0x4000, "eth0")
    assert (rules[101].dst, rules[101].suppress_prefixlen) == ((IPv4Address("10.0.0.0"), 8), 0)
    assert (rules[102].inverted, rules[102].action) == (True, 6)
    assert [decode_rule(m).priority for m in scene.socket.dump(dump_rules(6))] == [0, 32766]


def test_the_kernel_filters_dumps_by_device_and_table(scene: Place) -> None:
    tunnel, eth0, tail = (scene.index(name) for name in ("flannel.1", "eth0", "tail0"))
    ask = scene.socket.dump
    assert {decode_address(m).index for m in ask(dump_addresses(eth0))} == {eth0}
    assert {decode_neighbor(m).ifindex for m in ask(dump_neighbors(index=tunnel))} == {tunnel}
    assert {decode_neighbor(m).ifindex for m in ask(dump_fdb(tunnel))} == {tunnel}
    assert {str(decode_route(m).dst) for m in ask(dump_routes(4, table=1000))} == {"10.244.8.0/24"}
    assert {decode_route(m).oif for m in ask(dump_routes(4, table=RT_TABLE_MAIN, oif=tail))} == {tail}
    assert {decode_route(m).oif for m in ask(dump_routes(6, oif=eth0))} == {eth0}
    with pytest.raises(KernelError) as caught:
        ask(dump_routes(4, table=4242))
    assert caught.value.errno == ENOENT


def test_a_look_up_answers_as_ip_route_get_does(scene: Place) -> None:
    eth0 = scene.index("eth0")
    route = decode_route(scene.socket.ask(get_route(IPv4Address("10.244.3.9"))))
    shown = scene.json("ip", "route", "get", "10.244.3.9")[0]
    assert (str(route.gateway), route.oif, str(route.prefsrc)) == (shown["gateway"], eth0, shown["prefsrc"])
    entry = decode_route(scene.socket.ask(get_route(IPv4Address("10.244.3.9"), fib_match=True)))
    assert entry.dst == IPv4Network("10.244.3.0/24")
    marked = get_route(IPv4Address("10.244.8.1"), src=IPv4Address("10.244.1.2"), iif=eth0, mark=0x4000, fib_match=True)
    netns.run_in(scene.path, lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("1"))
    assert decode_route(scene.socket.ask(marked)).table == 1000
    six = decode_route(scene.socket.ask(get_route(IPv6Address("fd11::9"), fib_match=True)))
    assert (six.dst, six.priority) == (IPv6Network("fd11::/64"), 5)
    with pytest.raises(KernelError) as caught:
        scene.socket.ask(get_route(IPv4Address("10.244.6.1")))
    assert caught.value.errno != 0


def test_single_neighbours_and_fdb_entries_can_be_asked_for(scene: Place) -> None:
    tunnel = scene.index("flannel.1")
    neighbor = decode_neighbor(scene.socket.ask(get_neighbor(tunnel, IPv4Address("10.244.2.0"))))
    assert neighbor.lladdr == "02:00:00:00:00:22"
    entry = decode_neighbor(scene.socket.ask(get_fdb_entry(tunnel, MacAddress("02:00:00:00:00:22"))))
    assert entry.dst == IPv4Address("192.168.64.12")
    static = get_fdb_entry(scene.index("port0"), MacAddress("02:00:00:00:00:27"), master=True)
    assert decode_neighbor(scene.socket.ask(static)).ifindex == scene.index("port0")
    with pytest.raises(KernelError) as caught:
        scene.socket.ask(get_fdb_entry(tunnel, MacAddress("02:00:00:00:99:99")))
    assert caught.value.errno == ENOENT


def test_a_vxlan_device_is_made_as_asked(place: Place) -> None:
    place.batch("ip", "link add eth0 type veth peer name eth1\nlink set eth0 up")
    vxlan = VxlanInfo(
        vni=5, link=place.index("eth0"), local=IPv4Address("192.168.64.11"), port=4789, ttl=9, learning=False, gbp=True
    )
    place.run(new_vxlan("flannel.5", vxlan, LinkSettings(mtu=1400, mac=MAC, up=True)))
    place.run(set_link("flannel.5", LinkSettings(alias="tulle:vtep")))
    shown = place.json("ip", "link", "show", "flannel.5")[0]
    data = shown["linkinfo"]["info_data"]
    assert (data["id"], data["port"], data["local"], data["link"], data["ttl"]) == (5, 4789, "192.168.64.11", "eth0", 9)
    assert (data["learning"], data["gbp"]) == (False, True)
    assert (shown["mtu"], shown["address"], shown["ifalias"]) == (1400, MAC, "tulle:vtep")
    assert "UP" in shown["flags"]
    assert place.links()["flannel.5"].vxlan == vxlan
    moved = VxlanInfo(vni=5, link=vxlan.link, local=IPv4Address("192.168.64.12"), port=4789, ttl=9, learning=False)
    place.run(set_vxlan(place.index("flannel.5"), moved))
    after = place.links()["flannel.5"].vxlan
    assert after is not None
    assert after.local == IPv4Address("192.168.64.12")


def test_a_pair_is_made_with_its_peer_in_another_namespace(place: Place) -> None:
    other = Place(f"tullet-{secrets.token_hex(4)}")
    try:
        place.run(new_bridge("cbr0", LinkSettings(up=True)))
        peer = LinkSettings(mtu=1450, mac=MAC)
        ours = LinkSettings(mtu=1450, up=True, master=place.index("cbr0"))
        with other.path.open() as target:
            place.run(new_veth("vethpod", ours, peer="eth0", peer_settings=peer, peer_netns_fd=target.fileno()))
            place.run(
                set_link("vethpod", LinkSettings(alias="tulle:pod")), set_hairpin(place.index("vethpod"), on=True)
            )
            ids = decode_nsid(place.socket.ask(get_nsid(fd=target.fileno())))
        end, inner = place.links()["vethpod"], other.links()["eth0"]
        assert (end.mtu, end.master, end.alias, end.hairpin, end.up) == (
            1450,
            place.index("cbr0"),
            "tulle:pod",
            True,
            True,
        )
        assert (inner.mtu, inner.mac, inner.up) == (1450, MAC, False)
        assert (end.link, end.link_netnsid) == (inner.index, ids.nsid)
        assert inner.link == end.index
        other.run(set_link(inner.index, LinkSettings(up=True)))
        assert place.links()["vethpod"].lower_up
        place.run(set_hairpin(end.index, on=False), set_link(end.index, LinkSettings(master=IfIndex(0), alias="")))
        freed = place.links()["vethpod"]
        assert (freed.master, freed.hairpin, freed.alias) == (0, False, "")
    finally:
        other.close()


def test_a_device_is_renamed_moved_and_removed(place: Place) -> None:
    other = Place(f"tullet-{secrets.token_hex(4)}")
    try:
        place.run(
            new_bridge("one", LinkSettings()), new_veth("a", LinkSettings(), peer="b", peer_settings=LinkSettings())
        )
        place.run(set_name_and_netns(place.index("one"), name="two"))
        assert "two" in place.links()
        assert "one" not in place.links()
        with other.path.open() as target:
            place.run(set_name_and_netns(place.index("b"), name="eth0", netns_fd=target.fileno()))
        assert "eth0" in other.links()
        place.run(del_link(place.index("a")), del_link(place.index("two")))
        assert set(place.links()) == set(other.links()) == {"lo"}
    finally:
        other.close()


def test_devices_of_a_group_go_together(place: Place) -> None:
    group = LinkSettings(group=0x7400)
    place.run(*(new_veth(f"a{n}", group, peer=f"b{n}", peer_settings=LinkSettings()) for n in range(5)))
    place.run(new_bridge("kept", LinkSettings()), del_links_of_group(0x7400))
    assert set(place.links()) == {"lo", "kept"}


def test_namespace_ids_are_given_and_listed(place: Place) -> None:
    other = Place(f"tullet-{secrets.token_hex(4)}")
    try:
        with other.path.open() as target:
            assert decode_nsid(place.socket.ask(get_nsid(fd=target.fileno()))).nsid is None
            place.run(new_nsid(116, fd=target.fileno()))
            assert decode_nsid(place.socket.ask(get_nsid(fd=target.fileno()))).nsid == 116
        assert [decode_nsid(m).nsid for m in place.socket.dump(dump_nsids())] == [116]
    finally:
        other.close()


@pytest.mark.parametrize(
    "interface", [IPv4Interface("10.244.1.0/32"), IPv4Interface("10.244.1.1/24"), IPv6Interface("fd10::1/64")], ids=str
)
def test_an_address_is_added_once_and_removed(place: Place, interface: IPv4Interface | IPv6Interface) -> None:
    place.run(new_bridge("br0", LinkSettings(up=True)))
    flags = IFA_F_PERMANENT | (IFA_F_NODAD if interface.version == 6 else 0)
    address = AddressMessage(index=place.index("br0"), interface=interface, flags=flags)
    place.run(new_address(address))
    shown = [a for link in place.json("ip", "addr", "show", "br0") for a in link["addr_info"] if a["scope"] == "global"]
    assert [(a["local"], a["prefixlen"]) for a in shown] == [(str(interface.ip), interface.network.prefixlen)]
    assert address in [decode_address(m) for m in place.socket.dump(dump_addresses(address.index))]
    assert place.socket.execute([new_address(address)])[0].errno == EEXIST
    place.run(del_address(address))
    assert address not in [decode_address(m) for m in place.socket.dump(dump_addresses(address.index))]


def test_routes_are_made_replaced_and_removed(scene: Place) -> None:
    eth0 = scene.index("eth0")
    route = RouteMessage(
        dst=IPv4Network("10.99.0.0/24"),
        oif=eth0,
        gateway=IPv4Address("192.168.64.20"),
        onlink=True,
        prefsrc=IPv4Address("192.168.64.11"),
        table=RT_TABLE_MAIN,
        priority=3,
        protocol=116,
        mtu=1300,
    )
    via6 = RouteMessage(dst=IPv4Network("10.98.0.0/24"), oif=eth0, gateway=IPv6Address("fe80::9"), protocol=116)
    six = RouteMessage(
        dst=IPv6Network("fd99::/64"), oif=eth0, gateway=IPv6Address("fd64::9"), onlink=True, protocol=116, priority=1024
    )
    hole = RouteMessage(dst=IPv4Network("10.97.0.0/24"), kind="blackhole", protocol=116, table=70000)
    for made in (route, via6, six, hole):
        scene.run(new_route(made))
        assert made in [decode_route(m) for m in scene.socket.dump(dump_routes(made.dst.version, table=made.table))]
        assert scene.socket.execute([new_route(made)])[0].errno == EEXIST
    shown = scene.json("ip", "route", "show", "10.99.0.0/24")[0]
    assert (shown["gateway"], shown["metric"], shown["protocol"], shown["flags"]) == (
        *("192.168.64.20", 3, "116"),
        ["onlink"],
    )
    elsewhere = RouteMessage(
        dst=route.dst, oif=eth0, gateway=IPv4Address("192.168.64.21"), priority=3, protocol=116, onlink=True
    )
    scene.run(new_route(elsewhere, replace=True))
    assert [r["gateway"] for r in scene.json("ip", "route", "show", "10.99.0.0/24")] == ["192.168.64.21"]
    scene.run(del_route(elsewhere), del_route(via6), del_route(six), del_route(hole))
    assert scene.socket.execute([del_route(elsewhere)])[0].errno == ESRCH
    assert scene.json("ip", "route", "show", "10.244.3.0/24"), "a foreign route survives"


def test_neighbours_and_fdb_entries_are_made_replaced_and_removed(scene: Place) -> None:
    tunnel = scene.index("flannel.1")
    neighbor = NeighborMessage(family=AF_INET, ifindex=tunnel, dst=IPv4Address("10.244.3.0"), lladdr=MAC)
    neighbor6 = NeighborMessage(family=AF_INET6, ifindex=tunnel, dst=IPv6Address("fd10::3"), lladdr=MAC)
    entry = NeighborMessage(
        family=AF_BRIDGE, ifindex=tunnel, dst=IPv4Address("192.168.64.31"), lladdr=MAC, flags=NTF_SELF
    )
    for made, listed in ((neighbor, dump_neighbors), (neighbor6, dump_neighbors), (entry, None)):
        dump = dump_fdb(tunnel) if listed is None else listed(index=tunnel)
        scene.run(new_neighbor(made))
        assert made in [decode_neighbor(m) for m in scene.socket.dump(dump)]
        assert scene.socket.execute([new_neighbor(made)])[0].errno == EEXIST
    moved = NeighborMessage(
        family=AF_BRIDGE, ifindex=tunnel, dst=IPv4Address("192.168.64.32"), lladdr=MAC, flags=NTF_SELF
    )
    scene.run(new_neighbor(moved, "replace"))
    assert [e["dst"] for e in scene.json("bridge", "fdb", "show", "dev", "flannel.1") if e["mac"] == MAC] == [
        "192.168.64.32"
    ]
    scene.run(del_neighbor(neighbor), del_neighbor(neighbor6), del_neighbor(moved))
    assert scene.socket.execute([del_neighbor(neighbor), del_neighbor(moved)])[0].errno == ENOENT
    left = {e["mac"] for e in scene.json("bridge", "fdb", "show", "dev", "flannel.1")}
    assert left == {"02:00:00:00:00:22", "02:00:00:00:00:25", "00:00:00:00:00:00"}, "foreign entries survive"


def test_a_default_fdb_entry_gets_a_second_destination(scene: Place) -> None:
    tunnel, zero = scene.index("flannel.1"), MacAddress("00:00:00:00:00:00")
    added = NeighborMessage(
        family=AF_BRIDGE, ifindex=tunnel, dst=IPv4Address("192.168.64.40"), lladdr=zero, flags=NTF_SELF
    )
    scene.run(new_neighbor(added, "append"))
    found = [decode_neighbor(m) for m in scene.socket.dump(dump_fdb(tunnel))]
    assert sum(entry.lladdr == zero for entry in found) == 3


@pytest.mark.parametrize(
    ("refused", "errno", "reason"),
    [
        pytest.param(get_link("nosuch0"), ENODEV, "", id="no such device"),
        pytest.param(
            new_route(RouteMessage(dst=IPv4Network("10.96.0.0/24"), oif=IfIndex(999999), protocol=116)),
            ENODEV,
            "",
            id="a route through no device",
        ),
        pytest.param(
            new_vxlan("tullet0", VxlanInfo(vni=1 << 24), LinkSettings()),
            ERANGE,
            "lower than 16777216",
            id="a VNI of 25 bits",
        ),
        pytest.param(
            Request(24, 0x600, struct.pack("=BBBBBBBBI", 2, 24, 0, 0, 254, 116, 0, 1, 0) + b"\x08\0\1\0\x0a\0\0\1"),
            EINVAL,
            "Invalid prefix for given prefix length",
            id="host bits in a route",
        ),
    ],
)
def test_a_refusal_carries_the_kernels_own_words(place: Place, refused: Request, errno: int, reason: str) -> None:
    ack = place.socket.execute([refused])[0]
    assert ack.errno == errno
    assert reason.lower() in ack.reason.lower()
