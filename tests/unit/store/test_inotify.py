"""Waking up when a file is written: nothing is missed, whatever is about other files is ignored."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tulle.errors import StoreUnavailable
from tulle.store.inotify import FileChanges

LONG_S = 20.0
AT_ONCE_S = 5.0


def woken(path: Path, act: Callable[[], object], timeout_s: float = LONG_S) -> float:
    """How long ``wait`` took once ``act`` had been done before it."""

    async def story() -> float:
        loop = asyncio.get_running_loop()
        with FileChanges(path) as changes:
            act()
            started = loop.time()
            await changes.wait(timeout_s)
            return loop.time() - started

    return asyncio.run(story())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "leases.db"
    found.write_bytes(b"x")
    return found


def _write(path: Path) -> None:
    path.write_bytes(b"y")


def _write_log(path: Path) -> None:
    _write(path.with_name(f"{path.name}-wal"))


def _move_away(path: Path) -> None:
    path.rename(path.with_name("away"))


def _replace(path: Path) -> None:
    _beside(path).replace(path)


def _beside(path: Path) -> Path:
    other = path.with_name("other")
    other.write_bytes(b"z")
    return other


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(_write, id="written"),
        pytest.param(_write_log, id="its log is written"),
        pytest.param(Path.unlink, id="removed"),
        pytest.param(_move_away, id="moved away"),
        pytest.param(_replace, id="replaced"),
    ],
)
def test_what_happens_to_the_file_before_somebody_waits_wakes_at_once(path: Path, act: Callable[[Path], None]) -> None:
    assert woken(path, lambda: act(path)) < AT_ONCE_S


def test_other_files_of_the_folder_do_not_wake(path: Path) -> None:
    assert woken(path, lambda: _beside(path).unlink(), timeout_s=0.05) >= 0.05


def test_a_change_wakes_once(path: Path) -> None:
    async def story() -> None:
        loop = asyncio.get_running_loop()
        with FileChanges(path) as changes:
            _write(path)
            await changes.wait(LONG_S)
            await asyncio.sleep(0.01)  # what came with the same write is read too
            await changes.wait(0.0)
            started = loop.time()
            await changes.wait(0.05)
            assert loop.time() - started >= 0.05

    asyncio.run(story())


def test_a_folder_that_is_not_there_is_a_store_that_is_away(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="No such file"):
        woken(tmp_path / "nowhere/leases.db", lambda: None)


def test_nothing_is_left_open(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        woken(path, lambda: _write(path))
    assert len(os.listdir("/proc/self/fd")) == before
