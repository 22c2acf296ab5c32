"""The guard of the pods' ports: what comes out of a pod has the pod's own addresses.

One table, ``bridge tulle``, whose rules never change; which pod has what is elements of its sets, so that a pod
costs a transaction and not a process.  A packet whose device, MAC and address belong together is let pass by
one look-up, all others take the long way.  On the long way end: another pod's or the bridge's MAC, another's
address, also in ARP and in neighbour advertisements, router advertisements and redirects, answers of a DHCP
server, and whatever is neither IP nor ARP.

A MAC that nobody is known to have passes: ``tuning`` gives pods such.  Docs: docs/adr/0017.
Source: nft(8); RFC 4861 §4.4 (a neighbour advertisement's target); IEEE 802.1D §7.12.6 (the reserved MACs).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Address
from typing import Final

from tulle.model.network import IPAddress, MacAddress
from tulle.model.objects import NftElement, NftTable, NftTableKey
from tulle.plan.firewall import mark

FAMILY: Final = "bridge"
TABLE: Final = "tulle"
KEY: Final = NftTableKey(FAMILY, TABLE)
HOOK: Final = "type filter hook {} priority -350; policy accept;"
"""Before connection tracking sees a bridged packet."""

SETS: Final = (
    ("ports", "type ifname"),
    ("macs", "type ether_addr"),
    ("pairs", "type ifname . ether_addr"),
    ("pods4", "type ifname . ether_addr . ipv4_addr"),
    ("pods6", "type ifname . ether_addr . ipv6_addr"),
    ("addresses4", "type ifname . ipv4_addr"),
    ("addresses6", "type ifname . ipv6_addr"),
)
TARGETS: Final = ("targets6", "typeof iifname . @th,64,128")
"""What a pod may advertise; nft before 1.0.3 cannot spell it."""

RULES: Final = (
    (
        ("prerouting", HOOK.format("prerouting")),
        (
            "meta protocol ip iifname . ether saddr . ip saddr @pods4 meta l4proto != udp accept",
            "meta protocol ip6 iifname . ether saddr . ip6 saddr @pods6 meta l4proto tcp accept",
            "iifname @ports jump port",
        ),
    ),
    (
        # What is sent to a bridge itself by its reserved addresses passes by prerouting, and is learnt from.
        ("input", HOOK.format("input")),
        ("ether daddr & ff:ff:ff:ff:ff:f0 == 01:80:c2:00:00:00 iifname @ports jump port",),
    ),
    (
        ("port", ""),
        (
            "iifname . ether saddr != @pairs ether saddr @macs drop",
            "meta protocol ip jump port4",
            "meta protocol ip6 jump port6",
            "meta protocol arp jump port_arp",
            "drop",
        ),
    ),
    (
        ("port4", ""),
        ("iifname . ip saddr != @addresses4 drop", "udp sport 67 udp dport 68 drop", "accept"),
    ),
    (
        ("port_arp", ""),
        ("arp saddr ip 0.0.0.0 accept", "iifname . arp saddr ip != @addresses4 drop", "accept"),
    ),
)
ADVERTISED: Final = "icmpv6 type nd-neighbor-advert @th,64,10 != 0x3fa iifname . @th,64,128 != @targets6 drop"
"""0x3fa: fe80::/10, which is every pod's own."""
RULES6: Final = (
    "icmpv6 type { nd-router-advert, nd-redirect } drop",
    "udp sport 547 udp dport 546 drop",
    "ip6 saddr :: accept",
    "ip6 saddr fe80::/10 accept",
    "iifname . ip6 saddr != @addresses6 drop",
    "accept",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """The node's end of a pod's pair, and what may come out of it.

    ``addresses`` are those of all the container's interfaces: an answer may leave by another than its question came.
    """

    device: str
    mac: MacAddress
    addresses: frozenset[IPAddress]


def guard_table(*, advertisements: bool = True) -> NftTable:
    """The table without its elements; ``advertisements``: with the check of what a pod advertises."""
    rules6 = (ADVERTISED, *RULES6) if advertisements else RULES6
    chains = (*RULES, (("port6", ""), rules6))
    sets = (*SETS, TARGETS) if advertisements else SETS
    digest = sha256(repr((sets, chains)).encode()).hexdigest()[:16]
    total = sum(len(rules) for _, rules in chains)
    lines = [f"  set {name} {{ {kind}; }}" for name, kind in sets]
    number = 0
    for (name, hook), rules in chains:
        lines += [f"  chain {name} {{", *([f"    {hook}"] if hook else [])]
        for rule in rules:
            number += 1
            lines.append(f'    {rule} comment "{mark(digest, number, total)}"')
        lines.append("  }")
    return NftTable(
        family=FAMILY, name=TABLE, digest=digest, text="\n".join((f"table {FAMILY} {TABLE} {{", *lines, "}\n"))
    )


def guard_elements(
    ports: Iterable[Port], bridges: Iterable[MacAddress], *, advertisements: bool = True
) -> tuple[NftElement, ...]:
    """What the sets hold, in the order in which it is to be made: that a port is guarded comes last.

    ``bridges``: the MACs of the gateways, which no pod may have.  What several ports share is named for each.
    """
    of_ports = [element for port in ports for element in _of_port(port, advertisements=advertisements)]
    return (*map(mac_element, bridges), *of_ports)


def _of_port(port: Port, *, advertisements: bool) -> list[NftElement]:
    found = [mac_element(port.mac), _element("pairs", port.device, port.mac)]
    for ip in port.addresses:
        version, text = 4 if isinstance(ip, IPv4Address) else 6, str(ip)
        found.append(_element(f"pods{version}", port.device, port.mac, text))
        found.append(_element(f"addresses{version}", port.device, text))
        if version == 6 and advertisements:
            found.append(_element("targets6", port.device, f"{int(ip):#x}"))
    found.append(_element("ports", port.device))
    return found


def mac_element(mac: MacAddress) -> NftElement:
    """That this MAC is somebody's."""
    return _element("macs", mac)


def _element(name: str, *value: str) -> NftElement:
    return NftElement(FAMILY, TABLE, name, value)
