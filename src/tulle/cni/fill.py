"""How full the node's subnets are: figures, and when they are worth a word.  Pure.

Said once when the tenth part is left, and not again before a fifth is: a node whose pods come and go at the edge
would say it all day.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

LOW: Final = 10
ENOUGH: Final = 5
"""Low: not more than capacity / LOW is free; enough again: more than capacity / ENOUGH."""

COUNTLESS: Final = 1 << 32
"""More than so many free ones are told as so many: no node fills an IPv6 subnet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressUse:
    """The addresses of one subnet of the node that pods can have.

    ``resting``: of the free ones, those that had a pod before, which are given after all others.
    """

    subnet: str
    used: int
    free: int
    resting: int
    low: bool = False

    @property
    def capacity(self) -> int:
        return self.used + self.free


def is_low(use: AddressUse, before: bool) -> bool:
    """Is it to be called low, when it was ``before``?  At least one address has to be taken."""
    bound = use.capacity // ENOUGH if before else max(1, use.capacity // LOW)
    return use.used > 0 and use.free <= bound


def news(before: Collection[str], uses: Iterable[AddressUse]) -> list[tuple[bool, str]]:
    """What to say of the subnets that are low now and were not (True: a warning), or no longer are."""
    found: list[tuple[bool, str]] = []
    for use in uses:
        left = f"subnet {use.subnet}: {use.free} of {use.capacity} addresses are left"
        if use.low and use.subnet not in before:
            found.append((True, f"{left}: delete pods, or give nodes larger subnets"))
        elif not use.low and use.subnet in before:
            found.append((False, f"{left}, which is enough again"))
    return found
