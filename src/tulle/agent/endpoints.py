"""``/healthz``, ``/readyz`` and ``/metrics``: what the agent tells probes and collectors, over HTTP.

On a Unix socket below the root, or the address that a flag names, all three; on the address of
flanneld's healthz flags the first two alone, since whoever reaches the node may ask there.
"""

import asyncio
import os
import socket
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from tulle.agent.desk import Desk
from tulle.agent.metrics import agent_metrics
from tulle.agent.options import AgentOptions, TcpAddress
from tulle.errors import ConfigError, DecodeError
from tulle.wire.net_dev import DeviceTraffic, decode_net_dev
from tulle.wire.prometheus import MEDIA_TYPE, encode_metrics

CONNECTIONS: Final = 64
"""At once, on each address; one more is closed unheard."""
NET_DEV: Final = Path("/proc/thread-self/net/dev")
TEXT: Final = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One whole answer, in plain text."""

    status: int = 200
    body: bytes
    media: str = TEXT

    @property
    def headers(self) -> list[tuple[str, str]]:
        return [("Content-Type", self.media), ("Cache-Control", "no-store")]


Page: TypeAlias = Callable[[], Answer]


def pages(desk: Desk) -> Mapping[str, Page]:
    """What can be asked for, by path."""

    def healthz() -> Answer:
        why = desk.stuck()
        return _lines(503, [why]) if why else _lines(200, ["tulled is running"])

    def readyz() -> Answer:
        why = desk.unready()
        return _lines(503, ["tulled is not ready", *why]) if why else _lines(200, ["tulled is ready"])

    def metrics() -> Answer:
        found = agent_metrics(desk.started_ns, desk.node_status(), _traffic())
        return Answer(body=encode_metrics(found), media=MEDIA_TYPE)

    return {"/healthz": healthz, "/readyz": readyz, "/metrics": metrics}


def answer(method: str, target: str, offered: Mapping[str, Page]) -> Answer:
    """The answer to one request."""
    page = offered.get(target.partition("?")[0])
    if page is None:
        return _lines(404, ["no such page: there is " + ", ".join(offered)])
    if method not in {"GET", "HEAD"}:
        return _lines(405, [f"method {method}: use GET"])
    return page()


@asynccontextmanager
async def endpoints(options: AgentOptions, desk: Desk) -> AsyncGenerator[None]:
    """Serve while the body runs.  Raises ConfigError: an address cannot be had."""
    offered = pages(desk)
    health = {path: offered[path] for path in ("/healthz", "/readyz")}
    servers = [_Server(offered)]
    try:
        await servers[0].start(_listening(options.metrics or options.paths.http))
        if options.healthz_port:
            servers.append(_Server(health))
            await servers[1].start(_listening(TcpAddress(options.healthz_ip, options.healthz_port)))
        yield
    finally:
        for server in servers:
            await server.close()
        if options.metrics is None:
            options.paths.http.unlink(missing_ok=True)


class _Server:
    """One address, and what is offered there."""

    def __init__(self, offered: Mapping[str, Page]) -> None:
        self._offered = offered
        self._server: asyncio.Server | None = None
        self._clients: set[asyncio.Task[None]] = set()

    async def start(self, sock: socket.socket) -> None:
        self._server = await asyncio.start_server(self._accept, sock=sock)

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        if len(self._clients) >= CONNECTIONS:
            writer.close()
            return
        self._clients.add(task)
        try:
            with suppress(ConnectionError, TimeoutError):
                await self._converse(reader, writer)
        finally:
            self._clients.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from tulle.http_connection import HttpConnection  # 3 MiB that an agent whom nobody asks can do without

        connection = HttpConnection(reader, writer, lambda status, line: _lines(status, [line]))
        while (request := await connection.request()) is not None:
            reply = answer(request.method, request.target, self._offered)
            if not await connection.reply(reply, to=request):
                await connection.linger()
                return


def _lines(status: int, lines: list[str]) -> Answer:
    return Answer(status=status, body="".join(f"{line}\n" for line in lines).encode())


def _listening(address: TcpAddress | Path) -> socket.socket:
    """A socket that listens there.  Raises ConfigError."""
    if isinstance(address, Path):
        return _listening_at(address)
    family = socket.AF_INET if address.ip.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((str(address.ip), address.port))
    except OSError as error:
        sock.close()
        raise ConfigError(f"address {address}", error.strerror or "cannot be had", "choose another port") from error
    return sock


def _listening_at(path: Path) -> socket.socket:
    """Root and our own user may connect.  Whose root this is, the control socket has settled already."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        if path.is_socket():
            path.unlink()
        sock.bind(str(path))
    except OSError as error:
        sock.close()
        raise ConfigError(f"socket {path}", error.strerror or "cannot be made", "see --metrics-address") from error
    finally:
        os.umask(before)
    return sock


def _traffic() -> Mapping[str, DeviceTraffic]:
    """What the kernel counts in our namespace; nothing where it does not tell."""
    try:
        return decode_net_dev(NET_DEV.read_text())
    except (OSError, DecodeError):
        return {}
