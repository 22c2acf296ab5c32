"""Announcements on a socket that overflows: what is lost is looked at, and what comes next is heard."""

import asyncio
import subprocess
from ipaddress import ip_network

import pytest

from tests.kit.enter import enter
from tests.kit.kernels import DEADLINE_S, NEEDS_ROOT, real_world
from tulle.kernel.monitor import OWN_TABLE, Monitor
from tulle.kernel.netns import NETNS_FOLDER
from tulle.model.objects import RouteKey

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))

LOUD = "\n".join(f"route add 172.16.{n >> 8}.{n & 255}/32 dev eth0" for n in range(2000))
QUIET = ip_network("172.31.0.0/16")


def test_f32_after_an_overflow_everything_is_named_and_the_next_change_is_heard() -> None:
    """The kernel drops without a word until the last waiting message has been read."""
    with real_world() as world:

        async def story() -> None:
            monitor = Monitor(NETNS_FOLDER / world.name, receive_buffer=4096)
            try:
                _ip(world.name, LOUD)
                async with asyncio.timeout(DEADLINE_S):
                    while not (await anext(monitor)).everything:
                        pass
                _ip(world.name, f"route add {QUIET} dev eth0")
                async with asyncio.timeout(DEADLINE_S):
                    while RouteKey(QUIET, 254, 0) not in (await anext(monitor)).keys:
                        pass
            finally:
                monitor.close()

        world.runner.run(story())


def test_an_element_is_no_news_and_a_rule_is() -> None:
    """Elements come with every pod and every Service; each would cost the agent some processes."""
    with real_world() as world:

        async def story() -> None:
            _nft(world.name, "add table ip t; add set ip t s { type ipv4_addr; }; add chain ip t c")
            monitor = Monitor(NETNS_FOLDER / world.name)
            try:
                _nft(world.name, "add element ip t s { 192.0.2.1 }")
                _ip(world.name, f"route add {QUIET} dev eth0")
                heard = set((await anext(monitor)).keys)
                assert RouteKey(QUIET, 254, 0) in heard
                assert OWN_TABLE not in heard
                _nft(world.name, "add rule ip t c accept")
                async with asyncio.timeout(DEADLINE_S):
                    while OWN_TABLE not in (await anext(monitor)).keys:
                        pass
            finally:
                monitor.close()

        world.runner.run(story())


def _nft(name: str, commands: str) -> None:
    subprocess.run([*enter(name), "nft", "-f", "-"], input=commands.replace("; add", "\nadd"), text=True, check=True)


def _ip(name: str, commands: str) -> None:
    subprocess.run([*enter(name), "ip", "-batch", "-"], input=commands, text=True, check=True, capture_output=True)
