"""Laws of the stored and spoken formats: what is written reads back, and any bytes are a value or DecodeError.

Two kinds of hostile input: bytes at random, and documents of the right shape with one wrong thing in them.
"""

import json
from collections.abc import Callable
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tulle.errors import ConfigError, DecodeError, TulleError
from tulle.model.lease import Lease
from tulle.model.network import MacAddress, NetworkConfig, SubnetPool, Vni, Vxlan
from tulle.model.objects import ChainAcceptKey, NftTableKey
from tulle.wire.control import (
    LENGTH,
    CniRequest,
    VerbRequest,
    decode_length,
    decode_request,
    encode_cni,
    encode_verb,
)
from tulle.wire.control import decode_json as decode_control_json
from tulle.wire.leases import decode_lease, encode_lease, lease_key, parse_lease_key
from tulle.wire.network_config import decode_network_config, encode_network_config
from tulle.wire.nft import chain_accept, decode_base_chains, decode_own_rules, decode_table, table_names
from tulle.wire.strict_json import decode_json
from tulle.wire.subnet_env import SubnetEnv, format_subnet_env, parse_subnet_env

KEY: Final = "10.244.2.0-24"
MANY: Final = settings.default.max_examples if settings.default else 50
"""Random bytes are cheap: they are tried more often than what has to be built."""

# -- values -------------------------------------------------------------------------------

macs = st.binary(min_size=6, max_size=6).map(lambda raw: MacAddress(raw.hex(":")))
vnis = st.integers(1, (1 << 24) - 1).map(Vni)
subnets4 = st.tuples(st.integers(0, (1 << 24) - 1), st.integers(1, 30)).map(
    lambda found: IPv4Network((found[0] << 8, found[1]), strict=False)
)
subnets6 = st.tuples(st.integers(0, (1 << 128) - 1), st.integers(1, 126)).map(
    lambda found: IPv6Network(found, strict=False)
)


@st.composite
def leases(draw: st.DrawFn) -> Lease:
    subnet, subnet6 = draw(st.none() | subnets4), draw(subnets6)
    six = draw(st.booleans()) or subnet is None
    is_vxlan = draw(st.booleans())
    mac, mac6 = draw(st.none() | macs), draw(st.none() | macs)
    has_data = is_vxlan and not mac is mac6 is None
    return Lease(
        key=lease_key(subnet, subnet6 if six else None),
        subnet=subnet,
        subnet6=subnet6 if six else None,
        public_ip=None if subnet is None else draw(st.builds(IPv4Address, st.integers(0, (1 << 32) - 1))),
        public_ip6=draw(st.none() | st.builds(IPv6Address, st.integers(0, (1 << 128) - 1))),
        backend_type="vxlan" if is_vxlan else draw(st.sampled_from(["", "host-gw", "wireguard"])),
        vni=draw(vnis) if has_data else None,
        vtep_mac=mac if is_vxlan else None,
        vtep_mac6=mac6 if is_vxlan else None,
    )


@st.composite
def pools(draw: st.DrawFn, version: int) -> SubnetPool:
    longest, network_type = (30, IPv4Network) if version == 4 else (126, IPv6Network)
    prefix = draw(st.integers(0, longest - 2))
    length = draw(st.integers(prefix + 2, longest))
    bits = 32 if version == 4 else 128
    base = draw(st.integers(0, (1 << bits) - 1)) >> (bits - prefix) << (bits - prefix) if prefix else 0
    first, last = sorted(draw(st.lists(st.integers(0, (1 << (length - prefix)) - 1), min_size=2, max_size=2)))
    return SubnetPool(
        network=network_type((base, prefix)),
        subnet_len=length,
        first=network_type((base + (first << (bits - length)), length)),
        last=network_type((base + (last << (bits - length)), length)),
    )


