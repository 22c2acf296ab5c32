"""One HTTP connection: h11's bytes ⇄ events between an asyncio stream and ``Request`` and ``Reply``.

The rim of every server of tulle's.  A connection has a bounded time to say what it wants and a
bounded room to say it in; whatever it says, it gets a reply or is closed.  What a request may
ask, and what comes of it, is each server's own business.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final, Protocol

import h11

HEAD_LIMIT: Final = 16 << 10
"""Bytes of a request line with its headers."""
PATIENCE_S: Final = 20.0
"""For a request to come in, whole, and for a client to take a reply."""
LINGER_S: Final = 2.0
CHUNK: Final = 64 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it was heard.  ``target`` is as sent, nothing decoded; ``headers`` by lower-case name.

    A body that is longer than the server's limit is cut somewhere behind it.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes = b""


class Reply(Protocol):
    """What is sent back."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Sequence[tuple[str, str]]:
        """All but the length."""
        ...

    @property
    def body(self) -> bytes: ...


Refuse = Callable[[int, str], Reply]
"""The reply to what is no request: its status, and one line."""


class HttpConnection:
    """A client's connection, for one request after the other."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, refuse: Refuse, *, body_limit: int = 0
    ) -> None:
        self._reader, self._writer = reader, writer
        self._refuse, self._body_limit = refuse, body_limit
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)

    async def request(self) -> Request | None:
        """The next request; None: the client is done.  One that is no HTTP is answered here, and that was it."""
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
        try:
            async with asyncio.timeout(PATIENCE_S):
                return await self._whole()
        except h11.RemoteProtocolError as error:
            await self._give_up(error.error_status_hint, "request: not HTTP/1.1 as it should be")
        except TimeoutError:
            await self._give_up(408, f"request: not complete after {PATIENCE_S:g} s")
        return None

    async def reply(self, reply: Reply, *, to: Request | None = None) -> bool:
        """Send it (to HEAD without its body); can another request follow on this connection?"""
        headers = [*reply.headers, ("Content-Length", str(len(reply.body)))]
        if self._http.their_state is not h11.DONE:
            headers.append(("Connection", "close"))  # what is left of the request is not worth reading
        events: list[h11.Event] = [h11.Response(status_code=reply.status, headers=headers)]
        if to is None or to.method != "HEAD":
            events.append(h11.Data(data=reply.body))
        await self._send(*events, h11.EndOfMessage())
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def stream(self, reply: Reply, parts: AsyncGenerator[bytes]) -> None:
        """Send a reply whose body comes bit by bit, until it ends or the client goes."""
        await self._send(h11.Response(status_code=reply.status, headers=list(reply.headers)))
        sending = asyncio.ensure_future(self._send_all(parts))
        leaving = asyncio.ensure_future(self._reader.read(1))  # a client that follows says nothing more
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (sending, leaving):
                task.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)

    async def linger(self) -> None:
        """Hear out a client that still speaks, for a short while: to hang up on it could lose it our reply."""
        with suppress(OSError, TimeoutError):
            self._writer.write_eof()
            async with asyncio.timeout(LINGER_S):
                while await self._reader.read(CHUNK):
                    pass

    def close(self) -> None:
        self._writer.close()

    async def _send_all(self, parts: AsyncGenerator[bytes]) -> None:
        async with aclosing(parts):
            async for part in parts:
                await self._send(h11.Data(data=part))
        await self._send(h11.EndOfMessage())

    async def _whole(self) -> Request | None:
        head: h11.Request | None = None
        body = b""
        while True:
            match await self._event():
                case h11.Request() as head:
                    pass
                case h11.Data(data=data):
                    body += data
                    if len(body) > self._body_limit:
                        break
                case h11.EndOfMessage():
                    break
                case _:  # the client has closed
                    return None
        assert head is not None, "h11 tells of a body only behind its head"
        return Request(
            method=head.method.decode(),
            target=head.target.decode(),
            headers={name.decode(): value.decode("latin-1") for name, value in head.headers},
            body=body,
        )

    async def _event(self) -> h11.Event:
        while True:
            event = self._http.next_event()
            if not isinstance(event, type):
                return event
            if event is h11.PAUSED:  # between two requests of one connection: none is being read
                raise h11.LocalProtocolError("read while paused")
            if self._http.they_are_waiting_for_100_continue:
                await self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._http.receive_data(await self._reader.read(CHUNK))

    async def _send(self, *events: h11.Event) -> None:
        for event in events:
            self._writer.write(self._http.send(event) or b"")
        async with asyncio.timeout(PATIENCE_S):
            await self._writer.drain()

    async def _give_up(self, status: int, line: str) -> None:
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            await self.reply(self._refuse(status, line))
            await self.linger()
