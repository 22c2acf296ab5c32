"""The shared configuration: flannel's defaults and rules, each refusal naming its key."""

import json
from typing import Any

import pytest

from tulle.errors import ConfigError
from tulle.model.network import HostGw, Vni, Vxlan
from tulle.wire.network_config import decode_network_config, encode_network_config

BACKEND = {"Type": "vxlan"}


def decoded(**fields: Any) -> Any:
    return decode_network_config(json.dumps({"Backend": BACKEND, **fields}).encode())


@pytest.mark.parametrize(
    ("fields", "pool"),
    [
        pytest.param({"Network": "10.244.0.0/16"}, ("10.244.0.0/16", 24, "10.244.1.0/24", "10.244.255.0/24"), id="/16"),
        pytest.param({"Network": "10.0.0.7/16"}, ("10.0.0.0/16", 24, "10.0.1.0/24", "10.0.255.0/24"), id="host bits"),
        pytest.param({"Network": "10.0.0.0/22"}, ("10.0.0.0/22", 24, "10.0.1.0/24", "10.0.3.0/24"), id="/22 has /24s"),
        pytest.param({"Network": "10.0.0.0/23"}, ("10.0.0.0/23", 25, "10.0.0.128/25", "10.0.1.128/25"), id="/23"),
        pytest.param({"Network": "10.0.0.0/28"}, ("10.0.0.0/28", 30, "10.0.0.4/30", "10.0.0.12/30"), id="the smallest"),
        pytest.param(
            {"Network": "10.0.0.0/16", "SubnetLen": 28, "SubnetMin": "10.0.9.0", "SubnetMax": "10.0.9.16"},
            ("10.0.0.0/16", 28, "10.0.9.0/28", "10.0.9.16/28"),
            id="all given",
        ),
        pytest.param(
            {"network": "10.0.0.0/16", "SUBNETLEN": 20},
            ("10.0.0.0/16", 20, "10.0.16.0/20", "10.0.240.0/20"),
            id="in any case",
        ),
    ],
)
def test_the_ipv4_pool(fields: dict[str, Any], pool: tuple[str, int, str, str]) -> None:
    found = decoded(**fields).pool4
    assert (str(found.network), found.subnet_len, str(found.first), str(found.last)) == pool


@pytest.mark.parametrize(
    ("network", "pool"),
    [
        pytest.param("fd10::/48", ("fd10::/48", 64, "fd10:0:0:1::/64", "fd10:0:0:ffff::/64"), id="/48"),
        pytest.param("fd10::/62", ("fd10::/62", 64, "fd10:0:0:1::/64", "fd10:0:0:3::/64"), id="/62 has /64s"),
        pytest.param("fd10::/63", ("fd10::/63", 65, "fd10::8000:0:0:0/65", "fd10:0:0:1:8000::/65"), id="/63"),
        pytest.param("fd10::/124", ("fd10::/124", 126, "fd10::4/126", "fd10::c/126"), id="the smallest"),
    ],
)
def test_the_ipv6_pool(network: str, pool: tuple[str, int, str, str]) -> None:
    config = decoded(EnableIPv4=False, EnableIPv6=True, IPv6Network=network)
    found = config.pool6
    assert config.pool4 is None
    assert (str(found.network), found.subnet_len, str(found.first), str(found.last)) == pool


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        pytest.param({"Type": "vxlan"}, Vxlan(), id="defaults"),
        pytest.param({"Type": "VXLAN"}, Vxlan(), id="its name in any case"),
        pytest.param({"Type": "vxlan", "Port": 0, "MTU": 0}, Vxlan(), id="zero means the default"),
        pytest.param(
            {"Type": "vxlan", "VNI": 5, "Port": 4789, "MTU": 1400, "GBP": True, "Learning": True},
            Vxlan(vni=Vni(5), port=4789, mtu=1400, gbp=True, learning=True),
            id="all given",
        ),
        pytest.param({"type": "vxlan", "vni": 5}, Vxlan(vni=Vni(5)), id="keys in any case"),
        pytest.param({"Type": "vxlan", "Name": "x", "MacPrefix": "0E-2A"}, Vxlan(), id="what only Windows uses"),
    ],
)
def test_the_backend(backend: dict[str, Any], expected: Vxlan) -> None:
    assert decoded(Network="10.0.0.0/16", Backend=backend).backend == expected


@pytest.mark.parametrize(
    ("given", "expected"), [({}, None), ({"EnableNFTables": True}, True), ({"EnableNFTables": False}, False)]
)
def test_the_engine_is_told_apart_from_not_said(given: dict[str, bool], expected: bool | None) -> None:
    assert decoded(Network="10.0.0.0/16", **given).enable_nftables is expected


