"""Leases as stored: values captured from flannel, hostile keys and values, and what is written."""

import json
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest

from tests.kit.cluster import dual_lease, lease
from tulle.errors import DecodeError
from tulle.model.lease import Lease, LeaseKey, NodeId
from tulle.wire.leases import VALUE_LIMIT, decode_lease, encode_lease, lease_key, parse_lease_key

KEY = "10.5.29.0-24"
DUAL_KEY = "10.20.76.0-24&fd10:20:0:9::-64"
VXLAN = (
    b'{"PublicIP":"10.99.0.11","PublicIPv6":null,"BackendType":"vxlan",'
    b'"BackendData":{"VNI":1,"VtepMAC":"3e:ae:f2:d4:ca:39"}}'
)
DUAL = (
    b'{"PublicIP":"10.99.0.14","PublicIPv6":"fd99::14","BackendType":"vxlan","BackendData":{"VNI":1,"VtepMAC":'
    b'"62:c9:af:f1:d6:c5"},"BackendV6Data":{"VNI":1,"VtepMAC":"5a:60:ab:29:ab:80"}}'
)
ONLY6 = (
    b'{"PublicIP":"0.0.0.0","PublicIPv6":"fd99::16","BackendType":"vxlan",'
    b'"BackendV6Data":{"VNI":1,"VtepMAC":"5e:81:68:c8:98:8f"}}'
)


# -- keys ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "subnet", "subnet6"),
    [
        pytest.param(KEY, "10.5.29.0/24", None, id="IPv4"),
        pytest.param(DUAL_KEY, "10.20.76.0/24", "fd10:20:0:9::/64", id="both"),
        pytest.param("0.0.0.0-0&fd77:0:0:37::-64", None, "fd77:0:0:37::/64", id="IPv6 only"),
        pytest.param("10.0.0.0-31", "10.0.0.0/31", None, id="the longest that flannel reads"),
    ],
)
def test_a_key_is_what_it_claims(key: str, subnet: str | None, subnet6: str | None) -> None:
    four = IPv4Network(subnet) if subnet else None
    six = IPv6Network(subnet6) if subnet6 else None
    assert parse_lease_key(key) == (four, six)
    assert lease_key(four, six) == key


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("", id="empty"),
        pytest.param("hello", id="the key that made every flanneld withdraw all peers"),
        pytest.param("0.0.0.0-0", id="the whole internet"),
        pytest.param("10.5.29.1-24", id="host bits"),
        pytest.param("10.5.29.0-32", id="no room for pods"),
        pytest.param("10.5.29.0-33", id="no such length"),
        pytest.param("10.5.290.0-24", id="no such address"),
        pytest.param("10.5.29.0", id="no length"),
        pytest.param("10.5.29.0/24", id="a slash"),
        pytest.param("010.5.29.0-24", id="an octal address"),
        pytest.param("10.5.29.0-24\n", id="a newline at the end"),
        pytest.param("x10.5.29.0-24", id="something before it"),
        pytest.param("10.5.29.0-24&", id="half of a pair"),
        pytest.param("10.5.29.0-24&FD10::-64", id="upper case"),
        pytest.param("10.5.29.0-24&fd10::1-64", id="host bits in IPv6"),
        pytest.param("10.5.29.0-24&fd10::-128", id="no room in IPv6"),
        pytest.param("10.5.29.0-24&fe80::%1-64", id="a scope"),
        pytest.param("../../etc/passwd", id="f54 a path"),
        pytest.param("\x1b[31m10.5.29.0-24", id="f54 a terminal's escape"),
        pytest.param("١٠.5.29.0-24", id="other digits"),
        pytest.param("9" * 100_000, id="a hundred thousand digits"),
    ],
)
def test_f54_any_other_key_is_refused_in_one_short_printable_line(key: str) -> None:
    with pytest.raises(DecodeError) as caught:
        parse_lease_key(key)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 300


