"""The IP layer's counters of a namespace, as ``/proc/net/snmp``, ``netstat`` and ``snmp6`` print them.

Source: net/ipv4/proc.c, net/ipv6/proc.c.  The first two give two lines for each protocol, names
and values; the third one line for each counter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

NO_ROUTE: Final = ("Ip OutNoRoutes", "IpExt InNoRoutes", "Ip6InNoRoutes", "Ip6OutNoRoutes")
DISCARDED: Final = ("Ip InDiscards", "Ip OutDiscards", "Ip6InDiscards", "Ip6OutDiscards")


@dataclass(frozen=True, slots=True, kw_only=True)
class IpCounters:
    """Packets of both IP versions since the namespace was made.

    ``no_route``: there was none to their destination; ``discarded``: well-formed, but dropped all the same.
    """

    no_route: int
    discarded: int


def parse_ip_counters(text: str) -> IpCounters:
    """From the three files one after another; a counter that is missing or no number counts as 0."""
    found = {**_paired(text), **_single(text)}
    return IpCounters(
        no_route=sum(found.get(name, 0) for name in NO_ROUTE),
        discarded=sum(found.get(name, 0) for name in DISCARDED),
    )


def _paired(text: str) -> Mapping[str, int]:
    """``Ip: A B`` above ``Ip: 1 2`` as ``Ip A`` and ``Ip B``."""
    found: dict[str, int] = {}
    for names, values in pairwise(text.splitlines()):
        protocol, colon, rest = names.partition(":")
        if colon and values.startswith(f"{protocol}:"):
            pairs = zip(rest.split(), values.partition(":")[2].split(), strict=False)
            found.update({f"{protocol} {name}": int(value) for name, value in pairs if value.isdecimal()})
    return found


def _single(text: str) -> Mapping[str, int]:
    words = (line.split() for line in text.splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2 and pair[1].isdecimal()}
