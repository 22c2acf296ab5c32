"""From lease events to a dirty scope: what this node means to hold, as one immutable value.

``Intent`` joins the lease book, its admission and the desired state, so that the daemon keeps a
single variable and every event is ``intent, scope = intent.after(event, …)``.
"""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from itertools import islice

from tulle.model.book import expire_held, fold
from tulle.model.layered import LayeredSet
from tulle.model.lease import Lease, LeaseBook, LeaseEvent, LeaseKey
from tulle.model.network import Host, MacAddress, NetworkConfig
from tulle.model.objects import ChainAccept
from tulle.model.recollection import vtep_macs
from tulle.model.state import Scope
from tulle.plan.admission import Admission, admit
from tulle.plan.desired import Desired, Inputs, Settings, desired
from tulle.plan.slices import SLICE


@dataclass(frozen=True, slots=True, kw_only=True)
class Intent:
    """The book, what was admitted of it, and the kernel state that follows.

    ``seen_macs`` are the VTEP MACs of all leases that are or were in the book: that is how an
    FDB entry of a peer that left is still recognised as ours.  ``recalled``: before the first snapshot, peers are
    those of a book that was recalled.
    """

    book: LeaseBook
    admission: Admission
    desired: Desired
    seen_macs: AbstractSet[MacAddress] = frozenset()
    recalled: bool = False

    @classmethod
    def initial(
        cls,
        config: NetworkConfig,
        host: Host,
        own: Lease,
        settings: Settings,
        book: LeaseBook | None = None,
        seen_macs: AbstractSet[MacAddress] = frozenset(),
    ) -> "Intent":
        """Before the first snapshot: no peers, and nothing may be planned yet.  ``book``: what was recalled."""
        inputs = Inputs(config=config, host=host, own=own, settings=settings)
        return cls(
            book=LeaseBook() if book is None else book,
            admission=Admission(),
            desired=desired(inputs),
            seen_macs=LayeredSet(seen_macs),
        )

    @property
    def may_act(self) -> bool:
        """May anything be planned?"""
        return self.book.synced or self.recalled

    def after(self, event: LeaseEvent, now_ns: int) -> tuple["Intent", Scope]:
        """The intent once ``event`` is known, and the keys it makes dirty."""
        *_, whole = self.unfold(event, now_ns)
        return whole

    def unfold(self, event: LeaseEvent, now_ns: int, size: int = SLICE) -> Iterator[tuple["Intent", Scope]]:
        """``after`` in steps of ``size`` leases, between which the caller may let others run.

        Only the last that it yields is an intent to act upon: the leases of the steps to come are missing before.
        """
        first = not self.book.synced
        book, changed = fold(self.book, event, now_ns, self.desired.inputs.own.key)
        yield from self._towards(book, changed, first, size)

    def recall(self, size: int = SLICE) -> Iterator[tuple["Intent", Scope]]:
        """The intent that goes by a recalled book, in steps as ``unfold``: the peers are those of then."""
        keys = frozenset(self.book.leases.keys() | self.book.held.keys())
        for intent, _ in self._towards(self.book, keys, True, size):
            yield replace(intent, recalled=True), Scope.all()

    def _towards(
        self, book: LeaseBook, changed: frozenset[LeaseKey], first: bool, size: int
    ) -> Iterator[tuple["Intent", Scope]]:
        intent, dirty, judged = self, Scope(), set[LeaseKey]()
        keys = iter(sorted(changed))
        while page := frozenset(islice(keys, size)):
            intent, scope = intent._with_book(book, page)
            dirty = dirty if first else dirty | scope
            judged |= intent.admission.judged
            yield intent, dirty
        if intent.book is not book or intent.admission.judged != judged:  # more than one page, or none
            intent = replace(intent, book=book, admission=replace(intent.admission, judged=judged))
        yield intent, Scope.all() if first and intent.may_act else dirty

    def without_the_departed(self) -> "Intent":
        """The intent once every entry of peers that left is gone: nothing is recognised by their MACs any more."""
        macs = vtep_macs(self.admission.peers.values())
        return self if macs == self.seen_macs else replace(self, seen_macs=LayeredSet(macs))

    def after_time(self, now_ns: int) -> tuple["Intent", Scope]:
        """The intent once held leases whose time is over are gone."""
        book, changed = expire_held(self.book, now_ns)
        return self._with_book(book, changed) if changed else (self, Scope())

    def after_host(self, host: Host) -> tuple["Intent", Scope]:
        """The intent on a changed host: everything is dirty, unless only foreign chains drop otherwise."""
        before = self.desired.inputs.host
        if replace(host, dropping_chains=before.dropping_chains) == before:
            wanted, scope = self.desired.with_chains(host.dropping_chains)
            return replace(self, desired=wanted), scope
        return self._rebuilt(replace(self.desired.inputs, host=host))

    def after_config(self, config: NetworkConfig) -> tuple["Intent", Scope]:
        """The intent under another network configuration, to which ``plan.reconfigure`` did not object."""
        return self._rebuilt(replace(self.desired.inputs, config=config))

    def after_own(self, own: Lease) -> tuple["Intent", Scope]:
        """The intent with another lease of our own: everything is dirty."""
        if own == self.desired.inputs.own:
            return self, Scope()
        return self._rebuilt(replace(self.desired.inputs, own=own))

    def _with_book(self, book: LeaseBook, changed: frozenset[LeaseKey]) -> tuple["Intent", Scope]:
        inputs = self.desired.inputs
        admission = admit(book, inputs.config, inputs.host, inputs.own, previous=self.admission, changed=changed)
        before, after = self.admission.peers, admission.peers
        moved = {key for key in admission.judged if _differ(before.get(key), after.get(key))}
        wanted, scope = self.desired.with_peers(after, moved)
        macs = self.seen_macs | vtep_macs(after[key] for key in moved if key in after)
        return replace(self, book=book, admission=admission, desired=wanted, seen_macs=macs), scope

    def _rebuilt(self, inputs: Inputs) -> tuple["Intent", Scope]:
        admission = admit(self.book, inputs.config, inputs.host, inputs.own) if self.may_act else Admission()
        wanted = desired(replace(inputs, peers=admission.peers))
        macs = self.seen_macs | vtep_macs(admission.peers.values())
        # An accept that no chain needs any more is found only by its key.
        unwanted = (obj.key for obj in self.desired.state.each(ChainAccept) if obj.key not in wanted.state)
        return replace(self, admission=admission, desired=wanted, seen_macs=macs), Scope.all(unwanted)


def _differ(one: Lease | None, other: Lease | None) -> bool:
    """Nearly all are the very same object, which is seen at once."""
    return one is not other and one != other