@st.composite
def configs(draw: st.DrawFn) -> NetworkConfig:
    pool4, pool6 = draw(st.none() | pools(4)), draw(pools(6))
    return NetworkConfig(
        pool4=pool4,
        pool6=pool6 if pool4 is None or draw(st.booleans()) else None,
        backend=Vxlan(
            vni=draw(vnis),
            port=draw(st.integers(1, 65535)),
            mtu=draw(st.none() | st.integers(1, 65535)),
            gbp=draw(st.booleans()),
            learning=draw(st.booleans()),
            direct_routing=draw(st.booleans()),
        ),
        enable_nftables=draw(st.none() | st.booleans()),
    )


@st.composite
def subnet_envs(draw: st.DrawFn) -> SubnetEnv:
    subnet, subnet6 = draw(st.none() | subnets4), draw(subnets6)
    six = subnet is None or draw(st.booleans())
    return SubnetEnv(
        networks=() if subnet is None else (IPv4Network("10.244.0.0/16"), IPv4Network("10.0.0.0/8")),
        subnet=subnet,
        networks6=(IPv6Network("fd10:244::/48"),) if six else (),
        subnet6=subnet6 if six else None,
        mtu=draw(st.integers(68, 65535)),
        ip_masq=draw(st.booleans()),
    )


@given(leases())
def test_a_lease_survives_being_stored(lease: Lease) -> None:
    assert decode_lease(lease.key, encode_lease(lease)) == lease


@given(leases())
def test_a_key_says_what_it_claims(lease: Lease) -> None:
    assert parse_lease_key(lease.key) == (lease.subnet, lease.subnet6)


@given(configs())
def test_a_network_configuration_survives_being_stored(config: NetworkConfig) -> None:
    assert decode_network_config(encode_network_config(config)) == config


@given(subnet_envs())
def test_a_subnet_env_survives_being_written(env: SubnetEnv) -> None:
    assert parse_subnet_env(format_subnet_env(env)) == env


words = st.text(st.characters(exclude_characters="\0=", exclude_categories=("Cs",)), min_size=1, max_size=8)


@given(st.dictionaries(words, words, max_size=4), st.binary(max_size=64))
def test_a_plugin_execution_survives_the_socket(environment: dict[str, str], stdin: bytes) -> None:
    request = CniRequest(environment, stdin)
    frame = encode_cni(request)
    assert decode_length(frame[: LENGTH.size]) == len(frame) - LENGTH.size
    assert decode_request(frame[LENGTH.size :]) == request


documents: st.SearchStrategy[object] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(words, documents, max_size=4))
def test_a_question_survives_the_socket(body: dict[str, object]) -> None:
    assert decode_request(encode_verb(body)[LENGTH.size :]) == VerbRequest(body)


# -- any bytes ----------------------------------------------------------------------------


def _lease(data: bytes) -> object:
    return decode_lease(KEY, data)


def _key(data: bytes) -> object:
    return parse_lease_key(data.decode(errors="replace"))


def _strict(data: bytes) -> object:
    return decode_json("anything", data, 4096)


def _table(data: bytes) -> object:
    return decode_table(NftTableKey("inet", "tulle"), data)


def _own_rules(data: bytes) -> object:
    return chain_accept(ChainAcceptKey("nft", "ip", "filter", "FORWARD"), decode_own_rules(data))


DECODERS: Final[dict[str, tuple[Callable[[bytes], object], type[TulleError]]]] = {
    "lease": (_lease, DecodeError),
    "lease key": (_key, DecodeError),
    "network configuration": (decode_network_config, ConfigError),
    "strict JSON": (_strict, DecodeError),
    "subnet.env": (parse_subnet_env, DecodeError),
    "control request": (decode_request, DecodeError),
    "control JSON": (decode_control_json, DecodeError),
    "control length": (decode_length, DecodeError),
    "nft chains": (decode_base_chains, DecodeError),
    "nft tables": (table_names, DecodeError),
    "nft table": (_table, DecodeError),
    "nft rules": (_own_rules, DecodeError),
}
each_decoder = pytest.mark.parametrize("decoder", DECODERS)


