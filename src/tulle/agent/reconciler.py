"""The one loop that makes the kernel hold what the leases say.

Events never carry work here, only dirty keys: a pass takes all that is dirty, observes that
part of the kernel, plans, applies, and remembers what failed for its retry.  An audit is the
same pass over every key.  Decisions live in ``plan``; this module only keeps time and order.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

from tulle.agent.status import PassReport
from tulle.errors import ConfigError, KernelError, Unsupported
from tulle.kernel.port import Kernel
from tulle.model.change import Outcome, Plan
from tulle.model.lease import Lease, LeaseEvent
from tulle.model.network import Host, IPNetwork
from tulle.model.objects import (
    ChainAcceptKey,
    KernelObject,
    NftTableKey,
    ObjectKey,
    RouteKey,
    SysctlKey,
)
from tulle.model.state import KernelState, Scope
from tulle.ownership import NodeOwnership
from tulle.plan.desired import node_ownership, tunnels
from tulle.plan.diff import diff
from tulle.plan.intent import Intent
from tulle.plan.text import format_object, format_step
from tulle.plan.underlay import UnderlayWish, choose_underlay, connected_prefixes
from tulle.seams import Clock, Random

log = logging.getLogger(__name__)

AUDIT_PERIOD_S: Final = 10.0
RETRY_FIRST_S: Final = 1.0
RETRY_LAST_S: Final = 60.0
NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Retry:
    """A key whose last step failed, and when it is tried again (CLOCK_BOOTTIME)."""

    attempt: int
    due_ns: int


async def observe_host(
    kernel: Kernel, wish: UnderlayWish, own_devices: frozenset[str], own_subnets: tuple[IPNetwork, ...] = ()
) -> tuple[Host, KernelState]:
    """Read the facts that decisions depend on.

    Prefixes on ``own_devices`` and inside ``own_subnets`` (the pods' bridge) are ours, not the host's.
    Raises ConfigError when no underlay fits, KernelError.
    """
    observed = await kernel.observe(Scope.all())
    underlay = choose_underlay(observed, wish)
    chains = await kernel.dropping_chains()
    connected = connected_prefixes(observed, own_devices, own_subnets)
    return Host(underlay=underlay, connected=connected, dropping_chains=chains), observed


class Reconciler:
    """Holds the intent and converges the kernel towards it.  One instance, one task (``run``)."""

    def __init__(self, kernel: Kernel, clock: Clock, random: Random, wish: UnderlayWish, intent: Intent) -> None:
        self._kernel, self._clock, self._random, self._wish = kernel, clock, random, wish
        self._intent = intent
        self._tunnels = frozenset(tunnels(intent.desired.inputs.config))
        self._intended = Scope()  # dirty because the intent changed
        self._drifted = Scope()  # dirty because the kernel changed, or might have
        self._wake = asyncio.Event()
        self._passed = asyncio.Event()
        self._retries: dict[ObjectKey, Retry] = {}
        self._report = PassReport()
        self._audit_due_ns = 0
        self._host_is_dirty = False
        self.on_converged: Callable[[Intent], None] = lambda _: None

    @property
    def intent(self) -> Intent:
        return self._intent

    @property
    def report(self) -> PassReport:
        return self._report

    @property
    def converged(self) -> bool:
        """Nothing dirty, nothing failed, since the first snapshot."""
        settled = not self._intended and not self._drifted and not self._report.failures
        return self._intent.book.synced and self._report.passes > 0 and settled

    # -- what happened ----------------------------------------------------------------

    def lease_event(self, event: LeaseEvent) -> None:
        """The store says that leases changed."""
        self._adopt(self._intent.after(event, self._clock.boottime_ns()))

    def own_lease(self, own: Lease) -> None:
        """Our own lease is another one now."""
        self._adopt(self._intent.after_own(own))

    def kernel_changed(self, scope: Scope) -> None:
        """The kernel says that somebody changed something; what can't matter to us is dropped here."""
        wanted = self._intent.desired
        if scope.everything or self._touches_host(scope):
            self._host_is_dirty = True
        relevant = self._relevant(scope, wanted.state)
        if relevant or self._host_is_dirty:
            self._drifted |= relevant
            self._wake.set()

    async def wait_until(self, condition: Callable[["Reconciler"], bool], timeout_s: float) -> bool:
        """Wait, pass by pass, until ``condition`` holds; False when it still does not after ``timeout_s``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not condition(self):
                    passed = self._passed
                    await passed.wait()
        return condition(self)

    # -- the loop ---------------------------------------------------------------------

    async def run(self) -> None:
        """Converge on every change, on retries when they are due, and on everything at each audit."""
        self._audit_due_ns = self._clock.boottime_ns() + int(AUDIT_PERIOD_S * NS)
        while True:
            await self._sleep_until_needed()
            if not self._intent.book.synced:
                continue
            try:
                await self._converge()
            except (KernelError, Unsupported, ConfigError) as error:
                self._note_problem(str(error))
                await self._clock.sleep(RETRY_FIRST_S)
                self._drifted |= Scope.all()
            self._passed.set()
            self._passed = asyncio.Event()

    async def dry_run(self, observed: KernelState | None = None) -> Plan:
        """What a pass over everything would do now; ``observed``: as if the kernel held just that."""
        wanted = self._intent.desired.state
        scope = Scope.all(wanted.objects)
        if observed is None:
            observed = await self._kernel.observe(scope)
        return diff(wanted, observed, self._ownership(observed), scope)

    async def _sleep_until_needed(self) -> None:
        due_ns = min([self._audit_due_ns, *(retry.due_ns for retry in self._retries.values())])
        pause_s = max(0.0, (due_ns - self._clock.boottime_ns()) / NS)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        self._wake.clear()
        self._collect_what_is_due()

    def _collect_what_is_due(self) -> None:
        now = self._clock.boottime_ns()
        due = [key for key, retry in self._retries.items() if retry.due_ns <= now]
        self._drifted |= Scope.of(due)
        for key in due:  # if it fails again it comes back; until then it is not due
            self._retries[key] = replace(self._retries[key], due_ns=now + int(RETRY_LAST_S * NS))
        if now >= self._audit_due_ns:
            self._audit_due_ns = now + int(AUDIT_PERIOD_S * NS)
            self._adopt(self._intent.after_time(now))
            self._drifted |= Scope.all()
            self._host_is_dirty = True

    async def _converge(self) -> None:
        """One pass over all that is dirty."""
        started = self._clock.boottime_ns()
        if self._host_is_dirty:
            await self._refresh_host()
        intended, drifted = self._intended, self._drifted
        self._intended = self._drifted = Scope()
        if not intended and not drifted:
            return
        wanted = self._intent.desired.state
        scope = (intended | drifted).including(wanted)
        try:
            observed = await self._kernel.observe(scope)
            plan = diff(wanted, observed, self._ownership(observed), scope)
            outcomes = await self._kernel.apply(plan) if plan else ()
        except BaseException:
            self._intended |= intended
            self._drifted |= drifted
            raise
        self._record(plan, outcomes, scope, intended, self._clock.boottime_ns() - started)

    async def _refresh_host(self) -> None:
        """Look at the underlay and at foreign chains again; a change makes everything dirty."""
        self._host_is_dirty = False
        before = self._intent.desired.inputs.host
        try:
            own_subnets = self._intent.desired.inputs.own.subnets
            host, _ = await observe_host(self._kernel, self._wish, self._tunnels, own_subnets)
        except ConfigError as error:
            self._note_problem(f"underlay: {error}")
            return  # keep what we had: a flapping NIC is not a reason to withdraw peers
        self._clear_problem()
        if host != before:
            log.info("host changed: %s", host)
            self._adopt(self._intent.after_host(host))

    # -- bookkeeping ------------------------------------------------------------------

    def _adopt(self, change: tuple[Intent, Scope]) -> None:
        self._intent, scope = change
        if scope:
            self._intended |= scope
            self._wake.set()

    def _ownership(self, observed: KernelState) -> NodeOwnership:
        config = self._intent.desired.inputs.config
        judge = node_ownership(config, self._intent.seen_macs)
        return replace(judge, macs=judge.macs | judge.recognised_macs(observed))

    def _touches_host(self, scope: Scope) -> bool:
        underlay = self._intent.desired.inputs.host.underlay.device
        firewall = any(isinstance(key, NftTableKey | ChainAcceptKey) for key in scope.keys)
        return firewall or underlay in scope.devices or (bool(scope.devices) and self._lacks_underlay())

    def _lacks_underlay(self) -> bool:
        return any(problem.startswith("underlay:") for problem in self._report.problems)

    def _relevant(self, scope: Scope, wanted: KernelState) -> Scope:
        if scope.everything:
            return scope
        keys = {key for key in scope.keys if key in wanted or self._lives_on_tunnel(key)}
        if any(isinstance(key, NftTableKey | ChainAcceptKey) for key in scope.keys):
            keys |= {key for key in wanted.objects if isinstance(key, NftTableKey | ChainAcceptKey)}
        return Scope.of(keys, scope.devices & self._tunnels)

    def _lives_on_tunnel(self, key: ObjectKey) -> bool:
        if isinstance(key, RouteKey | SysctlKey | NftTableKey | ChainAcceptKey):
            return False
        return (key.device if hasattr(key, "device") else "") in self._tunnels

    def _record(
        self, plan: Plan, outcomes: tuple[Outcome, ...], scope: Scope, intended: Scope, elapsed_ns: int
    ) -> None:
        failures = tuple(outcome for outcome in outcomes if outcome.error is not None)
        repairs = [o for o in outcomes if o.error is None and not _named_by(intended, o.step.key)]
        for outcome in repairs:
            log.info("repaired: %s", "; ".join(format_step(outcome.step)))
        self._schedule_retries(plan, failures, scope)
        before = self._report
        conflicts = tuple(c for c in before.conflicts if not _named_by(scope, c.key)) + plan.conflicts
        strangers = plan.strangers if scope.everything else _joined(before.strangers, plan.strangers)
        _announce(before, conflicts, strangers, failures)
        self._report = replace(
            before,
            passes=before.passes + 1,
            steps=before.steps + len(outcomes),
            repairs=before.repairs + len(repairs),
            last_pass_ns=elapsed_ns,
            conflicts=conflicts,
            strangers=strangers,
            failures=tuple(o for o in before.failures if not _named_by(scope, o.step.key)) + failures,
        )
        if self.converged:
            self.on_converged(self._intent)

    def _schedule_retries(self, plan: Plan, failures: tuple[Outcome, ...], scope: Scope) -> None:
        failed = {outcome.step.key for outcome in failures} | {conflict.key for conflict in plan.conflicts}
        for key in [key for key in self._retries if _named_by(scope, key) and key not in failed]:
            del self._retries[key]
        for key in failed:
            attempt = self._retries[key].attempt + 1 if key in self._retries else 0
            delay_s = min(RETRY_LAST_S, RETRY_FIRST_S * 2**attempt)
            jitter = 0.75 + self._random.below(500) / 1000
            self._retries[key] = Retry(attempt, self._clock.boottime_ns() + int(delay_s * jitter * NS))

    def _note_problem(self, problem: str) -> None:
        if problem not in self._report.problems:
            log.warning("%s", problem)
        self._report = replace(self._report, problems=(problem,))

    def _clear_problem(self) -> None:
        if self._report.problems:
            log.info("over: %s", "; ".join(self._report.problems))
        self._report = replace(self._report, problems=())


def _named_by(scope: Scope, key: ObjectKey) -> bool:
    return scope.everything or key in scope.keys


def _joined(before: tuple[KernelObject, ...], now: tuple[KernelObject, ...]) -> tuple[KernelObject, ...]:
    known = {obj.key: obj for obj in (*before, *now)}
    return tuple(known.values())


def _announce(
    before: PassReport,
    conflicts: tuple[object, ...],
    strangers: tuple[KernelObject, ...],
    failures: tuple[Outcome, ...],
) -> None:
    """Log what is new, once: a steady state is silent, good or bad."""
    for conflict in set(conflicts) - set(before.conflicts):
        log.warning("conflict: %s", conflict)
    for stranger in set(strangers) - set(before.strangers):
        log.warning("foreign object on a link of ours, kept: %s", format_object(stranger))
    known = {str(outcome.error) for outcome in before.failures}
    for outcome in failures:
        if str(outcome.error) not in known:
            log.warning("failed, will be tried again: %s", outcome.error)
