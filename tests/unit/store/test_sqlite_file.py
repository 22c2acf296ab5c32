"""The embedded store's file: who may read it, what happens to it under a running agent, and time across a reboot."""

import asyncio
import os
import resource
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

import pytest

from tulle.errors import ConfigError, StoreUnavailable
from tulle.kernel.system import SystemClock
from tulle.model.lease import Departure, Garbled, Gone, Lease, NodeId, Put, Snapshot
from tulle.store import sqlite_file, sqlite_rows
from tulle.store.open import open_store
from tulle.store.sqlite import SqliteStore
from tulle.wire.leases import lease_key

NS = 1_000_000_000
DAY_S = 86_400.0


@dataclass
class HandClock:
    """A clock that a test moves."""

    boot_s: float = 1_000.0
    wall_s: float = 1_700_000_000.0

    def boottime_ns(self) -> int:
        return int(self.boot_s * NS)

    def wall_ns(self) -> int:
        return int(self.wall_s * NS)

    async def sleep(self, seconds: float) -> None:
        self.boot_s += seconds
        self.wall_s += seconds


def lease(number: int) -> Lease:
    subnet = IPv4Network(f"10.244.{number}.0/24")
    return Lease(
        key=lease_key(subnet, None),
        subnet=subnet,
        public_ip=IPv4Address(f"192.168.64.{number}"),
        owner=NodeId("a"),
    )


@asynccontextmanager
async def opened(path: Path, clock: HandClock | None = None, boot_id: str | None = None) -> AsyncGenerator[SqliteStore]:
    store = SqliteStore(path, clock or SystemClock(), boot_id)
    try:
        yield store
    finally:
        await store.close()


