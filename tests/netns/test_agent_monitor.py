"""Announcements on a socket that overflows: what is lost is looked at, and what comes next is heard."""

import asyncio
import subprocess
from ipaddress import ip_network

import pytest

from tests.kit.enter import enter
from tests.kit.kernels import DEADLINE_S, NEEDS_ROOT, real_world
from tulle.kernel.monitor import Monitor
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


def _ip(name: str, commands: str) -> None:
    subprocess.run([*enter(name), "ip", "-batch", "-"], input=commands, text=True, check=True, capture_output=True)
