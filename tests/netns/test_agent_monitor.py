"""Announcements on a socket that overflows: what is lost is looked at, and what comes next is heard."""

import asyncio
import subprocess
from dataclasses import replace
from errno import EEXIST
from ipaddress import IPv4Address, IPv4Network, ip_network

import pytest

from tests.kit.enter import enter
from tests.kit.kernels import DEADLINE_S, NEEDS_ROOT, real_world, vtep
from tulle.kernel.monitor import OWN_TABLE, SERVING_S, Monitor
from tulle.kernel.netns import NETNS_FOLDER
from tulle.kernel.turn import Precedence
from tulle.model.change import Change, Create, Delete, Step
from tulle.model.network import MacAddress
from tulle.model.objects import FdbEntry, Neighbor, Route, RouteKey

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))

LOUD = "\n".join(f"route add 172.16.{n >> 8}.{n & 255}/32 dev eth0" for n in range(2000))
QUIET = ip_network("172.31.0.0/16")
NEIGHBOR = Neighbor(device="flannel.1", ip=IPv4Address("10.244.2.0"), mac=MacAddress("02:00:0a:f4:02:00"))
ENTRY = FdbEntry(device="flannel.1", mac=MacAddress("02:00:0a:f4:02:00"), dst=IPv4Address("192.168.64.12"))
MOVED = replace(ENTRY, dst=IPv4Address("192.168.64.13"))
ROUTE = Route(dst=IPv4Network("10.244.2.0/24"), device="flannel.1", via=IPv4Address("10.244.2.0"), onlink=True)


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


def test_pods_go_before_what_was_changed_but_not_for_long() -> None:
    with real_world() as world:

        async def story() -> None:
            precedence = Precedence()
            loop = asyncio.get_running_loop()
            monitor = Monitor(NETNS_FOLDER / world.name, precedence=precedence)
            try:
                with precedence.serving():
                    hearing = asyncio.ensure_future(anext(monitor))
                    _ip(world.name, f"route add {QUIET} dev eth0")
                    await asyncio.sleep(SERVING_S / 4)
                    assert not hearing.done()
                async with asyncio.timeout(DEADLINE_S):
                    assert RouteKey(QUIET, 254, 0) in (await hearing).keys
                with precedence.serving():
                    _ip(world.name, f"route del {QUIET} dev eth0")
                    began = loop.time()
                    async with asyncio.timeout(DEADLINE_S):
                        while RouteKey(QUIET, 254, 0) not in (await anext(monitor)).keys:
                            pass
                    assert loop.time() - began >= SERVING_S / 2
            finally:
                monitor.close()

        world.runner.run(story())


def test_what_the_node_itself_wrote_is_no_news_and_what_others_did_to_it_is() -> None:
    """VXLAN does not say who changed an FDB entry; a pass for each lease would look at its own work once more."""
    with real_world() as world:
        world.do(Create(vtep()))
        world.listen()
        own = (NEIGHBOR, ENTRY, ROUTE)
        rounds: list[list[Step]] = [
            [Create(obj) for obj in own],
            [Change(ENTRY, MOVED)],
            [Delete(MOVED)],
            [Create(ENTRY)],
        ]
        for number, steps in enumerate(rounds):
            world.do(*steps)
            mark = Route(dst=IPv4Network((f"172.30.{number}.0", 24)), device="eth0")
            world.meddle(Create(mark))
            heard = world.heard(lambda scope, mark=mark: mark.key in scope.keys)
            assert heard.keys.isdisjoint({obj.key for obj in own})
        world.meddle(Delete(ENTRY))
        assert world.heard(lambda scope: ENTRY.key in scope.keys)


@pytest.mark.parametrize(
    "theirs",
    [
        pytest.param([Change(ENTRY, MOVED)], id="led elsewhere"),
        pytest.param([Delete(ENTRY)], id="removed"),
        pytest.param([Delete(ENTRY), Create(MOVED)], id="removed, and made anew to lead elsewhere"),
        pytest.param([Change(ENTRY, MOVED), Change(MOVED, ENTRY)], id="led elsewhere and back"),
    ],
)
def test_what_others_do_before_our_own_change_is_heard_is_news(theirs: list[Step]) -> None:
    with real_world() as world:
        world.do(Create(vtep()))
        world.listen()
        world.do(Create(ENTRY))
        world.meddle(*theirs)
        assert world.heard(lambda scope: ENTRY.key in scope.keys)


def test_an_entry_that_could_not_be_made_is_news_when_another_makes_it() -> None:
    with real_world() as world:
        world.do(Create(vtep()), Create(MOVED))
        world.listen()
        assert world.errno(Create(ENTRY)) == EEXIST
        world.meddle(Change(MOVED, ENTRY))
        assert world.heard(lambda scope: ENTRY.key in scope.keys)


def _nft(name: str, commands: str) -> None:
    subprocess.run([*enter(name), "nft", "-f", "-"], input=commands.replace("; add", "\nadd"), text=True, check=True)


def _ip(name: str, commands: str) -> None:
    subprocess.run([*enter(name), "ip", "-batch", "-"], input=commands, text=True, check=True, capture_output=True)
