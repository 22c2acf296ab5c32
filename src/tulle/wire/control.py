"""The agent's control socket: frames, bytes ⇄ values.

A frame is a big-endian u32 length and that many bytes.  A request begins with its kind: ``J``, then
JSON (``{"verb": …}``), or ``C``, then CNI: NUL-terminated ``NAME=value`` strings, one lone NUL, and
the plugin's stdin verbatim.  The answer to ``J`` is JSON, to ``C`` one byte of exit code and the
plugin's stdout; an empty frame before it says that the call was read, further ones that it is still at
work.  The C shim (``csrc/``) speaks the same.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from tulle.errors import DecodeError

LENGTH: Final = struct.Struct(">I")
REQUEST_LIMIT: Final = (1 << 20) + (256 << 10)
"""CNI stdin of 1 MiB, with room for the environment."""
JSON_KIND: Final = b"J"
CNI_KIND: Final = b"C"

JsonObject: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True)
class VerbRequest:
    """``tulle status`` and the like."""

    body: JsonObject


@dataclass(frozen=True, slots=True)
class CniRequest:
    """One execution of the plugin."""

    environment: Mapping[str, str]
    stdin: bytes


def encode_frame(body: bytes) -> bytes:
    """``body`` with its length."""
    return LENGTH.pack(len(body)) + body


def decode_length(header: bytes | bytearray, limit: int = REQUEST_LIMIT) -> int:
    """How many bytes follow.  Raises DecodeError: cut short, or more than ``limit``."""
    if len(header) < LENGTH.size:
        raise DecodeError("control frame", need=LENGTH.size, got=len(header))
    length: int = LENGTH.unpack_from(header)[0]
    if length > limit:
        raise DecodeError("control frame", length=length, limit=limit)
    return length


def decode_frame(found: bytes | bytearray) -> bytes | None:
    """The body of the frame that ``found`` begins with; None: the rest is still to come.

    Raises DecodeError: it would be more than a request may have.
    """
    if len(found) < LENGTH.size:
        return None
    end = LENGTH.size + decode_length(found)
    return bytes(found[LENGTH.size : end]) if len(found) >= end else None


def encode_verb(request: JsonObject) -> bytes:
    """The frame of a JSON request."""
    return encode_frame(JSON_KIND + encode_json(request))


def encode_cni(request: CniRequest) -> bytes:
    """The frame of one plugin execution."""
    strings = (f"{name}={value}\0".encode(errors="surrogateescape") for name, value in request.environment.items())
    return encode_frame(CNI_KIND + b"".join(strings) + b"\0" + request.stdin)


def decode_request(body: bytes) -> VerbRequest | CniRequest:
    """What a client asks.  Raises DecodeError."""
    match body[:1]:
        case b"J":
            return VerbRequest(decode_json(body[1:]))
        case b"C":
            return _decode_cni(body[1:])
        case kind:
            raise DecodeError("control request", kind=kind)


def encode_cni_answer(code: int, stdout: bytes) -> bytes:
    """The frame of a plugin's end."""
    return encode_frame(bytes((code,)) + stdout)


def encode_json(value: JsonObject) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def decode_json(body: bytes) -> JsonObject:
    """A JSON object.  Raises DecodeError."""
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise DecodeError("control JSON", reason=str(error)) from None
    if not isinstance(value, dict):
        raise DecodeError("control JSON", need="an object")
    return cast("JsonObject", value)


def _decode_cni(body: bytes) -> CniRequest:
    if body.startswith(b"\0"):
        return CniRequest({}, body[1:])
    strings, end, stdin = body.partition(b"\0\0")
    if not end:
        raise DecodeError("CNI request", need="a NUL after the environment")
    environment: dict[str, str] = {}
    for string in strings.decode(errors="surrogateescape").split("\0"):
        name, equals, value = string.partition("=")
        if not equals or name in environment:
            raise DecodeError("CNI request", variable=name)
        environment[name] = value
    return CniRequest(environment, stdin)
