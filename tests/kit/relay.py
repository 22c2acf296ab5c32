"""A TCP relay inside the test's loop, for what happens to connections: cut, held half-open, refused, cut in the middle.

async with relay("127.0.0.1", server.port) as way:
    store = open_store(f"etcd://127.0.0.1:{way.port}/prefix", SystemClock())
    way.hold()                      # accepts and passes nothing on, like a path that drops
    way.cut()                       # every connection ends; new ones are relayed again
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress


class Relay:
    """One listening port and the connections through it."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()
        self.port = 0
        self.accepted = 0
        self.answered = 0
        """Bytes of answers so far."""
        self.answer_limit: int | None = None
        """So many more bytes of answers, and every connection is cut."""
        self.drops_all = False
        """Take connections, and end them at once."""

    async def listen(self) -> None:
        """Accept connections, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def hold(self) -> None:
        """Pass nothing on, and let everybody believe that all is well."""
        self._open.clear()

    def release(self) -> None:
        """Pass on again."""
        self._open.set()

    def cut(self) -> None:
        """End every connection; new ones are passed on again."""
        self.release()
        for writer in self._writers:
            writer.transport.abort()

    async def refuse(self) -> None:
        """End every connection, and accept no other."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        self.cut()

    async def close(self) -> None:
        """Leave nothing behind."""
        await self.refuse()
        if self._tasks:  # every connection is cut, so each of them ends by itself
            await asyncio.wait(self._tasks)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.drops_all:
            writer.transport.abort()
            return
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            self._writers |= {writer, far_writer}
            try:
                async with asyncio.TaskGroup() as ways:
                    ways.create_task(self._pass(reader, far_writer, answers=False))
                    ways.create_task(self._pass(far_reader, writer, answers=True))
            except* (OSError, asyncio.IncompleteReadError):
                pass
            finally:
                self._writers -= {writer, far_writer}
                far_writer.transport.abort()
        writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        while data := await reader.read(1024):
            await self._open.wait()
            self.answered += len(data) if answers else 0
            if answers and self.answer_limit is not None:
                self.answer_limit -= len(data)
                if self.answer_limit < 0:
                    self.answer_limit = None
                    self.cut()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError


@asynccontextmanager
async def relay(host: str, port: int) -> AsyncGenerator[Relay]:
    """A relay to ``host``:``port``, until the end of the body."""
    way = Relay(host, port)
    await way.listen()
    try:
        yield way
    finally:
        await way.close()
