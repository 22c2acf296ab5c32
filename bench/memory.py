"""What it costs an agent to remember: the file written and read back, and for how long that holds the loop.

Ten thousand peers in memory, as one node knows them; the disk is the machine's.  ``held`` is the longest stretch of
CPU time between two turns of a task that only yields, the writing itself included.

    python -m bench.memory [--peers N] [--json]
"""

import argparse
import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from bench.audit import CONFIG, lease
from tests.kit.loops import on_the_loop
from tulle.agent.identity import Identity
from tulle.agent.memory import FILE, Memory, recollect
from tulle.kernel.system import SystemClock, SystemFiles, keep_collector_short
from tulle.model.lease import NodeId
from tulle.model.recollection import Recollection

ME = Identity(NodeId("0" * 32))
STORE = "etcd://127.0.0.1:2379/coreos.com/network"


async def read(files: SystemFiles, folder: Path) -> None:
    """As a start does whose store is away."""
    past = recollect(files, folder, STORE, ME)
    assert past is not None
    assert (await past.whole()).leases


async def figures(folder: Path, peers: int) -> dict[str, dict[str, float]]:
    clock, files = SystemClock(), SystemFiles()
    leases = {each.key: each for each in map(lease, range(2, peers + 2))}
    past = Recollection(
        taken_ns=clock.wall_ns(),
        store=STORE,
        node_id=ME.node_id,
        config=CONFIG,
        own=lease(1),
        own_sent_ns=clock.wall_ns(),
        own_ttl_s=86_400.0,
        leases=leases,
    )
    memory = Memory(files=files, path=folder / FILE, store=STORE, identity=ME, clock=clock, aside=asyncio.to_thread)
    _, written = await on_the_loop(memory.write(past))
    size = {"bytes": float((folder / FILE).stat().st_size)}
    _, been_read = await on_the_loop(read(files, folder))
    return {"write": size | written, "read": been_read}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--peers", type=int, default=10_000)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    keep_collector_short()
    with tempfile.TemporaryDirectory() as folder:
        found: dict[str, Any] = asyncio.run(figures(Path(folder), args.peers))
    if args.json:
        print(json.dumps(found))
        return
    for what, values in found.items():
        print(f"{what:8}" + "  ".join(f"{name} {value:.1f}" for name, value in values.items()))


if __name__ == "__main__":
    main()
