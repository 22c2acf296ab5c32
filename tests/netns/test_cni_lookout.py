"""A bridge that was seen a moment ago is not asked for again, until something about it is announced."""

import asyncio
import os
import secrets
import subprocess
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Final

import pytest

from tests.kit.agents import until
from tulle.cni import lookout
from tulle.cni.attach import PodNetwork
from tulle.cni.lookout import Look, Lookout
from tulle.kernel import netns
from tulle.kernel.linux import LinuxKernel
from tulle.kernel.vigil import Vigil
from tulle.model.objects import Address
from tulle.wire.cni import Invocation
from tulle.wire.cni_conf import NetworkConf

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces")

NETWORK: Final = PodNetwork(subnet=IPv4Network("10.9.1.0/24"), subnet6=None, mtu=1450)
MADE: Final = (
    *("link add br0 address 0a:58:0a:09:01:01 type bridge", "link set br0 addrgenmode none up"),
    *("address add 10.9.1.1/24 dev br0", "link add other type bridge", "link add old type bridge"),
    *("link add port master br0 up type veth peer name end", "link set end up"),
)


@pytest.fixture
def path() -> Iterator[Path]:
    name = f"tullet-{secrets.token_hex(4)}"
    made = netns.create(name)
    try:
        ip(made, *MADE)
        until(lambda: "state UP" in shown(made, "br0"), "br0 is up")  # which may be announced a second later
        yield made
    finally:
        netns.delete(name)


def ip(path: Path, *commands: str) -> None:
    text = "\n".join(commands)
    subprocess.run(["ip", "-n", path.name, "-batch", "-"], input=text, text=True, check=True, capture_output=True)


def shown(path: Path, device: str) -> str:
    command = ["ip", "-n", path.name, "-oneline", "link", "show", device]
    return subprocess.run(command, text=True, check=True, capture_output=True).stdout


class Asked:
    """A lookout over a namespace; ``glance`` for a new pod each time."""

    def __init__(self, path: Path) -> None:
        self.kernel = LinuxKernel.open(path)
        self.lookout = Lookout(self.kernel, Vigil(path))
        self.number = 0

    async def glance(self, network: PodNetwork = NETWORK, bridge: str | None = "br0") -> Look:
        self.number += 1
        return await self.lookout.glance(call(f"c{self.number}", bridge), network)

    async def is_standing(self) -> bool:
        """Is the next pod answered without a look?"""
        known = (await self.glance()).observed
        return (await self.glance()).observed is known


def call(pod: str, bridge: str | None) -> Invocation:
    conf = NetworkConf(cni_version="1.1.0", name="net", bridge=bridge)
    return Invocation(command="ADD", container_id=pod, netns="", ifname="eth0", conf=conf)


@asynccontextmanager
async def asked(path: Path) -> AsyncGenerator[Asked]:
    found = Asked(path)
    try:
        yield found
    finally:
        found.lookout.close()
        found.kernel.close()


def test_the_third_pod_takes_the_bridge_for_what_it_was(path: Path) -> None:
    async def story() -> None:
        async with asked(path) as node:
            looks = [await node.glance() for _ in range(4)]
            assert looks[0].observed is not looks[1].observed, "nobody watched it before"
            assert looks[1].observed is looks[2].observed is looks[3].observed
            assert looks[3].bridge == looks[0].bridge
            assert {str(each.interface) for each in looks[3].observed.each(Address)} >= {"10.9.1.1/24"}

    asyncio.run(story())


@pytest.mark.parametrize(
    "change",
    [
        "address del 10.9.1.1/24 dev br0",
        "address add fd09::1/64 dev br0",
        "link set br0 down",
        "link set br0 mtu 1400",
        "link set br0 address 0a:58:0a:09:01:02",
        "link set br0 promisc on",
        "link set br0 type bridge no_linklocal_learn 1",
        "link set br0 name br1",
        "link del br0",
    ],
)
def test_what_is_announced_about_it_is_looked_at(path: Path, change: str) -> None:
    async def story() -> None:
        async with asked(path) as node:
            await node.glance()
            assert await node.is_standing()
            ip(path, change)
            seen, now = await node.glance(), await node.lookout.look(call("c", "br0"), NETWORK)
            assert (seen.bridge, seen.observed) == (now.bridge, now.observed)

    asyncio.run(story())


def test_what_is_announced_of_others_is_nothing_to_it(path: Path) -> None:
    async def story() -> None:
        async with asked(path) as node:
            await node.glance()
            assert await node.is_standing()
            known = (await node.glance()).observed
            ip(path, "address add 10.8.0.1/24 dev other", "link set other mtu 1400", "link set other up")
            ip(path, "link add pair1 master br0 up type veth peer name pair2", "link set pair2 up", "link del pair1")
            assert (await node.glance()).observed is known

    asyncio.run(story())


def test_another_wish_or_subnet_is_another_look(path: Path) -> None:
    async def story() -> None:
        async with asked(path) as node:
            await node.glance()
            assert await node.is_standing()
            old, now = await node.glance(bridge="old"), await node.lookout.look(call("c", "old"), NETWORK)
            assert old.bridge == now.bridge
            await node.glance()
            assert await node.is_standing()
            known = (await node.glance()).observed
            elsewhere = replace(NETWORK, subnet=IPv4Network("10.9.2.0/24"))
            assert (await node.glance(elsewhere)).observed is not known

    asyncio.run(story())


def test_a_setting_of_which_nobody_is_told_is_looked_at_a_moment_later(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        async with asked(path) as node:
            await node.glance()
            assert await node.is_standing()
            monkeypatch.setattr(lookout, "STANDING_S", 0.0)
            assert not await node.is_standing()

    asyncio.run(story())
