"""The control socket: the agent's end, and ``ask`` for the commands that talk to it.

Root and the agent's own user may connect; each connection is one question.  A slow or silent
client costs one of a bounded number of places, for a bounded time.
"""

import asyncio
import logging
import os
import select
import socket
import stat
import struct
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from tulle.errors import ConfigError, DecodeError, TulleError
from tulle.kernel.turn import Precedence
from tulle.wire.cni_error import BAD_ENVIRONMENT, VERSIONS, CniError, encode_error
from tulle.wire.control import (
    CNI_KIND,
    LENGTH,
    CniRequest,
    JsonObject,
    decode_frame,
    decode_json,
    decode_length,
    decode_request,
    encode_cni_answer,
    encode_frame,
    encode_json,
    encode_verb,
)

log = logging.getLogger(__name__)

CniHandler = Callable[[Mapping[str, str], bytes, Callable[[], bool]], Awaitable[tuple[int, bytes]]]
"""Environment, stdin, and whether anybody waits for the answer still."""
Verb = Callable[[JsonObject], Awaitable[JsonObject]]

CONNECTIONS: Final = 512
"""More than a runtime starts pods at once; each costs at most a request's size."""
BACKLOG: Final = 1024
READ_TIMEOUT_S: Final = 5.0
PAUSE_S: Final = 1.0
CHUNK: Final = 16 << 10
"""A whole question, almost always."""
BEAT_S: Final = 0.5
"""How often the plugins hear that their calls are still at work."""
BEAT: Final = encode_frame(b"")
ANSWER_LIMIT: Final = 64 << 20
UCRED: Final = struct.Struct("=iII")  # pid, uid, gid; source: unix(7)


class AgentAnswer(TulleError):
    """An error that the agent answered; its line is already whole."""


