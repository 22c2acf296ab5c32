"""The forms of a recorded journey: JSON, page, capture file, picture; read from the first three, drawn in all.

Pure, and the same bytes everywhere: the same journey, whichever form it was read from, is drawn
the same.
"""

from base64 import b64decode
from typing import Final, Literal, TypeAlias, assert_never

from tulle.errors import DecodeError
from tulle.render.html import html_of, journey_in
from tulle.render.svg import svg_of
from tulle.trace.captures import decode_capture, encode_capture
from tulle.trace.journey import Journey
from tulle.trace.json import decode_journey, encode_journey
from tulle.wire.pcapng import SECTION

Form: TypeAlias = Literal["svg", "html", "pcap", "json"]
_PCAPNG: Final = SECTION.to_bytes(4, "little")
_LARGEST: Final = 1 << 30
"""Lengths and indexes: what fits the formats of captures."""


def read_journeys(data: bytes) -> tuple[Journey, ...]:
    """The journeys in a file of any form; JSON may hold one per line.

    Raises DecodeError: none of the forms, or a journey whose values no kernel could have given.
    """
    if data.startswith(_PCAPNG):
        return (_checked(decode_capture(data)),)
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text[:15].lower() == b"<!doctype html>":
        return (_checked(journey_in(data.decode(errors="replace"))),)
    if text.startswith(b"<"):
        raise DecodeError("picture", reason="no journey in it: give the .json, .html or .pcapng of the same walk")
    return tuple(_checked(journey) for journey in _from_json(text))


def draw(journey: Journey, form: Form) -> bytes:
    """The journey in one form, as the bytes of a file."""
    match form:
        case "svg":
            return svg_of(journey).encode()
        case "html":
            return html_of(journey).encode()
        case "pcap":
            return encode_capture(journey)
        case "json":
            return encode_journey(journey) + b"\n"
        case _:
            assert_never(form)


def _from_json(text: bytes) -> list[Journey]:
    """One value over several lines, or one a line."""
    first = text.partition(b"\n")[0].rstrip()
    if not (first.startswith(b"{") and first.endswith(b"}")):
        return [decode_journey(text)]
    return [decode_journey(line) for line in text.splitlines() if line.strip()]


def _checked(journey: Journey) -> Journey:
    """A journey from a file may say anything: what rendering relies on is looked at once, here."""
    for hop in journey.hops:
        try:
            b64decode(hop.frame, validate=True)
        except ValueError as error:
            raise DecodeError("hop", n=hop.n, frame=str(error)) from None
        numbers = (hop.n, hop.len, hop.ifindex, hop.t_shared_with)
        if any(number is not None and not 0 <= number < _LARGEST for number in numbers):
            raise DecodeError("hop", n=hop.n, len=hop.len, ifindex=hop.ifindex)
        if hop.t_ns is not None and not 0 <= hop.t_ns < 1 << 60:
            raise DecodeError("hop", n=hop.n, t_ns=hop.t_ns)
    return journey
