"""The netlink socket on a real kernel: batches, refusals, big dumps, losses."""

import os
import secrets
import subprocess
import threading
from collections.abc import Iterator
from errno import EEXIST, EINTR, ENODEV
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

import pytest

from tulle.errors import ConfigError, KernelError
from tulle.kernel import netns
from tulle.kernel.netlink_socket import NetlinkSocket, Overflow
from tulle.model.network import MacAddress
from tulle.wire.netlink import Request, parse_attributes
from tulle.wire.rtnetlink.links import (
    IFINFOMSG,
    IFLA_NUM_RX_QUEUES,
    IFLA_NUM_TX_QUEUES,
    LinkSettings,
    decode_link,
    del_link,
    dump_links,
    get_link,
    new_bridge,
    new_veth,
    new_vxlan,
    set_link,
)
from tulle.wire.rtnetlink.neighbors import (
    NTF_SELF,
    NeighborMessage,
    decode_neighbor,
    del_neighbor,
    dump_fdb,
    new_neighbor,
)
from tulle.wire.rtnetlink.parts import (
    AF_BRIDGE,
    AF_INET,
    RTM_DELADDR,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
    IfIndex,
    read_u32,
)
from tulle.wire.rtnetlink.routes import (
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RouteMessage,
    decode_route,
    dump_routes,
    new_route,
)
from tulle.wire.rtnetlink.vxlan import VxlanInfo

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces")

PEERS: Final = 5000


@pytest.fixture
def path() -> Iterator[Path]:
    name = f"tullet-{secrets.token_hex(4)}"
    yield netns.create(name)
    netns.delete(name)


@pytest.fixture
def sock(path: Path) -> Iterator[NetlinkSocket]:
    with NetlinkSocket.open(path) as opened:
        yield opened


def _tunnel(sock: NetlinkSocket) -> IfIndex:
    sock.run(new_vxlan("flannel.1", VxlanInfo(vni=1, learning=False), LinkSettings(up=True)))
    return decode_link(sock.ask(get_link("flannel.1"))).index


def _mac(number: int) -> MacAddress:
    return MacAddress(bytes((2, 0, *number.to_bytes(4, "big"))).hex(":"))


def _entry(tunnel: IfIndex, number: int) -> NeighborMessage:
    dst = IPv4Address("10.0.0.1") + number
    return NeighborMessage(family=AF_BRIDGE, ifindex=tunnel, dst=dst, lladdr=_mac(number), flags=NTF_SELF)


def _neighbor(tunnel: IfIndex, number: int) -> NeighborMessage:
    ip = IPv4Address("10.128.0.0") + (number << 8)
    return NeighborMessage(family=AF_INET, ifindex=tunnel, dst=ip, lladdr=_mac(number))


def _bridge(number: int) -> Request:
    return new_bridge(f"br{number}", LinkSettings())


def test_a_socket_stays_in_the_namespace_that_it_was_opened_in(path: Path, sock: NetlinkSocket) -> None:
    sock.run(_bridge(0))
    with NetlinkSocket.open() as here, NetlinkSocket.open(path) as there:
        assert "br0" not in {decode_link(m).name for m in here.dump(dump_links())}
        assert {decode_link(m).name for m in there.dump(dump_links())} == {"lo", "br0"}


def test_opening_in_no_namespace_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        NetlinkSocket.open(tmp_path / "nothing")
    with pytest.raises(KernelError):
        NetlinkSocket.open(protocol=63)


def test_of_three_requests_the_refused_one_in_the_middle_stops_neither_other(sock: NetlinkSocket) -> None:
    answers = sock.execute([_bridge(0), _bridge(0), _bridge(1)])
    assert [ack.errno for ack in answers] == [0, EEXIST, 0]
    assert {decode_link(m).name for m in sock.dump(dump_links())} == {"lo", "br0", "br1"}


@pytest.mark.parametrize("refused", [[0], [127], [128], [0, 127, 128, 255, 299], list(range(300))], ids=str)
def test_every_request_gets_its_own_answer_across_batches(sock: NetlinkSocket, refused: list[int]) -> None:
    tunnel = _tunnel(sock)
    wanted = [_entry(IfIndex(99999) if n in refused else tunnel, n) for n in range(300)]
    answers = sock.execute([new_neighbor(entry) for entry in wanted])
    assert [n for n, ack in enumerate(answers) if ack.errno] == refused
    assert {answers[n].errno for n in refused} == {ENODEV}
    assert len(sock.dump(dump_fdb(tunnel))) == 300 - len(refused)


def test_nothing_to_do_is_nothing_sent(sock: NetlinkSocket) -> None:
    assert sock.execute([]) == []


def test_an_error_names_the_request_and_the_kernels_reason(sock: NetlinkSocket) -> None:
    with pytest.raises(KernelError) as caught:
        sock.run(new_vxlan("flannel.1", VxlanInfo(vni=1 << 24), LinkSettings()))
    assert str(caught.value) == "link flannel.1: VXLAN ID must be lower than 16777216"


def test_asking_for_what_is_not_there_leaves_the_socket_usable(sock: NetlinkSocket) -> None:
    for _ in range(3):
        with pytest.raises(KernelError) as caught:
            sock.ask(get_link("nosuch0"))
        assert caught.value.target_missing
    assert decode_link(sock.ask(get_link("lo"))).name == "lo"


