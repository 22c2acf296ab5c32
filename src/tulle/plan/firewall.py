"""The node's own rules: accept the overlay's traffic, masquerade what leaves it; one list, two languages.

``forward_rules`` and ``masquerade_rules`` say what the rules are, in the order and with the
meaning of flannel's iptables mode.  They are written as one nftables table, ``inet tulle``, or as
the iptables chains ``TULLE-FWD`` and ``TULLE-POSTRTG``, by the engine that ``choose_engine`` picks.
Every rule's comment carries the digest of all and its place (``tulle:3f9a… 2/8``), so that a
missing, foreign or outdated rule shows without comparing a tool's own spelling of anything.

What other tables drop is not this module's business (see ``desired._firewall``).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

from tulle.model.network import IPNetwork, PacketFilters
from tulle.model.objects import (
    ChainAcceptKey,
    FilterKey,
    FilterObject,
    IptablesKey,
    IptablesRules,
    IptablesTable,
    NftTable,
    NftTableKey,
)
from tulle.wire import iptables
from tulle.wire.nft import NFT

FAMILY: Final = "inet"
TABLE: Final = "tulle"
KUBE_PROXY_MARK: Final = 0x4000
"""What kube-proxy means to masquerade itself; compared by mask, since other bits are others' business."""
MULTICAST: Final = {4: ip_network("224.0.0.0/4"), 6: ip_network("ff00::/8")}
FLANNEL_TABLES: Final = (NftTableKey("ip", "flannel-ipv4"), NftTableKey("ip6", "flannel-ipv6"))
FILTER_KEYS: Final[frozenset[FilterKey]] = frozenset(
    (
        NftTableKey(FAMILY, TABLE),
        *FLANNEL_TABLES,
        *(
            ChainAcceptKey(engine, family, "filter", "FORWARD")
            for engine in (NFT, iptables.LEGACY)
            for family in ("ip", "ip6")
        ),
        *(IptablesKey(engine, v, owner) for engine in iptables.VARIANTS for v in (4, 6) for owner in iptables.OWNERS),
    )
)
"""All that may be there of tulle or of flannel, in any engine: what is not wanted of it goes."""


class Verdict(Enum):
    """What becomes of a packet that meets a rule.  ``RETURN``: it keeps its address."""

    ACCEPT = "accept"
    RETURN = "return"
    MASQUERADE = "masquerade"


@dataclass(frozen=True, slots=True)
class In:
    """An address in ``network``, or outside of it."""

    network: IPNetwork
    outside: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule.  ``marked``: the packet carries kube-proxy's mark."""

    verdict: Verdict
    source: In | None = None
    destination: In | None = None
    marked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFirewall:
    """What the rules follow from.  A family whose network or subnet is None has no rules."""

    network4: IPv4Network | None
    network6: IPv6Network | None
    subnet4: IPv4Network | None
    subnet6: IPv6Network | None
    masquerade: bool
    forward: bool
    fully_random: bool = True

    @property
    def pairs(self) -> tuple[tuple[IPNetwork, IPNetwork], ...]:
        """(overlay network, own subnet) of each family that is there, IPv4 first."""
        both = ((self.network4, self.subnet4), (self.network6, self.subnet6))
        return tuple((network, subnet) for network, subnet in both if network is not None and subnet is not None)


def choose_engine(enable_nftables: bool | None, filters: PacketFilters) -> str:
    """``nft``, ``iptables-nft`` or ``iptables-legacy``: as the configuration says, else as the node is used already.

    Where the key is absent: the older iptables if its tables hold rules, else nftables.  Of what
    is chosen so, the first engine whose tool is installed; without any, the first, so that the
    refused step names the tool.
    """
    used = iptables.LEGACY if filters.legacy_rules else iptables.NFT_VARIANT
    match enable_nftables:
        case True:
            order: tuple[str, ...] = (NFT,)
        case False:
            order = (used, *iptables.VARIANTS, NFT)
        case None:
            order = (used, NFT) if filters.legacy_rules else (NFT, *iptables.VARIANTS)
    return next((engine for engine in order if engine in filters.engines), order[0])


def firewall_objects(firewall: NodeFirewall, engine: str) -> tuple[FilterObject, ...]:
    """The wanted rules in the language of ``engine``; nothing when neither kind of rule is wanted."""
    if not firewall.pairs or not (firewall.masquerade or firewall.forward):
        return ()
    if engine == NFT:
        return (firewall_table(firewall),)
    return tuple(_iptables(firewall, engine, network, subnet) for network, subnet in firewall.pairs)


def forward_rules(network: IPNetwork) -> tuple[Rule, ...]:
    """What is forwarded from and to the overlay is accepted."""
    inside = In(network)
    return (Rule(verdict=Verdict.ACCEPT, source=inside), Rule(verdict=Verdict.ACCEPT, destination=inside))


def masquerade_rules(network: IPNetwork, subnet: IPNetwork) -> tuple[Rule, ...]:
    """Who keeps its address: pods among themselves, and clients from outside that reach a pod of this node.

    Who does not: a pod that talks to the world, and the world (or this host) that talks to pods of other nodes,
    whose replies would otherwise take another way back.
    """
    pods, own, world = In(network), In(subnet), In(network, outside=True)
    return (
        Rule(verdict=Verdict.RETURN, marked=True),
        Rule(verdict=Verdict.RETURN, source=own, destination=pods),
        Rule(verdict=Verdict.RETURN, source=pods, destination=own),
        Rule(verdict=Verdict.RETURN, source=world, destination=own),
        Rule(verdict=Verdict.MASQUERADE, source=pods, destination=In(MULTICAST[network.version], outside=True)),
        Rule(verdict=Verdict.MASQUERADE, source=world, destination=pods),
    )


