"""What etcd costs a node: the first look at many leases, a change on its way, a crowd that starts at once.

One real member on loopback, filled with N leases, each as a tulle node writes it.  Then: a
snapshot (wall and CPU time, requests, and for how long the loop was held at most, in CPU time), the
time from a lease's transaction being answered until a watch tells it (``begun``: the first, for which etcd takes
up to a tenth of a second: so often it looks for watches that begin in the past), the same with a hostile key written
just before each (the worst of five kinds), and twelve nodes that take
their first lease at the same moment in a network of fifteen subnets.

    python -m bench.etcd [--leases N] [--json]
"""

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from tests.contract.stores import lease
from tests.kit.etcd import PREFIX, Etcd, etcd
from tests.kit.loops import on_the_loop
from tulle.agent.identity import Identity
from tulle.agent.keeper import LeaseKeeper, Offer
from tulle.kernel.system import SystemClock, SystemRandom, keep_collector_short
from tulle.model.lease import Lease, LeaseEvent, LeaseKey, NodeId, Put, Snapshot
from tulle.model.network import MacAddress
from tulle.store.etcd_address import parse_etcd_url
from tulle.store.etcd_client import EtcdClient
from tulle.store.open import open_store
from tulle.store.ports import Store
from tulle.wire.etcd import PUT, put_request
from tulle.wire.leases import lease_key
from tulle.wire.network_config import decode_network_config

AT_ONCE = 64
CHANGES = 100
CROWD = 12
POISON = {
    "no key": ("hello", b"x"),
    "deep JSON": ("10.250.0.0-24", b"[" * 60_000),
    "64 KiB": ("10.250.1.0-24", b'{"PublicIP":"' + b"1" * 65_000 + b'"}'),
    "many keys": ("10.250.2.0-24", b"{" + b",".join(b'"%d":1' % n for n in range(6_000)) + b"}"),
    "1 MB": ("10.250.3.0-24", b"\xff" * 1_000_000),
}
"""Tail of the key, and value, of what a hostile writer may leave."""
SMALL = b'{"Network":"10.244.0.0/20","SubnetLen":24,"Backend":{"Type":"vxlan"}}'


def numbered(number: int) -> Lease:
    """The lease of one of up to 65,000 nodes."""
    subnet = IPv4Network((int(IPv4Address("10.0.0.0")) + (number << 8), 24))
    return replace(
        lease(1, owner=f"{number:032x}"),
        key=lease_key(subnet, None),
        subnet=subnet,
        public_ip=IPv4Address(int(IPv4Address("172.16.0.0")) + number),
        vtep_mac=MacAddress(f"02:00:00:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"),
    )


async def fill(store: Store, count: int, first: int = 0) -> None:
    """So many leases, some of them at once, numbered from ``first`` on."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> None:
        async with gate:
            await store.create(numbered(number), 86_400.0)

    await asyncio.gather(*(one(number) for number in range(first, first + count)))


async def first_look(store: Store) -> dict[str, float]:
    """A snapshot, beside a task that notes for how much CPU time it did not get its turn."""
    snapshot, took = await on_the_loop(store.snapshot())
    return {"leases": len(snapshot.leases)} | took


async def changes(store: Store, first: int, poison: Callable[[], Awaitable[object]] | None = None) -> dict[str, float]:
    """From the answer to a writer until a watch of the same process tells the change.

    ``poison`` is written just before each, so that whoever watches has to get past it first.
    """
    events = store.watch()
    assert isinstance(await anext(events), Snapshot)
    late = list[float]()
    for number in range(first, first + CHANGES):
        told = asyncio.ensure_future(_told(events, numbered(number).key))
        if poison is not None:
            await poison()
        await store.create(numbered(number), 86_400.0)
        answered = time.perf_counter()
        await told
        late.append((time.perf_counter() - answered) * 1e3)
    if isinstance(events, AsyncGenerator):
        await events.aclose()
    begun, *late = late
    late.sort()
    p99 = late[int(len(late) * 0.99) - 1]
    return {"begun_ms": begun, "p50_ms": statistics.median(late), "p99_ms": p99, "most_ms": late[-1]}


async def _told(events: AsyncIterator[LeaseEvent], key: LeaseKey) -> None:
    """Until the watch tells of this lease."""
    async for event in events:
        if isinstance(event, Put) and event.lease.key == key:
            return


async def poisoned(store: Store, server: Etcd, first: int) -> dict[str, dict[str, float]]:
    """The delay of honest changes behind each kind of hostile key."""
    client = EtcdClient(parse_etcd_url(server.url))
    found = dict[str, dict[str, float]]()
    for place, (name, (tail, value)) in enumerate(POISON.items()):
        request = put_request(f"{PREFIX}/subnets/{tail}".encode(), value)
        poison = partial(client.call, PUT, request)
        found[f"behind {name}"] = await changes(store, first + place * CHANGES, poison)
    await client.close()
    return found


async def crowd(server: Etcd) -> dict[str, float]:
    """Twelve first starts at once, under a prefix of their own."""
    clock, config = SystemClock(), decode_network_config(SMALL)
    stores = [open_store(f"etcd://{server.endpoint}/crowd", clock) for _ in range(CROWD)]

    async def one(number: int) -> str:
        identity, mine = Identity(NodeId(f"{number:032x}")), lease(number + 1)
        store = stores[number]
        keeper = LeaseKeeper(store, store, identity, clock, SystemRandom(), ttl_s=86_400.0, renew_margin_s=3_600.0)
        offer = Offer(config=config, public_ip=mine.public_ip, public_ip6=None, vtep_mac=mine.vtep_mac, vtep_mac6=None)
        return (await keeper.acquire(offer)).key

    started = time.perf_counter()
    keys = await asyncio.gather(*(one(number) for number in range(CROWD)))
    took = time.perf_counter() - started
    for store in stores:
        await store.close()
    return {"nodes": CROWD, "subnets": len(set(keys)), "all_ms": took * 1e3}


async def measured(server: Etcd, count: int) -> dict[str, Any]:
    store = open_store(server.url, SystemClock())
    await fill(store, count)
    looks = [await first_look(store) for _ in range(3)]
    figures = {
        "first look": min(looks, key=lambda look: look["wall_ms"]),
        "a change": await changes(store, count),
        **await poisoned(store, server, count + CHANGES),
        "first starts": await crowd(server),
    }
    await store.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--leases", type=int, default=5_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    keep_collector_short()
    with tempfile.TemporaryDirectory() as folder, etcd(Path(folder)) as server:
        figures = asyncio.run(measured(server, args.leases))
    if args.json:
        print(json.dumps(figures))
        return
    for what, values in figures.items():
        print(f"{what:18}" + "  ".join(f"{name} {value:.1f}" for name, value in values.items()))


if __name__ == "__main__":
    main()
