"""The embedded store among processes: a crowd, a reader beside a writer, and a writer that is killed.

Each process is a real one with a file descriptor of its own: SQLite's locks are per process, so
clients within one process would prove less.
"""

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

from tests.contract.stores import CONFIG, LONG_S, PATIENCE_S, key, lease
from tulle.kernel.system import SystemClock
from tulle.model.lease import Departure, Gone, Put, Snapshot
from tulle.store.open import open_store

CROWD = 50

CLAIMER = """
import asyncio, sys
from ipaddress import IPv4Address
from tulle.agent.identity import Identity
from tulle.agent.keeper import LeaseKeeper, Offer
from tulle.kernel.system import SystemClock, SystemRandom
from tulle.model.lease import NodeId
from tulle.model.network import MacAddress
from tulle.store.open import open_store

async def main(url, number):
    clock = SystemClock()
    store = open_store(url, clock)
    keeper = LeaseKeeper(
        store, store, Identity(NodeId(f"node{number}")), clock, SystemRandom(), ttl_s=3600.0, renew_margin_s=60.0
    )
    offer = Offer(
        config=await store.network_config(),
        public_ip=IPv4Address(f"192.168.64.{number}"),
        public_ip6=None,
        vtep_mac=MacAddress(f"02:00:00:00:00:{number:02x}"),
        vtep_mac6=None,
    )
    key = (await keeper.acquire(offer)).key
    print(f"{key}\\n", end="", flush=True)  # one write, also where output is unbuffered
    await store.close()
"""
ONE = CLAIMER + "asyncio.run(main(sys.argv[1], int(sys.argv[2])))\n"
FORKED = (
    CLAIMER
    + """
import os
children = []
for number in range(1, int(sys.argv[2]) + 1):
    child = os.fork()
    if child == 0:
        code = 1
        try:
            asyncio.run(main(sys.argv[1], number))
            code = 0
        finally:
            os._exit(code)
    children.append(child)
sys.exit(sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0 for child in children))
"""
)
DYING = """
import sqlite3, sys, time
db = sqlite3.connect(sys.argv[1], isolation_level=None)
db.execute("BEGIN IMMEDIATE")
db.execute("UPDATE fact SET value = value + 1 WHERE name = 'revision'")
db.execute("DELETE FROM lease")
print("in the middle", flush=True)
time.sleep(60)
"""


def python(program: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environment(),
    )


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def url(folder: Path) -> str:
    return f"sqlite://{folder}/leases.db"


async def _configured(folder: Path) -> None:
    store = open_store(url(folder), SystemClock())
    await store.write_network_config(CONFIG)
    await store.close()


async def _snapshot(folder: Path) -> Snapshot:
    store = open_store(url(folder), SystemClock())
    try:
        return await store.snapshot()
    finally:
        await store.close()


def test_a_crowd_of_agents_that_start_at_once_each_get_a_subnet_of_their_own(tmp_path: Path) -> None:
    asyncio.run(_configured(tmp_path))
    crowd = python(FORKED, url(tmp_path), str(CROWD))
    out, err = crowd.communicate(timeout=60)
    assert (crowd.returncode, err) == (0, "")
    leases = asyncio.run(_snapshot(tmp_path)).leases
    assert sorted(found.key for found in leases) == sorted(out.split())
    assert len({found.subnet for found in leases}) == CROWD
    assert {found.public_ip for found in leases} == {IPv4Address(f"192.168.64.{n}") for n in range(1, CROWD + 1)}


def test_a_crowd_that_meets_an_empty_folder_makes_one_store(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\nfrom tulle.kernel.system import SystemClock\nfrom tulle.store.open import open_store\n"
        "async def main():\n    store = open_store(sys.argv[1], SystemClock())\n"
        "    print((await store.snapshot()).cluster_id)\n    await store.close()\nasyncio.run(main())\n"
    )
    crowd = [python(program, url(tmp_path / "new")) for _ in range(6)]
    answers = [process.communicate(timeout=60) for process in crowd]
    assert [err for _, err in answers] == [""] * len(crowd)
    assert len({out for out, _ in answers}) == 1


def test_a_watch_sees_what_another_process_does(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_store(url(tmp_path), SystemClock())
        watch = store.watch()
        await anext(watch)
        other = python(ONE, url(tmp_path), "7")
        event = await asyncio.wait_for(anext(watch), PATIENCE_S)
        out, _ = await asyncio.to_thread(other.communicate)
        assert isinstance(event, Put)
        assert (event.lease.key, event.lease.owner) == (out.strip(), "node7")
        await store.close()

    asyncio.run(_configured(tmp_path))
    asyncio.run(story())


def test_a_lease_outlives_the_process_that_took_it_and_ends_by_anothers_clock(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_store(url(tmp_path), SystemClock())
        grant = await store.create(lease(1), 0.2)
        await store.close()
        other = open_store(url(tmp_path), SystemClock())
        watch = other.watch()
        first = await anext(watch)
        assert isinstance(first, Snapshot)
        assert first.leases == (grant.lease,)
        gone = await asyncio.wait_for(anext(watch), PATIENCE_S)
        assert gone == Gone(key(1), gone.revision, Departure.EXPIRED)
        await other.close()

    asyncio.run(story())


def test_a_writer_that_is_killed_in_the_middle_changes_nothing_and_holds_nobody_up(tmp_path: Path) -> None:
    async def story() -> None:
        store = open_store(url(tmp_path), SystemClock())
        first = await store.create(lease(1), LONG_S)
        before = await store.snapshot()
        dying = python(DYING, str(tmp_path / "leases.db"))
        assert dying.stdout is not None
        assert await asyncio.to_thread(dying.stdout.readline) == "in the middle\n"
        waiting = asyncio.create_task(store.create(lease(2), LONG_S))
        assert await _snapshot(tmp_path) == before  # readers do not wait for writers
        dying.send_signal(signal.SIGKILL)
        await asyncio.to_thread(dying.communicate)
        second = await waiting
        after = await store.snapshot()
        assert after.leases == (first.lease, second.lease)
        assert after.revision == before.revision + 1
        await store.close()

    asyncio.run(story())
    with sqlite3.connect(tmp_path / "leases.db") as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
