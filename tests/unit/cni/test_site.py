"""What the verbs share on one node: calls on one attachment wait for each other, whoever comes in between."""

import asyncio
from ipaddress import IPv4Network
from pathlib import Path
from typing import NoReturn

import pytest

from tulle.cni.attach import PodNetwork
from tulle.cni.fill import AddressUse
from tulle.cni.host_local import format_owner
from tulle.cni.removal import Removal
from tulle.cni.server import CniServer
from tulle.cni.site import Site
from tulle.cni.tombstones import Tombstones
from tulle.kernel.fake import FakeKernel

OWNER = ("c1", "eth0")


def none(*_: object) -> NoReturn:
    raise AssertionError("nothing is opened here")


def site(root: Path, subnet: IPv4Network | None = None) -> Site:
    network = None if subnet is None else PodNetwork(subnet=subnet, subnet6=None, mtu=1450)
    return Site(
        kernel=FakeKernel(),
        open_pod=none,
        removal=Removal(none),
        networks=root / "networks",
        state=root / "state",
        network=lambda: network,
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


def test_few_addresses_are_told_once_and_once_when_there_are_enough(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    subnet = IPv4Network("10.244.1.0/28")
    found = site(tmp_path, subnet)
    server = CniServer(found, Tombstones(()))
    caplog.set_level("INFO")
    files = [tmp_path / "networks" / name / str(subnet[n]) for n, name in zip(range(2, 14), "ab" * 6, strict=True)]
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(format_owner(OWNER))
        server.tell_low()
    assert server.address_uses() == (AddressUse(subnet=str(subnet), used=12, free=1, resting=0, low=True),)
    for path in files:
        path.unlink()
        server.tell_low()
    assert [record.message for record in caplog.records] == [
        "subnet 10.244.1.0/28: 1 of 13 addresses are left: delete pods, or give nodes larger subnets",
        "subnet 10.244.1.0/28: 3 of 13 addresses are left, which is enough again",
    ]


def test_without_a_lease_there_are_no_figures(tmp_path: Path) -> None:
    assert CniServer(site(tmp_path), Tombstones(())).address_uses() == ()
