"""Answers as values: status, headers, body; and the headers that keep a page of ours to itself.

Pure.  Nothing may be fetched from elsewhere, nothing framed by others, nothing kept by a cache,
and no answer says that another origin may read it.
"""

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

import msgspec

from tulle.serve.requests import JSON_TYPE, Refusal

HTML: Final = "text/html; charset=utf-8"
CSS: Final = "text/css; charset=utf-8"
JAVASCRIPT: Final = "text/javascript; charset=utf-8"
EVENTS: Final = "text/event-stream; charset=utf-8"
_NOTHING: Final = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors"
_PAGE_POLICY: Final = f"{_NOTHING} 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; frame-src 'self'"
_ALWAYS: Final = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Opener-Policy", "same-origin"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
)
_SCRIPT: Final = "<script>"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One whole answer."""

    status: int = 200
    media: str
    body: bytes = b""
    policy: str = f"{_NOTHING} 'none'"
    more: tuple[tuple[str, str], ...] = ()

    @property
    def headers(self) -> list[tuple[str, str]]:
        """All but the length, which whoever sends it knows."""
        return [("Content-Type", self.media), ("Content-Security-Policy", self.policy), *_ALWAYS, *self.more]


def page_answer(page: str) -> Answer:
    """The page: it may load its own script and looks, ask its own server, and frame a walk."""
    return Answer(media=HTML, body=page.encode(), policy=_PAGE_POLICY)


def walk_answer(page: str) -> Answer:
    """A walk's page: its one script is allowed by its hash, and only our own page may frame it."""
    script = page.rpartition(_SCRIPT)[2].partition("</script>")[0]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = f"{_NOTHING} 'self'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return Answer(media=HTML, body=page.encode(), policy=policy)


def text_answer(media: str, text: str) -> Answer:
    return Answer(media=media, body=text.encode())


def json_answer(facts: object, status: int = 200) -> Answer:
    return Answer(status=status, media=JSON_TYPE, body=msgspec.json.encode(facts) + b"\n")


def error_answer(refusal: Refusal, command: str = "") -> Answer:
    """One line that says what is wrong; ``command`` is what was tried, where something was."""
    facts = {"error": refusal.line} | ({"command": command} if command else {})
    answer = json_answer(facts, refusal.status)
    if not refusal.allow:
        return answer
    return Answer(status=answer.status, media=answer.media, body=answer.body, more=(("Allow", refusal.allow),))


def event(name: str, data: bytes) -> bytes:
    """One event of a stream; ``data`` is JSON, which has no line ends.  Source: HTML, §9.2.6."""
    return b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
