"""The node's table: which rules follow from which settings, and that every rule carries the digest."""

import re
from ipaddress import IPv4Network, IPv6Network

import pytest

from tulle.plan.firewall import NodeFirewall, firewall_table

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
        "ip daddr 10.244.1.0/24 return",
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
