"""A connection to an etcd cluster: one member at a time, the next one when it fails, logged in where asked.

Requests and answers are bytes; ``wire.etcd`` knows what they mean.  Every call ends within
``CALL_S``.  What did not work is StoreUnavailable, whoever's fault it was, since a running node
can only wait for it to end; those errors are told apart that a caller can do something about.
"""

import asyncio
import ssl
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import Final, Protocol, TypeVar

from grpclib.client import Channel
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from h2.exceptions import H2Error

from tulle.errors import ConfigError, DecodeError, StoreUnavailable
from tulle.store.etcd_address import EtcdAddress
from tulle.store.etcd_channel import ANSWER_S, BytesStream, EtcdChannel, exchange, tls_context
from tulle.wire.etcd import AUTHENTICATE, authenticate_request, decode_token

CONNECT_S: Final = 2.0
CALL_S: Final = 10.0
"""How long a call lasts at most, all members tried."""
DROP_TURNS: Final = 3
"""In so many turns of the loop a dropped connection, also one under TLS, closes its socket."""
NOT_NEEDED: Final = ""
"""The token of a store that asks nobody who they are."""
MEMBER_FAILED: Final = {Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.CANCELLED, Status.INTERNAL, Status.UNKNOWN}
NOT_LOGGED_IN: Final = {Status.UNAUTHENTICATED, Status.INVALID_ARGUMENT}

T = TypeVar("T")


class HistoryGone(StoreUnavailable):
    """The revision asked for is compacted, or not there yet: read anew."""


class Refused(StoreUnavailable):
    """The store answered, and said no."""

    def __init__(self, member: str, status: Status, text: str) -> None:
        super().__init__(f"{member}: {status.name}: {ascii(text)[1:-1]}")
        self.status = status


class Unanswered(StoreUnavailable):
    """A member was asked, and nobody knows whether it did it."""


class Messages(Protocol):
    """A stream's two directions."""

    async def send_message(self, message: bytes) -> None: ...

    async def recv_message(self) -> bytes | None:
        """The next one; None: the member ended the stream."""
        ...


class EtcdCalls(Protocol):
    """What the store asks of a cluster.  ``EtcdClient`` is the real one; a simulation hands in its own."""

    @property
    def member(self) -> str:
        """The member that is asked now, for messages."""
        ...

    @property
    def connections(self) -> int:
        """How many connections there have been; grows when a lost one is made anew."""
        ...

    async def call(self, method: str, request: bytes, *, repeatable: bool = False) -> bytes: ...

    def stream(self, method: str) -> AbstractAsyncContextManager[Messages]: ...

    def forget_token(self) -> None: ...

    async def close(self) -> None: ...


