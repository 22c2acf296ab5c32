"""What an audit of ten thousand peers costs, and how long it keeps others waiting.

One namespace that holds every peer's three entries, and a real reconciler in it.  Figures: the
first pass, a whole audit (time, CPU), the longest stretch in which the event loop ran nothing
else (CPU time between two turns of a task that only yields), and one lease that comes.  Needs root.

    python -m bench.audit [--peers N] [--times N] [--json]
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from tests.kit.kernels import World, real_world
from tulle.agent.host import observe_host
from tulle.agent.reconciler import Reconciler
from tulle.kernel.system import SystemClock, SystemRandom, keep_collector_short, settle_memory
from tulle.model.lease import Lease, LeaseKey, Put, Snapshot
from tulle.model.network import MacAddress, NetworkConfig, SubnetPool, Vni, Vxlan
from tulle.model.state import Scope
from tulle.plan.desired import Settings
from tulle.plan.intent import Intent
from tulle.plan.underlay import UnderlayWish

NETWORK = IPv4Network("10.0.0.0/8")
UNDERLAY = IPv4Address("172.16.0.0")
POOL = SubnetPool(network=NETWORK, subnet_len=24, first=IPv4Network("10.0.1.0/24"), last=IPv4Network("10.255.255.0/24"))
CONFIG = NetworkConfig(pool4=POOL, pool6=None, backend=Vxlan())
WISH = UnderlayWish(iface=("eth0",))
PATIENCE_S = 300.0


def lease(number: int) -> Lease:
    """Peer ``number``: its subnet, address and MAC follow from it."""
    subnet = IPv4Network((int(NETWORK.network_address) + (number << 8), 24))
    tail = ":".join(f"{byte:02x}" for byte in number.to_bytes(4, "big"))
    return Lease(
        key=LeaseKey(f"{subnet.network_address}-24"),
        subnet=subnet,
        public_ip=UNDERLAY + number,
        backend_type="vxlan",
        vni=Vni(1),
        vtep_mac=MacAddress(f"02:00:{tail}"),
        created=number,
    )


class Holds:
    """The stretches in which the loop ran one task, as CPU time in ms."""

    def __init__(self) -> None:
        self.found: list[float] = []

    async def watch(self) -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            self.found.append((now - last) * 1e3)
            last = now


@asynccontextmanager
async def _running(world: World) -> AsyncGenerator[Reconciler]:
    host, _ = await observe_host(world.kernel, WISH, CONFIG)
    intent = Intent.initial(CONFIG, host, lease(1), Settings())
    loop = Reconciler(world.kernel, SystemClock(), SystemRandom(), WISH, intent, audit_period_s=3600)
    loop.on_pass = lambda _: settle_memory()
    changes = world.kernel.changes()

    async def follow() -> None:
        async for scope in changes:
            loop.kernel_changed(scope)

    tasks = [asyncio.ensure_future(loop.run()), asyncio.ensure_future(follow())]
    try:
        yield loop
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _timed(loop: Reconciler, holds: Holds, what: Callable[[], Awaitable[None]]) -> dict[str, float]:
    """Let ``what`` happen, and wait for the pass that it causes."""
    passes = loop.report.passes
    holds.found.clear()
    began, cpu = time.monotonic(), time.process_time()
    await what()
    if not await loop.wait_until(lambda now: now.report.passes > passes and now.converged, PATIENCE_S):
        raise SystemExit("never converged")
    return {
        "seconds": time.monotonic() - began,
        "cpu_s": time.process_time() - cpu,
        "longest_hold_ms": max(holds.found, default=0.0),
    }


async def story(world: World, peers: int, times: int) -> dict[str, Any]:
    keep_collector_short()
    holds = Holds()
    async with _running(world) as loop:
        leases = tuple(lease(number) for number in range(1, peers + 2))
        watching = asyncio.ensure_future(holds.watch())
        first = Snapshot(cluster_id="bench", revision=1, leases=leases)
        report: dict[str, Any] = {"peers": peers}
        report["first pass"] = await _timed(loop, holds, lambda: loop.digest(first))
        audits = [await _timed(loop, holds, lambda: _audit(loop)) for _ in range(times)]
        report["audit"] = max(audits, key=lambda audit: audit["longest_hold_ms"])
        report["one lease"] = await _timed(loop, holds, lambda: loop.digest(Put(lease(peers + 9), 2)))
        watching.cancel()
        return report


async def _audit(loop: Reconciler) -> None:
    """What an overflow of the netlink socket asks for: a pass over everything."""
    loop.kernel_changed(Scope.all())


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="bench.audit", description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--peers", type=int, default=10_000)
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)
    with real_world() as world:
        report = world.runner.run(story(world, args.peers, args.times))
    if args.json:
        print(json.dumps(report, indent=2))
        return 0
    print(f"{args.peers} peers      whole, s    CPU, s   longest hold of the loop, ms")
    for name in ("first pass", "audit", "one lease"):
        row = report[name]
        print(f"{name:14} {row['seconds']:9.3f} {row['cpu_s']:9.3f} {row['longest_hold_ms']:12.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