def test_thousands_of_entries_go_in_come_back_and_go_out(sock: NetlinkSocket) -> None:
    tunnel = _tunnel(sock)
    entries = [_entry(tunnel, n) for n in range(PEERS)]
    neighbors = [_neighbor(tunnel, n) for n in range(PEERS)]
    done = sock.execute([new_neighbor(entry) for entry in (*neighbors, *entries)])
    assert {ack.errno for ack in done} == {0}
    found = [decode_neighbor(m) for m in sock.dump(dump_fdb(tunnel))]
    assert sorted(found, key=lambda e: e.lladdr or "") == entries
    gone = sock.execute([del_neighbor(entry) for entry in entries])
    assert {ack.errno for ack in gone} == {0}
    assert sock.dump(dump_fdb(tunnel)) == []


def test_a_dump_while_the_table_changes_is_whole_or_an_error(path: Path, sock: NetlinkSocket) -> None:
    tunnel = _tunnel(sock)
    kept = [
        new_route(RouteMessage(dst=IPv4Network((0x0A800000 + (n << 8), 24)), oif=tunnel, protocol=116))
        for n in range(2000)
    ]
    assert {ack.errno for ack in sock.execute(kept)} == {0}
    stop = threading.Event()

    def churn() -> None:
        with NetlinkSocket.open(path) as other:
            while not stop.is_set():
                other.run(_bridge(9))
                other.run(del_link(decode_link(other.ask(get_link("br9"))).index))

    changer = threading.Thread(target=churn)
    changer.start()
    try:
        for _ in range(5):
            assert _routes_of_ours(sock) in {2000, None}
    finally:
        stop.set()
        changer.join()


def _routes_of_ours(sock: NetlinkSocket) -> int | None:
    try:
        return sum(decode_route(m).protocol == 116 for m in sock.dump(dump_routes(4)))
    except KernelError as error:
        if error.errno != EINTR:
            raise
        return None


def test_announcements_are_received_and_none_waiting_is_none(path: Path, sock: NetlinkSocket) -> None:
    with NetlinkSocket.open(path, groups=[RTNLGRP_LINK]) as listener:
        assert listener.receive() == []
        sock.run(_bridge(0))
        heard = [decode_link(m).name for m in listener.receive() if m.kind == RTM_NEWLINK]
        assert "br0" in heard
        assert listener.receive() == []
        listener.subscribe([RTNLGRP_NEIGH])
        sock.run(new_neighbor(_entry(_tunnel(sock), 1)))
        assert any(m.kind == RTM_NEWNEIGH for m in listener.receive())


def test_of_a_table_that_is_not_heard_of_no_route_is_announced(path: Path, sock: NetlinkSocket) -> None:
    sock.run(new_bridge("br0", LinkSettings(up=True)))
    with NetlinkSocket.open(path) as ear:
        ear.hear_nothing_of_table(RT_TABLE_LOCAL)
        ear.subscribe((RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_IFADDR))
        for words in ("addr add 192.0.2.1/24 dev br0", "route add 198.51.100.0/24 dev br0", "addr flush dev br0"):
            subprocess.run(["ip", "-n", path.name, *words.split()], check=True)
        heard = ear.receive()
    routes = [decode_route(message) for message in heard if message.kind in {RTM_NEWROUTE, RTM_DELROUTE}]
    assert {route.table for route in routes} == {RT_TABLE_MAIN}
    assert {str(route.dst) for route in routes} == {"192.0.2.0/24", "198.51.100.0/24"}
    assert {RTM_NEWADDR, RTM_DELADDR} <= {message.kind for message in heard}, "nothing else is missed"


def test_an_overflow_surfaces_and_the_socket_lives_on(path: Path, sock: NetlinkSocket) -> None:
    tunnel = _tunnel(sock)
    with NetlinkSocket.open(path, groups=[RTNLGRP_NEIGH], receive_buffer=4096) as listener:
        sock.execute([new_neighbor(_entry(tunnel, n)) for n in range(1000)])
        with pytest.raises(Overflow):
            while listener.receive():
                pass
        while listener.receive():
            pass
        sock.run(del_neighbor(_entry(tunnel, 1)))
        assert [decode_neighbor(m).lladdr for m in listener.receive()] == [_mac(1)]


def test_a_default_receive_buffer_holds_a_batch_of_refusals(path: Path) -> None:
    with NetlinkSocket.open(path, receive_buffer=106496) as small:
        answers = small.execute([set_link(IfIndex(99999), LinkSettings(mtu=1400)) for _ in range(1000)])
    assert {ack.errno for ack in answers} == {ENODEV}


def test_a_closed_socket_leaves_no_descriptor(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(10):
        with NetlinkSocket.open(path) as opened:
            assert opened.fileno() >= 0
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_device_is_known_by_name_and_number_without_a_message(path: Path) -> None:
    with NetlinkSocket.open(path) as sock:
        sock.run(new_bridge("a-name-of-15-by", LinkSettings()))
        index = decode_link(sock.ask(get_link("a-name-of-15-by"))).index
        assert (sock.index_of("a-name-of-15-by"), sock.name_of(index)) == (index, "a-name-of-15-by")
        assert (sock.index_of("lo"), sock.name_of(1)) == (1, "lo")
        assert (sock.index_of("none"), sock.name_of(index + 1)) == (None, None)


def test_a_pair_is_made_with_the_one_queue_that_it_uses(path: Path) -> None:
    """Linux makes one for each CPU and takes all but one away, when it is not told."""
    with NetlinkSocket.open(path) as sock:
        sock.run(new_veth("one", LinkSettings(), peer="other", peer_settings=LinkSettings()))
        for name in ("one", "other"):
            found = parse_attributes(sock.ask(get_link(name)).payload, IFINFOMSG.size)
            assert [read_u32(found[kind]) for kind in (IFLA_NUM_TX_QUEUES, IFLA_NUM_RX_QUEUES)] == [1, 1]
