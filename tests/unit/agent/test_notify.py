"""The agent says that it is ready, and nobody who listens badly can hurt it."""

import socket
from pathlib import Path

import pytest

from tulle.agent.notify import READY, notify


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
