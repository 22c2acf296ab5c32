"""What work on an event loop costs, and for how long it keeps everybody else waiting."""

import asyncio
import time
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def on_the_loop(work: Awaitable[T]) -> tuple[T, dict[str, float]]:
    """What ``work`` gives, its wall and CPU time, and for how much CPU time nobody else got a turn."""
    held = [0.0]

    async def watch_the_loop() -> None:
        while True:
            before = time.thread_time()
            await asyncio.sleep(0)
            held[0] = max(held[0], time.thread_time() - before)

    watching = asyncio.create_task(watch_the_loop())
    wall, cpu = time.perf_counter(), time.thread_time()
    result = await work
    wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
    watching.cancel()
    return result, {"wall_ms": wall * 1e3, "cpu_ms": cpu * 1e3, "held_cpu_ms": held[0] * 1e3}