def survives(decoder: str, data: bytes) -> None:
    """A value, or the one kind of error, whose text is one printable line."""
    decode, kind = DECODERS[decoder]
    said = ""
    try:
        decode(data)
    except kind as error:
        said = str(error)
    assert said.isprintable(), ascii(said)
    assert len(said) < 1000


@each_decoder
@settings(max_examples=4 * MANY)
@given(data=st.binary(max_size=120))
@example(data=b"[" * 100_000)
@example(data=b'{"a":' * 100_000)
@example(data=b'{"PublicIP":"10.0.0.1","a":1e400}')
@example(data=b'{"a":1,"A":2}')
@example(data=b'{"a":NaN}')
@example(data=b"\xef\xbb\xbf{}")
@example(data=b'{"PublicIP":"\\u202e\\u0000\\ud800"}')
@example(data=b"1" * 5000)
@example(data=b'{"PublicIP":' + b"1" * 5000 + b"}")
def test_any_bytes_are_a_value_or_the_decoders_error(decoder: str, data: bytes) -> None:
    survives(decoder, data)


NAMES: Final = {
    "lease": ("PublicIP", "PublicIPv6", "BackendType", "BackendData", "BackendV6Data", "publicip"),
    "network configuration": (
        *("Network", "SubnetLen", "SubnetMin", "SubnetMax", "EnableIPv6", "EnableIPv4", "IPv6Network"),
        *("Backend", "IPv6SubnetLen", "EnableNFTables"),
    ),
    "nft table": ("nftables",),
    "nft rules": ("nftables",),
    "nft chains": ("nftables",),
    "control request": ("verb",),
}
TELLING: Final[tuple[object, ...]] = (
    *("vxlan", "10.0.0.1", "10.244.0.0/16", "fd10::/48", "::1", "fe80::1%eth0", "02:00:00:00:00:01", "drop"),
    *(0, 1, -1, 24, 1 << 24, 1 << 70, 1.5, True, None),
    *({"Type": "vxlan"}, {"VNI": 1, "VtepMAC": "02:00:00:00:00:01"}, {"VNI": True, "VtepMAC": 7}),
    *({"rule": {"comment": "tulle forward", "handle": "x"}}, {"chain": {"hook": "forward", "policy": 7}}),
    *({"rule": {"comment": "tulle forward", "handle": 1, "expr": [{"match": {"op": "=="}}, {"accept": None}]}},),
    *({"rule": {"comment": "tulle:0123456789abcdef 1/1"}}, {"chain": []}, {"rule": None}),
)


@pytest.mark.parametrize("decoder", NAMES)
@settings(max_examples=2 * MANY)
@given(data=st.data())
def test_a_document_of_the_right_shape_is_a_value_or_the_decoders_error(decoder: str, data: st.DataObject) -> None:
    telling = st.sampled_from(TELLING)
    value: st.SearchStrategy[object] = telling | documents | st.lists(telling, max_size=3)
    document = data.draw(st.dictionaries(st.sampled_from(NAMES[decoder]) | words, value, max_size=6))
    prefix = b"J" if decoder == "control request" else b""
    survives(decoder, prefix + json.dumps(document).encode())


@given(leases(), st.data())
def test_a_damaged_lease_is_a_value_or_a_decode_error(lease: Lease, data: st.DataObject) -> None:
    raw = bytearray(encode_lease(lease))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(DecodeError):
        decoded = decode_lease(lease.key, bytes(raw))
        assert decoded.subnets == lease.subnets
        assert decoded.public_ip is None or isinstance(decoded.public_ip, IPv4Address)


@given(subnet_envs(), st.data())
def test_a_cut_subnet_env_is_a_value_or_a_decode_error(env: SubnetEnv, data: st.DataObject) -> None:
    raw = format_subnet_env(env)
    survives("subnet.env", raw[: data.draw(st.integers(0, len(raw)))])
