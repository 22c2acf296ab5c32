"""``ipam.ranges`` and the capability ``ipRanges`` through the binary: from where a network's addresses come."""

from collections.abc import Generator
from dataclasses import replace
from ipaddress import IPv6Network
from pathlib import Path
from typing import Any

import pytest

from tests.kit.kernels import NEEDS_ROOT
from tests.kit.plugin import NETWORK, PluginNode, plugin_node

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))

DUAL = replace(NETWORK, subnet6=IPv6Network("fd10:244:0:1::/64"))
FOUR: dict[str, Any] = {"subnet": "10.244.0.0/16", "rangeStart": "10.244.1.40", "rangeEnd": "10.244.1.41"}
SIX: dict[str, Any] = {"subnet": "fd10:244:0:1::/64", "rangeStart": "fd10:244:0:1::f0"}


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path) as made:
        made.network = DUAL
        made.start()
        yield made


def given(result: dict[str, Any]) -> list[str]:
    return [entry["address"] for entry in result["ips"]]


def test_addresses_come_from_the_ranges_of_both_families_until_they_are_full(node: PluginNode) -> None:
    conf: dict[str, Any] = {"ipam": {"type": "host-local", "ranges": [[FOUR], [SIX]]}}
    pods = [node.new_pod() for _ in range(3)]
    assert given(node.add(pods[0], **conf)) == ["10.244.1.40/24", "fd10:244:0:1::f0/64"]
    assert given(node.add(pods[1], **conf)) == ["10.244.1.41/24", "fd10:244:0:1::f1/64"]
    full = node.run("ADD", pods[2], **conf)
    assert full.error == 100
    assert "10.244.1.40-10.244.1.41" in full.answer["msg"]
    assert node.run("DEL", pods[0], **conf).code == 0
    assert given(node.add(pods[2], **conf))[0] == "10.244.1.40/24"
    assert given(node.add(pods[0]))[0] == "10.244.1.42/24", "who asks for none is not bound"


def test_the_runtimes_ranges_win_over_the_configurations(node: PluginNode) -> None:
    conf: dict[str, Any] = {
        "ipam": {"ranges": [[FOUR]]},
        "runtimeConfig": {"ipRanges": [[{"subnet": "10.244.1.64/28"}]]},
    }
    assert given(node.add(node.new_pod(), **conf)) == ["10.244.1.64/24", "fd10:244:0:1::2/64"]


def test_a_wanted_address_has_to_be_in_the_ranges(node: PluginNode) -> None:
    conf: dict[str, Any] = {"ipam": {"ranges": [[FOUR]]}}
    refused = node.run("ADD", node.new_pod(), **conf, runtimeConfig={"ips": ["10.244.1.9"]})
    assert refused.error == 105
    assert given(node.add(node.new_pod(), **conf, runtimeConfig={"ips": ["10.244.1.41"]}))[0] == "10.244.1.41/24"


@pytest.mark.parametrize(
    ("ranges", "code", "named"),
    [
        ([[{"subnet": "10.244.2.0/24"}]], 105, "ipam.ranges[0][0]"),
        ([[{"subnet": "10.244.0.0/16"}]], 105, "ipam.ranges[0][0]"),
        ([[FOUR], [{**FOUR}]], 2, "ipam.ranges[1][0]"),
        ([[{**FOUR, "gateway": "10.244.1.254"}]], 2, "ipam.ranges[0][0].gateway"),
        ([[{**FOUR, "rangeStart": "nonsense"}]], 7, "ipam.ranges[0][0].rangeStart"),
    ],
)
def test_what_is_not_this_nodes_is_refused_by_name_and_a_del_does_not_mind(
    node: PluginNode, ranges: Any, code: int, named: str
) -> None:
    pod = node.new_pod()
    conf: dict[str, Any] = {"ipam": {"ranges": ranges}}
    refused = node.run("ADD", pod, **conf)
    assert refused.error == code
    assert named in refused.answer["msg"]
    assert refused.answer["details"]
    assert node.is_clean()
    node.add(pod)
    assert node.run("DEL", pod, **conf).code == 0
    assert node.is_clean()


def test_status_speaks_of_the_ranges_that_the_configuration_allows(node: PluginNode) -> None:
    conf: dict[str, Any] = {"ipam": {"ranges": [[FOUR]]}}
    one_of_the_two: dict[str, Any] = {"ipam": {"ranges": [[{**FOUR, "rangeEnd": "10.244.1.40"}]]}}
    first, second = node.new_pod(), node.new_pod()
    node.add(first, **conf)
    assert node.run("STATUS", **conf).code == 0
    assert node.run("STATUS", **one_of_the_two).error == 50
    node.add(second, **conf)
    full = node.run("STATUS", **conf)
    assert full.error == 50
    assert full.answer["msg"] == "ranges 10.244.1.40-10.244.1.41 of subnet 10.244.1.0/24"
    assert full.answer["details"] == "no address is left: delete pods, or widen the ranges"
    assert node.run("STATUS").code == 0, "who asks for none has the rest of the subnet"
    assert node.run("DEL", first, **conf).code == 0
    assert node.run("STATUS", **conf).code == 0


def test_status_says_it_when_the_ranges_are_no_part_of_this_node(node: PluginNode) -> None:
    refused = node.run("STATUS", ipam={"ranges": [[{"subnet": "10.244.2.0/24"}]]})
    assert refused.error == 50
    assert refused.answer["msg"] == "ipam.ranges[0][0]"
    assert "10.244.1.0/24" in refused.answer["details"]
