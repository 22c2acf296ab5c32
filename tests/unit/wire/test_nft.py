"""nft's JSON, as nft 1.0.6 printed it on a real kernel, and the transactions that we write."""

import json
from ipaddress import ip_network

import pytest

from tulle.errors import DecodeError
from tulle.model.network import DroppingChain
from tulle.model.objects import ChainAccept, ChainAcceptKey, NftTableKey
from tulle.wire import nft

TABLE = NftTableKey("inet", "tulle")
CHAIN = ChainAcceptKey("nft", "ip", "filter", "FORWARD")
DIGEST = "0123456789abcdef"


def document(*items: dict[str, object]) -> bytes:
    return json.dumps({"nftables": [{"metainfo": {"version": "1.0.6"}}, *items]}).encode()


def base_chain(**fields: object) -> dict[str, object]:
    chain = {"family": "ip", "table": "filter", "name": "FORWARD", "handle": 1, "type": "filter", "hook": "forward"}
    return {"chain": {**chain, "prio": 0, "policy": "drop", **fields}}


def rule(comment: str | None, *expressions: object, handle: int = 2) -> dict[str, object]:
    marks = {} if comment is None else {"comment": comment}
    return {"rule": {"family": "ip", "table": "t", "chain": "c", "handle": handle, **marks, "expr": [*expressions]}}


def accept(way: str, address: str = "10.244.0.0", length: int | None = 16, handle: int = 2) -> dict[str, object]:
    right = address if length is None else {"prefix": {"addr": address, "len": length}}
    left = {"payload": {"protocol": "ip", "field": way}}
    return rule(
        nft.FORWARD_MARK, {"match": {"op": "==", "left": left, "right": right}}, {"accept": None}, handle=handle
    )


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        pytest.param({}, True, id="Docker's FORWARD"),
        pytest.param({"family": "inet", "table": "firewalld"}, True, id="a native inet chain"),
        pytest.param({"policy": "accept"}, False, id="a chain that accepts"),
        pytest.param({"hook": "input"}, False, id="another hook"),
        pytest.param({"family": "bridge"}, False, id="another family"),
        pytest.param({"family": "inet", "table": "tulle"}, False, id="our own"),
        pytest.param({"name": "x; drop"}, False, id="a name that nft cannot spell"),
    ],
)
def test_which_chains_drop_what_no_rule_accepts(fields: dict[str, object], found: bool) -> None:
    chains = nft.dropping_chains(nft.decode_base_chains(document(base_chain(**fields))))
    assert bool(chains) is found


def test_a_dropping_chain_names_where_it_is() -> None:
    chains = nft.dropping_chains(nft.decode_base_chains(document(base_chain())))
    assert chains == (DroppingChain(engine="nft", family="ip", table="filter", chain="FORWARD"),)


@pytest.mark.parametrize(
    ("rules", "digest"),
    [
        pytest.param([rule(f"tulle:{DIGEST} 1/2"), rule(f"tulle:{DIGEST} 2/2")], DIGEST, id="whole"),
        pytest.param([rule(f"tulle:{DIGEST} 1/2")], "", id="the last rule is missing"),
        pytest.param([rule(f"tulle:{DIGEST} 2/2")], "", id="the first rule is missing"),
        pytest.param([rule(f"tulle:{DIGEST} 2/2"), rule(f"tulle:{DIGEST} 1/2")], "", id="the order is wrong"),
        pytest.param([rule(f"tulle:{DIGEST} 1/1"), rule(None)], "", id="a foreign rule without comment"),
        pytest.param([rule(f"tulle:{DIGEST} 1/1"), rule("mine")], "", id="a foreign rule"),
        pytest.param([rule(f"tulle:{DIGEST} 1/2"), rule(f"tulle:{'f' * 16} 2/2")], "", id="two versions mixed"),
        pytest.param([], "", id="flushed"),
    ],
)
def test_a_table_has_its_digest_only_when_it_is_whole(rules: list[dict[str, object]], digest: str) -> None:
    assert nft.decode_table(TABLE, document(*rules)).digest == digest


def test_a_table_whose_chain_drops_is_not_the_wanted_one() -> None:
    output = document(base_chain(policy="drop"), rule(f"tulle:{DIGEST} 1/1"))
    assert nft.decode_table(TABLE, output).digest == ""


@pytest.mark.parametrize(
    ("rules", "networks"),
    [
        pytest.param([accept("saddr"), accept("daddr", handle=3)], ("10.244.0.0/16",), id="both ways"),
        pytest.param([accept("saddr")], (), id="one way only"),
        pytest.param([accept("saddr"), accept("saddr"), accept("daddr")], (), id="one twice"),
        pytest.param(
            [accept("saddr", "10.9.9.9", None), accept("daddr", "10.9.9.9", None)], ("10.9.9.9/32",), id="host"
        ),
        pytest.param([accept("saddr"), accept("daddr"), rule(nft.FORWARD_MARK, {"drop": None})], (), id="defaced"),
    ],
)
def test_our_accepts_in_a_foreign_chain_are_read_back(
    rules: list[dict[str, object]], networks: tuple[str, ...]
) -> None:
    found = nft.chain_accept(CHAIN, nft.decode_own_rules(document(*rules)))
    assert found is not None
    assert found.networks == tuple(map(ip_network, networks))


def test_foreign_rules_are_not_ours() -> None:
    assert nft.chain_accept(CHAIN, nft.decode_own_rules(document(rule(None, {"accept": None})))) is None


def test_replacing_our_accepts_removes_the_stale_ones_in_the_same_transaction() -> None:
    stale = nft.decode_own_rules(document(accept("saddr", handle=7)))
    wanted = ChainAccept(
        engine="nft", family="ip", table="filter", chain="FORWARD", networks=(ip_network("10.5.0.0/16"),)
    )
    assert nft.replace_accept(wanted, stale).splitlines() == [
        "delete rule ip filter FORWARD handle 7",
        'add rule ip filter FORWARD ip saddr 10.5.0.0/16 accept comment "tulle forward"',
        'add rule ip filter FORWARD ip daddr 10.5.0.0/16 accept comment "tulle forward"',
    ]


def test_a_table_without_chains_is_a_table() -> None:
    assert nft.table_names(document({"table": {"family": "ip6", "name": "flannel-ipv6"}})) == {("ip6", "flannel-ipv6")}


@pytest.mark.parametrize("output", [b"", b"[]", b"{}", b'{"nftables": 1}', b"\xff", b"null"])
def test_what_is_not_nfts_json_is_a_decode_error(output: bytes) -> None:
    with pytest.raises(DecodeError):
        nft.decode_base_chains(output)
