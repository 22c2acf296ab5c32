"""rtnetlink's messages, byte by byte.  The laws are in ``property``, what the kernel says in ``contract``."""

import struct
from ipaddress import IPv4Address, IPv4Network, ip_interface

import pytest

from tulle.errors import DecodeError
from tulle.model.network import MacAddress
from tulle.wire.netlink import (
    NLM_F_APPEND,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_EXCL,
    NLM_F_REPLACE,
    Message,
    Request,
)
from tulle.wire.rtnetlink.addresses import AddressMessage, decode_address, encode_address
from tulle.wire.rtnetlink.links import LinkMessage, decode_deleted, encode_link
from tulle.wire.rtnetlink.neighbors import (
    NTF_MASTER,
    NTF_SELF,
    NeighborMessage,
    decode_neighbor,
    del_neighbor,
    dump_fdb,
    dump_neighbors,
    encode_neighbor,
    get_fdb_entry,
    get_neighbor,
    new_neighbor,
)
from tulle.wire.rtnetlink.parts import (
    AF_BRIDGE,
    AF_INET,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_GETNEIGH,
    RTM_GETRULE,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    IfIndex,
    read_address,
    read_be16,
    read_mac,
    read_text,
    read_u8,
    read_u16,
    read_u32,
)
from tulle.wire.rtnetlink.routes import RouteMessage, decode_route, encode_route, is_kernels_own
from tulle.wire.rtnetlink.rules import decode_rule, dump_rules
from tulle.wire.rtnetlink.vxlan import VxlanInfo, decode_vxlan, encode_vxlan, encode_vxlan_change

MAC = MacAddress("02:00:0a:f4:02:00")
FDB = NeighborMessage(
    family=AF_BRIDGE, ifindex=IfIndex(7), dst=IPv4Address("192.168.64.12"), lladdr=MAC, flags=NTF_SELF
)


def message(payload: bytes) -> Message:
    return Message(0, 0, 0, 0, payload)


def test_an_fdb_entry_is_these_bytes() -> None:
    """As ``bridge fdb add 02:00:0a:f4:02:00 dev #7 dst 192.168.64.12 self permanent`` sends it."""
    assert encode_neighbor(FDB) == (
        struct.pack("=BxxxiHBB", AF_BRIDGE, 7, 0x80, NTF_SELF, 0)
        + struct.pack("=HH", 8, 1)
        + bytes((192, 168, 64, 12))
        + struct.pack("=HH", 10, 2)
        + bytes.fromhex("02000af40200")
        + b"\0\0"
    )


@pytest.mark.parametrize(
    ("request_", "kind", "flags"),
    [
        pytest.param(new_neighbor(FDB), RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_EXCL, id="create refuses what is there"),
        pytest.param(new_neighbor(FDB, "replace"), RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, id="replace"),
        pytest.param(new_neighbor(FDB, "append"), RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_APPEND, id="append"),
        pytest.param(del_neighbor(FDB), RTM_DELNEIGH, 0, id="delete"),
        pytest.param(get_fdb_entry(IfIndex(7), MAC), RTM_GETNEIGH, 0, id="one FDB entry"),
        pytest.param(get_neighbor(IfIndex(7), IPv4Address("10.244.2.0")), RTM_GETNEIGH, 0, id="one neighbour"),
        pytest.param(dump_neighbors(), RTM_GETNEIGH, NLM_F_DUMP, id="all neighbours"),
        pytest.param(dump_fdb(IfIndex(7)), RTM_GETNEIGH, NLM_F_DUMP, id="a device's FDB entries"),
        pytest.param(dump_rules(4), RTM_GETRULE, NLM_F_DUMP, id="all rules"),
    ],
)
def test_a_request_says_what_it_is(request_: Request, kind: int, flags: int) -> None:
    assert (request_.kind, request_.flags) == (kind, flags)
    assert len(request_.body) % 4 == 0


