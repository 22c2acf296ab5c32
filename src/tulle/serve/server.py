"""The server: connections that end with it, acts one at a time, and the lab followed by all pages at once.

The rim.  What a request may ask is ``requests``', what an act comes to is ``acts``'; here they
meet the lab.  It serves until it is told to stop, or until the lab is gone.
"""

import asyncio
import logging
import socket
from collections import OrderedDict
from contextlib import suppress
from typing import Final, assert_never

from tulle.errors import TulleError
from tulle.http_connection import HttpConnection
from tulle.render.html import html_of
from tulle.render.lab_page import lab_page, page_script, page_style
from tulle.render.lab_view import LabView
from tulle.serve.acts import command_of, journey_of, outcome_of, said_of
from tulle.serve.answers import (
    CSS,
    JAVASCRIPT,
    Answer,
    error_answer,
    json_answer,
    page_answer,
    text_answer,
    walk_answer,
)
from tulle.serve.apart import Done
from tulle.serve.feed import Feed, events_answer
from tulle.serve.lab_port import LabPort
from tulle.serve.requests import (
    BODY_LIMIT,
    Act,
    Follow,
    Pause,
    Refusal,
    Resume,
    Show,
    ShowPage,
    ShowScript,
    ShowStyle,
    ShowWalk,
    Site,
    Trace,
    judge,
)

log = logging.getLogger(__name__)

CONNECTIONS: Final = 64
WALKS: Final = 20
"""So many walks are kept, the newest."""


class LabServer:
    """Serves one lab on a listening socket."""

    def __init__(self, lab: LabPort, site: Site) -> None:
        self._lab, self._site = lab, site
        self._feed = Feed(lab)
        self._turn = asyncio.Lock()
        self._walks: OrderedDict[int, str] = OrderedDict()
        self._count = 0
        self._paused: set[str] = set()
        self._clients: set[asyncio.Task[None]] = set()

    async def serve(self, sock: socket.socket) -> None:
        """Serve until cancelled, or until the lab is gone; then every agent that a page paused goes on."""
        server = await asyncio.start_server(self._accept, sock=sock)
        try:
            await self._feed.run()
        finally:
            server.close()
            await asyncio.shield(self._end())

    async def _end(self) -> None:
        for client in self._clients:
            client.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)
        for node in sorted(self._paused):
            await self._lab.run(("lab", "resume", node, "--name", self._lab.name))

    # -- connections ----------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connection = HttpConnection(reader, writer, _refused, body_limit=BODY_LIMIT)
        if len(self._clients) >= CONNECTIONS:
            connection.close()
            return
        self._clients.add(task)
        try:
            with suppress(ConnectionError, TimeoutError, asyncio.CancelledError):  # the last is our own end
                await self._converse(connection)
        finally:
            self._clients.discard(task)
            connection.close()

    async def _converse(self, connection: HttpConnection) -> None:
        """One request after the other, until either side has had enough."""
        while (request := await connection.request()) is not None:
            wish = judge(request, self._site)
            if isinstance(wish, Follow):
                await connection.stream(events_answer(), self._feed.events(wish.columns))
                return
            if not await connection.reply(await self._answered(wish)):
                await connection.linger()
                return

    async def _answered(self, wish: Show | Act | Refusal) -> Answer:
        match wish:
            case Refusal():
                return error_answer(wish)
            case ShowPage() | ShowStyle() | ShowScript() | ShowWalk():
                return self._shown(wish)
            case _:
                try:
                    async with self._turn:
                        return await self._done(wish)
                except TulleError as error:
                    return error_answer(Refusal(status=503, line=str(error)))
                except Exception:  # one question must not end the server
                    log.exception("act %s failed", wish)
                    return error_answer(Refusal(status=500, line="server: failed on this request: see its terminal"))

    def _shown(self, wish: Show) -> Answer:
        match wish:
            case ShowPage():
                return page_answer(lab_page(self._lab.name))
            case ShowStyle():
                return text_answer(CSS, page_style())
            case ShowScript():
                return text_answer(JAVASCRIPT, page_script())
            case ShowWalk(number):
                page = self._walks.get(number)
                if page is None:
                    return error_answer(Refusal(status=404, line=f"walk {number}: not kept: trace again"))
                return walk_answer(page)
            case _:
                assert_never(wish)

    # -- acts -------------------------------------------------------------------------------

    async def _done(self, act: Act) -> Answer:
        """Do it, and tell all pages what has become of the lab."""
        view = await self._feed.now()
        command = command_of(act, view)
        if isinstance(command, Refusal):
            return error_answer(command)
        self._remember(act, view)
        done = await self._lab.run(command)
        self._feed.look_again()
        typed = self._lab.typed(command)
        if isinstance(act, Trace):
            return self._walked(done, typed)
        if done.code:
            return error_answer(_failed(done, 409), typed)
        said = said_of(act)
        return json_answer({"en": said.en, "zh": said.zh, "command": typed})

    def _remember(self, act: Act, view: LabView) -> None:
        """Whose agent is to go on when we end, before it is paused: we may be told to end meanwhile.

        Not that of an agent which somebody else has paused.
        """
        if isinstance(act, Pause) and view.agent(act.node) == "running":
            self._paused.add(act.node)
        elif isinstance(act, Resume):
            self._paused.discard(act.node)

    def _walked(self, done: Done, typed: str) -> Answer:
        journey = journey_of(done.out)
        if journey is None:
            return error_answer(_failed(done, 503), typed)
        self._count += 1
        self._walks[self._count] = html_of(journey)
        while len(self._walks) > WALKS:
            self._walks.popitem(last=False)
        return json_answer({**outcome_of(journey), "walk": f"walk/{self._count}", "command": typed})


def _refused(status: int, line: str) -> Answer:
    return error_answer(Refusal(status=status, line=line))


def _failed(done: Done, status: int) -> Refusal:
    """What the command said; its last line is the one that counts."""
    lines = [line for line in done.err.splitlines() if line.strip()]
    return Refusal(status=status, line=lines[-1] if lines else f"ended with exit code {done.code}")
