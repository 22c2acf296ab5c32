"""The guard: what comes out of a pod has the pod's own addresses, whatever the pod sends.

Frames are sent as a process with CAP_NET_RAW in the pod sends them, to everybody on the bridge; another pod
listens.  A good frame behind the bad ones ends the wait, so nothing here depends on time.
"""

import shutil
import socket
import struct
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

import pytest

from tests.kit.kernels import NEEDS_ROOT
from tests.kit.plugin import PluginNode, plugin_node
from tulle.cni.attach import PodNetwork, host_device
from tulle.kernel import netns
from tulle.kernel.netns import NETNS_FOLDER
from tulle.lab.ping import ping
from tulle.plan.guard import guard_table

pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)),
    pytest.mark.skipif(shutil.which("nft") is None, reason="nft is not installed"),
]

DUAL = PodNetwork(subnet=IPv4Network("10.244.1.0/24"), subnet6=IPv6Network("fd10:244:0:1::/64"), mtu=1430)
EVERYBODY = "ff:ff:ff:ff:ff:ff"
GATEWAY, GATEWAY6 = "10.244.1.1", "fd10:244:0:1::1"
PATIENCE_S = 20.0


@dataclass(frozen=True)
class Pod:
    """A pod with what it was given."""

    name: str
    mac: str
    address: str
    address6: str


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path / "root") as made:
        made.network = DUAL
        made.start()
        yield made


def new_pod(node: PluginNode, **conf: object) -> Pod:
    name = node.new_pod()
    result = node.add(name, **conf)
    four, six = (entry["address"].partition("/")[0] for entry in result["ips"])
    return Pod(name, result["interfaces"][-1]["mac"], four, six)


# -- frames -----------------------------------------------------------------------------


def ethernet(src: str, kind: int, payload: bytes, dst: str = EVERYBODY) -> bytes:
    return mac(dst) + mac(src) + struct.pack(">H", kind) + payload


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def packed(address: str) -> bytes:
    return ip_address(address).packed


def udp(src: str, sport: int = 1000, dport: int = 2000) -> bytes:
    """IP and UDP, of either version."""
    body = struct.pack(">HHHH", sport, dport, 12, 0) + b"data"
    if ":" in src:
        return struct.pack(">IHBB", 6 << 28, len(body), 17, 64) + packed(src) + packed("ff02::1") + body
    return ip4(src, 17, body) + body


def tcp(src: str) -> bytes:
    body = struct.pack(">HHIIHHHH", 1000, 80, 0, 0, 0x5002, 0, 0, 0)
    return ip4(src, 6, body) + body


def ip4(src: str, protocol: int, body: bytes) -> bytes:
    """The header, with its checksum: a bridge that hands packets to iptables drops what has none."""
    words = [0x4500, 20 + len(body), 0, 0, 64 << 8 | protocol, 0]
    words += struct.unpack(">4H", packed(src) + packed("224.0.0.9"))
    total = sum(words)
    words[5] = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return struct.pack(">10H", *words)


def arp(sender_mac: str, sender: str, operation: int = 2) -> bytes:
    return (
        struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation) + mac(sender_mac) + packed(sender) + bytes(6) + packed(sender)
    )


def icmp6(src: str, kind: int, target: str = "::") -> bytes:
    body = struct.pack(">BBHI", kind, 0, 0, 0) + packed(target)
    return struct.pack(">IHBB", 6 << 28, len(body), 58, 255) + packed(src) + packed("ff02::1") + body


IP4, ARP, IP6 = 0x0800, 0x0806, 0x86DD
ADVERTISEMENT, ROUTER, REDIRECT, SOLICITATION = 136, 134, 137, 135

Bad = Callable[[Pod, Pod, str], bytes]
"""(the sender, another pod, the bridge's MAC) → a frame that must not leave the sender."""

