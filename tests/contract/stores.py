"""The stores that the contract suites run on: another one joins with one line in ``ALL`` or ``CLAIMING``.

A suite's test is a story told to a ``Site``: one store, in a folder of its own, and as many
clients of it as the story needs.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from pathlib import Path

import pytest

from tests.kit.etcd import NEEDS_ETCD, shared_etcd
from tests.kit.etcd_memory import MemoryClient, MemoryEtcd
from tests.kit.memory_store import MemoryStore, Shelf
from tulle.kernel.system import SystemClock, SystemRandom
from tulle.model.lease import Lease, LeaseEvent, LeaseKey, NodeId, Snapshot
from tulle.model.network import MacAddress, Vni
from tulle.store.etcd import EtcdStore
from tulle.store.open import open_store
from tulle.store.ports import Store
from tulle.wire.leases import lease_key

PATIENCE_S = 20.0
"""How long a story waits for what has to happen; a failure, not a measurement."""
CONFIG = b'{"Network":"10.244.0.0/16","Backend":{"Type":"vxlan"}}'
LONG_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreKind:
    """``client`` opens one more client of the store in a folder; ``short_ttl_s`` is the shortest TTL that it keeps."""

    name: str
    client: Callable[[Path], Store]
    short_ttl_s: float
    marks: Sequence[pytest.MarkDecorator] = ()


def _sqlite(folder: Path) -> Store:
    return open_store(f"sqlite://{folder}/leases.db", SystemClock())


_shelves: dict[Path, Shelf] = {}


def _memory(folder: Path) -> Store:
    return MemoryStore(_shelves.setdefault(folder, Shelf(SystemClock())))


def _etcd(folder: Path) -> Store:
    """A prefix of the folder's own in the session's etcd."""
    return open_store(f"etcd://{shared_etcd().endpoint}/tulle-test{folder}", SystemClock())


_clusters: dict[Path, MemoryEtcd] = {}


def _etcd_memory(folder: Path) -> Store:
    """tulle's own client code over the simulation's cluster."""
    cluster = _clusters.setdefault(folder, MemoryEtcd(time.monotonic))
    return EtcdStore(MemoryClient(cluster), "/coreos.com/network", SystemClock(), SystemRandom())


SQLITE = StoreKind(name="sqlite", client=_sqlite, short_ttl_s=0.2)
ETCD = StoreKind(name="etcd", client=_etcd, short_ttl_s=1.0, marks=(NEEDS_ETCD,))
ETCD_MEMORY = StoreKind(name="etcd-memory", client=_etcd_memory, short_ttl_s=1.0)
MEMORY = StoreKind(name="memory", client=_memory, short_ttl_s=0.05)

ALL = (SQLITE, ETCD, ETCD_MEMORY, MEMORY)
"""Stores that answer Directory, Registration and Administration."""
CLAIMING = (SQLITE, ETCD, ETCD_MEMORY, MEMORY)
"""Stores in which nodes choose their own subnets."""


@dataclass
class Site:
    """One store and its clients."""

    kind: StoreKind
    folder: Path
    closing: AsyncExitStack = field(default_factory=AsyncExitStack)

    def client(self) -> Store:
        """One more client, closed at the end."""
        store = self.kind.client(self.folder)
        self.closing.push_async_callback(store.close)
        return store

    async def watch(self, store: Store) -> "Watch":
        """A watch that has its first snapshot already."""
        watch = Watch(store.watch())
        self.closing.push_async_callback(watch.close)
        assert isinstance(await watch.next(), Snapshot)
        return watch


class Watch:
    """A watch that is never waited for in vain for longer than ``PATIENCE_S``."""

    def __init__(self, events: AsyncIterator[LeaseEvent]) -> None:
        self._events = events

    async def next(self) -> LeaseEvent:
        return await asyncio.wait_for(anext(self._events), PATIENCE_S)

    async def close(self) -> None:
        close = getattr(self._events, "aclose", None)
        if close is not None:
            await close()


Story = Callable[[Site], Coroutine[None, None, None]]


def on(kinds: Sequence[StoreKind]) -> Callable[[Story], Callable[[StoreKind, Path], None]]:
    """Make a story a test, once for each of these stores."""

    def decorate(story: Story) -> Callable[[StoreKind, Path], None]:
        @pytest.mark.parametrize("kind", [pytest.param(kind, id=kind.name, marks=kind.marks) for kind in kinds])
        def test(kind: StoreKind, tmp_path: Path) -> None:
            asyncio.run(_told(story, Site(kind, tmp_path)))

        test.__name__, test.__doc__ = getattr(story, "__name__", "test"), story.__doc__
        return test

    return decorate


async def _told(story: Story, site: Site) -> None:
    async with site.closing:
        await story(site)


def lease(number: int, owner: str | None = "a", six: int | None = None, mac: int | None = None) -> Lease:
    """The lease of 10.244.``number``.0/24, and of fd10:244:0:``six``::/64 when that is given."""
    subnet = IPv4Network(f"10.244.{number}.0/24")
    subnet6 = None if six is None else IPv6Network(f"fd10:244:0:{six}::/64")
    return Lease(
        key=lease_key(subnet, subnet6),
        subnet=subnet,
        subnet6=subnet6,
        public_ip=IPv4Address(f"192.168.64.{number}"),
        backend_type="vxlan",
        vni=Vni(1),
        vtep_mac=MacAddress(f"02:00:00:00:00:{mac or number:02x}"),
        owner=None if owner is None else NodeId(owner),
    )


def reservation(number: int) -> Lease:
    """A lease without an end, for the node at 192.168.64.``number``."""
    subnet = IPv4Network(f"10.244.{number}.0/24")
    return Lease(key=lease_key(subnet, None), subnet=subnet, public_ip=IPv4Address(f"192.168.64.{number}"))


def key(number: int) -> LeaseKey:
    return lease_key(IPv4Network(f"10.244.{number}.0/24"), None)
