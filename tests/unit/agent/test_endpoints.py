"""Health and metrics over HTTP: what is offered where, and that no client hurts the agent."""

import asyncio
import socket
import stat
from collections.abc import Awaitable, Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import TypeVar

import pytest

from tulle.agent.desk import Desk
from tulle.agent.endpoints import answer, endpoints, pages
from tulle.agent.options import AgentOptions, TcpAddress
from tulle.errors import ConfigError

T = TypeVar("T")


def desk() -> Desk:
    return Desk("sqlite:///x", started_ns=1, pid=42)


def served(options: AgentOptions, story: Callable[[], Awaitable[T]]) -> T:
    async def serving() -> T:
        async with endpoints(options, desk()):
            return await story()

    return asyncio.run(serving())


async def said(path: Path, request: bytes) -> bytes:
    """All that the server says to ``request``, until it hangs up."""
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(request)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()


def test_an_agent_that_waits_is_alive_and_not_ready() -> None:
    waiting = desk()
    waiting.waits_for("waiting for the store: away")
    offered = pages(waiting)
    assert (answer("GET", "/healthz", offered).status, answer("GET", "/healthz", offered).body) == (
        200,
        b"tulled is running\n",
    )
    refused = answer("GET", "/readyz", offered)
    assert (refused.status, refused.body) == (503, b"tulled is not ready\nwaiting for the store: away\n")
    assert b"tulle_ready 0" in answer("GET", "/metrics?x=1", offered).body


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        pytest.param("GET", "/", 404, id="another page"),
        pytest.param("GET", "/../etc/passwd", 404, id="a path"),
        pytest.param("POST", "/healthz", 405, id="another method"),
    ],
)
def test_what_is_not_offered_is_refused(method: str, target: str, status: int) -> None:
    assert answer(method, target, pages(desk())).status == status


def test_f63_without_a_flag_only_root_and_ourselves_can_ask_on_a_socket_of_the_root(tmp_path: Path) -> None:
    options = AgentOptions(root=tmp_path)

    async def story() -> bytes:
        assert stat.S_IMODE(options.paths.http.stat().st_mode) == 0o600
        return await said(options.paths.http, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert served(options, story).startswith(b"HTTP/1.1 200 ")
    assert not options.paths.http.exists(), "and nothing is left of it"


def test_f63_the_address_for_probes_tells_of_health_and_of_nothing_else(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]

    async def asked(target: str) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        try:
            return (await reader.read()).split()[1]
        finally:
            writer.close()

    async def story() -> list[bytes]:
        return [await asked(target) for target in ("/healthz", "/readyz", "/metrics")]

    options = AgentOptions(root=tmp_path, healthz_ip=IPv4Address("127.0.0.1"), healthz_port=port)
    assert served(options, story) == [b"200", b"503", b"404"]


def test_an_address_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = TcpAddress(IPv4Address("127.0.0.1"), taken.getsockname()[1])
        with pytest.raises(ConfigError, match=f"address {address}: Address already in use"):
            served(AgentOptions(root=tmp_path, metrics=address), lambda: asyncio.sleep(0))


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00", b"400", id="TLS"),
        pytest.param(b"GET / HTTP/9\r\n\r\n", b"400", id="another HTTP"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 200_000 + b"\r\n\r\n", b"431", id="a long header"),
        pytest.param(b"HEAD /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"200", id="HEAD"),
    ],
)
def test_whatever_a_client_says_it_is_answered(tmp_path: Path, request_: bytes, status: bytes) -> None:
    options = AgentOptions(root=tmp_path)
    told = served(options, lambda: said(options.paths.http, request_))
    assert told.split()[1] == status
    if b"HEAD" in request_:
        assert told.endswith(b"\r\n\r\n"), "without its body"


def test_one_client_asks_again_and_again_on_one_connection(tmp_path: Path) -> None:
    options = AgentOptions(root=tmp_path)

    async def story() -> bytes:
        once = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        return await said(options.paths.http, once + once + last)

    assert served(options, story).count(b"tulled is running") == 3
