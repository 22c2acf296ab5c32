"""What an agent remembers over a restart: the leases that it last acted on, and the configuration that they were under.

It stands in for the store only while the store cannot be asked; the store's first snapshot ends it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from tulle.model.book import HOLD_NS
from tulle.model.lease import HeldLease, Lease, LeaseBook, LeaseKey, NodeId
from tulle.model.network import MacAddress, NetworkConfig

NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recollection:
    """One node's memory.  All times are wall clock, since it outlives a boot.

    ``own_sent_ns``: when the last good renewal of our own lease was sent, for ``own_ttl_s``.  ``leases`` are
    the peers that were programmed, without those that were held; ``held`` says until when.  ``macs`` are those
    by which an FDB entry is known as ours, also when its peer has left.
    """

    taken_ns: int
    store: str
    node_id: NodeId
    config: NetworkConfig
    own: Lease
    own_sent_ns: int
    own_ttl_s: float
    cluster_id: str = ""
    revision: int = 0
    leases: Mapping[LeaseKey, Lease] = field(default_factory=lambda: MappingProxyType({}))
    held: Mapping[LeaseKey, HeldLease] = field(default_factory=lambda: MappingProxyType({}))
    macs: frozenset[MacAddress] = frozenset()
    holds: bool = False
    """Is anything held?"""

    def says_the_same_as(self, other: "Recollection") -> bool:
        """Is there nothing in ``other`` worth writing down anew?  A lease that was only renewed is not."""
        facts = (self.store, self.node_id, self.config, self.own_sent_ns, self.own_ttl_s, self.cluster_id, self.macs)
        others = (
            *(other.store, other.node_id, other.config, other.own_sent_ns, other.own_ttl_s),
            *(other.cluster_id, other.macs),
        )
        return facts == others and _timeless(self.own) == _timeless(other.own) and self._same_leases(other)

    def _same_leases(self, other: "Recollection") -> bool:
        if self.leases.keys() != other.leases.keys() or self.held.keys() != other.held.keys():
            return False
        pairs = ((lease, other.leases[key]) for key, lease in self.leases.items())
        # Nearly all are the very same object, which is seen at once.
        return all(one is two or _timeless(one) == _timeless(two) for one, two in pairs)


def has_been_forgotten(memory: Recollection, cluster_id: str, revision: int, own: Lease) -> bool:
    """Has the store that shows this, and where our lease is ``own``, forgotten what ``memory`` was taken from?"""
    another = cluster_id != memory.cluster_id or revision < memory.revision
    return another or (own.key, own.created) != (memory.own.key, memory.own.created)


def recalled_book(memory: Recollection, own_key: LeaseKey, wall_ns: int, boot_ns: int) -> LeaseBook:
    """The book before the first snapshot, as it was last known; not synced.

    Our own lease is in it if it still has ``own_key``: by its beginning ``fold`` knows whether that was lost since.
    What was held stays held for the rest of its hour.  A memory older than a lease lives says nothing of which
    store it was taken from: whatever is missing there by now may simply have ended.
    """
    fresh = 0 <= wall_ns - memory.taken_ns < memory.own_ttl_s * NS
    held = {
        key: HeldLease(entry.lease, boot_ns + min(HOLD_NS, entry.until_ns - wall_ns))
        for key, entry in memory.held.items()
        if entry.until_ns > wall_ns
    }
    return LeaseBook(
        recalled_ns=memory.taken_ns,
        cluster_id=memory.cluster_id if fresh else "",
        revision=memory.revision if fresh else 0,
        leases={**memory.leases, own_key: memory.own} if memory.own.key == own_key else memory.leases,
        held=held,
    )


def vtep_macs(leases: Iterable[Lease]) -> frozenset[MacAddress]:
    """The VTEP MACs of ``leases``."""
    return frozenset(mac for lease in leases for mac in (lease.vtep_mac, lease.vtep_mac6) if mac is not None)


def _timeless(lease: Lease) -> Lease:
    return replace(lease, created=0, expires_at_ns=None)
