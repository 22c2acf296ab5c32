# pyright: reportPrivateUsage=false
"""Mistakes planted in the real code, each of which the simulation has to find: who tests the tests?

A bug replaces one function or constant for the length of a ``with``.  ``kinds`` are the faults
that bring it to light; ``seeds`` is how many stories that may take.
"""

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final
from unittest.mock import patch

from tests.simulation import story
from tulle.agent import daemon, identity, keeper, start
from tulle.agent.keeper import LeaseKeeper
from tulle.agent.reconciler import Reconciler
from tulle.errors import LeaseConflict, StoreUnavailable
from tulle.model import book as lease_book
from tulle.model.change import Change, Create, Delete, Plan
from tulle.model.lease import Departure, Gone, Lease, LeaseBook, LeaseEvent, LeaseKey, Put, Snapshot
from tulle.model.state import KernelState, Scope
from tulle.ownership import NodeOwnership, Standing
from tulle.plan import addressing, admission, intent
from tulle.plan.addressing import Claimant
from tulle.store import etcd_changes, etcd_read, etcd_watch
from tulle.store.etcd import EtcdStore
from tulle.store.etcd_client import HistoryGone
from tulle.store.etcd_layout import Layout
from tulle.store.ports import Grant
from tulle.wire.etcd import get, txn_request

