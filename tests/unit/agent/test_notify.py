"""The agent says that it is ready, and nobody who listens badly can hurt it."""

import asyncio
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.virtual_time import VirtualClock, run
from tulle.agent.notify import READY, Herald, notify, watchdog_s


@contextmanager
def listening(path: Path) -> Generator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.setblocking(False)
        yield listener


def heard(listener: socket.socket) -> list[str]:
    """What came since it was asked last, a line each."""
    lines: list[str] = []
    while True:
        try:
            lines += listener.recv(4096).decode().split("\n")
        except BlockingIOError:
            return lines


class Agent:
    """How an agent is."""

    line = "waiting for the store"
    hangs: str | None = None

    def summary(self) -> str:
        return self.line

    def stuck(self) -> str | None:
        return self.hangs


def test_a_listener_hears_that_the_agent_is_ready(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        notify({"NOTIFY_SOCKET": str(tmp_path / "notify")}, READY)
        assert listener.recv(64) == b"READY=1"


def test_an_abstract_address_is_meant_by_an_at_sign() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind("")  # the kernel chooses an abstract name
        name: bytes = listener.getsockname()
        notify({"NOTIFY_SOCKET": "@" + name[1:].decode()}, READY)
        assert listener.recv(64) == b"READY=1"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "relative"},
        {"NOTIFY_SOCKET": "/nobody/there"},
        {"NOTIFY_SOCKET": "/" + "x" * 300},
    ],
)
def test_no_listener_is_no_error(environment: dict[str, str]) -> None:
    notify(environment, READY)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "42"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "41"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_signs_of_life_are_given_to_who_wants_them(environment: dict[str, str], expected: float | None) -> None:
    assert watchdog_s(environment, 42) == expected


def test_a_start_that_waits_asks_for_time_and_says_for_what(tmp_path: Path) -> None:
    async def story() -> None:
        with listening(tmp_path / "n") as listener:
            agent = Agent()
            herald = Herald({"NOTIFY_SOCKET": str(tmp_path / "n")}, 42, agent, VirtualClock())
            task = asyncio.ensure_future(herald.run())
            await asyncio.sleep(1)
            assert heard(listener) == ["EXTEND_TIMEOUT_USEC=30000000", "STATUS=waiting for the store"]
            herald.placed()
            agent.line = "10.244.1.0/24, 2 peers"
            await asyncio.sleep(5)
            assert heard(listener) == ["READY=1", "STATUS=10.244.1.0/24, 2 peers"]
            await asyncio.sleep(20)
            assert heard(listener) == [], "and a steady state is silent"
            task.cancel()

    run(story())


def test_the_watchdog_hears_nothing_while_a_pass_hangs(tmp_path: Path) -> None:
    async def story() -> None:
        with listening(tmp_path / "n") as listener:
            agent = Agent()
            environment = {"NOTIFY_SOCKET": str(tmp_path / "n"), "WATCHDOG_USEC": "6000000"}
            herald = Herald(environment, 42, agent, VirtualClock())
            herald.placed()
            heard(listener)
            task = asyncio.ensure_future(herald.run())
            await asyncio.sleep(5)
            assert heard(listener) == ["WATCHDOG=1"] * 3, "every two seconds"
            agent.hangs = "reconciler: in one pass for 31 s"
            await asyncio.sleep(10)
            assert heard(listener) == []
            task.cancel()

    run(story())


def test_nobody_is_told_where_nobody_listens() -> None:
    run(Herald({}, 42, Agent(), VirtualClock()).run())


def test_a_reload_says_when_it_began_and_when_it_is_over(tmp_path: Path) -> None:
    with listening(tmp_path / "n") as listener:
        herald = Herald({"NOTIFY_SOCKET": str(tmp_path / "n")}, 42, Agent(), VirtualClock())
        herald.reloading()
        herald.placed()
        first, when, second, _ = heard(listener)
    assert (first, second) == ("RELOADING=1", "READY=1")
    assert 0 < int(when.removeprefix("MONOTONIC_USEC=")) <= time.monotonic_ns() // 1000