class ControlServer:
    """Serves ``path``: ``verbs`` by name for JSON requests, ``cni`` for plugin executions."""

    def __init__(
        self, path: Path, cni: CniHandler, verbs: Mapping[str, Verb], precedence: Precedence | None = None
    ) -> None:
        """With ``precedence``, pods go before the long work that shares it."""
        self._path, self._cni, self._verbs = path, cni, verbs
        self._precedence = precedence or Precedence()
        self._may_ask = frozenset({0, os.geteuid()})
        self._listener: socket.socket | None = None
        self._clients: dict[socket.socket, asyncio.Task[None]] = {}
        self._at_work: set[socket.socket] = set()
        """Where somebody waits for the end of a plugin's call."""
        self._next_beat: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Listen.  Raises ConfigError: another agent does, or something that is no socket is in the way."""
        self._path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _clear_the_way(self._path)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        before = os.umask(0o177)
        try:
            sock.bind(str(self._path))
        except OSError as error:
            sock.close()
            raise ConfigError(f"socket {self._path}", error.strerror or "cannot be made") from error
        finally:
            os.umask(before)
        sock.listen(BACKLOG)
        self._listener = sock
        self._listen()

    async def close(self) -> None:
        """Stop listening, end what is still asked, remove the socket."""
        listener, self._listener = self._listener, None
        if listener is not None:
            asyncio.get_running_loop().remove_reader(listener)
            listener.close()
        if self._next_beat is not None:
            self._next_beat.cancel()
        for client in self._clients.values():
            client.cancel()
        await asyncio.gather(*self._clients.values(), return_exceptions=True)
        for connection in self._clients:  # of those who were not asked yet what they want
            connection.close()
        self._path.unlink(missing_ok=True)

    def _listen(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    def _accept(self, listener: socket.socket) -> None:
        """Everybody who waits.  Sockets, not streams: a pod comes by here, and streams take it 0.2 ms."""
        while True:
            try:
                connection, _ = listener.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            except OSError as error:  # no descriptor is left, say: those who wait are taken when there is
                log.warning("control socket: %s", error.strerror)
                loop = asyncio.get_running_loop()
                loop.remove_reader(listener)
                loop.call_later(PAUSE_S, self._listen)
                return
            if len(self._clients) >= CONNECTIONS or _uid_of(connection) not in self._may_ask:
                connection.close()
                continue
            connection.setblocking(False)
            self._clients[connection] = asyncio.create_task(self._serve(connection), name="answer a question")

    async def _serve(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        body = b""
        try:
            with self._precedence.serving():
                body = await _receive_frame(loop, connection)
                request = decode_request(body)
                if isinstance(request, CniRequest):
                    await loop.sock_sendall(connection, await self._answer_cni(loop, connection, request))
                    self._precedence.more_may_come()
            if not isinstance(request, CniRequest):
                await loop.sock_sendall(connection, encode_frame(encode_json(await self._answer(request.body))))
        except DecodeError as error:
            with suppress(OSError):
                await loop.sock_sendall(connection, _malformed(body, error))
        except OSError:
            return  # it is gone, or does not say in time what it wants
        finally:
            connection.close()
            del self._clients[connection]

    async def _answer_cni(
        self, loop: asyncio.AbstractEventLoop, connection: socket.socket, request: CniRequest
    ) -> bytes:
        """Raises ConnectionResetError: what nobody waits for is not begun.

        The plugin hears that its call was read, and then that somebody is at work.  From the first word on it is
        patient: a machine may have more to do than its CPUs can.
        """
        line = select.poll()
        line.register(connection, 0)

        def is_awaited() -> bool:
            """False: the plugin gave up, and what it was told since may be true no longer.

            Source: unix(7) and poll(2); the kernel says so once the other end is closed, whatever is still to be read.
            """
            return not line.poll(0)

        if not is_awaited():
            raise ConnectionResetError("hung up")
        _say_beat(connection)
        self._at_work.add(connection)
        if self._next_beat is None:
            self._next_beat = loop.call_later(BEAT_S, self._beat, loop)
        try:
            if len(self._clients) > 1:
                await asyncio.sleep(0)  # whoever else has called hears that it was read, before work begins
            return encode_cni_answer(*await self._cni(request.environment, request.stdin, is_awaited))
        finally:
            self._at_work.discard(connection)

    def _beat(self, loop: asyncio.AbstractEventLoop) -> None:
        """All who wait hear that somebody is at work, and again as long as there are any."""
        for connection in self._at_work:
            _say_beat(connection)
        self._next_beat = loop.call_later(BEAT_S, self._beat, loop) if self._at_work else None

    async def _answer(self, request: JsonObject) -> JsonObject:
        verb = self._verbs.get(str(request.get("verb")))
        try:
            if verb is None:
                raise ConfigError(f"verb {request.get('verb')}", f"must be one of {', '.join(self._verbs)}")
            return await verb(request)
        except TulleError as error:
            return _error(error)
        except Exception:  # one question must not end the daemon
            log.exception("control request %s failed", request.get("verb"))
            return {"error": {"line": "agent: failed on this request: see its log"}}


def ask(path: Path, request: JsonObject, timeout_s: float) -> JsonObject:
    """The agent's answer.  Raises TulleError: no agent there, no answer in time, or the agent's own error."""
    with _in_words(path, timeout_s), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        sock.connect(str(path))
        sock.sendall(encode_verb(request))
        answer = decode_json(_exactly(sock, decode_length(_exactly(sock, LENGTH.size), ANSWER_LIMIT)))
    return _checked(answer)


async def ask_meanwhile(path: Path, request: JsonObject, timeout_s: float) -> JsonObject:
    """``ask`` for those who have other things to do until the answer comes."""
    with _in_words(path, timeout_s):
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(path))
            try:
                writer.write(encode_verb(request))
                length = decode_length(await reader.readexactly(LENGTH.size), ANSWER_LIMIT)
                answer = decode_json(await reader.readexactly(length))
            finally:
                writer.close()
    return _checked(answer)


@contextmanager
def _in_words(path: Path, timeout_s: float) -> Generator[None]:
    """Whatever keeps an answer from coming, as one line.  Raises AgentAnswer."""
    try:
        yield
    except TimeoutError:
        raise AgentAnswer(f"agent: no answer on {path} in {timeout_s:g} s: see its log") from None
    except (FileNotFoundError, ConnectionRefusedError):
        raise AgentAnswer(f"agent: not running (nothing answers on {path}): start it with tulled") from None
    except asyncio.IncompleteReadError:
        raise AgentAnswer(f"agent: {path}: closed the connection: run as the agent's user, or root") from None
    except OSError as error:
        raise AgentAnswer(f"agent: {path}: {error.strerror or error}: run as the agent's user, or root") from None


def _checked(answer: JsonObject) -> JsonObject:
    if "error" in answer:
        raise AgentAnswer(str(answer["error"]["line"]))
    return answer


def _exactly(sock: socket.socket, size: int) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(size - len(parts))
        if not part:
            raise ConnectionResetError("closed the connection")
        parts += part
    return bytes(parts)


def _error(error: TulleError) -> JsonObject:
    return {"error": {"line": str(error)}}


def _malformed(body: bytes, error: DecodeError) -> bytes:
    """The answer in the language of the question."""
    if body.startswith(CNI_KIND):
        return encode_cni_answer(1, encode_error(CniError(BAD_ENVIRONMENT, "the request", str(error)), VERSIONS[-1]))
    return encode_frame(encode_json(_error(error)))


async def _receive_frame(loop: asyncio.AbstractEventLoop, connection: socket.socket) -> bytes:
    """One frame's body; what comes behind it is nobody's.

    Raises DecodeError, OSError: it ends before that, or is not there in time.
    """
    found = bytearray()
    with suppress(BlockingIOError):
        found += connection.recv(CHUNK)
    body = decode_frame(found)
    if body is not None:
        return body
    async with asyncio.timeout(READ_TIMEOUT_S):
        while body is None:
            part = await loop.sock_recv(connection, CHUNK)
            if not part:
                raise ConnectionResetError("closed the connection")
            found += part
            body = decode_frame(found)
    return body


def _say_beat(connection: socket.socket) -> None:
    with suppress(OSError):  # it is gone, or does not read
        connection.send(BEAT)


def _clear_the_way(path: Path) -> None:
    """Remove the socket of an agent that is gone.  Raises ConfigError when it is not gone, or no socket."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"socket {path}", "something that is not a socket is in its place", "move it away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(1.0)
        try:
            sock.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
        except OSError:
            pass
    raise ConfigError(f"socket {path}", "another agent serves it", "stop that one, or choose another --root")


def _uid_of(connection: socket.socket) -> int:
    """Who asks.  Source: unix(7), SO_PEERCRED."""
    _, uid, _ = UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
    return uid
