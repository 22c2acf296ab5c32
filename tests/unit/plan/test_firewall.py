"""The node's rules: which follow from which settings, in which engine, and that every rule carries the digest."""

import re
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network

import pytest

from tulle.model.network import PacketFilters
from tulle.model.objects import IptablesRules, NftTable
from tulle.plan.firewall import NodeFirewall, choose_engine, firewall_objects, firewall_table
from tulle.wire.iptables import LEGACY, NFT_VARIANT, TULLE, decode_rules

NETWORK4, SUBNET4 = IPv4Network("10.244.0.0/16"), IPv4Network("10.244.1.0/24")
NETWORK6, SUBNET6 = IPv6Network("fd10:244::/48"), IPv6Network("fd10:244:0:1::/64")


def firewall(*, ipv4: bool = True, ipv6: bool = False, masquerade: bool = True, forward: bool = True) -> NodeFirewall:
    return NodeFirewall(
        network4=NETWORK4 if ipv4 else None,
        network6=NETWORK6 if ipv6 else None,
        subnet4=SUBNET4 if ipv4 else None,
        subnet6=SUBNET6 if ipv6 else None,
        masquerade=masquerade,
        forward=forward,
    )


def rules(wish: NodeFirewall) -> list[str]:
    """The rules of the table, without their comments."""
    text = firewall_table(wish).text or ""
    return [re.sub(r' comment ".*"', "", line.strip()) for line in text.splitlines() if "comment" in line]


def test_a_masquerading_ipv4_node_has_exactly_these_rules() -> None:
    assert rules(firewall()) == [
        "ip saddr 10.244.0.0/16 accept",
        "ip daddr 10.244.0.0/16 accept",
        "meta mark & 0x4000 == 0x4000 return",
        "ip saddr 10.244.1.0/24 ip daddr 10.244.0.0/16 return",
        "ip saddr 10.244.0.0/16 ip daddr 10.244.1.0/24 return",
        "ip saddr != 10.244.0.0/16 ip daddr 10.244.1.0/24 return",
        "ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random",
        "ip saddr != 10.244.0.0/16 ip daddr 10.244.0.0/16 masquerade fully-random",
    ]


@pytest.mark.parametrize(
    ("wish", "absent", "present"),
    [
        pytest.param(firewall(masquerade=False), "masquerade", "accept", id="no masquerade"),
        pytest.param(firewall(forward=False), "accept", "masquerade", id="no forward rules"),
        pytest.param(firewall(ipv6=False), "ip6 ", "ip ", id="IPv4 only"),
        pytest.param(firewall(ipv4=False, ipv6=True), "ip saddr", "ip6 saddr", id="IPv6 only"),
    ],
)
def test_a_setting_decides_which_rules_there_are(wish: NodeFirewall, absent: str, present: str) -> None:
    text = "\n".join(rules(wish))
    assert absent not in text
    assert present in text


def test_every_rule_carries_the_digest_and_its_place() -> None:
    table = firewall_table(firewall(ipv6=True))
    comments = re.findall(r'comment "(.*)"', table.text or "")
    assert comments == [f"tulle:{table.digest} {n}/{len(comments)}" for n in range(1, len(comments) + 1)]


def test_another_wish_has_another_digest() -> None:
    digests = {
        firewall_table(wish).digest
        for wish in (firewall(), firewall(ipv6=True), firewall(masquerade=False), firewall(forward=False))
    }
    assert len(digests) == 4


ALL = frozenset({"nft", NFT_VARIANT, LEGACY})


@pytest.mark.parametrize(
    ("key", "filters", "engine"),
    [
        pytest.param(True, PacketFilters(engines=ALL, legacy_rules=True), "nft", id="as the key says"),
        pytest.param(None, PacketFilters(engines=ALL), "nft", id="no key, nobody uses the older iptables"),
        pytest.param(None, PacketFilters(engines=ALL, legacy_rules=True), LEGACY, id="no key, somebody uses it"),
        pytest.param(False, PacketFilters(engines=ALL), NFT_VARIANT, id="iptables asked for"),
        pytest.param(False, PacketFilters(engines=ALL, legacy_rules=True), LEGACY, id="iptables, the one in use"),
        pytest.param(False, PacketFilters(engines=frozenset({"nft"})), "nft", id="iptables, but there is none"),
        pytest.param(None, PacketFilters(engines=frozenset({LEGACY})), LEGACY, id="no key, and no nft"),
        pytest.param(True, PacketFilters(engines=frozenset()), "nft", id="nothing at all: the step names the tool"),
    ],
)
def test_the_engine_is_the_configurations_else_the_one_in_use(
    key: bool | None, filters: PacketFilters, engine: str
) -> None:
    assert choose_engine(key, filters) == engine


def test_in_iptables_the_rules_are_flannels_in_flannels_order() -> None:
    (four,) = firewall_objects(firewall(), LEGACY)
    assert isinstance(four, IptablesRules)
    lines = [re.sub(r' -m comment --comment "[^"]*"', "", rule) for table in four.tables for rule in table.rules]
    assert lines == [
        "-A FORWARD -j TULLE-FWD",
        "-A TULLE-FWD -s 10.244.0.0/16 -j ACCEPT",
        "-A TULLE-FWD -d 10.244.0.0/16 -j ACCEPT",
        "-A POSTROUTING -j TULLE-POSTRTG",
        "-A TULLE-POSTRTG -m mark --mark 0x4000/0x4000 -j RETURN",
        "-A TULLE-POSTRTG -s 10.244.1.0/24 -d 10.244.0.0/16 -j RETURN",
        "-A TULLE-POSTRTG -s 10.244.0.0/16 -d 10.244.1.0/24 -j RETURN",
        "-A TULLE-POSTRTG ! -s 10.244.0.0/16 -d 10.244.1.0/24 -j RETURN",
        "-A TULLE-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully",
        "-A TULLE-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -j MASQUERADE --random-fully",
    ]


def test_each_family_has_its_iptables_rules_and_both_share_the_nft_table() -> None:
    wish = firewall(ipv6=True)
    rules4, rules6 = firewall_objects(wish, NFT_VARIANT)
    assert isinstance(rules4, IptablesRules)
    assert isinstance(rules6, IptablesRules)
    assert (rules4.version, rules6.version) == (4, 6)
    assert "ff00::/8" in str(rules6.tables)
    (table,) = firewall_objects(wish, "nft")
    assert isinstance(table, NftTable)


def test_without_random_ports_nothing_asks_for_them() -> None:
    wish = replace(firewall(), fully_random=False)
    assert "random" not in str([*firewall_objects(wish, "nft"), *firewall_objects(wish, LEGACY)])


def test_nothing_wanted_is_no_rules() -> None:
    assert firewall_objects(firewall(masquerade=False, forward=False), "nft") == ()


def test_what_is_wanted_in_iptables_reads_back_as_wanted() -> None:
    (wanted,) = firewall_objects(firewall(), LEGACY)
    assert isinstance(wanted, IptablesRules)
    text = "".join(
        f"*{table.name}\n:{table.chains[0]} - [0:0]\n" + "\n".join(table.rules) + "\nCOMMIT\n"
        for table in wanted.tables
    )
    assert decode_rules(text.encode(), LEGACY, 4, TULLE) == wanted