# -- nftables -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chain:
    """A base chain with its rules as nft text, without comments."""

    name: str
    hook: str
    rules: tuple[str, ...]


FORWARD_HOOK: Final = "type filter hook forward priority filter; policy accept;"
POSTROUTING_HOOK: Final = "type nat hook postrouting priority srcnat; policy accept;"


def firewall_table(firewall: NodeFirewall) -> NftTable:
    """The wanted table, with the digest that its rules carry."""
    forward = [_nft(rule, firewall) for net, _ in firewall.pairs if firewall.forward for rule in forward_rules(net)]
    masquerade = [
        _nft(rule, firewall)
        for network, subnet in firewall.pairs
        if firewall.masquerade
        for rule in masquerade_rules(network, subnet)
    ]
    both = (
        Chain("forward", FORWARD_HOOK, tuple(forward)),
        Chain("postrouting", POSTROUTING_HOOK, tuple(dict.fromkeys(masquerade))),  # the mark is asked for once
    )
    chains = tuple(chain for chain in both if chain.rules)
    digest = _hash(chains)
    return NftTable(family=FAMILY, name=TABLE, digest=digest, text=_table_text(chains, digest))


def _nft(rule: Rule, firewall: NodeFirewall) -> str:
    words = [f"meta mark & {KUBE_PROXY_MARK:#x} == {KUBE_PROXY_MARK:#x}"] if rule.marked else []
    for way, place in (("saddr", rule.source), ("daddr", rule.destination)):
        if place is not None:
            family = "ip" if place.network.version == 4 else "ip6"
            words.append(f"{family} {way} {'!= ' if place.outside else ''}{place.network}")
    random = " fully-random" if rule.verdict is Verdict.MASQUERADE and firewall.fully_random else ""
    return " ".join((*words, rule.verdict.value)) + random


def _table_text(chains: tuple[Chain, ...], digest: str) -> str:
    marks = _marks(digest, sum(len(chain.rules) for chain in chains))
    lines: list[str] = []
    for chain in chains:
        lines += (f"  chain {chain.name} {{", f"    {chain.hook}")
        lines += (f'    {rule} comment "{next(marks)}"' for rule in chain.rules)
        lines.append("  }")
    return "\n".join((f"table {FAMILY} {TABLE} {{", *lines, "}\n"))


# -- iptables -------------------------------------------------------------------------


def _iptables(firewall: NodeFirewall, engine: str, network: IPNetwork, subnet: IPNetwork) -> IptablesRules:
    owner = iptables.TULLE
    forward = forward_rules(network) if firewall.forward else ()
    masquerade = masquerade_rules(network, subnet) if firewall.masquerade else ()
    lists = (
        ("filter", "FORWARD", owner.forward, [_iptables_words(rule, firewall) for rule in forward]),
        ("nat", "POSTROUTING", owner.postrouting, [_iptables_words(rule, firewall) for rule in masquerade]),
    )
    wanted = [each for each in lists if each[3]]
    digest = _hash((engine, wanted))
    marks = _marks(digest, sum(1 + len(words) for *_, words in wanted))
    tables = tuple(
        IptablesTable(name, (chain,), tuple(_commented(_rules(hook, chain, words), marks)))
        for name, hook, chain, words in wanted
    )
    return IptablesRules(engine=engine, version=network.version, owner=owner.name, digest=digest, tables=tables)


def _rules(hook: str, chain: str, words: Sequence[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Match and target of each rule: the jump from the built-in chain first, then the chain itself."""
    yield f"-A {hook}", f"-j {chain}"
    for match, target in words:
        yield f"-A {chain} {match}".rstrip(), target


def _commented(rules: Iterable[tuple[str, str]], marks: Iterator[str]) -> Iterator[str]:
    for match, target in rules:
        yield f'{match} -m comment --comment "{next(marks)}" {target}'


def _iptables_words(rule: Rule, firewall: NodeFirewall) -> tuple[str, str]:
    words = [f"-m mark --mark {KUBE_PROXY_MARK:#x}/{KUBE_PROXY_MARK:#x}"] if rule.marked else []
    for flag, place in (("-s", rule.source), ("-d", rule.destination)):
        if place is not None:
            words.append(f"{'! ' if place.outside else ''}{flag} {place.network}")
    random = " --random-fully" if rule.verdict is Verdict.MASQUERADE and firewall.fully_random else ""
    return " ".join(words), f"-j {rule.verdict.name}{random}"


# -- marks ----------------------------------------------------------------------------


def mark(digest: str, number: int, total: int) -> str:
    """The comment of rule ``number`` of ``total``."""
    return f"{TABLE}:{digest} {number}/{total}"


def _marks(digest: str, total: int) -> Iterator[str]:
    return (mark(digest, number, total) for number in range(1, total + 1))


def _hash(wanted: object) -> str:
    return sha256(repr(wanted).encode()).hexdigest()[:16]
