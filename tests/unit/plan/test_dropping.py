"""Which foreign rules are sure to drop the overlay's packets, by the JSON that nft prints for them."""

import json
from ipaddress import ip_network
from typing import Any

import pytest

from tulle.plan.dropping import dropping_rule
from tulle.wire.nft_rules import decode_forward_rules

NETWORKS = (ip_network("10.244.0.0/16"),)


def source(prefix: str, op: str = "==", direction: str = "saddr") -> dict[str, Any]:
    address, length = prefix.split("/")
    right = {"prefix": {"addr": address, "len": int(length)}}
    return {"match": {"op": op, "left": {"payload": {"protocol": "ip", "field": direction}}, "right": right}}


def device(name: object, key: str = "iifname", op: str = "==") -> dict[str, Any]:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": name}}


ESTABLISHED = {"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established"]}}
PORT = {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 80}}
COMMENT = {"xt": {"type": "match", "name": "comment"}}
COUNTER = {"counter": {"packets": 1, "bytes": 2}}
DROP, REJECT, ACCEPT, RETURN = {"drop": None}, {"reject": {"type": "icmpx"}}, {"accept": None}, {"return": None}
JUMP, GOTO = {"jump": {"target": "user"}}, {"goto": {"target": "user"}}


def listing(*rules: list[dict[str, Any]]) -> bytes:
    numbered = [{"rule": {"handle": n, "expr": expression}} for n, expression in enumerate(rules, start=1)]
    return json.dumps({"nftables": [{"metainfo": {}}, *numbered]}).encode()


@pytest.mark.parametrize(
    ("rules", "user", "handle"),
    [
        pytest.param([[DROP]], [], 1, id="everything"),
        pytest.param([[COUNTER, COMMENT, REJECT]], [], 1, id="everything, counted and commented"),
        pytest.param([[source("10.0.0.0/8"), DROP]], [], 1, id="a prefix around the overlay"),
        pytest.param([[source("10.244.2.0/24"), DROP]], [], None, id="one node's pods only"),
        pytest.param([[source("192.168.0.0/16"), DROP]], [], None, id="somebody else's prefix"),
        pytest.param([[source("192.168.0.0/16", "!="), DROP]], [], 1, id="all but somebody else's prefix"),
        pytest.param([[source("10.244.0.0/16", "!="), DROP]], [], None, id="all but ours"),
        pytest.param([[device("flannel.1"), DROP]], [], 1, id="what comes by the tunnel"),
        pytest.param([[device("flannel*", "oifname"), DROP]], [], 1, id="what goes by it, by a pattern"),
        pytest.param([[device({"set": ["eth0", "flannel.1"]}), DROP]], [], 1, id="a set of devices with it"),
        pytest.param([[device("docker0"), DROP]], [], None, id="another device"),
        pytest.param([[device("docker0", op="!="), DROP]], [], 1, id="all but another device"),
        pytest.param([[PORT, DROP]], [], None, id="a port"),
        pytest.param([[{"xt": {"type": "match", "name": "limit"}}, DROP]], [], None, id="iptables' own match"),
        pytest.param([[ESTABLISHED, ACCEPT], [DROP]], [], 2, id="all new connections"),
        pytest.param([[source("10.244.0.0/16"), ACCEPT], [DROP]], [], None, id="accepted before"),
        pytest.param([[source("10.244.2.0/24"), ACCEPT], [DROP]], [], None, id="perhaps accepted before"),
        pytest.param([[device("cni0", "oifname"), ACCEPT], [DROP]], [], 2, id="accepted one way, dropped the other"),
        pytest.param([[JUMP]], [[DROP]], 1, id="in a chain that it jumps to"),
        pytest.param([[JUMP], [DROP]], [[RETURN], [DROP]], 2, id="after a chain that returns"),
        pytest.param([[JUMP], [DROP]], [[ACCEPT]], None, id="after a chain that accepts"),
        pytest.param([[GOTO], [DROP]], [[RETURN]], None, id="after a chain that does not come back"),
        pytest.param([[PORT, JUMP]], [[DROP]], None, id="a chain for one port"),
        pytest.param([[JUMP]], [[JUMP]], None, id="chains that go round"),
    ],
)
def test_a_drop_is_reported_when_it_is_certain(
    rules: list[list[dict[str, Any]]], user: list[list[dict[str, Any]]], handle: int | None
) -> None:
    chains = {"FORWARD": decode_forward_rules(listing(*rules)), "user": decode_forward_rules(listing(*user))}
    found = dropping_rule("FORWARD", chains, NETWORKS, ("flannel.1",))
    assert (found.handle if found is not None else None) == handle


def test_a_rule_of_the_other_ip_version_drops_nothing_of_ours() -> None:
    chains = {"f": decode_forward_rules(listing([source("10.244.0.0/16"), DROP]))}
    assert dropping_rule("f", chains, (ip_network("fd10:244::/48"),), ("flannel-v6.1",)) is None
