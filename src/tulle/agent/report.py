"""What passes leave behind: counters, and what stands in the way of the wanted state.

Pure but for ``announce``, which says each new thing once: a steady state is silent, good or bad.
"""

import logging
from dataclasses import dataclass, replace
from errno import EEXIST
from typing import Final

from tulle.model.change import Conflict, Outcome, Plan
from tulle.model.objects import KernelObject, LinkKey, ObjectKey, device_of
from tulle.model.state import Scope
from tulle.plan.text import format_object, format_step_briefly

log = logging.getLogger(__name__)

LINES: Final = 20
"""So many steps of one pass are logged one by one; of ten thousand the number says more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PassReport:
    """What the last passes left behind.  Counters run since the start of the daemon."""

    passes: int = 0
    steps: int = 0
    repairs: int = 0
    last_pass_ns: int = 0
    conflicts: tuple[Conflict, ...] = ()
    strangers: tuple[KernelObject, ...] = ()
    failures: tuple[Outcome, ...] = ()
    problems: tuple[str, ...] = ()
    """One line each: what keeps the node from being ready, beyond failed steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """One pass: what it looked at, and of that because the intent had changed; what it did.

    ``repairs`` is what others had changed and is right again.
    """

    looked_at: Scope
    plan: Plan
    outcomes: tuple[Outcome, ...]
    failures: tuple[Outcome, ...]
    repairs: tuple[Outcome, ...]
    elapsed_ns: int

    @classmethod
    def of(
        cls, *, looked_at: Scope, intended: Scope, plan: Plan, outcomes: tuple[Outcome, ...], elapsed_ns: int
    ) -> "Pass":
        """The pass, with its many outcomes sorted once."""
        done = () if intended.everything else (o for o in outcomes if o.error is None)
        return cls(
            looked_at=looked_at,
            plan=plan,
            outcomes=outcomes,
            failures=tuple(o for o in outcomes if o.error is not None),
            repairs=tuple(o for o in done if not intended.names(o.step.key)),
            elapsed_ns=elapsed_ns,
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
        conflicts=tuple(c for c in before.conflicts if not looked_at.names(c.key)) + done.plan.conflicts,
        strangers=tuple(s for s in before.strangers if not looked_at.covers(s)) + done.plan.strangers,
        failures=tuple(o for o in before.failures if not looked_at.names(o.step.key)) + done.failures,
    )


def announce(before: PassReport, after: PassReport, done: Pass) -> None:
    """Log what is new."""
    for outcome in done.repairs[:LINES]:
        log.info("repaired: %s", format_step_briefly(outcome.step))
    if len(done.repairs) > LINES:
        log.info("repaired: %d more", len(done.repairs) - LINES)
    for conflict in set(after.conflicts) - set(before.conflicts):
        wanted, holder = format_object(conflict.wanted), format_object(conflict.holder)
        log.warning("conflict: %s is wanted, but something that is not ours is there: %s", wanted, holder)
    for stranger in set(after.strangers) - set(before.strangers):
        log.warning("foreign object on a link of ours, kept: %s", format_object(stranger))
    known = {str(outcome.error) for outcome in before.failures}
    fresh = [str(outcome.error) for outcome in after.failures if str(outcome.error) not in known]
    for line in fresh[:LINES]:
        log.warning("failed, will be tried again: %s", line)
    if len(fresh) > LINES:
        log.warning("failed, will be tried again: %d more", len(fresh) - LINES)