@pytest.mark.parametrize(
    ("fields", "item", "rule"),
    [
        pytest.param({}, "Network", "must be an IPv4 network", id="no network"),
        pytest.param({"Network": "10.0.0.0"}, "Network", "must be an IPv4 network", id="no length"),
        pytest.param({"Network": "fd00::/48"}, "Network", "must be an IPv4 network", id="the other family"),
        pytest.param({"Network": 7}, "Network", "must be a string", id="a number"),
        pytest.param({"Network": "10.0.0.0/29"}, "Network", "is too small", id="too small"),
        pytest.param({"Network": "10.0.0.0/16", "SubnetLen": 31}, "SubnetLen", "is 31", id="no room for pods"),
        pytest.param({"Network": "10.0.0.0/16", "SubnetLen": 17}, "SubnetLen", "must hold four", id="not four subnets"),
        pytest.param({"Network": "10.0.0.0/16", "SubnetLen": "24"}, "SubnetLen", "whole number", id="text"),
        pytest.param({"Network": "10.0.0.0/16", "SubnetLen": True}, "SubnetLen", "whole number", id="true"),
        pytest.param({"Network": "10.0.0.0/16", "SubnetLen": -1}, "SubnetLen", "whole number", id="negative"),
        pytest.param({"Network": "10.0.0.0/16", "SubnetMin": "10.1.0.0"}, "SubnetMin", "is not in", id="outside"),
        pytest.param({"Network": "10.0.0.0/16", "SubnetMin": "10.0.1.5"}, "SubnetMin", "not the start", id="askew"),
        pytest.param({"Network": "10.0.0.0/16", "SubnetMax": "fd00::"}, "SubnetMax", "not an address", id="no address"),
        pytest.param(
            {"Network": "10.0.0.0/16", "SubnetMin": "10.0.9.0", "SubnetMax": "10.0.8.0"},
            "SubnetMin",
            "lies behind",
            id="the wrong way around",
        ),
        pytest.param({"EnableIPv4": False}, "EnableIPv4", "so is EnableIPv6", id="no family"),
        pytest.param({"EnableIPv4": "yes"}, "EnableIPv4", "true or false", id="a flag that is text"),
        pytest.param(
            {"Network": "10.0.0.0/16", "EnableIPv6": True}, "IPv6Network", "IPv6 network", id="no IPv6 network"
        ),
        pytest.param(
            {"EnableIPv4": False, "EnableIPv6": True, "IPv6Network": "fd00::/125"},
            "IPv6Network",
            "too small",
            id="IPv6",
        ),
        pytest.param({"Network": "10.0.0.0/16", "Backend": None}, "Backend", "means udp", id="no backend"),
        pytest.param(
            {"Network": "10.0.0.0/16", "Backend": "vxlan"}, "Backend", "an object", id="a backend that is text"
        ),
        pytest.param({"Network": "10.0.0.0/16", "Backend": {}}, "Backend.Type", "absent", id="no type"),
        pytest.param({"Network": "10.0.0.0/16", "Backend": {"Type": "x"}}, "Backend.Type", "not one of", id="unknown"),
        pytest.param(
            {"Network": "10.0.0.0/16", "Backend": {"Type": "ipip"}}, "Backend.Type", "is ipip", id="not carried"
        ),
        pytest.param({"Network": "10.0.0.0/16", "Backend": {**BACKEND, "VNI": 0}}, "Backend.VNI", "from 1", id="VNI 0"),
        pytest.param({"Network": "10.0.0.0/16", "Backend": {**BACKEND, "VNI": 1 << 24}}, "Backend.VNI", "to", id="VNI"),
        pytest.param(
            {"Network": "10.0.0.0/16", "Backend": {**BACKEND, "Port": 1 << 16}}, "Backend.Port", "to", id="port"
        ),
        pytest.param({"Network": "10.0.0.0/16", "Backend": {**BACKEND, "GBP": 1}}, "Backend.GBP", "true or", id="GBP"),
    ],
)
def test_a_rule_that_is_broken_names_its_key(fields: dict[str, Any], item: str, rule: str) -> None:
    with pytest.raises(ConfigError) as caught:
        decoded(**fields)
    assert caught.value.item == f"network configuration: {item}"
    assert rule in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("data", [b"", b"[]", b'{"Network":"a","network":"b"}', b'{"a":' * 99], ids=ascii)
def test_what_is_no_json_object_is_a_configuration_error(data: bytes) -> None:
    with pytest.raises(ConfigError, match="network configuration: JSON: malformed"):
        decode_network_config(data)


def test_every_value_is_written_so_that_defaults_may_change() -> None:
    config = decoded(Network="10.244.0.0/16")
    assert json.loads(encode_network_config(config)) == {
        "Network": "10.244.0.0/16",
        "SubnetLen": 24,
        "SubnetMin": "10.244.1.0",
        "SubnetMax": "10.244.255.0",
        "Backend": {"Type": "vxlan", "VNI": 1, "Port": 8472},
    }


def test_host_gw_has_nothing_to_choose() -> None:
    config = decoded(Network="10.244.0.0/16", Backend={"Type": "Host-GW", "VNI": 0})
    assert config.backend == HostGw()
    assert json.loads(encode_network_config(config))["Backend"] == {"Type": "host-gw"}
    assert decode_network_config(encode_network_config(config)) == config
