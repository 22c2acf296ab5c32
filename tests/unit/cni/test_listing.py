"""A folder's names: listed again when they may have changed, and only then."""

import os
import time
from errno import EIO
from pathlib import Path
from typing import NoReturn

import pytest

from tulle.cni import listing
from tulle.cni.listing import Listing

HOUR_NS = 3600 * 10**9


def all_of(folder: Path) -> Listing:
    return Listing(str(folder), lambda _: True)


def make_old(folder: Path, age_ns: int = HOUR_NS) -> None:
    """As though nobody had changed it for so long."""
    when = time.time_ns() - age_ns
    os.utime(folder, ns=(when, when))


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every folder that is listed, as often as it is."""
    found: list[str] = []
    scandir = os.scandir

    def counted(path: str) -> object:
        found.append(path)
        return scandir(path)

    monkeypatch.setattr(listing.os, "scandir", counted)
    return found


def test_a_folder_that_nobody_changes_is_listed_once(tmp_path: Path, listed: list[str]) -> None:
    (tmp_path / "a").touch()
    make_old(tmp_path)
    found = all_of(tmp_path)
    assert [found.names() for _ in range(3)] == [{"a"}] * 3
    assert listed == [str(tmp_path)]


def test_what_changes_in_an_old_folder_is_seen(tmp_path: Path) -> None:
    make_old(tmp_path)
    found = all_of(tmp_path)
    assert found.names() == set()
    (tmp_path / "a").touch()
    assert found.names() == {"a"}
    (tmp_path / "a").unlink()
    assert found.names() == set()


@pytest.mark.parametrize("age_ns", [0, 1_500_000_000, -HOUR_NS], ids=["now", "an old disk's tick", "to come"])
def test_what_changes_within_one_tick_is_seen(tmp_path: Path, age_ns: int) -> None:
    found = all_of(tmp_path)
    make_old(tmp_path, age_ns)
    before = tmp_path.stat()
    assert found.names() == set()
    (tmp_path / "a").touch()
    os.utime(tmp_path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert found.names() == {"a"}


def test_a_folder_may_come_and_go(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    found = all_of(folder)
    assert found.names() == set()
    folder.mkdir()
    (folder / "a").touch()
    make_old(folder)
    assert found.names() == {"a"}
    folder.rename(tmp_path / "away")
    assert found.names() == set()
    folder.touch()
    assert found.names() == set(), "it is no folder"
    folder.unlink()
    (tmp_path / "away").rename(folder)
    assert found.names() == {"a"}


def test_only_what_is_selected_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    assert Listing(str(tmp_path), lambda entry: entry.is_dir()).names() == {"folder"}


def test_a_disk_that_fails_is_told_and_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").touch()
    make_old(tmp_path)
    found = all_of(tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(listing.os, "scandir", broken)
        with pytest.raises(OSError, match="Input/output"):
            found.names()
    assert found.names() == {"a"}


def broken(_: str) -> NoReturn:
    raise OSError(EIO, os.strerror(EIO))
