"""What the agent asks of a store, in three small ports, because stores differ.

``Directory`` (who holds what) and ``Registration`` are answered by every store.  ``Claims``
(take, keep and give back a lease by compare-and-swap) only by those in which nodes choose
their own subnets: SQLite and etcd; Kubernetes assigns the podCIDR itself.  Each port has one
contract suite under ``tests/contract``, run on every store.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tulle.errors import ConfigError
from tulle.model.lease import Lease, LeaseEvent, LeaseKey, Snapshot
from tulle.model.network import NetworkConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """A lease as the store now holds it for us.

    ``revision`` is what the next compare-and-swap compares with; ``sent_at_ns`` the local
    CLOCK_BOOTTIME at which the granting request was *sent* (the safe side), ``ttl_s`` what was asked.
    """

    lease: Lease
    revision: int
    sent_at_ns: int
    ttl_s: float


class Directory(Protocol):
    """Who holds what."""

    async def network_config(self) -> NetworkConfig | None:
        """The shared configuration; None while nobody has written one.

        Raises ConfigError (it breaks a rule), StoreUnavailable.
        """
        ...

    def watch_config(self) -> AsyncIterator[NetworkConfig | ConfigError | None]:
        """The shared configuration as it is, then after each change of it; changes in quick succession may be one.

        None: there is none; ConfigError: it breaks a rule.  Ends only by being closed; raises
        StoreUnavailable when the store is away (call again).
        """
        ...

    async def snapshot(self) -> Snapshot:
        """Everything, now.  Raises StoreUnavailable."""
        ...

    def watch(self) -> AsyncIterator[LeaseEvent]:
        """A ``Snapshot`` first, then every change after it, in order; a ``Snapshot`` again whenever it cannot resume.

        Ends only by being closed; raises StoreUnavailable when the store is away (call again).
        """
        ...


class Claims(Protocol):
    """Take, keep and give back a lease.  Every change is a compare-and-swap."""

    async def create(self, lease: Lease, ttl_s: float) -> Grant:
        """Claim a key that nobody holds.  Raises LeaseConflict when somebody does, StoreUnavailable."""
        ...

    async def take_over(self, lease: Lease, revision: int, ttl_s: float) -> Grant:
        """Replace what the key holds at ``revision`` (our own earlier lease, or a reservation for us).

        Raises LeaseConflict when the key has changed since, StoreUnavailable.
        """
        ...

    async def renew(self, grant: Grant, lease: Lease, ttl_s: float) -> Grant:
        """Extend our lease, with ``lease`` as its new value.  Raises LeaseLost when it is no longer ours."""
        ...

    async def release(self, grant: Grant) -> None:
        """Give it back: an explicit delete.  Raises LeaseLost when it was no longer ours."""
        ...


class Registration(Protocol):
    """Publish what others need to reach us, where the subnet itself comes from elsewhere."""

    async def publish(self, lease: Lease) -> None:
        """Make the store show ``lease`` for this node.  Idempotent.  Raises StoreUnavailable."""
        ...


class Administration(Protocol):
    """What an operator or the lab writes, never an agent."""

    async def write_network_config(self, value: bytes) -> None:
        """Store the shared configuration (flannel's JSON, validated first).  Raises ConfigError."""
        ...

    async def reserve(self, reservations: Sequence[Lease]) -> None:
        """Write leases without an end, for the nodes with these public addresses.  Raises LeaseConflict."""
        ...

    async def delete(self, key: LeaseKey) -> None:
        """Delete a lease explicitly, whoever holds it."""
        ...


class Store(Directory, Claims, Registration, Administration, Protocol):
    """A store that answers all four ports."""

    async def close(self) -> None:
        """Let go of everything, within a second.  Nothing is asked of it afterwards."""
        ...
