"""What a lab's file says shall hold: "pod1 reaches pod4 with mtu 1450", read into a ``Check``.

Names are judged where the topology is known; sending the packets is the command line's business.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from tulle.errors import ConfigError

GRAMMAR: Final = re.compile(
    r"(?P<source>\S+) (?P<verb>reaches|does not reach) (?P<target>\S+)"
    r"(?: over (?P<family>ipv4|ipv6))?(?: with mtu (?P<mtu>[0-9]{1,5}))?"
)
EXAMPLE: Final = 'must read like "pod1 reaches node2 over ipv6 with mtu 1430" or "pod1 does not reach pod4"'
LEAST_MTU: Final = 68
"""What every IPv4 link carries unfragmented.  Source: RFC 791 §3.2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One echo request and whether it shall be answered.

    ``mtu``: the request is this many bytes with its IP header and may not be fragmented; None: a small one.
    """

    source: str
    target: str
    reaches: bool = True
    version: int = 4
    mtu: int | None = None

    def __str__(self) -> str:
        verb = "reaches" if self.reaches else "does not reach"
        family = " over ipv6" if self.version == 6 else ""
        size = f" with mtu {self.mtu}" if self.mtu is not None else ""
        return f"{self.source} {verb} {self.target}{family}{size}"


def parse_check(text: str, item: str = "check") -> Check:
    """``item`` is where the text stands.  Raises ConfigError: it is not a sentence of this grammar."""
    found = GRAMMAR.fullmatch(" ".join(text.split()))
    if found is None:
        raise ConfigError(f"{item} {text[:80]!r}", EXAMPLE)
    mtu = int(found["mtu"]) if found["mtu"] else None
    if mtu is not None and not LEAST_MTU <= mtu <= 65535:
        raise ConfigError(f"{item} {text[:80]!r}", f"the mtu must be {LEAST_MTU} to 65535")
    return Check(
        source=found["source"],
        target=found["target"],
        reaches=found["verb"] == "reaches",
        version=6 if found["family"] == "ipv6" else 4,
        mtu=mtu,
    )


def ring(pods: Sequence[str], versions: Sequence[int]) -> tuple[Check, ...]:
    """What shall hold when nothing was said: each pod reaches the next, the last one the first."""
    following = [*pods[1:], *pods[:1]] if len(pods) > 1 else []
    return tuple(
        Check(source=source, target=target, version=version)
        for version in versions
        for source, target in zip(pods, following, strict=False)
    )
