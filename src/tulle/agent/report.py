"""What passes leave behind: counters, and what stands in the way of the wanted state.  Pure."""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from errno import EEXIST, EOPNOTSUPP
from types import MappingProxyType
from typing import Final, get_args

from tulle.errors import Unsupported
from tulle.model.change import Conflict, Create, Outcome, Plan
from tulle.model.objects import KernelObject, Link, LinkKey, ObjectKey, device_of
from tulle.model.state import Scope
from tulle.plan.desired import Inputs, node_objects

NS: Final = 1_000_000_000
BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Durations:
    """How long passes took: how many within each bound of ``BOUNDS_S`` but not the one before it, and beyond."""

    counts: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)
    total_ns: int = 0

    def with_one(self, elapsed_ns: int) -> "Durations":
        """And one that took so long."""
        at = bisect_left(BOUNDS_S, elapsed_ns / NS)
        counts = (*self.counts[:at], self.counts[at] + 1, *self.counts[at + 1 :])
        return Durations(counts=counts, total_ns=self.total_ns + elapsed_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class PassReport:
    """What the last passes left behind.  Counters run since the start of the daemon."""

    passes: int = 0
    steps: int = 0
    repairs: int = 0
    last_pass_ns: int = 0
    """How long the last one took."""
    last_pass_at_ns: int | None = None
    """When it ended (CLOCK_BOOTTIME); None: there was none."""
    last_audit_at_ns: int | None = None
    """When the last one that looked at everything ended."""
    repaired: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """``repairs`` by the kind of object."""
    durations: Durations = Durations()
    conflicts: tuple[Conflict, ...] = ()
    strangers: tuple[KernelObject, ...] = ()
    failures: tuple[Outcome, ...] = ()
    problems: tuple[str, ...] = ()
    """One line each: what keeps the node from being ready, beyond failed steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass: what it looked at, and of that because the intent had changed; what it did.

    Times are CLOCK_BOOTTIME; ``noticed_ns`` is when the first of what it looked at was known to be dirty.
    ``repairs`` is what others had changed and is right again.
    """

    looked_at: Scope
    plan: Plan
    outcomes: tuple[Outcome, ...]
    failures: tuple[Outcome, ...]
    repairs: tuple[Outcome, ...]
    noticed_ns: int
    started_ns: int
    ended_ns: int

    @property
    def elapsed_ns(self) -> int:
        """How long it worked."""
        return self.ended_ns - self.started_ns

    @property
    def took_ns(self) -> int:
        """From the first notice of a drift until it was right again."""
        return self.ended_ns - self.noticed_ns

    @classmethod
    def of(
        cls,
        *,
        looked_at: Scope,
        intended: Scope,
        plan: Plan,
        outcomes: tuple[Outcome, ...],
        noticed_ns: int,
        started_ns: int,
        ended_ns: int,
    ) -> "Pass":
        """The pass, with its many outcomes sorted once."""
        done = () if intended.everything else (o for o in outcomes if o.error is None)
        return cls(
            looked_at=looked_at,
            plan=plan,
            outcomes=outcomes,
            failures=tuple(o for o in outcomes if o.error is not None),
            repairs=tuple(o for o in done if not intended.names(o.step.key)),
            noticed_ns=noticed_ns,
            started_ns=started_ns,
            ended_ns=ended_ns,
        )

    @property
    def overtaken(self) -> frozenset[ObjectKey]:
        """What somebody else made between our look and our act, as the kernel does when a packet asks for a neighbour.

        On a device whose own step failed it is something else: what that step would have taken away is still there.
        """
        unchanged = {key.name for outcome in self.failures if isinstance(key := outcome.step.key, LinkKey)}
        taken = (o.step.key for o in self.failures if o.error is not None and o.error.errno == EEXIST)
        return frozenset(key for key in taken if device_of(key) not in unchanged)


def after_pass(before: PassReport, done: Pass) -> PassReport:
    """The report once a pass is over: what it did not look at stays as it was."""
    looked_at = done.looked_at
    return replace(
        before,
        passes=before.passes + 1,
        steps=before.steps + len(done.outcomes),
        repairs=before.repairs + len(done.repairs),
        last_pass_ns=done.elapsed_ns,
        last_pass_at_ns=done.ended_ns,
        last_audit_at_ns=done.ended_ns if looked_at.everything else before.last_audit_at_ns,
        repaired=_counted(before.repaired, done.repairs),
        durations=before.durations.with_one(done.elapsed_ns),
        conflicts=tuple(c for c in before.conflicts if not looked_at.names(c.key)) + done.plan.conflicts,
        strangers=tuple(s for s in before.strangers if not looked_at.covers(s)) + done.plan.strangers,
        failures=tuple(o for o in before.failures if not looked_at.names(o.step.key)) + done.failures,
    )


def check_support(report: PassReport) -> None:
    """A kernel that cannot make the device at the start will not learn it: better said at once.  Raises Unsupported."""
    if report.passes != 1:
        return
    for outcome in report.failures:
        step, error = outcome.step, outcome.error
        if error is not None and error.errno == EOPNOTSUPP and isinstance(step, Create) and isinstance(step.obj, Link):
            raise Unsupported("VXLAN", "load the module vxlan, or enable CONFIG_VXLAN")


def _counted(before: Mapping[str, int], repairs: Iterable[Outcome]) -> Mapping[str, int]:
    counts = Counter(before)
    counts.update(_kind(type(outcome.step.key)) for outcome in repairs)
    return MappingProxyType(dict(counts))


def _kind(key: type[ObjectKey]) -> str:
    """What sort of object a key is of: ``route``, ``nft_table`` …"""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key.__name__.removesuffix("Key")).lower()


KINDS: Final = tuple(_kind(key) for key in get_args(ObjectKey))
"""Every kind of object that can be repaired."""


def own_part_stands(inputs: Inputs, report: PassReport) -> bool:
    """Is nothing of what the node needs whoever its peers are among what the last passes could not do?"""
    if not report.passes:
        return False
    amiss = {outcome.step.key for outcome in report.failures} | {conflict.key for conflict in report.conflicts}
    return not amiss or amiss.isdisjoint(obj.key for obj in node_objects(inputs))
