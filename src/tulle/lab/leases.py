"""What the lab writes into the store that its agents share: the configuration, and who gets which subnet."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

from tulle.kernel.system import SystemClock
from tulle.lab.folder import LabFolder
from tulle.lab.site import Lab
from tulle.lab.topology import SUBNET_LEN6, LabNode, LabSettings
from tulle.model.lease import Lease
from tulle.model.network import NetworkConfig, Vxlan
from tulle.store.open import open_store
from tulle.store.ports import Administration
from tulle.wire.leases import lease_key


def store_url(folder: LabFolder, lab: str) -> str:
    """The store of a lab, as its agents' ``--store``."""
    return f"sqlite://{folder.store(lab)}"


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


async def prepare(lab: Lab) -> None:
    """Write the configuration and every node's reservation."""
    async with _store(lab) as store:
        await store.write_network_config(network_config(lab.state.settings))
        await store.reserve([reservation(node) for node in lab.state.nodes])


async def reserve(lab: Lab, nodes: Sequence[LabNode]) -> None:
    """Write the reservations of nodes that come later."""
    async with _store(lab) as store:
        await store.reserve([reservation(node) for node in nodes])


async def forget(lab: Lab, node: LabNode) -> None:
    """Delete a node's lease, so that its peers let go of it."""
    async with _store(lab) as store:
        await store.delete(reservation(node).key)


async def shared(folder: LabFolder, name: str) -> tuple[NetworkConfig | None, tuple[Lease, ...]]:
    """The configuration and the leases of a lab, as its store holds them now.  Raises StoreUnavailable."""
    store = open_store(store_url(folder, name), SystemClock())
    try:
        return await store.network_config(), (await store.snapshot()).leases
    finally:
        await store.close()


@asynccontextmanager
async def _store(lab: Lab) -> AsyncGenerator[Administration]:
    store = open_store(store_url(lab.folder, lab.name), SystemClock())
    try:
        yield store
    finally:
        await store.close()
