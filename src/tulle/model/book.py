"""From lease events to the lease book, and the rule for leases that vanish without a delete.

An explicit delete acts at once.  An absence is only a hint: a store that was wiped, restored
from an old backup or replaced shows the same emptiness as nodes that really left.  When a
snapshot looks like that, the leases that it lacks are *held* for an hour: still in use, reported,
and gone when their time is over or when the store says so.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, TypeVar, assert_never

from tulle.model.layered import updated
from tulle.model.lease import Garbled, Gone, HeldLease, Lease, LeaseBook, LeaseEvent, LeaseKey, Put, Snapshot

HOLD_NS: Final = 3_600 * 1_000_000_000
MASS_COUNT: Final = 3
MASS_SHARE: Final = 0.3

V = TypeVar("V")


def fold(book: LeaseBook, event: LeaseEvent, now_ns: int, own_key: LeaseKey) -> tuple[LeaseBook, frozenset[LeaseKey]]:
    """The book after ``event``, and the keys whose claim is another one now.

    Before the first snapshot every other event is ignored; that one changes every key.  ``now_ns`` is the
    caller's clock and dates what is held.  A key is in ``leases`` or in ``held``, never in both.  Cost: linear in
    what changes; a snapshot's, in all leases.
    """
    if isinstance(event, Snapshot):
        return _after_snapshot(book, event, now_ns, own_key)
    if not book.synced:
        return book, frozenset()
    match event:
        case Put(lease, revision):
            same = book.leases.get(lease.key) == lease
            after = replace(
                book,
                revision=revision,
                leases=book.leases if same else updated(book.leases, (), {lease.key: lease}),
                held=_without(book.held, lease.key),
                undecodable=_without(book.undecodable, lease.key),
            )
            return after, frozenset() if same else frozenset({lease.key})
        case Gone(key, revision):
            after = replace(
                book,
                revision=revision,
                leases=_without(book.leases, key),
                held=_without(book.held, key),
                undecodable=_without(book.undecodable, key),
            )
            return after, frozenset({key}) if key in book.leases or key in book.held else frozenset()
        case Garbled(entry, revision):
            undecodable = updated(book.undecodable, (), {entry.key: entry})
            return replace(book, revision=revision, undecodable=undecodable), frozenset()
        case _:
            assert_never(event)


def expire_held(book: LeaseBook, now_ns: int) -> tuple[LeaseBook, frozenset[LeaseKey]]:
    """The book without the held leases whose time is over, and their keys."""
    over = frozenset(key for key, held in book.held.items() if held.until_ns <= now_ns)
    if not over:
        return book, over
    return replace(book, held={key: held for key, held in book.held.items() if key not in over}), over


def _after_snapshot(
    book: LeaseBook, event: Snapshot, now_ns: int, own_key: LeaseKey
) -> tuple[LeaseBook, frozenset[LeaseKey]]:
    undecodable = {entry.key: entry for entry in event.undecodable}
    leases = {lease.key: lease for lease in event.leases}
    # A key that cannot be read now keeps its last good value.
    leases |= {key: book.leases[key] for key in undecodable if key in book.leases}
    present = leases.keys() | undecodable.keys()
    absent = book.leases.keys() - present
    held = {key: old for key, old in book.held.items() if key not in leases}
    own_missing = own_key not in present or _is_a_newer_claim(book, leases.get(own_key))
    if _looks_wiped(book, event, absent, own_missing):
        held |= {key: HeldLease(book.leases[key], now_ns + HOLD_NS) for key in absent if key != own_key}
    after = LeaseBook(
        synced=True,
        cluster_id=event.cluster_id,
        revision=event.revision,
        leases=leases,
        held=held,
        undecodable=undecodable,
    )
    return after, _differences(book, after) if book.synced else frozenset(
        leases.keys() | held.keys() | book.leases.keys()
    )


def _looks_wiped(
    book: LeaseBook, event: Snapshot, absent: frozenset[LeaseKey] | set[LeaseKey], own_missing: bool
) -> bool:
    """Did the store lose its memory, rather than so many nodes their leases?

    Since a recalled book nobody has been watching for deletes: however many are missing, it says nothing.
    """
    if not book.synced and not book.cluster_id:
        return False
    another_store = event.cluster_id != book.cluster_id or event.revision < book.revision
    too_many = book.synced and len(absent) > MASS_COUNT and len(absent) > MASS_SHARE * len(book.leases)
    return another_store or own_missing or too_many


def _is_a_newer_claim(book: LeaseBook, own: Lease | None) -> bool:
    """Does what stands at our own key begin after our lease as we knew it?

    Who asks a store that forgot may have been given our subnet by now, or we may have taken it again, before we are
    told.
    """
    known = book.leases.get(own.key) if own is not None else None
    return own is not None and (known is None or known.created != own.created)


def _differences(before: LeaseBook, after: LeaseBook) -> frozenset[LeaseKey]:
    """Keys whose lease differs; one that is held from now on, or no longer, is among them."""
    leases = {key for key, lease in after.leases.items() if before.leases.get(key) != lease}
    return frozenset(leases | (before.leases.keys() - after.leases.keys()))


def _without(mapping: Mapping[LeaseKey, V], key: LeaseKey) -> Mapping[LeaseKey, V]:
    return updated(mapping, (key,), {}) if key in mapping else mapping


def in_force(book: LeaseBook, key: LeaseKey) -> Lease | None:
    """The claim that counts for ``key``: the store's, else the held one, else None."""
    held = book.held.get(key)
    return book.leases.get(key) or (held.lease if held is not None else None)
