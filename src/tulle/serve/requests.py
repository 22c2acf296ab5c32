"""From a request to what it asks for, or to why not: the whole of the server's judgement, without a socket.

A request is a stranger's until its host, its token and its origin are right; nothing else of it
is looked at before.  What it may ask for is a closed list: no part of a request ever becomes a
path, and a name in it counts only when the lab has that name now (``server`` looks it up).
"""

import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, cast
from urllib.parse import parse_qsl

from tulle.render.lab_page import SCRIPT, STYLE
from tulle.render.lab_view import MOST_COLUMNS

BODY_LIMIT: Final = 4096
"""Bytes; two names take fewer."""
LONGEST_NAME: Final = 400
JSON_TYPE: Final = "application/json"


class Heard(Protocol):
    """One request as it was heard.  ``target`` is as sent, nothing decoded; ``headers`` by lower-case name."""

    @property
    def method(self) -> str: ...
    @property
    def target(self) -> str: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> bytes: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where this server is: its port on the loopback, and the secret that its addresses begin with."""

    port: int
    token: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/{self.token}/"

    @property
    def hosts(self) -> frozenset[str]:
        """What a browser that means us calls us: any other name was made to resolve to this machine."""
        return frozenset(f"{name}:{self.port}" for name in ("127.0.0.1", "localhost"))


@dataclass(frozen=True, slots=True)
class ShowPage:
    """The page itself."""


@dataclass(frozen=True, slots=True)
class ShowStyle:
    """Its looks."""


@dataclass(frozen=True, slots=True)
class ShowScript:
    """Its script."""


@dataclass(frozen=True, slots=True)
class ShowWalk:
    """The walk of this number."""

    number: int


@dataclass(frozen=True, slots=True)
class Follow:
    """The lab as it changes, drawn with so many nodes in a row."""

    columns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """Send a packet."""

    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Pause:
    """Hold a node's agent."""

    node: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Let a node's agent go on."""

    node: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Remove:
    """Delete an entry of a node's tables, by the name that the tables give it."""

    node: str
    entry: str


Show: TypeAlias = ShowPage | ShowStyle | ShowScript | ShowWalk
Act: TypeAlias = Trace | Pause | Resume | Remove
Wish: TypeAlias = Show | Follow | Act


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why not: the status of the answer and one line.  ``allow`` is the method that would have been right."""

    status: int
    line: str
    allow: str = ""


def judge(request: Heard, site: Site) -> Wish | Refusal:
    """What the request asks for, or why it is refused."""
    parts = _inside(request, site)
    if isinstance(parts, Refusal):
        return parts
    path, query = parts
    if path in _ACTS:
        return _act(request, path, site)
    wish = _shown(path, query)
    if isinstance(wish, Refusal) or request.method == "GET":
        return wish
    return Refusal(status=405, line=f"method {request.method}: not for this address: use GET", allow="GET")


def _inside(request: Heard, site: Site) -> tuple[str, str] | Refusal:
    """The path behind the token, and the query; for those who know the token, at the right host."""
    if request.headers.get("host", "").lower() not in site.hosts:
        return Refusal(status=421, line="host: not this server: use the address that 'tulle lab serve' printed")
    path, _, query = request.target.partition("?")
    first, slash, rest = path.removeprefix("/").partition("/")
    if not path.startswith("/") or not hmac.compare_digest(first.encode(), site.token.encode()):
        return Refusal(status=403, line="token: wrong or missing: use the address that 'tulle lab serve' printed")
    if not slash:
        return Refusal(status=404, line="address: no such page: it ends in '/'")
    return rest, query


def _shown(path: str, query: str) -> Show | Follow | Refusal:
    match path.split("/"):
        case [""]:
            return ShowPage()
        case [name] if name == STYLE:
            return ShowStyle()
        case [name] if name == SCRIPT:
            return ShowScript()
        case ["events"]:
            return _follow(query)
        case ["walk", number] if _is_number(number):
            return ShowWalk(int(number))
        case _:
            return Refusal(status=404, line="address: no such page")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 9


def _follow(query: str) -> Follow | Refusal:
    columns = dict(parse_qsl(query[:100])).get("columns", str(MOST_COLUMNS))
    if not _is_number(columns) or not 1 <= int(columns) <= MOST_COLUMNS:
        return Refusal(status=400, line=f"columns: must be 1 to {MOST_COLUMNS}")
    return Follow(int(columns))


# -- acts ---------------------------------------------------------------------------------

_ACTS: Final[dict[str, tuple[str, ...]]] = {
    "trace": ("from", "to"),
    "pause": ("node",),
    "resume": ("node",),
    "delete": ("node", "object"),
}
"""The fields that each takes, all of them text."""


def _act(request: Heard, verb: str, site: Site) -> Act | Refusal:
    if request.method != "POST":
        return Refusal(status=405, line=f"method {request.method}: not for this address: use POST", allow="POST")
    origin = request.headers.get("origin")
    if origin is not None and origin not in {f"http://{host}" for host in site.hosts}:
        return Refusal(status=403, line="origin: another page's: only this server's own page may ask for that")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON_TYPE:
        return Refusal(status=415, line=f"content-type: must be {JSON_TYPE}")
    fields = _fields(request.body, _ACTS[verb])
    return fields if isinstance(fields, Refusal) else _of_fields(verb, fields)


def _fields(body: bytes, wanted: tuple[str, ...]) -> dict[str, str] | Refusal:
    """Exactly the wanted fields, each a short text."""
    if len(body) > BODY_LIMIT:
        return Refusal(status=413, line=f"body: larger than {BODY_LIMIT} bytes")
    try:
        value: object = json.loads(body)
    except (ValueError, RecursionError):
        return Refusal(status=400, line="body: not JSON")
    if not isinstance(value, dict):
        return Refusal(status=400, line="body: must be a JSON object")
    given = cast("dict[str, object]", value)
    if given.keys() != set(wanted):
        return Refusal(status=400, line=f"body: must have {' and '.join(wanted)}, and nothing else")
    fields: dict[str, str] = {}
    for name, text in given.items():
        if not isinstance(text, str) or not 0 < len(text) <= LONGEST_NAME:
            return Refusal(status=400, line=f"{name}: must be a text of 1 to {LONGEST_NAME} characters")
        fields[name] = text
    return fields


def _of_fields(verb: str, fields: Mapping[str, str]) -> Act:
    match verb:
        case "trace":
            return Trace(source=fields["from"], target=fields["to"])
        case "pause":
            return Pause(fields["node"])
        case "resume":
            return Resume(fields["node"])
        case _:
            return Remove(node=fields["node"], entry=fields["object"])