class EtcdClient:
    """Calls and streams on one member of the cluster, until it fails.  Made without I/O; ``close`` when done."""

    def __init__(self, address: EtcdAddress) -> None:
        self._address = address
        self._at = 0
        self._channel: EtcdChannel | None = None
        self._connection: object = None
        self.connections = 0
        self._token: str | None = None
        self._logging_in = asyncio.Lock()
        self._files_were_read = False
        self._closed = False

    @property
    def member(self) -> str:
        """The member that is asked now."""
        return f"etcd {self._address.endpoints[self._at]}"

    async def close(self) -> None:
        """Drop the connection; whatever waits on it fails."""
        self._closed = True
        self._drop()
        for _ in range(DROP_TURNS):
            await asyncio.sleep(0)

    async def call(self, method: str, request: bytes, *, repeatable: bool = False) -> bytes:
        """The answer to one request.

        A member that cannot be reached is passed over.  One that was reached and did not answer
        may have done it all the same: only what is ``repeatable`` is then asked elsewhere.
        Raises StoreUnavailable, of it HistoryGone; ConfigError: TLS files that were never readable.
        """
        try:
            async with asyncio.timeout(CALL_S):
                return await self._call(method, request, repeatable)
        except TimeoutError:
            raise StoreUnavailable(f"{self.member}: no answer within {CALL_S:g} s") from None

    @asynccontextmanager
    async def stream(self, method: str) -> AsyncGenerator[BytesStream]:
        """A stream of requests and answers on one member, which must have a leader.

        What fails inside the body, a TimeoutError too, comes out as StoreUnavailable, and the next member is next.
        """
        metadata = {"hasleader": "true", **await self._credentials()}
        channel = await self._reached()
        with self._explained(channel):
            async with channel.request(method, Cardinality.STREAM_STREAM, bytes, bytes, metadata=metadata) as stream:
                yield stream

    def forget_token(self) -> None:
        """Log in again before the next request."""
        self._token = None

    # -- one request --------------------------------------------------------------------

    async def _call(self, method: str, request: bytes, repeatable: bool) -> bytes:
        for left in reversed(range(len(self._address.endpoints))):
            try:
                return await self._logged_in(method, request)
            except Unanswered:
                if not (repeatable and left):
                    raise
        raise AssertionError("the last member's failure was raised")

    async def _logged_in(self, method: str, request: bytes) -> bytes:
        """Ask; when the store does not know our token any more, log in again and ask once more."""
        credentials = await self._credentials()
        try:
            return await self._ask(method, request, credentials)
        except Refused as refusal:
            if refusal.status not in NOT_LOGGED_IN or self._address.access.user is None:
                raise
        if credentials.get("token", NOT_NEEDED) == self._token:
            self.forget_token()
        return await self._ask(method, request, await self._credentials())

    async def _ask(self, method: str, request: bytes, metadata: dict[str, str]) -> bytes:
        channel = await self._reached()
        with self._explained(channel):
            # In a task of its own: grpclib tells of a lost connection by cancelling the task that waits.
            answer = await asyncio.create_task(exchange(channel, method, request, metadata))
        if answer is None:
            raise Unanswered(f"{self.member}: an answer without a message")
        return answer

    async def _credentials(self) -> dict[str, str]:
        """The metadata that says who we are; empty for a store that does not ask."""
        access = self._address.access
        if access.user is None:
            return {}
        async with self._logging_in:
            if self._token is None:
                self._token = await self._log_in(access.user, access.password or "")
        return {"token": self._token} if self._token else {}

    async def _log_in(self, user: str, password: str) -> str:
        try:
            return understood(decode_token, await self._ask(AUTHENTICATE, authenticate_request(user, password), {}))
        except Refused as refusal:
            if refusal.status is Status.FAILED_PRECONDITION:  # authentication is not enabled
                return NOT_NEEDED
            raise

    @contextmanager
    def _explained(self, channel: Channel) -> Generator[None]:
        """What went wrong on ``channel``, as an error of ours."""
        member = self.member
        try:
            yield
        except GRPCError as error:
            refusal = Refused(member, error.status, error.message or "")
            if error.status is Status.OUT_OF_RANGE:
                raise HistoryGone(str(refusal)) from error
            if error.status in MEMBER_FAILED:
                self._turn(channel)
                raise Unanswered(str(refusal)) from error
            raise refusal from error
        except TimeoutError as error:
            self._turn(channel)
            raise Unanswered(f"{member}: {str(error) or f'no answer within {ANSWER_S:g} s'}") from error
        except (StreamTerminatedError, ProtocolError, H2Error, OSError) as error:
            self._turn(channel)
            raise Unanswered(f"{member}: {_reason(error)}") from error

    # -- connections --------------------------------------------------------------------

    async def _reached(self) -> EtcdChannel:
        """A channel with a connection, to the first member that can be reached."""
        reasons: list[str] = []
        for _ in self._address.endpoints:
            if self._closed:
                raise StoreUnavailable(f"{self.member}: closed")
            channel = self._channel = self._channel or self._opened()
            try:
                async with asyncio.timeout(CONNECT_S):
                    connection = await channel.__connect__()
            except OSError as error:  # also a timeout, and everything of TLS
                reasons.append(f"{self.member}: {_reason(error)}")
                self._turn(channel)
            else:
                if connection is not self._connection:
                    self._connection, self.connections = connection, self.connections + 1
                return channel
        raise StoreUnavailable("; ".join(reasons))

    def _opened(self) -> EtcdChannel:
        endpoint = self._address.endpoints[self._at]
        context = self._tls_context() if self._address.tls else None
        return EtcdChannel(endpoint, context)

    def _tls_context(self) -> ssl.SSLContext:
        """Read from the files for each connection, so that renewed certificates are taken up."""
        try:
            context = tls_context(self._address.access)
        except OSError as error:
            if self._files_were_read:
                raise StoreUnavailable(f"{self.member}: TLS files: {_reason(error)}") from error
            raise ConfigError("--etcd-cafile, --etcd-certfile, --etcd-keyfile", _reason(error)) from error
        self._files_were_read = True
        return context

    def _turn(self, channel: Channel) -> None:
        """Ask the next member from now on, unless somebody has turned away from ``channel`` already."""
        if channel is self._channel:
            self._drop()
            self._at = (self._at + 1) % len(self._address.endpoints)

    def _drop(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.drop()


def understood(decode: Callable[[bytes], T], answer: bytes) -> T:
    """The decoded answer.  Raises StoreUnavailable: whatever answers there, it is no etcd."""
    try:
        return decode(answer)
    except DecodeError as error:
        raise StoreUnavailable(f"etcd: {error}") from error


async def within(seconds: float, work: Coroutine[object, object, T]) -> T:
    """``work`` in bounded time, and in a task of its own (as ``EtcdClient._ask`` says).  Raises TimeoutError."""
    task = asyncio.create_task(work)
    async with asyncio.timeout(seconds):
        return await task


def _reason(error: BaseException) -> str:
    """One line, whatever kind of error it is."""
    if isinstance(error, TimeoutError):
        return f"not reached within {CONNECT_S:g} s"
    text = error.strerror if isinstance(error, OSError) else None
    return text or str(error) or type(error).__name__