@contextmanager
def raw(path: Path) -> Generator[sqlite3.Connection]:
    """Somebody else's hands on the file."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=0)) as db:
        yield db


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "leases.db"


# -- opening ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "what"),
    [
        pytest.param("etcd3://10.0.0.1:2379/", "no such kind of store: one of sqlite:///path", id="unknown scheme"),
        pytest.param("/var/lib/leases.db", "no such kind of store", id="no scheme"),
        pytest.param("sqlite://leases.db", "absolute path", id="relative path"),
        pytest.param("sqlite:///var/lib/", "absolute path", id="a folder"),
        pytest.param("sqlite://", "absolute path", id="nothing"),
    ],
)
def test_a_url_that_names_no_store_is_refused_in_one_line(url: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what) as caught:
        open_store(url, SystemClock())
    assert "\n" not in str(caught.value)


def test_a_password_in_a_url_is_not_repeated() -> None:
    with pytest.raises(ConfigError) as caught:
        open_store("mysql://root:secret@db/", SystemClock())
    assert "secret" not in str(caught.value)


def test_opening_does_nothing_until_it_is_used(path: Path) -> None:
    async def story() -> None:
        async with opened(path):
            assert not path.parent.exists()

    asyncio.run(story())


def test_only_the_owner_may_read_the_files_and_the_folder_made_for_them(path: Path) -> None:
    async def story() -> None:
        async with opened(path) as store:
            await store.create(lease(1), DAY_S)
            files = [path, path.with_name("leases.db-wal"), path.with_name("leases.db-shm")]
            assert [file.stat().st_mode & 0o777 for file in files] == [0o600] * 3
            assert path.parent.stat().st_mode & 0o777 == 0o700

    before = os.umask(0)
    try:
        asyncio.run(story())
    finally:
        os.umask(before)


@pytest.mark.parametrize("kind", ["link", "folder", "fifo"])
def test_only_a_plain_file_is_opened(path: Path, kind: str) -> None:
    async def story() -> None:
        async with opened(path) as store:
            with pytest.raises(StoreUnavailable, match="not a plain file"):
                await store.snapshot()

    path.parent.mkdir()
    match kind:
        case "link":
            path.symlink_to(path.parent / "elsewhere")
        case "folder":
            path.mkdir()
        case _:
            os.mkfifo(path)
    asyncio.run(story())
    assert not (path.parent / "elsewhere").exists()


def test_a_file_that_is_no_database_is_left_as_it_is(path: Path) -> None:
    async def story() -> None:
        async with opened(path) as store:
            for _ in range(2):
                with pytest.raises(StoreUnavailable, match="not a database"):
                    await store.snapshot()

    path.parent.mkdir()
    path.write_bytes(b"something else entirely\n" * 100)
    asyncio.run(story())
    assert path.read_bytes() == b"something else entirely\n" * 100


# -- trouble while it is open ----------------------------------------------------------------


def test_a_file_that_is_removed_is_missed_and_not_made_again(path: Path) -> None:
    async def story() -> None:
        async with opened(path) as store:
            watch = store.watch()
            assert isinstance(await anext(watch), Snapshot)
            waiting = asyncio.ensure_future(anext(watch))
            await asyncio.sleep(0)
            for file in path.parent.iterdir():
                file.unlink()
            with pytest.raises(StoreUnavailable, match="is gone"):
                await asyncio.wait_for(waiting, 20)
            with pytest.raises(StoreUnavailable, match="is gone"):
                await store.create(lease(1), DAY_S)

    asyncio.run(story())
    assert not path.exists()


def test_another_file_in_its_place_is_another_store_and_begins_with_a_snapshot(path: Path) -> None:
    async def story() -> None:
        other = path.parent / "other.db"
        async with opened(path) as store:
            await store.create(lease(1), DAY_S)
            watch = store.watch()
            before = await anext(watch)
            async with opened(other) as another:
                replacement = (await another.create(lease(2), DAY_S)).lease
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink()
            other.rename(path)
            after = await asyncio.wait_for(anext(watch), 20)
            assert isinstance(before, Snapshot)
            assert isinstance(after, Snapshot)
            assert before.cluster_id != after.cluster_id
            assert after.leases == (replacement,)

    asyncio.run(story())


def test_a_watch_that_is_too_far_behind_begins_anew(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with opened(path) as store, opened(path) as writer:
            watch = store.watch()
            await anext(watch)  # the generator rests here, before it looks for events
            grant = await writer.create(lease(1), DAY_S)
            for _ in range(40):
                grant = await writer.renew(grant, lease(1), DAY_S)
            event = await asyncio.wait_for(anext(watch), 20)
            assert event == await store.snapshot()
            assert (await asyncio.wait_for(_next_after(watch, writer), 20)).revision == grant.revision + 1

    monkeypatch.setattr(sqlite_rows, "EVENTS_KEPT", 20)
    asyncio.run(story())


async def _next_after(watch: AsyncIterator[object], writer: SqliteStore) -> Put:
    await writer.create(lease(2), DAY_S)
    event = await anext(watch)
    assert isinstance(event, Put)
    return event


def test_a_full_disk_is_the_store_being_away_and_nothing_half_done(path: Path) -> None:
    async def story() -> None:
        async with opened(path) as store:
            before = (await store.create(lease(1), DAY_S)).lease
            with _no_room(path), pytest.raises(StoreUnavailable):
                await store.create(lease(2), DAY_S)
            assert (await store.snapshot()).leases == (before,)
            await store.create(lease(2), DAY_S)

    asyncio.run(story())


@contextmanager
def _no_room(path: Path) -> Generator[None]:
    """No file of this process may grow beyond what the write-ahead log has already."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(path.name + "-wal").stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_watchers_are_woken_when_the_change_already_shows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The write-ahead log is written before its index: who is woken by that alone may look too early."""
    shown: list[int] = []

    def noted(file: Path) -> None:
        with raw(file) as other:
            shown.append(other.execute("SELECT count(*) FROM lease").fetchone()[0])

    async def story() -> None:
        async with opened(path) as store:
            await store.create(lease(1), DAY_S)
            await store.create(lease(2), DAY_S)

    monkeypatch.setattr(sqlite_file.os, "utime", noted)
    asyncio.run(story())
    assert shown == [1, 2]


def test_a_lock_that_is_held_for_too_long_is_the_store_being_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with opened(path) as store:
            await store.snapshot()
            with raw(path) as somebody:
                somebody.execute("BEGIN IMMEDIATE")
                with pytest.raises(StoreUnavailable, match="locked"):
                    await store.create(lease(1), DAY_S)
                assert (await store.snapshot()).leases == ()
            await store.create(lease(1), DAY_S)

    monkeypatch.setattr(sqlite_file, "BUSY_LIMIT_S", 0.05)
    asyncio.run(story())


