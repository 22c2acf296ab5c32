"""What the lab writes into the store that its agents share: the configuration, and who gets which subnet.

An etcd is asked from its own host, so that nothing leaves the lab's namespaces.
"""

import asyncio
import json
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from tulle.errors import StoreUnavailable
from tulle.kernel.netns import inside
from tulle.kernel.system import SystemClock
from tulle.lab.etcd import etcd_runs, etcd_url
from tulle.lab.folder import LabFolder
from tulle.lab.site import Lab
from tulle.lab.state import LabState, namespace_name
from tulle.lab.topology import SUBNET_LEN6, LabNode, LabSettings
from tulle.model.lease import Lease
from tulle.model.network import NetworkConfig, Vxlan
from tulle.store.open import open_store
from tulle.store.ports import Store
from tulle.wire.leases import lease_key

T = TypeVar("T")


def store_url(folder: LabFolder, state: LabState) -> str:
    """The store of a lab, as its agents' ``--store``."""
    host = state.settings.etcd
    return f"sqlite://{folder.store(state.name)}" if host is None else etcd_url(host)


def network_config(settings: LabSettings) -> bytes:
    """The shared configuration, in flannel's JSON."""
    shared: dict[str, object] = {
        "Network": str(settings.network),
        "SubnetLen": settings.subnet_len,
        "Backend": _backend(settings),
    }
    if settings.ipv6:
        shared |= {"EnableIPv6": True, "IPv6Network": str(settings.network6), "IPv6SubnetLen": SUBNET_LEN6}
    return json.dumps(shared).encode()


def _backend(settings: LabSettings) -> dict[str, object]:
    wire = {"VNI": settings.vni, "Port": settings.port} if settings.backend == Vxlan.type else {}
    return {"Type": settings.backend, **wire}


def reservation(node: LabNode) -> Lease:
    """What makes node n get subnet n: a lease without an end, for its public address."""
    return Lease(
        key=lease_key(node.subnet, node.subnet6),
        subnet=node.subnet,
        subnet6=node.subnet6,
        public_ip=node.address,
        public_ip6=node.address6,
    )


def prepare(lab: Lab) -> None:
    """Write the configuration and every node's reservation.  Raises StoreUnavailable."""

    async def write(store: Store) -> None:
        await store.write_network_config(network_config(lab.state.settings))
        await store.reserve([reservation(node) for node in lab.state.nodes])

    _ask(lab.folder, lab.state, write)


def reserve(lab: Lab, nodes: Sequence[LabNode]) -> None:
    """Write the reservations of nodes that come later.  Raises StoreUnavailable."""
    _ask(lab.folder, lab.state, lambda store: store.reserve([reservation(node) for node in nodes]))


def forget(lab: Lab, node: LabNode) -> None:
    """Delete a node's lease, so that its peers let go of it.  Raises StoreUnavailable."""
    _ask(lab.folder, lab.state, lambda store: store.delete(reservation(node).key))


def shared(folder: LabFolder, state: LabState) -> tuple[NetworkConfig | None, tuple[Lease, ...]]:
    """The configuration and the leases of a lab, as its store holds them now.  Raises StoreUnavailable."""

    async def read(store: Store) -> tuple[NetworkConfig | None, tuple[Lease, ...]]:
        return await store.network_config(), (await store.snapshot()).leases

    return _ask(folder, state, read)


def _ask(folder: LabFolder, state: LabState, work: Callable[[Store], Coroutine[Any, Any, T]]) -> T:
    """What ``work`` gets from the lab's store, in a loop that does nothing else."""

    async def ask() -> T:
        store = open_store(store_url(folder, state), SystemClock())
        try:
            return await work(store)
        finally:
            await store.close()

    with _reach(folder, state):
        return asyncio.run(ask())


@contextmanager
def _reach(folder: LabFolder, state: LabState) -> Generator[None]:
    """Be where the store is.  Raises StoreUnavailable: it does not run, which is not worth asking it."""
    host = state.settings.etcd
    if host is None:
        yield
        return
    if not etcd_runs(state):
        raise StoreUnavailable(f"etcd of lab {state.name}: does not answer: 'tulle lab resume etcd' lets it go on")
    with inside(folder.netns(state.name) / namespace_name(state.name, host.name)):
        yield
