"""The node's own nftables table: accept the overlay's traffic, masquerade what leaves it.

One table, ``inet tulle``, ours by name and replaced whole in one transaction.  Every rule's
comment carries the digest of the wanted text and its place (``tulle:3f9a… 2/8``), so that a
missing, foreign or outdated rule shows without comparing nft's own spelling of anything.

The meaning of the rules is that of flannel's iptables mode.  What other tables drop is not
this module's business (see ``desired._firewall``).
"""

from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network
from typing import Final

from tulle.model.objects import NftTable

FAMILY: Final = "inet"
TABLE: Final = "tulle"
KUBE_PROXY_MARK: Final = 0x4000
"""What kube-proxy means to masquerade itself; compared by mask, since other bits are others' business."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFirewall:
    """What the table follows from.  A family whose network or subnet is None has no rules."""

    network4: IPv4Network | None
    network6: IPv6Network | None
    subnet4: IPv4Network | None
    subnet6: IPv6Network | None
    masquerade: bool
    forward: bool


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain with its rules as nft text, without comments."""

    name: str
    hook: str
    rules: tuple[str, ...]


def firewall_table(firewall: NodeFirewall) -> NftTable:
    """The wanted table, with the digest that its rules carry."""
    chains = tuple(chain for chain in (_forward(firewall), _postrouting(firewall)) if chain.rules)
    digest = sha256(repr(chains).encode()).hexdigest()[:16]
    return NftTable(family=FAMILY, name=TABLE, digest=digest, text=_text(chains, digest))


def _forward(firewall: NodeFirewall) -> Chain:
    hook = "type filter hook forward priority filter; policy accept;"
    if not firewall.forward:
        return Chain("forward", hook, ())
    rules: list[str] = []
    for family, network, _, _ in _families(firewall):
        rules += (f"{family} saddr {network} accept", f"{family} daddr {network} accept")
    return Chain("forward", hook, tuple(rules))


def _postrouting(firewall: NodeFirewall) -> Chain:
    """Who keeps its address: pods among themselves, and clients from outside that reach a pod of this node.

    Who does not: a pod that talks to the world, and the world (or this host) that talks to pods of other nodes,
    whose replies would otherwise take another way back.
    """
    hook = "type nat hook postrouting priority srcnat; policy accept;"
    if not firewall.masquerade:
        return Chain("postrouting", hook, ())
    rules = [f"meta mark & {KUBE_PROXY_MARK:#x} == {KUBE_PROXY_MARK:#x} return"]
    for family, network, subnet, multicast in _families(firewall):
        rules += (
            f"{family} saddr {subnet} {family} daddr {network} return",
            f"{family} daddr {subnet} return",
            f"{family} saddr {network} {family} daddr != {multicast} masquerade fully-random",
            f"{family} saddr != {network} {family} daddr {network} masquerade fully-random",
        )
    return Chain("postrouting", hook, tuple(rules))


def _families(firewall: NodeFirewall) -> tuple[tuple[str, object, object, str], ...]:
    """(nft's word for the family, overlay network, own subnet, multicast), for the families that are there."""
    families = (
        ("ip", firewall.network4, firewall.subnet4, "224.0.0.0/4"),
        ("ip6", firewall.network6, firewall.subnet6, "ff00::/8"),
    )
    return tuple(family for family in families if family[1] is not None and family[2] is not None)


def _text(chains: tuple[Chain, ...], digest: str) -> str:
    total = sum(len(chain.rules) for chain in chains)
    lines: list[str] = []
    number = 0
    for chain in chains:
        lines += (f"  chain {chain.name} {{", f"    {chain.hook}")
        for rule in chain.rules:
            number += 1
            lines.append(f'    {rule} comment "{mark(digest, number, total)}"')
        lines.append("  }")
    return "\n".join((f"table {FAMILY} {TABLE} {{", *lines, "}\n"))


def mark(digest: str, number: int, total: int) -> str:
    """The comment of rule ``number`` of ``total``."""
    return f"{TABLE}:{digest} {number}/{total}"
