"""The guard of routed pods: what comes out of one has an address of its own, in both families.

A table of fixed rules, as the bridge's guard: which device may use which addresses is elements of its sets.  The
reverse path, which the plugin sets to strict, is none for IPv6, and for IPv4 only where ``all`` is not loose.
A MAC means nothing on a link that the pod has to itself.  Docs: docs/adr/0021.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from typing import Final

from tulle.model.objects import NftElement, NftTable, NftTableKey
from tulle.plan.firewall import mark
from tulle.plan.guard import Port

KEY: Final = NftTableKey("inet", "tulle-routed")
HOOK: Final = "type filter hook prerouting priority -350; policy accept;"
"""Before connection tracking sees a packet."""
SETS: Final = (
    ("ports", "ifname"),
    ("addresses4", "ifname . ipv4_addr"),
    ("addresses6", "ifname . ipv6_addr"),
)
RULES: Final = (
    "iifname != @ports accept",
    "icmpv6 type { nd-router-advert, nd-redirect } drop",
    "iifname . ip saddr @addresses4 accept",
    "iifname . ip6 saddr @addresses6 accept",
    "ip6 saddr { ::, fe80::/10 } accept",
    "drop",
)


def routed_guard_table() -> NftTable:
    """The table without its elements."""
    digest = sha256(repr((SETS, RULES)).encode()).hexdigest()[:16]
    lines = (
        f"table {KEY.family} {KEY.name} {{",
        *(f"  set {name} {{ type {kind}; }}" for name, kind in SETS),
        "  chain prerouting {",
        f"    {HOOK}",
        *(f'    {rule} comment "{mark(digest, number + 1, len(RULES))}"' for number, rule in enumerate(RULES)),
        "  }",
        "}\n",
    )
    return NftTable(family=KEY.family, name=KEY.name, digest=digest, text="\n".join(lines))


def routed_guard_elements(ports: Iterable[Port]) -> tuple[NftElement, ...]:
    """What the sets hold, in the order in which it is to be made: that a port is guarded comes last."""
    return tuple(element for port in ports for element in _of_port(port))


def _of_port(port: Port) -> Iterator[NftElement]:
    for ip in sorted(port.addresses, key=str):
        yield _element(f"addresses{ip.version}", port.device, str(ip))
    yield _element("ports", port.device)


def _element(name: str, *value: str) -> NftElement:
    return NftElement(KEY.family, KEY.name, name, value)
