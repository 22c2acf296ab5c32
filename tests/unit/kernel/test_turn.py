"""Who goes first on a shared loop."""

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.kit import virtual_time
from tulle.kernel import turn
from tulle.kernel.apply import BATCH, LEAST_BATCH, room_for
from tulle.kernel.turn import CALM_S, PATIENCE_S, Precedence


def tell(story: Coroutine[Any, Any, None]) -> None:
    virtual_time.run(story)


def test_long_work_waits_until_who_is_served_has_been_served() -> None:
    async def story() -> None:
        precedence, order = Precedence(), list[str]()

        async def pod() -> None:
            with precedence.serving():
                await asyncio.sleep(PATIENCE_S / 2)
                order.append("pod")

        async def long_work() -> None:
            await precedence.give_way()
            order.append("long work")

        await asyncio.gather(pod(), long_work())
        assert order == ["pod", "long work"]

    tell(story())


def test_somebody_who_comes_while_long_work_rests_is_waited_for() -> None:
    async def story() -> None:
        precedence, order = Precedence(), list[str]()

        async def pod() -> None:
            await asyncio.sleep(0)  # a connection is a call some turns of the loop later
            await asyncio.sleep(0)
            with precedence.serving():
                await asyncio.sleep(PATIENCE_S / 2)
                order.append("pod")

        async def long_work() -> None:
            await precedence.give_way()
            order.append("long work")

        await asyncio.gather(long_work(), pod())
        assert order == ["pod", "long work"]

    tell(story())


def test_it_is_calm_a_moment_after_the_last_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turn.time, "monotonic", lambda: asyncio.get_running_loop().time())

    async def story() -> None:
        precedence, loop, order = Precedence(), asyncio.get_running_loop(), list[str]()

        async def pods() -> None:
            for number in range(3):
                with precedence.serving():
                    await asyncio.sleep(CALM_S)
                    order.append(f"pod {number}")
                    precedence.more_may_come()
                await asyncio.sleep(CALM_S / 2)

        async def repair() -> None:
            await precedence.calm(1)
            order.append("repair")

        assert precedence.is_calm
        await asyncio.gather(pods(), repair())
        assert order == ["pod 0", "pod 1", "pod 2", "repair"]
        with precedence.serving():
            pass  # a question, of which there is one
        assert precedence.is_calm
        began = loop.time()
        with precedence.serving():
            await precedence.calm(CALM_S * 5)
            assert CALM_S * 5 <= loop.time() - began <= CALM_S * 7

    tell(story())


def test_a_pod_that_is_served_for_ever_does_not_stop_long_work() -> None:
    async def story() -> None:
        precedence = Precedence()
        with precedence.serving():
            started = asyncio.get_running_loop().time()
            await precedence.give_way()
            assert asyncio.get_running_loop().time() - started <= 2 * PATIENCE_S

    tell(story())


def test_batches_are_as_large_as_the_kernel_is_quick() -> None:
    assert room_for(128, 0.001) == BATCH
    assert LEAST_BATCH < room_for(128, 0.030) < BATCH
    assert room_for(128, 10.0) == LEAST_BATCH