Patches = Callable[[], Sequence[AbstractContextManager[Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bug:
    """One mistake, and what it takes to find it."""

    name: str
    patches: Patches
    kinds: tuple[str, ...]
    seeds: int = 20
    tight: bool = False
    """Only where there are fewer subnets than nodes."""

    def story(self, seed: int) -> story.Story:
        drawn = story.drawn(seed, self.kinds, flanneld=False)
        return replace(drawn, spare_subnets=0, ttl_s=60.0) if self.tight else drawn


def _replaced(target: object, name: str, new: object) -> AbstractContextManager[Any]:
    return patch.object(target, name, new)


# -- the lease in the store ---------------------------------------------------------------


def _unconditional(layout: Layout, writing: etcd_changes.Writing, revision: int, *, announce: bool) -> bytes:  # noqa: ARG001
    return txn_request([], [*writing.puts(layout), get(layout.lease(writing.lease.key))])


def _overwrites() -> Sequence[AbstractContextManager[Any]]:
    """What flanneld does: renews whatever there is, and looks at nothing else."""
    return [_replaced(etcd_changes, "replace", _unconditional), _replaced(LeaseKeeper, "noticed", _blind_to_loss)]


def _grabbing(layout: Layout, writing: etcd_changes.Writing, guard: object) -> bytes:  # noqa: ARG001
    return txn_request([], [*writing.puts(layout), get(layout.lease(writing.lease.key))])


def _sent_when_answered() -> Sequence[AbstractContextManager[Any]]:
    real = EtcdStore._grant

    async def late(self: EtcdStore, ttl_s: float) -> Any:
        granted = await real(self, ttl_s)
        await asyncio.sleep(ttl_s / 6)
        return replace(granted, sent_at_ns=self._clock.boottime_ns())

    return [_replaced(EtcdStore, "_grant", late)]


def _never_past(self: LeaseKeeper) -> bool:  # noqa: ARG001
    return False


def _late_deadline(self: LeaseKeeper) -> int | None:
    grant = self.grant
    return None if grant is None else grant.sent_at_ns + int(grant.ttl_s * 1.2e9)


def _blind_to_loss(self: LeaseKeeper, event: LeaseEvent) -> None:
    """Never notices, and renews whatever there is."""


async def _renewed_late(self: LeaseKeeper) -> None:
    await self._clock.sleep(self._ttl_s * 1.5)


def _nameless(files: object, state: object, random: Any) -> identity.Identity:  # noqa: ARG001
    return identity.Identity(identity.NodeId(random.token(16).hex()))


def _adopts_anything(claimant: Claimant, leases: Any) -> list[Lease]:
    return [lease for lease in leases if lease.owner == claimant.node_id or claimant.is_reached_like(lease)]


def _forgets_its_own(claimant: Claimant, leases: Any) -> list[Lease]:  # noqa: ARG001
    return []


def _never_its_own(*_: object) -> None:
    return None


def _no_previous() -> Sequence[AbstractContextManager[Any]]:
    real = LeaseKeeper._take

    async def anywhere(self: LeaseKeeper, offer: keeper.Offer, preferred: object) -> Grant:  # noqa: ARG001
        return await real(self, offer, addressing.Subnets(None, None))

    return [_replaced(LeaseKeeper, "_take", anywhere)]


def _impatient() -> Sequence[AbstractContextManager[Any]]:
    return [_replaced(keeper, "RETRY_LIMIT_S", 0.0), _replaced(start, "STORE_RETRY_LIMIT_S", 0.001)]


async def _busy(self: LeaseKeeper) -> None:  # noqa: ARG001
    await asyncio.sleep(0.01)


def _gives_up_a_race() -> Sequence[AbstractContextManager[Any]]:
    """What flanneld does: a lost race ends it, and here for good."""

    async def fails(self: LeaseKeeper, *_: object) -> Grant:  # noqa: ARG001
        await asyncio.sleep(0)
        raise LeaseConflict("subnet", "already exists")

    return [_replaced(LeaseKeeper, "_take", fails)]


# -- what the store tells -----------------------------------------------------------------


def _skips_events() -> Sequence[AbstractContextManager[Any]]:
    """What happened while the watch was broken is not told."""
    real = etcd_watch._shown_again

    async def nothing(messages: Any, mark: Any) -> Sequence[Any]:
        await real(messages, mark)
        return ()

    return [_replaced(etcd_watch, "_shown_again", nothing)]


def _no_relist() -> Sequence[AbstractContextManager[Any]]:
    """A compaction, or another store, and nobody reads anew."""
    real = etcd_watch.Follower._steps

    async def steps(self: etcd_watch.Follower, position: etcd_read.Position, resuming: bool) -> Any:
        try:
            async for step in real(self, position, resuming):
                yield step
        except HistoryGone:
            await asyncio.sleep(100_000)

    return [_replaced(etcd_watch.Follower, "_steps", steps)]


def _any_history(told: object, mark: object) -> None:
    """Takes whatever a resumed watch shows for the history that it knew."""


def _watches_once() -> Sequence[AbstractContextManager[Any]]:
    async def once(node: Any) -> None:
        try:
            async for event in node.directory.watch():
                node.keeper.noticed(event)
                await node.reconciler.digest(event)
        except StoreUnavailable:
            await asyncio.sleep(1_000_000)

    return [_replaced(daemon, "_follow_leases", once)]


def _never_silent() -> Sequence[AbstractContextManager[Any]]:
    return [_replaced(etcd_watch, "QUIET_S", 1_000_000.0)]


def _choking(*_: object, **__: object) -> Lease:
    raise StoreUnavailable("a value that cannot be read")


def _chokes_on_poison() -> Sequence[AbstractContextManager[Any]]:
    real = etcd_read.LeaseReader.judged

    def judged(self: etcd_read.LeaseReader, kv: Any, records: Any) -> Any:
        found = real(self, kv, records)
        return found if isinstance(found, Lease) else _choking()

    return [_replaced(etcd_read.LeaseReader, "judged", judged)]


def _expired_at_once(records: object, wall_ns: int) -> frozenset[LeaseKey]:  # noqa: ARG001
    return frozenset()


# -- the book -------------------------------------------------------------------------------


def _folding(change: Callable[[LeaseBook, LeaseEvent], tuple[LeaseBook, LeaseEvent] | None]) -> Patches:
    """A fold that sees another event, or none at all (None)."""

    def patches() -> Sequence[AbstractContextManager[Any]]:
        real = intent.fold

        def fold(book: LeaseBook, event: LeaseEvent, now_ns: int, own_key: LeaseKey) -> Any:
            seen = change(book, event)
            return (book, frozenset[LeaseKey]()) if seen is None else real(*seen, now_ns, own_key)

        return [_replaced(intent, "fold", fold)]

    return patches


def _without_gone(book: LeaseBook, event: LeaseEvent) -> tuple[LeaseBook, LeaseEvent] | None:
    return None if isinstance(event, Gone) else (book, event)


def _without_changes(book: LeaseBook, event: LeaseEvent) -> tuple[LeaseBook, LeaseEvent] | None:
    """A lease that is known already never changes."""
    return None if isinstance(event, Put) and event.lease.key in book.leases else (book, event)


def _only_the_first_snapshot(book: LeaseBook, event: LeaseEvent) -> tuple[LeaseBook, LeaseEvent] | None:
    return None if isinstance(event, Snapshot) and book.synced else (book, event)


def _gone_means_all(book: LeaseBook, event: LeaseEvent) -> tuple[LeaseBook, LeaseEvent] | None:
    if isinstance(event, Gone) and event.departure is Departure.EXPIRED:
        return replace(book, leases=MappingProxyType({})), event
    return book, event


def _never_wiped(*_: object, **__: object) -> bool:
    return False


def _never_newer(book: LeaseBook, own: Lease | None) -> bool:  # noqa: ARG001
    return False


def _always_wiped() -> Sequence[AbstractContextManager[Any]]:
    """Holds what was deleted, too."""
    real = intent.fold

    def fold(book: LeaseBook, event: LeaseEvent, now_ns: int, own_key: LeaseKey) -> Any:
        after, keys = real(book, event, now_ns, own_key)
        if isinstance(event, Gone) and event.key in book.leases and event.key != own_key:
            held = lease_book.HeldLease(book.leases[event.key], now_ns + lease_book.HOLD_NS)
            after = replace(after, held={**after.held, event.key: held})
        return after, keys

    return [_replaced(intent, "fold", fold)]


def _held_for_ever(book: LeaseBook, now_ns: int) -> tuple[LeaseBook, frozenset[LeaseKey]]:  # noqa: ARG001
    return book, frozenset()


# -- admission ------------------------------------------------------------------------------


def _believes_all(self: object, lease: Lease) -> None:  # noqa: ARG001
    return None


def _no_clash(claims: object, holders: object) -> None:  # noqa: ARG001
    return None


# -- the kernel -----------------------------------------------------------------------------


def _planning(change: Callable[[Plan, Reconciler], Plan]) -> Patches:
    """A reconciler whose plans are changed before they are carried out."""

    def patches() -> Sequence[AbstractContextManager[Any]]:
        real = Reconciler._plan

        async def plan(self: Reconciler, wanted: KernelState, observed: KernelState, scope: Scope) -> Plan:
            return change(await real(self, wanted, observed, scope), self)

        return [_replaced(Reconciler, "_plan", plan)]

    return patches


def _never_deletes(plan: Plan, _: Reconciler) -> Plan:
    return replace(plan, steps=tuple(step for step in plan.steps if not isinstance(step, Delete)))


def _never_changes(plan: Plan, _: Reconciler) -> Plan:
    return replace(plan, steps=tuple(step for step in plan.steps if not isinstance(step, Change)))


def _break_before_make() -> Sequence[AbstractContextManager[Any]]:
    """Clears the tunnel first and fills it again."""
    real = Reconciler._plan

    async def plan(self: Reconciler, wanted: KernelState, observed: KernelState, scope: Scope) -> Plan:
        made = await real(self, wanted, observed, scope)
        if not scope.everything:
            return made
        on_tunnel = [obj for obj in observed if _is_entry(obj) and obj.key in wanted]
        return replace(made, steps=(*map(Delete, on_tunnel), *map(Create, on_tunnel), *made.steps))

    return [_replaced(Reconciler, "_plan", plan)]


def _is_entry(obj: object) -> bool:
    return type(obj).__name__ in {"Route", "Neighbor", "FdbEntry"} and getattr(obj, "device", None) == "flannel.1"


def _everything_is_ours(self: NodeOwnership, obj: object) -> Standing:  # noqa: ARG001
    return Standing.OURS


def _nothing_is_ours() -> Sequence[AbstractContextManager[Any]]:
    real = NodeOwnership.__call__

    def judge(self: NodeOwnership, obj: Any) -> Standing:
        standing = real(self, obj)
        return Standing.FOREIGN if standing is Standing.OURS and _is_entry(obj) else standing

    return [_replaced(NodeOwnership, "__call__", judge)]


def _hears_nothing(self: Reconciler, scope: Scope) -> None:
    """What the kernel says is lost."""


def _deaf_and_idle() -> Sequence[AbstractContextManager[Any]]:
    """Neither hears the kernel nor looks."""

    def due(self: Reconciler) -> None:
        self._retries.take_due(0)
        self._audit_due_ns = self._clock.boottime_ns() + 1_000_000_000_000_000

    return [
        _replaced(Reconciler, "kernel_changed", _hears_nothing),
        _replaced(Reconciler, "_collect_what_is_due", due),
    ]


def _never_audits() -> Sequence[AbstractContextManager[Any]]:
    def due(self: Reconciler) -> None:
        self._drifted |= self._retries.take_due(self._clock.boottime_ns())
        self._audit_due_ns = self._clock.boottime_ns() + 1_000_000_000_000_000

    return [_replaced(Reconciler, "_collect_what_is_due", due)]


def _forgets_failures() -> Sequence[AbstractContextManager[Any]]:
    """A refused step is never tried again, not even by an audit."""
    real = Reconciler._plan
    tried: dict[int, set[object]] = {}

    async def plan(self: Reconciler, wanted: KernelState, observed: KernelState, scope: Scope) -> Plan:
        made = await real(self, wanted, observed, scope)
        seen = tried.setdefault(id(self), set())
        failed = {outcome.step.key for outcome in self.report.failures}
        seen |= failed
        return replace(made, steps=tuple(step for step in made.steps if step.key not in seen))

    return [_replaced(Reconciler, "_plan", plan)]


def _ignores_the_device() -> Sequence[AbstractContextManager[Any]]:
    """The tunnel is made again when it is gone, and its entries are forgotten: what flanneld does."""
    real = Reconciler._plan
    known: dict[int, set[object]] = {}

    async def plan(self: Reconciler, wanted: KernelState, observed: KernelState, scope: Scope) -> Plan:
        made = await real(self, wanted, observed, scope)
        once = known.setdefault(id(self), set())
        steps = tuple(
            step for step in made.steps if not (isinstance(step, Create) and step.key in once and _is_entry(step.obj))
        )
        once |= {step.key for step in made.steps if isinstance(step, Create)}
        return replace(made, steps=steps)

    return [_replaced(Reconciler, "_plan", plan)]


def _plans_too_early() -> Sequence[AbstractContextManager[Any]]:
    """Does not wait for the first snapshot."""
    real = intent.Intent.initial

    def initial(config: Any, host: Any, own: Lease, settings: Any) -> Any:
        made = real(config, host, own, settings)
        return replace(made, book=replace(made.book, synced=True))

    def run_at_once(self: Reconciler, *arguments: Any, **named: Any) -> None:
        real_init(self, *arguments, **named)
        self._drifted = Scope.all()
        self._wake.set()

    real_init = Reconciler.__init__
    return [_replaced(start.Intent, "initial", initial), _replaced(Reconciler, "__init__", run_at_once)]


def _clears_when_away() -> Sequence[AbstractContextManager[Any]]:
    """A store that is away takes the data path along."""

    async def follow(node: Any) -> None:
        while True:
            try:
                async for event in node.directory.watch():
                    node.keeper.noticed(event)
                    await node.reconciler.digest(event)
            except StoreUnavailable:
                for key in list(node.reconciler.intent.book.leases):
                    if key != node.reconciler.intent.desired.inputs.own.key:
                        await node.reconciler.digest(Gone(key, 0))
            await node.clock.sleep(1.0)

    return [_replaced(daemon, "_follow_leases", follow)]


def _of(target: object, name: str, new: object) -> Patches:
    return lambda: [_replaced(target, name, new)]


BUGS: Final = (
    Bug(
        name="a renewal overwrites",
        patches=_overwrites,
        kinds=("cut", "cut", "join"),
        tight=True,
    ),
    Bug(name="a claim overwrites", patches=_of(etcd_changes, "create", _grabbing), kinds=("join",), tight=True),
    Bug(
        name="no local deadline",
        patches=_of(LeaseKeeper, "past_deadline", property(_never_past)),
        kinds=("cut", "cut", "join"),
        tight=True,
    ),
    Bug(
        name="a deadline without a margin",
        patches=_of(LeaseKeeper, "deadline_ns", property(_late_deadline)),
        kinds=("cut", "cut", "join"),
        tight=True,
    ),
    Bug(name="a deadline from the answer on", patches=_sent_when_answered, kinds=("cut", "cut", "join"), tight=True),
    Bug(name="renewed too late", patches=_of(LeaseKeeper, "_until_due", _renewed_late), kinds=("drift",)),
    Bug(
        name="a lost lease goes unnoticed",
        patches=_of(LeaseKeeper, "noticed", _blind_to_loss),
        kinds=("delete", "overwrite"),
    ),
    Bug(name="a node without a memory", patches=_of(start, "node_identity", _nameless), kinds=("kill",)),
    Bug(
        name="another's lease is adopted by its address",
        patches=_of(keeper, "leases_of", _adopts_anything),
        kinds=("clone",),
    ),
    Bug(
        name="its own lease is not recognised",
        patches=_of(keeper, "leases_of", _forgets_its_own),
        kinds=("kill", "reboot"),
    ),
    Bug(
        name="its own lease is not taken up",
        patches=_of(keeper, "choose_own", _never_its_own),
        kinds=("kill", "reboot"),
    ),
    Bug(name="another subnet after each loss", patches=_no_previous, kinds=("wipe",)),
    Bug(name="no pause before the next try", patches=_impatient, kinds=("cut",)),
    Bug(name="renewed without a pause", patches=_of(LeaseKeeper, "_until_due", _busy), kinds=("drift",)),
    Bug(name="a lost race is the end", patches=_gives_up_a_race, kinds=("join",)),
    Bug(
        name="expired subnets are given out at once",
        patches=_of(etcd_read, "expired_lately", _expired_at_once),
        kinds=("leave", "join"),
    ),
    Bug(name="events are skipped", patches=_skips_events, kinds=("gap",)),
    Bug(name="no new list after a compaction", patches=_no_relist, kinds=("compact",)),
    Bug(name="any history will do", patches=_of(etcd_watch, "_check_mark", _any_history), kinds=("rewind",)),
    Bug(name="a broken watch is the last", patches=_watches_once, kinds=("cut", "freeze", "join")),
    Bug(name="silence is taken for peace", patches=_never_silent, kinds=("cut", "join", "leave")),
    Bug(name="one poisoned value stops all", patches=_chokes_on_poison, kinds=("poison", "join")),
    Bug(name="deletions are ignored", patches=_folding(_without_gone), kinds=("retire", "leave")),
    Bug(name="changes are ignored", patches=_folding(_without_changes), kinds=("remake",)),
    Bug(
        name="later snapshots are ignored",
        patches=_folding(_only_the_first_snapshot),
        kinds=("wipe", "compact", "join", "restart"),
    ),
    Bug(name="one expiry clears the book", patches=_folding(_gone_means_all), kinds=("leave", "cut")),
    Bug(name="a wiped store is believed", patches=_of(lease_book, "_looks_wiped", _never_wiped), kinds=("wipe",)),
    Bug(
        name="our subnet in other hands is our lease",
        patches=_of(lease_book, "_is_a_newer_claim", _never_newer),
        kinds=("rewind", "gap"),
        tight=True,
    ),
    Bug(name="deletions are held", patches=_always_wiped, kinds=("retire",)),
    Bug(name="held for ever", patches=_of(intent, "expire_held", _held_for_ever), kinds=("wipe", "leave")),
    Bug(name="every lease is believed", patches=_of(admission._Judge, "fault", _believes_all), kinds=("hostile",)),
    Bug(name="two leases of one subnet or MAC", patches=_of(admission, "_clash", _no_clash), kinds=("hostile",)),
    Bug(name="nothing is ever removed", patches=_planning(_never_deletes), kinds=("leave", "delete")),
    Bug(name="nothing is ever changed", patches=_planning(_never_changes), kinds=("remake", "refuse")),
    Bug(name="break before make", patches=_break_before_make, kinds=("drift",)),
    Bug(name="foreign objects are ours", patches=_of(NodeOwnership, "__call__", _everything_is_ours), kinds=("drift",)),
    Bug(name="our objects are foreign", patches=_nothing_is_ours, kinds=("leave", "kill", "delete")),
    Bug(name="drift is not repaired", patches=_deaf_and_idle, kinds=("drift", "deaf")),
    Bug(name="lost announcements are lost", patches=_never_audits, kinds=("deaf",)),
    Bug(name="a refused step is forgotten", patches=_forgets_failures, kinds=("refuse",)),
    Bug(name="a new device stays empty", patches=_ignores_the_device, kinds=("drift",)),
    Bug(name="planned before the first snapshot", patches=_plans_too_early, kinds=("kill", "cut")),
    Bug(name="a store that is away takes the data path along", patches=_clears_when_away, kinds=("cut", "freeze")),
)


@contextmanager
def planted(name: str) -> Generator[Bug]:
    """The body runs with this mistake in the code."""
    bug = next(bug for bug in BUGS if bug.name == name)
    with ExitStack() as stack:
        for each in bug.patches():
            stack.enter_context(each)
        yield bug
