"""The one loop that makes the kernel hold what the leases say.

Events never carry work here, only dirty keys: a pass takes all that is dirty, observes that
part of the kernel, plans, applies, and remembers what failed for its retry.  An audit is the
same pass over every key, planned in slices.  Decisions live in ``plan``; this module only keeps
time and order.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final

from tulle.agent.history import History, News, news_of_intent, news_of_pass
from tulle.agent.options import AUDIT_PERIOD_S, RULES_PERIOD_S
from tulle.agent.report import Pass, PassReport, after_pass, check_support, own_part_stands
from tulle.agent.retries import Retries
from tulle.errors import ConfigError, KernelError, Unsupported
from tulle.kernel.port import Kernel
from tulle.kernel.turn import Precedence, Turn
from tulle.model.change import Plan
from tulle.model.lease import Lease, LeaseEvent
from tulle.model.network import Host, NetworkConfig
from tulle.model.objects import FilterKey, FilterObject, IptablesRules, ObjectKey, device_of
from tulle.model.state import KernelState, Scope
from tulle.ownership import NodeOwnership
from tulle.plan.desired import Inputs, node_objects, node_ownership, tunnels
from tulle.plan.diff import diff
from tulle.plan.firewall import FILTER_KEYS
from tulle.plan.intent import Intent
from tulle.plan.recall import additions
from tulle.plan.slices import SLICE, Joint, slices
from tulle.plan.underlay import HOST_SYSCTLS, UnderlayWish, host_facts
from tulle.plan.ways import is_about_ways
from tulle.seams import Clock, Random
from tulle.wire.iptables import LEGACY

log = logging.getLogger(__name__)

PAUSE_AFTER_ERROR_S: Final = 1.0
NS: Final = 1_000_000_000
EVERYTHING: Final = Scope.all((*HOST_SYSCTLS, *FILTER_KEYS))
"""What an audit looks at beside the wanted keys: also where rules of ours or of flannel's may be left."""


