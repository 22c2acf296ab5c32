"""Masquerading for single networks of pods, where the node's own rules do not: ``ipMasq`` of the bridge plugin.

A table of fixed rules, as the guard's: pods and bridges are elements of its sets.  What stays among the pods of
this node, or goes to the overlay's networks, keeps its source: those know the way back.
"""

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from tulle.model.network import IPAddress, IPNetwork
from tulle.model.objects import NftElement, NftTable, NftTableKey
from tulle.plan.firewall import mark

KEY: Final = NftTableKey("inet", "tulle-pods")
SETS: Final = (("bridges", "ifname"), ("pods4", "ipv4_addr"), ("pods6", "ipv6_addr"))
MULTICAST: Final = {4: "224.0.0.0/4", 6: "ff00::/8"}


def masquerade_table(networks: Iterable[IPNetwork]) -> NftTable:
    """The table without its elements; ``networks``: the overlay's."""
    overlay = sorted(map(str, networks))
    rules = ["oifname @bridges return"]
    for family, version in (("ip", 4), ("ip6", 6)):
        kept = ", ".join([*(net for net in overlay if (":" in net) == (version == 6)), MULTICAST[version]])
        rules.append(f"{family} saddr @pods{version} {family} daddr != {{ {kept} }} masquerade fully-random")
    digest = sha256(repr((SETS, rules)).encode()).hexdigest()[:16]
    lines = (
        f"table {KEY.family} {KEY.name} {{",
        *(f"  set {name} {{ type {kind}; }}" for name, kind in SETS),
        "  chain postrouting {",
        "    type nat hook postrouting priority srcnat; policy accept;",
        *(f'    {rule} comment "{mark(digest, number + 1, len(rules))}"' for number, rule in enumerate(rules)),
        "  }",
        "}\n",
    )
    return NftTable(family=KEY.family, name=KEY.name, digest=digest, text="\n".join(lines))


def masquerade_elements(addresses: Iterable[IPAddress], bridges: Iterable[str]) -> tuple[NftElement, ...]:
    """What the sets hold."""
    found = [("bridges", name) for name in bridges]
    found += [(f"pods{ip.version}", str(ip)) for ip in addresses]
    return tuple(dict.fromkeys(NftElement(KEY.family, KEY.name, name, (value,)) for name, value in found))