BAD: dict[str, Bad] = {
    "another pod's address": lambda me, other, _: ethernet(me.mac, IP4, udp(other.address)),
    "another pod's address in TCP": lambda me, other, _: ethernet(me.mac, IP4, tcp(other.address)),
    "the gateway's address": lambda me, _, __: ethernet(me.mac, IP4, udp(GATEWAY)),
    "the world's address": lambda me, _, __: ethernet(me.mac, IP4, udp("192.0.2.1")),
    "the loopback's address": lambda me, _, __: ethernet(me.mac, IP4, udp("127.0.0.1")),
    "another pod's IPv6 address": lambda me, other, _: ethernet(me.mac, IP6, udp(other.address6)),
    "another pod's MAC": lambda me, other, _: ethernet(other.mac, IP4, udp(me.address)),
    "the bridge's MAC": lambda me, _, bridge: ethernet(bridge, IP4, udp(me.address)),
    "another pod's MAC to the bridge itself": lambda me, other, _: ethernet(
        other.mac, IP4, udp(me.address), dst="01:80:c2:00:00:03"
    ),
    "ARP for the gateway": lambda me, _, __: ethernet(me.mac, ARP, arp(me.mac, GATEWAY)),
    "ARP for another pod": lambda me, other, _: ethernet(me.mac, ARP, arp(me.mac, other.address, operation=1)),
    "a router advertisement": lambda me, _, __: ethernet(me.mac, IP6, icmp6("fe80::1", ROUTER)),
    "a redirect": lambda me, _, __: ethernet(me.mac, IP6, icmp6("fe80::1", REDIRECT)),
    "a neighbour advertisement for the gateway": lambda me, _, __: ethernet(
        me.mac, IP6, icmp6(me.address6, ADVERTISEMENT, GATEWAY6)
    ),
    "a neighbour advertisement for another pod": lambda me, other, _: ethernet(
        me.mac, IP6, icmp6("fe80::1", ADVERTISEMENT, other.address6)
    ),
    "a DHCP server's answer": lambda me, _, __: ethernet(me.mac, IP4, udp(me.address, 67, 68)),
    "a DHCPv6 server's answer": lambda me, _, __: ethernet(me.mac, IP6, udp("fe80::1", 547, 546)),
    "neither IP nor ARP": lambda me, _, __: ethernet(me.mac, 0x88B5, b"experiment"),
    "another pod's MAC in LLDP": lambda _, other, __: ethernet(other.mac, 0x88CC, bytes(46), dst="01:80:c2:00:00:0e"),
    "a spanning tree's message": lambda _, other, __: ethernet(other.mac, 38, bytes(38), dst="01:80:c2:00:00:00"),
}
GOOD: dict[str, Callable[[Pod], bytes]] = {
    "its own address": lambda me: ethernet(me.mac, IP4, udp(me.address)),
    "its own address in TCP": lambda me: ethernet(me.mac, IP4, tcp(me.address)),
    "its own IPv6 address": lambda me: ethernet(me.mac, IP6, udp(me.address6)),
    "a MAC that nobody has": lambda me: ethernet("02:99:00:00:00:01", IP4, udp(me.address)),
    "ARP for itself": lambda me: ethernet(me.mac, ARP, arp(me.mac, me.address)),
    "ARP that asks before it has an address": lambda me: ethernet(me.mac, ARP, arp(me.mac, "0.0.0.0", operation=1)),
    "duplicate address detection": lambda me: ethernet(me.mac, IP6, icmp6("::", SOLICITATION, me.address6)),
    "a solicitation from its link-local address": lambda me: ethernet(
        me.mac, IP6, icmp6("fe80::9", SOLICITATION, GATEWAY6)
    ),
    "an advertisement of its own address": lambda me: ethernet(
        me.mac, IP6, icmp6(me.address6, ADVERTISEMENT, me.address6)
    ),
    "an advertisement of its link-local address": lambda me: ethernet(
        me.mac, IP6, icmp6("fe80::9", ADVERTISEMENT, "fe80::9")
    ),
}


@contextmanager
def wire(pod: str, ifname: str = "eth0") -> Generator[socket.socket]:
    """A raw socket on the pod's device."""
    with netns.inside(NETNS_FOLDER / pod):
        sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    with sock:
        sock.bind((ifname, 3))
        sock.settimeout(PATIENCE_S)
        yield sock


def arrived(sender: str, listener: str, frames: list[bytes], end: bytes, ifname: str = "eth0") -> list[bytes]:
    """Those of ``frames`` that the listener saw, which are sent first; ``end`` is sure to arrive."""
    with wire(sender, ifname) as out, wire(listener) as heard:
        for frame in (*frames, end):
            out.send(frame)
        found: list[bytes] = []
        while not found or found[-1] != end:
            seen = heard.recv(2048)
            found += [seen] if seen in {*frames, end} else []
        return found[:-1]


def last(pod: Pod) -> bytes:
    return ethernet(pod.mac, IP4, udp(pod.address, 4711, 4711))


# -- what it does -----------------------------------------------------------------------


def test_f62_what_a_pod_forges_does_not_leave_it_and_what_is_its_own_does(node: PluginNode) -> None:
    me, other = new_pod(node), new_pod(node)
    bridge = node.ip("-br link show cbr0").split()[2]
    bad = [make(me, other, bridge) for make in BAD.values()]
    assert [
        name for name, frame in zip(BAD, bad, strict=True) if frame in arrived(me.name, other.name, bad, last(me))
    ] == []
    good = [make(me) for make in GOOD.values()]
    assert arrived(me.name, other.name, good, last(me)) == good


@pytest.mark.parametrize("bridge", ["made", "found"])
def test_the_bridge_learns_nothing_from_what_is_dropped(node: PluginNode, bridge: str) -> None:
    """Neither from LLDP, which passes by every hook."""
    if bridge == "found":
        node.ip("link add cbr0 type bridge")
    me, other = new_pod(node), new_pod(node)
    bad = [make(me, other, "02:00:00:00:00:01") for make in BAD.values()]
    arrived(other.name, me.name, [], last(other))
    arrived(me.name, other.name, bad, last(me))
    entries = node.bridge("fdb show br cbr0")
    port = host_device(other.name, "eth0")
    assert [line for line in entries.splitlines() if line.startswith(other.mac) and f"dev {port} " not in line] == []


