"""Syncing after the answer: in groups, in full before the end, and loud when the disk refuses."""

import asyncio
import logging
from collections.abc import Iterable
from pathlib import Path

import pytest

from tulle.cni.durability import Durability
from tulle.cni.files import Folder, settle_now

FOLDER = Path("/somewhere")


def test_what_comes_together_is_synced_together_and_before_the_end() -> None:
    synced: list[tuple[Path, tuple[str, ...]]] = []

    def sync(folder: Path, names: Iterable[str]) -> None:
        synced.append((folder, tuple(names)))

    async def story() -> None:
        durability = Durability(sync)
        for name in ("a", "b", "a"):
            durability.settle(FOLDER, [name])
        await durability.close()

    asyncio.run(story())
    assert synced == [(FOLDER, ("a", "b"))]


def test_a_disk_that_refuses_is_said_once_and_until_it_takes_again(caplog: pytest.LogCaptureFixture) -> None:
    answers = [OSError(5, "Input/output error"), OSError(5, "Input/output error"), None]

    def sync(_: Path, __: Iterable[str]) -> None:
        answer = answers.pop(0)
        if answer is not None:
            raise answer

    async def story() -> list[str]:
        troubles: list[str] = []
        durability = Durability(sync)
        for name in ("a", "b", "c"):
            durability.settle(FOLDER, [name])
            await durability.close()
            troubles.append(durability.trouble)
        return troubles

    with caplog.at_level(logging.WARNING):
        assert asyncio.run(story()) == ["Input/output error", "Input/output error", ""]
    assert [record.getMessage() for record in caplog.records] == [
        "addresses on disk: Input/output error",
        "addresses on disk: written again",
    ]


def test_syncing_passes_over_what_is_gone_again(tmp_path: Path) -> None:
    with Folder(tmp_path).locked() as files:
        files.create("a", b"1")
        files.create("b", b"2")
        files.remove("b")
    settle_now(tmp_path, ["a", "b"])
    assert (tmp_path / "a").read_bytes() == b"1"
