"""Netlink framing: messages, attributes and acknowledgements, bytes ⇄ values.

What a message of rtnetlink or nfnetlink means is the business of the modules that name it.
Integers are in host byte order.  Source: include/uapi/linux/netlink.h.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

from tulle.errors import DecodeError

NLMSG_ERROR: Final = 2
NLMSG_DONE: Final = 3
NLMSG_OVERRUN: Final = 4
NLMSG_MIN_TYPE: Final = 0x10

NLM_F_REQUEST: Final = 0x01
NLM_F_MULTI: Final = 0x02
NLM_F_ACK: Final = 0x04
NLM_F_DUMP_INTR: Final = 0x10
NLM_F_ROOT: Final = 0x100
NLM_F_MATCH: Final = 0x200
NLM_F_DUMP: Final = NLM_F_ROOT | NLM_F_MATCH
NLM_F_REPLACE: Final = 0x100
NLM_F_EXCL: Final = 0x200
NLM_F_CREATE: Final = 0x400
NLM_F_APPEND: Final = 0x800
NLM_F_CAPPED: Final = 0x100
NLM_F_ACK_TLVS: Final = 0x200

NLA_F_NESTED: Final = 1 << 15
NLA_TYPE_MASK: Final = 0x3FFF
NLMSGERR_ATTR_MSG: Final = 1

HEADER: Final = struct.Struct("=IHHII")  # struct nlmsghdr: len, type, flags, seq, pid
ERROR: Final = struct.Struct("=i")  # struct nlmsgerr: −errno, then the request's header
ATTRIBUTE: Final = struct.Struct("=HH")  # struct nlattr: len, type
_PADDING: Final = (b"", b"\0\0\0", b"\0\0", b"\0")  # up to four, by a length's last two bits

Attributes: TypeAlias = Mapping[int, bytes]


class Message(NamedTuple):
    """One message as received; ``payload`` is what follows the header.

    What tens of thousands are made of at a time is a NamedTuple: a frozen dataclass takes four times as long.
    """

    kind: int
    flags: int
    seq: int
    pid: int
    payload: bytes


class Request(NamedTuple):
    """A message to send.  ``subject`` is what an error about it should name."""

    kind: int
    flags: int
    body: bytes
    subject: object = None

    def encode(self, seq: int, ack: bool = False) -> bytes:
        """The bytes, padded to four; NLM_F_REQUEST is always set, NLM_F_ACK when ``ack``."""
        flags = self.flags | NLM_F_REQUEST | (NLM_F_ACK if ack else 0)
        length = HEADER.size + len(self.body)
        return HEADER.pack(length, self.kind, flags, seq, 0) + self.body + _PADDING[length & 3]


class Ack(NamedTuple):
    """The kernel's answer to one request: ``errno`` 0 is success; ``reason`` its extended ACK text, if any."""

    errno: int
    seq: int
    reason: str = ""


def batches(requests: Sequence[Request], size: int = 128) -> Iterator[Sequence[Request]]:
    """Split requests for one send each.

    Only the last of a batch need ask for an ACK: a refused request answers anyway, so errors
    stay per request.  A batch is not atomic.  128 replies fit the default receive buffer.
    """
    for start in range(0, len(requests), size):
        yield requests[start : start + size]


def decode_messages(buffer: bytes) -> list[Message]:
    """The messages of one datagram.  Raises DecodeError: a length that leaves the buffer."""
    found: list[Message] = []
    offset, end = 0, len(buffer)
    unpack = HEADER.unpack_from
    while offset + 16 <= end:
        length, kind, flags, seq, pid = unpack(buffer, offset)
        if length < 16 or offset + length > end:
            raise DecodeError("netlink message", length=length, left=end - offset)
        found.append(Message(kind, flags, seq, pid, buffer[offset + 16 : offset + length]))
        offset += (length + 3) & ~3
    if offset < end:
        raise DecodeError("netlink message", left=end - offset)
    return found


def padded(value: bytes) -> bytes:
    """``value`` with as many zeros as make its length a multiple of four."""
    return value + _PADDING[len(value) & 3]


def encode_attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded to four bytes."""
    length = 4 + len(value)
    return ATTRIBUTE.pack(length, kind) + value + _PADDING[length & 3]


def nested(kind: int, *attributes: bytes) -> bytes:
    """An attribute that holds attributes."""
    return encode_attribute(kind | NLA_F_NESTED, b"".join(attributes))


def parse_attributes(payload: bytes, offset: int = 0) -> dict[int, bytes]:
    """Attributes by type, flags masked off; the last of a type wins.

    Raises DecodeError: a length that leaves the payload, or bytes left over.
    """
    found: dict[int, bytes] = {}
    end = len(payload)
    unpack = ATTRIBUTE.unpack_from
    while offset + 4 <= end:
        length, kind = unpack(payload, offset)
        if length < 4 or offset + length > end:
            raise DecodeError("netlink attribute", length=length, left=end - offset)
        found[kind & NLA_TYPE_MASK] = payload[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    if offset < end:
        raise DecodeError("netlink attribute", left=end - offset)
    return found


def find_attribute(payload: bytes, kind: int, offset: int = 0) -> bytes | None:
    """The first attribute of one type, without a look at those behind it; None when there is none.

    Raises DecodeError: a length that leaves the payload.
    """
    end = len(payload)
    unpack = ATTRIBUTE.unpack_from
    while offset + 4 <= end:
        length, found = unpack(payload, offset)
        if length < 4 or offset + length > end:
            raise DecodeError("netlink attribute", length=length, left=end - offset)
        if found & NLA_TYPE_MASK == kind:
            return payload[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return None


def decode_ack(message: Message) -> Ack:
    """An NLMSG_ERROR, or an NLMSG_DONE that carries an error.  Raises DecodeError.

    Source: netlink.h ``struct nlmsgerr``, ``NLMSGERR_ATTR_MSG`` (kernel 4.12).
    """
    if len(message.payload) < 4:
        raise DecodeError("netlink acknowledgement", length=len(message.payload))
    errno: int = -ERROR.unpack_from(message.payload)[0]
    if not message.flags & NLM_F_ACK_TLVS:
        return Ack(errno, message.seq)
    offset = _echo_end(message) if message.kind == NLMSG_ERROR else 4
    text = parse_attributes(message.payload, offset).get(NLMSGERR_ATTR_MSG, b"")
    return Ack(errno, message.seq, text.rstrip(b"\0").decode(errors="replace"))


def _echo_end(message: Message) -> int:
    """Where the extended ACK begins: after the request's header, or after all of it when it was echoed whole."""
    payload = message.payload
    if len(payload) < 4 + HEADER.size:
        raise DecodeError("netlink acknowledgement", length=len(payload))
    echoed: int = HEADER.unpack_from(payload, 4)[0]
    return 4 + HEADER.size if message.flags & NLM_F_CAPPED else 4 + ((echoed + 3) & ~3)