# -- values captured from flannel -----------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        pytest.param(
            KEY,
            VXLAN,
            {"public_ip": IPv4Address("10.99.0.11"), "vtep_mac": "3e:ae:f2:d4:ca:39", "vni": 1, "vtep_mac6": None},
            id="vxlan",
        ),
        pytest.param(
            DUAL_KEY,
            DUAL,
            {"public_ip6": IPv6Address("fd99::14"), "vtep_mac": "62:c9:af:f1:d6:c5", "vtep_mac6": "5a:60:ab:29:ab:80"},
            id="vxlan, both families",
        ),
        pytest.param(
            "0.0.0.0-0&fd77:0:0:37::-64",
            ONLY6,
            {"subnet": None, "public_ip": None, "public_ip6": IPv6Address("fd99::16"), "vni": 1, "vtep_mac": None},
            id="vxlan, IPv6 only",
        ),
        pytest.param(
            KEY,
            b'{"PublicIP":"10.99.0.16","PublicIPv6":null,"BackendType":"host-gw"}',
            {"backend_type": "host-gw", "vni": None},
            id="host-gw",
        ),
        pytest.param(
            KEY, b'{"PublicIP":"10.99.0.18","PublicIPv6":null}', {"backend_type": "", "vtep_mac": None}, id="udp, alloc"
        ),
        pytest.param(
            KEY,
            b'{"PublicIP":"10.99.0.30","PublicIPv6":null,"BackendType":"extension","BackendData":"hello- world"}',
            {"backend_type": "extension"},
            id="another backend's data are not looked at",
        ),
        pytest.param(
            KEY,
            b'{"PublicIP":"a","BackendType":"wireguard","BackendData":{"PublicKey":"k","Port":51820}}'.replace(
                b'"a"', b'"10.0.0.1"'
            ),
            {"backend_type": "wireguard", "vni": None},
            id="wireguard",
        ),
        pytest.param(
            KEY, b'{"PublicIP":"10.99.0.30"}', {"backend_type": "", "expires_at_ns": None}, id="a reservation"
        ),
        pytest.param(
            KEY,
            b'{"publicip":"10.99.0.11","BACKENDTYPE":"vxlan","backendData":{"vni":1,"vtepMac":"3E-AE-F2-D4-CA-39"}}',
            {"vtep_mac": "3e:ae:f2:d4:ca:39", "vni": 1},
            id="in any spelling that Go reads",
        ),
        pytest.param(
            KEY, b'{"PublicIP":"10.0.0.1","Later":{"x":[1]}}', {"public_ip": IPv4Address("10.0.0.1")}, id="more"
        ),
    ],
)
def test_a_captured_value_is_read(key: str, value: bytes, expected: dict[str, object]) -> None:
    found = decode_lease(key, value)
    assert {name: getattr(found, name) for name in expected} == expected
    assert found.key == key


@pytest.mark.parametrize(
    ("key", "value"), [(KEY, VXLAN), (DUAL_KEY, DUAL), ("0.0.0.0-0&fd77:0:0:37::-64", ONLY6)], ids=["4", "dual", "6"]
)
def test_what_flannel_wrote_is_written_back_byte_for_byte(key: str, value: bytes) -> None:
    assert encode_lease(decode_lease(key, value)) == value


def test_the_stores_own_facts_are_kept_beside_the_value() -> None:
    found = decode_lease(KEY, VXLAN, created=7, expires_at_ns=9, owner=NodeId("me"))
    assert (found.created, found.expires_at_ns, found.owner) == (7, 9, "me")


