"""DELs that were left: done in order, kept when they fail, removed when they mean nothing."""

import asyncio
import json
import os
import time
from collections.abc import Mapping
from errno import EROFS
from pathlib import Path

import pytest

from tulle.cni.files import Folder
from tulle.cni.tombstones import BEGUN_S, Tombstones
from tulle.wire.control import CniRequest, encode_cni


class Handler:
    """Answers with one code, and remembers whom it was asked about."""

    def __init__(self, code: int = 0) -> None:
        self.code, self.asked = code, list[str]()

    async def __call__(self, environment: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        self.asked.append(environment["CNI_CONTAINERID"] + stdin.decode())
        await asyncio.sleep(0)
        return (1, json.dumps({"code": self.code}).encode()) if self.code else (0, b"")


def deletion(name: str, verb: str = "DEL") -> Mapping[str, str]:
    return {"CNI_COMMAND": verb, "CNI_CONTAINERID": name}


def places(root: Path) -> tuple[Path, Path]:
    return root / "disk", root / "run"


def test_what_is_left_is_done_in_order_and_removed(tmp_path: Path) -> None:
    tombstones, handler = Tombstones(places(tmp_path)), Handler()
    for name in ("a", "b", "c"):
        tombstones.leave(deletion(name), b"{}")
    assert tombstones.any()
    asyncio.run(tombstones.bury(handler))
    assert handler.asked == ["a{}", "b{}", "c{}"]
    assert not tombstones.any()


def test_burials_side_by_side_do_each_once(tmp_path: Path) -> None:
    tombstones, handler = Tombstones(places(tmp_path)), Handler()
    tombstones.leave(deletion("a"), b"")
    tombstones.leave(deletion("b"), b"")

    async def story() -> None:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(3):
                tasks.create_task(tombstones.bury(handler))

    asyncio.run(story())
    assert handler.asked == ["a", "b"]


def test_one_that_a_killed_shim_began_is_removed_once_it_is_old(tmp_path: Path) -> None:
    (disk, _), handler = places(tmp_path), Handler()
    disk.mkdir()
    old, new = disk / ".00001.0-1", disk / ".00002.0-2"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, time.time() - 2 * BEGUN_S))
    asyncio.run(Tombstones(places(tmp_path)).bury(handler))
    assert not old.exists()
    assert new.exists()
    assert handler.asked == []


def test_one_that_fails_stays_and_the_next_is_done(tmp_path: Path) -> None:
    tombstones, refused = Tombstones(places(tmp_path)), Handler(code=102)
    tombstones.leave(deletion("a"), b"")
    tombstones.leave(deletion("b"), b"")
    asyncio.run(tombstones.bury(refused))
    assert refused.asked == ["a", "b"]
    assert tombstones.any()


@pytest.mark.parametrize("code", [1, 2, 4, 6, 7])
def test_one_that_can_never_be_done_goes(tmp_path: Path, code: int) -> None:
    tombstones = Tombstones(places(tmp_path))
    tombstones.leave(deletion("a"), b"")
    asyncio.run(tombstones.bury(Handler(code)))
    assert not tombstones.any()


@pytest.mark.parametrize("content", [b"", b"nonsense", b"J{}", encode_cni(CniRequest(deletion("a", "ADD"), b""))[4:]])
def test_what_is_no_deletion_is_removed_unasked(tmp_path: Path, content: bytes) -> None:
    tombstones, handler = Tombstones(places(tmp_path)), Handler()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x").write_bytes(content)
    asyncio.run(tombstones.bury(handler))
    assert handler.asked == []
    assert not tombstones.any()


def test_a_folder_that_takes_none_is_passed_over(tmp_path: Path) -> None:
    tombstones = Tombstones(places(tmp_path))
    (tmp_path / "disk").write_text("in the way")
    tombstones.leave(deletion("a"), b"")
    assert len(list((tmp_path / "run").glob("[0-9]*"))) == 1
    (tmp_path / "both").mkdir()
    for name in ("disk", "run"):
        (tmp_path / "both" / name).write_text("in the way")
    with pytest.raises(OSError, match="exists"):
        Tombstones(places(tmp_path / "both")).leave(deletion("a"), b"")


def test_one_that_is_done_and_cannot_be_removed_is_not_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its pod may have been made again meanwhile."""
    tombstones, handler = Tombstones(places(tmp_path)), Handler()
    tombstones.leave(deletion("a"), b"")
    with monkeypatch.context() as patched:
        patched.setattr(Folder, "remove", read_only)
        asyncio.run(tombstones.bury(handler))
        asyncio.run(tombstones.bury(handler))
    assert handler.asked == ["a"]
    assert tombstones.any()
    asyncio.run(tombstones.bury(handler))
    assert handler.asked == ["a"]
    assert not tombstones.any()


def read_only(*_: object) -> None:
    raise OSError(EROFS, "Read-only file system")
