"""One connection to a member of an etcd cluster: gRPC by grpclib, messages as bytes."""

import asyncio
import ssl
from contextlib import suppress
from typing import Final

from grpclib.client import Channel, Stream
from grpclib.const import Cardinality
from grpclib.encoding.base import CodecBase
from grpclib.protocol import H2Protocol

from tulle.store.etcd_address import Endpoint, EtcdAccess

ANSWER_S: Final = 4.0

BytesStream = Stream[bytes, bytes]


class AsIs(CodecBase):
    """Messages are bytes: whoever calls has encoded them, and decodes the answers."""

    @property
    def __content_subtype__(self) -> str:
        return "proto"

    def encode(self, message: bytes, message_type: object) -> bytes:  # noqa: ARG002 - the base's signature
        return message

    def decode(self, data: bytes, message_type: object) -> bytes:  # noqa: ARG002 - the base's signature
        return bytes(data)


class EtcdChannel(Channel):
    """A channel that lets go of its connection at once, without a farewell that a dead peer never answers."""

    def __init__(self, endpoint: Endpoint, context: ssl.SSLContext | None) -> None:
        # grpclib imports ssl only where there is one, which leaves its type half known.
        super().__init__(endpoint.host, endpoint.port, codec=AsIs(), ssl=context)  # pyright: ignore[reportUnknownMemberType]
        self._endpoint, self._context = endpoint, context
        self._transport: asyncio.Transport | None = None

    async def _create_connection(self) -> H2Protocol:
        self._transport, protocol = await asyncio.get_running_loop().create_connection(
            self._protocol_factory, self._endpoint.host, self._endpoint.port, ssl=self._context
        )
        return protocol

    def drop(self) -> None:
        """Whatever waits on it fails."""
        self.close()
        if self._transport is not None:
            with suppress(
                AttributeError
            ):  # before Python 3.11.4 a TLS transport that lost its connection has no protocol
                self._transport.abort()


async def exchange(channel: Channel, method: str, request: bytes, metadata: dict[str, str]) -> bytes | None:
    """The answer to one request; None: it came without a message.  Raises what grpclib raises, and TimeoutError."""
    async with (
        asyncio.timeout(ANSWER_S),
        channel.request(method, Cardinality.UNARY_UNARY, bytes, bytes, metadata=metadata) as stream,
    ):
        await stream.send_message(request, end=True)
        answer = await stream.recv_message()
        await stream.recv_trailing_metadata()
        return answer


def tls_context(access: EtcdAccess) -> ssl.SSLContext:
    """TLS 1.2 or newer, HTTP/2, the member's name checked.  Raises OSError: a file is missing or is none."""
    context = ssl.create_default_context(cafile=access.cafile)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if access.certfile is not None:
        context.load_cert_chain(access.certfile, access.keyfile)
    return context