class Reconciler:
    """Holds the intent and converges the kernel towards it.  One instance, one task (``run``)."""

    def __init__(
        self,
        kernel: Kernel,
        clock: Clock,
        random: Random,
        wish: UnderlayWish,
        intent: Intent,
        audit_period_s: float = AUDIT_PERIOD_S,
        precedence: Precedence | None = None,
        rules_period_s: float = RULES_PERIOD_S,
    ) -> None:
        """With ``precedence``, long work waits for whoever is served on this loop.

        ``rules_period_s``: how often rules are looked at that the kernel announces nothing of.
        """
        self._kernel, self._clock, self._wish = kernel, clock, wish
        self._intent, self._audit_period_ns = intent, int(audit_period_s * NS)
        self._rules_period_ns = int(rules_period_s * NS)
        self._precedence, self._digestion = precedence, Turn(precedence)
        self._tunnels = frozenset(tunnels(intent.desired.inputs.config))
        self._intended = Scope()  # dirty because the intent changed
        self._drifted = Scope()  # dirty because the kernel changed, or might have
        self._chains_are_dirty = self._engines_are_due = False
        self._wake = asyncio.Event()
        self._passed = asyncio.Event()
        self._retries = Retries(clock, random)
        self._report = PassReport()
        self._judged: tuple[Inputs, PassReport, bool] | None = None
        self._problems: dict[str, str] = {}
        self._audit_due_ns = 0
        self._noticed_ns: int | None = None  # since when something may have drifted
        self.history = History(clock)
        self._busy_since_ns: int | None = None
        self._rules_due_ns = 0
        self.on_plan: Callable[[Plan], None] = lambda _: None  # before it is carried out
        self.on_pass: Callable[[Intent], None] = lambda _: None

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

    @property
    def dirty(self) -> bool:
        """Is there work that no pass has looked at yet?"""
        return bool(self._intended or self._drifted)

    @property
    def in_place(self) -> bool:
        """Does the node's own part stand, whatever became of single peers?  From then on pods can be served."""
        inputs, report = self._intent.desired.inputs, self._report
        if self._judged is None or self._judged[0] is not inputs or self._judged[1] is not report:
            self._judged = inputs, report, own_part_stands(inputs, report)  # asked for every pod
        return self._judged[2]

    @property
    def busy_since_ns(self) -> int | None:
        """When the pass that is under way began (CLOCK_BOOTTIME); None: there is none."""
        return self._busy_since_ns

    # -- what happened ----------------------------------------------------------------

    def lease_event(self, event: LeaseEvent) -> None:
        """The store says that leases changed."""
        self._adopt(self._intent.after(event, self._clock.boottime_ns()))

    async def digest(self, event: LeaseEvent) -> None:
        """``lease_event``, but others run in between: ten thousand leases may come in one event, or in as many."""
        await self._unfold(lambda intent: intent.unfold(event, self._clock.boottime_ns()))
        await self._digestion.rest()

    async def go_by_memory(self) -> None:
        """The store is away: until its first snapshot, add what is missing of what was recalled."""
        if not self._intent.may_act and self._intent.book.recalled_ns is not None:
            await self._unfold(Intent.recall)

    async def _unfold(self, begin: Callable[[Intent], Iterator[tuple[Intent, Scope]]]) -> None:
        turn = Turn(self._precedence)
        while True:
            before, change = self._intent, None
            for change in begin(before):  # noqa: B007  the last one counts
                await turn.rest()
            if self._intent is before and change is not None:
                self._adopt(change)
                return
            # the host, or our own lease, has changed meanwhile: once more

    def own_lease(self, own: Lease) -> None:
        """Our own lease is another one now."""
        if own.key != self._intent.desired.inputs.own.key:
            self.history.tell(News(kind="lease", text=f"{own.key} now"))
        self._adopt(self._intent.after_own(own))

    def configure(self, config: NetworkConfig) -> None:
        """The network's configuration is another one now."""
        self._wish = replace(self._wish, overlay=config.networks, direct=config.direct_routing)
        self._adopt(self._intent.after_config(config))

    def kernel_changed(self, scope: Scope) -> None:
        """The kernel says that somebody changed something; what can't matter to us is dropped here."""
        rules = scope.everything or any(isinstance(key, FilterKey) for key in scope.keys)
        self._chains_are_dirty = self._chains_are_dirty or rules
        relevant = self._relevant(scope)
        self._suspect(relevant)
        if relevant or rules:
            self._wake.set()

    async def wait_until(self, condition: Callable[["Reconciler"], bool], timeout_s: float | None = None) -> bool:
        """Wait, pass by pass, until ``condition`` holds; False when it still does not after ``timeout_s``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while not condition(self):
                    passed = self._passed
                    await passed.wait()
        return condition(self)

    # -- the loop ---------------------------------------------------------------------

    async def run(self) -> None:
        """Converge on every change, on retries when they are due, and on everything at each audit.

        Raises Unsupported: the first pass shows that this kernel lacks the backend's device.
        """
        self._audit_due_ns = self._clock.boottime_ns() + self._audit_period_ns
        while True:
            self._busy_since_ns = None
            await self._sleep_until_needed()
            self._busy_since_ns = self._clock.boottime_ns()
            if not self._intent.may_act:
                continue
            try:
                if await self._converge():
                    self.on_pass(self._intent)
            except (KernelError, Unsupported) as error:
                self._set_problem("kernel", str(error))
                await self._clock.sleep(PAUSE_AFTER_ERROR_S)
                self._suspect(Scope.all())
                self._wake.set()
            check_support(self._report)
            self._passed.set()
            self._passed = asyncio.Event()

    async def dry_run(self, observed: KernelState | None = None) -> Plan:
        """What a pass over everything would do now; ``observed``: as if the kernel held just that."""
        wanted = self._intent.desired.state
        scope = EVERYTHING.including(wanted)
        if observed is None:
            observed = await self._kernel.observe(scope)
        return await self._plan(wanted, observed, scope)

    async def _sleep_until_needed(self) -> None:
        retry_ns = self._retries.next_due_ns
        due_ns = min(self._audit_due_ns, self._rules_due_ns)
        due_ns = due_ns if retry_ns is None else min(due_ns, retry_ns)
        pause_s = max(0.0, (due_ns - self._clock.boottime_ns()) / NS)
        with suppress(TimeoutError):
            async with asyncio.timeout(pause_s):
                await self._wake.wait()
        self._wake.clear()
        self._collect_what_is_due()

    def _collect_what_is_due(self) -> None:
        now = self._clock.boottime_ns()
        self._suspect(self._retries.take_due(now))
        if now >= self._rules_due_ns:
            self._rules_due_ns = now + self._rules_period_ns
            self._suspect(Scope.of(self._silent_rules()))
        if now >= self._audit_due_ns:
            self._audit_due_ns = now + self._audit_period_ns
            self._adopt(self._intent.after_time(now))
            self._suspect(Scope.all())
            self._chains_are_dirty = self._engines_are_due = True

    def _suspect(self, scope: Scope) -> None:
        """Note what may have drifted, and since when."""
        if scope and self._noticed_ns is None:
            self._noticed_ns = self._clock.boottime_ns()
        self._drifted |= scope

    async def _converge(self) -> bool:
        """One pass over all that is dirty; False when nothing is, or when all has to be looked at anew."""
        started = self._clock.boottime_ns()
        if self._chains_are_dirty:
            await self._refresh_chains()
        intended, drifted = self._intended, self._drifted
        if not intended and not drifted:
            return False
        noticed_ns = started if self._noticed_ns is None else self._noticed_ns
        self._intended = self._drifted = Scope()
        self._noticed_ns = None
        wanted = self._intent.desired.state
        scope = (intended | drifted).including(wanted)
        if scope.everything:
            scope |= EVERYTHING
        try:
            observed = await self._kernel.observe(scope)
            if scope.everything and self._refresh_host(observed):
                self._intended |= intended
                return False  # all is dirty now: the next pass plans for the host as it is
            plan = await self._plan(wanted, observed, scope)
            self.on_plan(plan)
            outcomes = await self._kernel.apply(plan) if plan else ()
        except BaseException:
            self._intended |= intended
            self._drifted |= drifted
            self._noticed_ns = noticed_ns
            raise
        self._record(
            Pass.of(
                looked_at=scope,
                intended=intended,
                plan=plan,
                outcomes=outcomes,
                noticed_ns=noticed_ns,
                started_ns=started,
                ended_ns=self._clock.boottime_ns(),
            )
        )
        return True

    async def _plan(self, wanted: KernelState, observed: KernelState, scope: Scope) -> Plan:
        """``diff`` over ``scope``, or what of it may be done by memory alone."""
        plan = await self._whole_plan(wanted, observed, scope)
        if self._intent.book.synced:
            return plan
        return additions(plan, {obj.key for obj in node_objects(self._intent.desired.inputs)})

    async def _whole_plan(self, wanted: KernelState, observed: KernelState, scope: Scope) -> Plan:
        """``diff``; over much in slices, between which others run."""
        judge = self._ownership(observed)
        if not scope.everything and len(scope.keys) <= SLICE:
            return diff(wanted, observed, judge, scope)
        wanted, observed = scope.restrict(wanted), scope.restrict(observed)
        joint, turn = Joint(wanted), Turn(self._precedence)
        for part in slices(wanted, observed):
            joint.add(diff(part.desired, part.observed, judge))
            await turn.rest()
        return joint.plan()

    # -- the host ---------------------------------------------------------------------

    async def _refresh_chains(self) -> None:
        """Look at foreign forward chains again, at an audit also at what engines are in use."""
        self._chains_are_dirty = False
        try:
            networks = self._intent.desired.inputs.config.networks
            chains = await self._kernel.dropping_chains(networks, tuple(self._tunnels))
            due, self._engines_are_due = self._engines_are_due, False
            filters = await self._kernel.packet_filters() if due else None
        except BaseException:
            self._chains_are_dirty = self._engines_are_due = True
            raise
        host = self._intent.desired.inputs.host
        self._host_is(replace(host, dropping_chains=chains, filters=filters or host.filters))

    def _refresh_host(self, observed: KernelState) -> bool:
        """Judge the underlay again; True when the host is another one now."""
        inputs, known = self._intent.desired.inputs, self._intent.desired.inputs.host
        try:
            wish, subnets = replace(self._wish, keep=frozenset(known.underlay.addresses)), inputs.own.subnets
            host = host_facts(observed, wish, self._tunnels, subnets, known.dropping_chains, known.filters)
        except ConfigError as error:
            self._set_problem("underlay", str(error))
            return False  # keep what we had: a flapping NIC is not a reason to withdraw peers
        self._set_problem("underlay", None)
        return self._host_is(host)

    def _host_is(self, host: Host) -> bool:
        before = self._intent.desired.inputs.host
        if host == before:
            return False
        if host.underlay != before.underlay:
            log.info("underlay: %s", host.underlay)
        for chain in (chain for chain in host.dropping_chains if chain not in before.dropping_chains):
            how = f"by its rule {chain.by_rule}" if chain.by_rule else "by policy"
            log.warning("forward chain %s %s %s drops %s", chain.family, chain.table, chain.chain, how)
        self._adopt(self._intent.after_host(host))
        return True

    # -- bookkeeping ------------------------------------------------------------------

    def _adopt(self, change: tuple[Intent, Scope]) -> None:
        before, (self._intent, scope) = self._intent, change
        self.history.tell(*news_of_intent(before, self._intent))
        if scope:
            self._intended |= scope
            self._wake.set()

    def _ownership(self, observed: KernelState) -> NodeOwnership:
        wanted = self._intent.desired
        underlay = wanted.inputs.host.underlay.device
        judge = node_ownership(wanted.inputs.config, self._intent.seen_macs, underlay, wanted.state.objects)
        return judge.recognising(observed)

    def _relevant(self, scope: Scope) -> Scope:
        wanted = self._intent.desired.state
        large = bool(scope.devices & self._tunnels) and len(wanted) > SLICE
        if scope.everything or large or self._touches_host(scope):
            return Scope.all()  # which is planned in slices
        keys = {key for key in scope.keys if key in wanted or device_of(key) in self._tunnels}
        if any(isinstance(key, FilterKey) for key in scope.keys):
            keys |= self._own_rules()
        return Scope.of(keys, scope.devices & self._tunnels)

    def _own_rules(self) -> set[ObjectKey]:
        """All that may be ours or flannel's: which of them an announcement is about is not worth decoding."""
        own = node_objects(self._intent.desired.inputs)
        return {*FILTER_KEYS, *(obj.key for obj in own if isinstance(obj, FilterObject))}

    def _silent_rules(self) -> list[ObjectKey]:
        """Our rules in the older iptables, which announces nothing."""
        own = node_objects(self._intent.desired.inputs)
        return [obj.key for obj in own if isinstance(obj, IptablesRules) and obj.engine == LEGACY]

    def _touches_host(self, scope: Scope) -> bool:
        """Is it about the underlay, or, while that is missing, about any device?  With DirectRouting, about any way?"""
        underlay = self._intent.desired.inputs.host.underlay.device
        if underlay in scope.devices or (bool(scope.devices) and "underlay" in self._problems):
            return True
        return self._wish.direct and is_about_ways(scope.keys, self._wish.overlay)

    def _record(self, done: Pass) -> None:
        failed = {outcome.step.key for outcome in done.failures} | {conflict.key for conflict in done.plan.conflicts}
        self._retries.settle(done.looked_at, failed, done.overtaken)
        before, self._report = self._report, after_pass(self._report, done)
        self.history.tell(*news_of_pass(before, self._report, done))
        self._set_problem("kernel", None)
        if done.looked_at.everything and not done.failures and not self.dirty:
            self._intent = self._intent.without_the_departed()

    def _set_problem(self, about: str, problem: str | None) -> None:
        """Note what keeps the node from being ready, or that it is over; said when it changes."""
        before = self._problems.pop(about, None)
        if problem is not None:
            self._problems[about] = f"{about}: {problem}"
        now = self._problems.get(about)
        if now != before:
            self.history.tell(News(kind="problem", text=now) if now else News(kind="over", text=str(before)))
        self._report = replace(self._report, problems=tuple(self._problems.values()))