@pytest.mark.parametrize(
    ("value", "fact"),
    [
        pytest.param(b"x", "reason", id="not JSON"),
        pytest.param(b"[]", "not a JSON object", id="no object"),
        pytest.param(b'{"PublicIP":null}', "PublicIP=None", id="null, which flannel cannot read"),
        pytest.param(b'{"PublicIP":7}', "PublicIP='7'", id="a number for an address"),
        pytest.param(b'{"PublicIP":"10.0.0.256"}', "PublicIP", id="no such address"),
        pytest.param(b'{"PublicIP":"fd00::1"}', "PublicIP", id="the other family"),
        pytest.param(b'{"PublicIP":"10.0.0.1/24"}', "PublicIP", id="a prefix"),
        pytest.param(b'{"PublicIPv6":"fe80::1%eth0"}', "PublicIPv6", id="a scope"),
        pytest.param(b'{"PublicIPv6":"10.0.0.1"}', "PublicIPv6", id="the other family, in IPv6"),
        pytest.param(b'{"BackendType":1}', "not a string", id="a backend that is a number"),
        pytest.param(b'{"BackendType":"a b"}', "BackendType", id="a backend with a space"),
        pytest.param(b'{"BackendType":"' + b"x" * 99 + b'"}', "BackendType", id="a long backend"),
        pytest.param(b'{"BackendType":"vxlan","BackendData":"x"}', "not an object", id="data that is text"),
        pytest.param(b'{"BackendType":"vxlan","BackendData":{"VNI":"1"}}', "BackendData.VNI", id="a VNI that is text"),
        pytest.param(b'{"BackendType":"vxlan","BackendData":{"VNI":true}}', "BackendData.VNI", id="a VNI that is true"),
        pytest.param(b'{"BackendType":"vxlan","BackendData":{"VNI":0}}', "BackendData.VNI", id="VNI 0"),
        pytest.param(b'{"BackendType":"vxlan","BackendData":{"VNI":16777216}}', "BackendData.VNI", id="25 bits"),
        pytest.param(b'{"BackendType":"vxlan","BackendData":{"VtepMAC":7}}', "VtepMAC", id="a MAC that is a number"),
        pytest.param(b'{"BackendType":"vxlan","BackendData":{"VtepMAC":"02:00"}}', "VtepMAC", id="a short MAC"),
        pytest.param(
            b'{"BackendType":"vxlan","BackendData":{"VtepMAC":"02:00-00:00-00:01"}}', "VtepMAC", id="a mixed MAC"
        ),
        pytest.param(
            b'{"BackendType":"vxlan","BackendData":{"VNI":1},"BackendV6Data":{"VNI":2}}', "IPv6_VNI", id="two VNIs"
        ),
        pytest.param(b'{"PublicIP":"\\u202e1.0.0.01"}', "u202e", id="f53 a mark that turns text around"),
        pytest.param(b'{"x":"' + b"y" * VALUE_LIMIT + b'"}', "limit", id="f53 larger than 64 KiB"),
    ],
)
def test_a_wrong_value_is_refused_with_the_field_in_one_printable_line(value: bytes, fact: str) -> None:
    with pytest.raises(DecodeError) as caught:
        decode_lease(KEY, value)
    assert fact in str(caught.value)
    assert str(caught.value).isprintable()


# -- writing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("made", "fields"),
    [
        pytest.param(lease(2), ["PublicIP", "PublicIPv6", "BackendType", "BackendData"], id="IPv4"),
        pytest.param(
            dual_lease(2), ["PublicIP", "PublicIPv6", "BackendType", "BackendData", "BackendV6Data"], id="both"
        ),
        pytest.param(
            Lease(key=LeaseKey(KEY), subnet=IPv4Network("10.5.29.0/24"), public_ip=IPv4Address("10.0.0.1")),
            ["PublicIP", "PublicIPv6"],
            id="a reservation",
        ),
    ],
)
def test_fields_are_written_in_flannels_order_without_spaces(made: Lease, fields: list[str]) -> None:
    written = encode_lease(made)
    assert list(json.loads(written)) == fields
    assert b" " not in written


def test_what_a_store_adds_is_not_written() -> None:
    plain = lease(2)
    assert encode_lease(replace(plain, created=99, expires_at_ns=99, owner=NodeId("me"))) == encode_lease(plain)