def test_pods_that_are_guarded_reach_each_other_their_gateway_and_themselves(node: PluginNode) -> None:
    me, other = new_pod(node), new_pod(node)
    for target in (GATEWAY, other.address, me.address, GATEWAY6, other.address6):
        with netns.inside(NETNS_FOLDER / me.name):
            (echo,) = ping(ip_address(target), count=1, timeout_s=PATIENCE_S)
        assert echo.rtt_ns is not None, target


def test_a_pod_that_changes_its_own_mac_may_take_none_that_is_somebodys(node: PluginNode) -> None:
    """``tuning`` gives pods MACs that nobody has."""
    me, other = new_pod(node), new_pod(node)
    node.ip("link set eth0 address 02:99:00:00:00:02", me.name)
    tuned = Pod(me.name, "02:99:00:00:00:02", me.address, me.address6)
    assert arrived(me.name, other.name, [], last(tuned)) == []
    node.ip(f"link set eth0 address {other.mac}", me.name)
    stolen = Pod(me.name, other.mac, me.address, me.address6)
    assert arrived(me.name, other.name, [last(stolen)], last(tuned)) == []


def test_a_pod_with_two_interfaces_may_answer_by_either(node: PluginNode) -> None:
    me, other = new_pod(node), new_pod(node)
    second = node.run("ADD", me.name, ifname="net1", isDefaultGateway=False).answer
    address = second["ips"][0]["address"].partition("/")[0]
    frame = ethernet(me.mac, IP4, udp(address))
    assert arrived(me.name, other.name, [frame], last(me)) == [frame]
    assert node.run("DEL", me.name, ifname="net1").code == 0
    node.nft_settles(lambda rules: address not in rules)


@pytest.mark.parametrize(
    "conf", [{"tulle": {"guard": False}}, {"macspoofchk": False}, {"delegate": {"macspoofchk": False}}]
)
def test_a_network_may_do_without(node: PluginNode, conf: dict[str, object]) -> None:
    me, other = new_pod(node, **conf), new_pod(node)
    frame = BAD["another pod's address"](me, other, "")
    assert arrived(me.name, other.name, [frame], last(me)) == [frame]


def test_f22_a_flushed_ruleset_is_whole_again_at_once_and_nothing_is_lost_meanwhile(node: PluginNode) -> None:
    me, other = new_pod(node), new_pod(node)
    before = node.nft("list table bridge tulle")
    node.nft("flush ruleset")
    node.nft_settles(lambda rules: rules == before)
    frame = BAD["another pod's address"](me, other, "")
    assert arrived(me.name, other.name, [frame], last(me)) == []


def test_del_takes_out_what_add_put_in_with_an_agent_and_without(node: PluginNode) -> None:
    for offline in (False, True):
        me = new_pod(node)
        assert host_device(me.name, "eth0") in node.nft("list table bridge tulle")
        if offline:
            node.stop()
            node.socket.unlink()
        assert node.run("DEL", me.name).code == 0
        assert host_device(me.name, "eth0") not in node.nft("list table bridge tulle")


def test_a_new_agent_guards_again_what_lives(node: PluginNode) -> None:
    me, other = new_pod(node), new_pod(node)
    node.stop()
    node.nft("flush ruleset")
    node.socket.unlink()
    node.start()
    frame = BAD["ARP for the gateway"](me, other, "")
    assert arrived(me.name, other.name, [frame], last(me)) == []


def test_a_foreign_port_of_the_bridge_is_left_alone(node: PluginNode) -> None:
    me = new_pod(node)
    stranger = node.new_pod()
    node.ip(f"link add foreign master cbr0 type veth peer name eth0 netns {stranger}")
    node.ip("link set foreign up")
    node.ip("link set eth0 up", stranger)
    frame = ethernet("02:55:00:00:00:01", IP4, udp("192.0.2.1"))
    assert arrived(
        stranger, me.name, [frame], ethernet("02:55:00:00:00:01", ARP, arp("02:55:00:00:00:01", GATEWAY))
    ) == [frame]


def test_without_nft_pods_are_attached_unguarded_unless_the_network_insists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tulle.kernel.tools.find_tool", _not_installed)
    with plugin_node(tmp_path / "root") as node:
        node.start()
        node.add(node.new_pod())
        refused = node.run("ADD", node.new_pod(), macspoofchk=True)
        assert refused.error == 102
        assert "macspoofchk" in refused.answer["msg"]


def _not_installed(_: str) -> str | None:
    return None


def test_the_plainer_table_is_taken_by_the_kernel_too(node: PluginNode) -> None:
    """The one for an nft that cannot spell what is advertised."""
    text = guard_table(advertisements=False).text
    assert text is not None
    node.nft("-f -", text.replace("table bridge tulle", "table bridge other"))
    assert "targets6" not in node.nft("list table bridge other")