def test_a_value_that_is_no_lease_is_named_and_hides_nothing(path: Path) -> None:
    async def story() -> None:
        async with opened(path) as store:
            good = (await store.create(lease(1), DAY_S)).lease
            await store.create(lease(2), DAY_S)
            watch = store.watch()
            await anext(watch)
            with raw(path) as somebody:
                somebody.execute("UPDATE lease SET value = 'nonsense' WHERE key = '10.244.2.0-24'")
                somebody.execute("INSERT INTO event VALUES (3, '10.244.2.0-24', 'nonsense', 0, 'a', 2, NULL)")
                somebody.execute("UPDATE fact SET value = 3 WHERE name = 'revision'")
            event = await asyncio.wait_for(anext(watch), 20)
            snapshot = await store.snapshot()
            assert isinstance(event, Garbled)
            assert snapshot.leases == (good,)
            assert snapshot.undecodable == (event.entry,)
            assert event.entry.key == "10.244.2.0-24"

    asyncio.run(story())


# -- time -------------------------------------------------------------------------------------


def test_a_lease_ends_on_the_clock_that_runs_while_suspended(path: Path) -> None:
    async def story() -> None:
        clock = HandClock()
        async with opened(path, clock) as store:
            grant = await store.create(lease(1), 100.0)
            assert grant.lease.expires_at_ns == 1_100 * NS
            clock.boot_s += 99.9
            assert len((await store.snapshot()).leases) == 1
            clock.boot_s += 0.1
            assert (await store.snapshot()).leases == ()

    asyncio.run(story())


def test_a_step_of_the_wall_clock_ends_nothing(path: Path) -> None:
    async def story() -> None:
        clock = HandClock()
        async with opened(path, clock) as store:
            await store.create(lease(1), 100.0)
            clock.wall_s += 1e6
            assert len((await store.snapshot()).leases) == 1

    asyncio.run(story())


@pytest.mark.parametrize(
    ("away_s", "left_s"),
    [
        pytest.param(30.0, 70.0, id="the time that it was down counts"),
        pytest.param(-1e6, 100.0, id="a wall clock that went back adds nothing"),
        pytest.param(500.0, None, id="down for longer than the lease"),
    ],
)
def test_a_reboot_moves_the_ends_to_the_new_clock(path: Path, away_s: float, left_s: float | None) -> None:
    async def story() -> None:
        clock = HandClock()
        async with opened(path, clock, boot_id="first") as store:
            await store.create(lease(1), 100.0)
        clock.boot_s, clock.wall_s = 5.0, clock.wall_s + away_s
        for _ in range(2):  # the second to open the file has nothing to move
            async with opened(path, clock, boot_id="second") as store:
                found = [each.expires_at_ns for each in (await store.snapshot()).leases]
                assert found == ([] if left_s is None else [int((5.0 + left_s) * NS)])
            clock.wall_s += 1

    asyncio.run(story())


def test_expired_keys_are_forgotten_after_a_day(path: Path) -> None:
    async def story() -> None:
        clock = HandClock()
        async with opened(path, clock) as store:
            await store.create(lease(1), 100.0)
            await clock.sleep(101)
            assert (await store.snapshot()).expired == {lease(1).key}
            await clock.sleep(DAY_S)
            assert (await store.snapshot()).expired == frozenset()

    asyncio.run(story())


def test_several_that_end_at_once_are_each_told(path: Path) -> None:
    async def story() -> None:
        clock = HandClock()
        async with opened(path, clock) as store:
            for number in (1, 2, 3):
                await store.create(lease(number), 100.0)
            watch = store.watch()
            await anext(watch)
            await clock.sleep(100)
            events = [await asyncio.wait_for(anext(watch), 20) for _ in range(3)]
            assert events == [Gone(lease(n).key, 3 + n, Departure.EXPIRED) for n in (1, 2, 3)]

    asyncio.run(story())
