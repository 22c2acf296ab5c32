"""What the verbs share on one node: calls on one attachment wait for each other, whoever comes in between."""

import asyncio
from pathlib import Path
from typing import NoReturn

from tulle.cni.removal import Removal
from tulle.cni.site import Site
from tulle.kernel.fake import FakeKernel

OWNER = ("c1", "eth0")


def none(*_: object) -> NoReturn:
    raise AssertionError("nothing is opened here")


def site(root: Path) -> Site:
    return Site(
        kernel=FakeKernel(),
        open_pod=none,
        removal=Removal(none),
        networks=root / "networks",
        state=root / "state",
        network=lambda: None,
        boot_id="this",
    )


def test_f47_three_calls_on_one_attachment_never_overlap(tmp_path: Path) -> None:
    """The third comes while the lock is free, and promised to the second."""
    found, at_work, most = site(tmp_path), 0, 0

    async def call(entered: asyncio.Event, leave: asyncio.Event) -> None:
        nonlocal at_work, most
        async with found.alone(OWNER):
            at_work += 1
            most = max(most, at_work)
            entered.set()
            await leave.wait()
            at_work -= 1

    async def story() -> None:
        first, leave, end = asyncio.Event(), asyncio.Event(), asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            one = tasks.create_task(call(first, leave))
            await first.wait()
            tasks.create_task(call(asyncio.Event(), end))
            await asyncio.sleep(0)  # it waits
            one.add_done_callback(lambda _: tasks.create_task(call(asyncio.Event(), end)) and None)
            leave.set()
            await one
            for _ in range(5):
                await asyncio.sleep(0)
            end.set()

    asyncio.run(story())
    assert most == 1
    assert found.in_service() == frozenset()


def test_whoever_is_served_or_waits_is_in_service(tmp_path: Path) -> None:
    found = site(tmp_path)

    async def story() -> None:
        async with found.alone(OWNER):
            assert found.in_service() == {OWNER}

    asyncio.run(story())
    assert found.in_service() == frozenset()