def test_an_fdb_entry_is_asked_of_the_device_or_of_its_bridge() -> None:
    entries = [decode_neighbor(message(get_fdb_entry(IfIndex(7), MAC, master=master).body)) for master in (False, True)]
    assert [entry.flags for entry in entries] == [NTF_SELF, NTF_MASTER]


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        pytest.param(read_u8, b"\x07", 7, id="u8"),
        pytest.param(read_u16, struct.pack("=H", 700), 700, id="u16"),
        pytest.param(read_u32, struct.pack("=I", 70_000), 70_000, id="u32"),
        pytest.param(read_be16, b"\x21\x18", 8472, id="a port, in network order"),
        pytest.param(read_u32, None, 0, id="absent"),
        pytest.param(read_text, b"eth0\0\xff", "eth0", id="text ends at its NUL"),
        pytest.param(read_text, b"a\xffb\0", "a\\xffb", id="text that is not UTF-8 stays visible"),
        pytest.param(read_mac, bytes(6), "00:00:00:00:00:00", id="a MAC"),
        pytest.param(read_mac, bytes(4), None, id="a tunnel's address is no MAC"),
        pytest.param(read_address, b"\x0a\0\0\1", IPv4Address("10.0.0.1"), id="an address by its length"),
    ],
)
def test_an_attribute(read: object, value: bytes | None, expected: object) -> None:
    assert callable(read)
    assert read(value) == expected


@pytest.mark.parametrize("read", [read_u8, read_u16, read_u32, read_be16, read_address])
def test_an_attribute_that_is_cut_is_malformed(read: object) -> None:
    assert callable(read)
    with pytest.raises(DecodeError):
        read(b"")


@pytest.mark.parametrize("decode", [decode_address, decode_neighbor, decode_route, decode_rule])
def test_a_message_that_is_cut_names_its_structure(decode: object) -> None:
    assert callable(decode)
    with pytest.raises(DecodeError, match="need="):
        decode(message(b"\0\0"))


def test_an_address_longer_than_its_family_is_malformed() -> None:
    good = encode_address(AddressMessage(index=IfIndex(1), interface=ip_interface("10.0.0.1/24")))
    with pytest.raises(DecodeError):
        decode_address(message(good[:1] + b"\x21" + good[2:]))


def test_a_route_whose_prefix_has_host_bits_is_malformed() -> None:
    good = encode_route(RouteMessage(dst=IPv4Network("10.244.2.0/24")))
    with pytest.raises(DecodeError):
        decode_route(message(good[:1] + b"\x08" + good[2:]))


@pytest.mark.parametrize(("table", "own"), [(255, True), (254, False), (1000, False)])
def test_a_route_of_the_table_local_is_the_kernels_own(table: int, own: bool) -> None:
    route = RouteMessage(dst=IPv4Network("10.244.2.0/24"), table=table)
    assert is_kernels_own(message(encode_route(route))) is own


def test_a_device_is_deleted_by_its_own_announcement_alone() -> None:
    payload = encode_link(LinkMessage(index=IfIndex(7), name="veth0"))
    leaves_its_bridge = bytes((AF_BRIDGE,)) + payload[1:]
    assert decode_deleted(Message(RTM_DELLINK, 0, 0, 0, payload)) == 7
    assert decode_deleted(Message(RTM_DELLINK, 0, 0, 0, leaves_its_bridge)) is None
    assert decode_deleted(Message(RTM_NEWLINK, 0, 0, 0, payload)) is None


def test_the_default_route_is_one_without_a_destination() -> None:
    found = decode_route(message(struct.pack("=BBBBBBBBI", AF_INET, 0, 0, 0, 254, 3, 0, 1, 0)))
    assert found.dst == IPv4Network("0.0.0.0/0")


def test_a_change_of_a_tunnel_leaves_out_what_the_kernel_refuses_to_change() -> None:
    info = VxlanInfo(vni=1, link=IfIndex(2), local=IPv4Address("192.168.64.11"), port=4789, gbp=True, learning=False)
    changed = decode_vxlan(encode_vxlan_change(info))
    assert decode_vxlan(encode_vxlan(info)) == info
    assert (changed.port, changed.gbp) == (0, False)
    assert (changed.vni, changed.link, changed.local) == (info.vni, info.link, info.local)
