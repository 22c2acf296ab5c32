"""A story as data: who is there, and what befalls whom and when.  Drawn from a seed; any part of it can be left out."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

TTLS_S: Final = (60.0, 120.0, 120.0, 600.0)
FIRST_S: Final = 40.0
LAST_S: Final = 400.0


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that happens at ``at_s`` and, where that makes sense, lasts for ``lasts_s``.

    ``target`` picks the node (modulo how many there are), ``choice`` whatever else there is to choose.
    """

    at_s: float
    kind: str
    target: int
    lasts_s: float
    choice: int

    def __str__(self) -> str:
        return f"{self.at_s:.0f} s: {self.kind} {self.target} for {self.lasts_s:.0f} s ({self.choice})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """Everything that a run follows from."""

    seed: int
    tulle_nodes: int
    flanneld_nodes: int
    spare_subnets: int
    ttl_s: float
    clock_rate: float
    """How fast the store's clock goes, beside everybody else's."""
    faults: tuple[Fault, ...]


KINDS: Final = (
    *("cut", "cut", "cut", "slow", "pulse", "gap", "freeze", "restart", "compact", "wipe", "restore", "rewind"),
    *("kill", "kill", "reboot", "remake", "leave", "retire", "suspend", "join", "clone"),
    *("drift", "deaf", "refuse", "overflow", "hostile", "poison", "delete", "overwrite"),
)


def drawn(seed: int, kinds: Sequence[str] = KINDS, *, flanneld: bool = True, faults: int = 10) -> Story:
    """The story of a seed, with faults of ``kinds`` only."""
    random = Random(seed)
    ttl_s = random.choice(TTLS_S)
    times = sorted(random.uniform(FIRST_S, LAST_S) for _ in range(random.randint(1, faults)))
    return Story(
        seed=seed,
        tulle_nodes=random.choice((2, 3, 3, 4, 5)),
        flanneld_nodes=random.choice((0, 0, 1, 2)) if flanneld else 0,
        spare_subnets=random.choice((0, 0, 1, 4, 40)),
        ttl_s=ttl_s,
        clock_rate=random.uniform(0.99, 1.01),
        faults=tuple(
            Fault(
                at_s=at_s,
                kind=random.choice(kinds),
                target=number,
                lasts_s=random.choice((1.0, 10.0, 30.0, ttl_s * 0.5, ttl_s, ttl_s * 2)) * random.uniform(0.5, 1.5),
                choice=random.randrange(1 << 16),
            )
            for number, at_s in zip(random.sample(range(60), len(times)), times, strict=True)
        ),
    )
