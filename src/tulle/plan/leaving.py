"""What a node gives up when tulle leaves it: handed back to flannel's daemon, or cleaned.

Handed back, the data path stays as it is, and flannel's own rules stand before tulle's go.  Cleaned,
everything goes that is tulle's, the tunnels with all that lives on them.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from tulle.model.change import Change, Delete, Plan, subject_of
from tulle.model.network import IPNetwork
from tulle.model.objects import (
    Address,
    FilterObject,
    IptablesRules,
    KernelObject,
    Link,
    NftTable,
    Sysctl,
    SysctlKey,
    VethKind,
)
from tulle.model.state import KernelState, Scope, object_device
from tulle.ownership import NodeOwnership, Standing
from tulle.plan.diff import diff
from tulle.plan.firewall import (
    FILTER_KEYS,
    FORWARD_HOOK,
    POSTROUTING_HOOK,
    NodeFirewall,
    firewall_objects,
    firewall_table,
)
from tulle.wire import iptables
from tulle.wire.nft import NFT


def hand_back(observed: KernelState, firewall: NodeFirewall, engine: str, judge: NodeOwnership) -> Plan:
    """Flannel's rules in the place of ours, in its own engine; nothing else changes, and nothing without ours."""
    if not _has_rules(observed):
        return Plan()
    wanted = KernelState.of(flannel_rules(firewall, engine))
    return diff(wanted, observed, judge, Scope.of(FILTER_KEYS))


def clean(observed: KernelState, judge: NodeOwnership, turned: Mapping[str, tuple[str, str]] | None = None) -> Plan:
    """Everything of ours goes; what lives on a tunnel goes with it, and is not named.

    ``turned``: by path, what a switch was and what tulle set; one that stands as tulle set it is turned back last.
    """

    def ours(obj: KernelObject) -> Standing:
        standing = judge(obj)
        return Standing.OURS if isinstance(obj, Link) and standing is Standing.KEPT else standing

    plan = diff(KernelState.of(), observed, ours)
    links = {step.obj.name for step in plan.steps if isinstance(step, Delete) and isinstance(step.obj, Link)}
    steps = tuple(step for step in plan.steps if object_device(subject_of(step)) not in links)
    return Plan((*steps, *turned_back(observed, {} if turned is None else turned)))


def turned_back(observed: KernelState, turned: Mapping[str, tuple[str, str]]) -> tuple[Change, ...]:
    """The switches that still stand as tulle set them, as they were before."""
    return tuple(
        Change(Sysctl(path, was_set), Sysctl(path, found))
        for path, (found, was_set) in turned.items()
        if observed.get(SysctlKey(path)) == Sysctl(path, was_set)
    )


def attached_pods(observed: KernelState, subnets: tuple[IPNetwork, ...]) -> tuple[str, ...]:
    """The pods' devices: on a bridge that has an address of one of ``subnets``."""
    bridges = {address.device for address in observed.each(Address) if address.interface.network in subnets}
    pods = (link for link in observed.each(Link) if isinstance(link.kind, VethKind) and link.master in bridges)
    return tuple(sorted(link.name for link in pods))


def flannel_rules(firewall: NodeFirewall, engine: str) -> tuple[FilterObject, ...]:
    """The same rules as flannel's daemon names them, so that it finds them when it starts."""
    if engine != NFT:
        ours = firewall_objects(firewall, engine)
        return tuple(_as_flannels(rules) for rules in ours if isinstance(rules, IptablesRules))
    return tuple(
        _flannel_table(replace(firewall, **{other: None}), family, name)
        for family, name, other, network in (
            ("ip", "flannel-ipv4", "network6", firewall.network4),
            ("ip6", "flannel-ipv6", "network4", firewall.network6),
        )
        if network is not None
    )


def _flannel_table(firewall: NodeFirewall, family: str, name: str) -> NftTable:
    text = firewall_table(firewall).text or ""
    text = _each_line(text, lambda line: line.split(' comment "')[0])
    text = text.replace("table inet tulle {", f"table {family} {name} {{").replace("chain postrouting", "chain postrtg")
    assert FORWARD_HOOK in text or POSTROUTING_HOOK in text
    return NftTable(family=family, name=name, digest="", text=text)


def _as_flannels(rules: IptablesRules) -> IptablesRules:
    """Other names and comments; no digest, which flannel does not know."""
    ours, theirs = iptables.TULLE, iptables.FLANNEL
    names = dict(zip(ours.chains, theirs.chains, strict=True))

    def renamed(table: str, rule: str) -> str:
        for before, after in names.items():
            rule = rule.replace(before, after)
        comment = "flanneld forward" if table == "filter" else "flanneld masq"
        start, end = rule.index('--comment "'), rule.index('" -j ')
        return f'{rule[:start]}--comment "{comment}{rule[end:]}'

    tables = tuple(
        replace(
            table,
            chains=tuple(names[chain] for chain in table.chains),
            rules=tuple(renamed(table.name, rule) for rule in table.rules),
        )
        for table in rules.tables
    )
    return replace(rules, owner=theirs.name, digest="", tables=tables)


def _has_rules(observed: KernelState) -> bool:
    """Are there rules of tulle's to be handed back?"""
    tables = any(table.name == "tulle" for table in observed.each(NftTable))
    return tables or any(rules.owner == iptables.TULLE.name for rules in observed.each(IptablesRules))


def _each_line(text: str, change: Callable[[str], str]) -> str:
    return "".join(f"{change(line)}\n" for line in text.splitlines())
