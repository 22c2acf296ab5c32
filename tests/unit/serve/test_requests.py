"""What a request may ask: a closed list, for those who come to the right host with the right token."""

import json
from collections.abc import Mapping

import pytest

from tulle.http_connection import Request
from tulle.serve.requests import (
    BODY_LIMIT,
    Follow,
    Pause,
    Refusal,
    Remove,
    Resume,
    ShowPage,
    ShowScript,
    ShowStyle,
    ShowWalk,
    Site,
    Trace,
    Wish,
    judge,
)

WORD = "s3cret"
SITE = Site(port=4321, token=WORD)
HOST = {"host": "127.0.0.1:4321"}
JSON = {**HOST, "content-type": "application/json"}


def get(path: str, headers: Mapping[str, str] = HOST, method: str = "GET") -> Wish | Refusal:
    return judge(Request(method=method, target=path, headers=headers), SITE)


def post(verb: str, body: object, headers: Mapping[str, str] = JSON) -> Wish | Refusal:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return judge(Request(method="POST", target=f"/s3cret/{verb}", headers=headers, body=data), SITE)


def status(wish: Wish | Refusal) -> int:
    assert isinstance(wish, Refusal), wish
    return wish.status


@pytest.mark.parametrize(
    ("path", "wish"),
    [
        ("/s3cret/", ShowPage()),
        ("/s3cret/page.css", ShowStyle()),
        ("/s3cret/page.js", ShowScript()),
        ("/s3cret/walk/7", ShowWalk(7)),
        ("/s3cret/events", Follow(3)),
        ("/s3cret/events?columns=1", Follow(1)),
    ],
)
def test_what_there_is_to_see(path: str, wish: Wish) -> None:
    assert get(path) == wish
    assert get(path, {"host": "localhost:4321"}) == wish


@pytest.mark.parametrize(
    ("verb", "body", "wish"),
    [
        ("trace", {"from": "pod1", "to": "pod4"}, Trace(source="pod1", target="pod4")),
        ("pause", {"node": "node1"}, Pause("node1")),
        ("resume", {"node": "node1"}, Resume("node1")),
        ("delete", {"node": "node1", "object": "fdb x"}, Remove(node="node1", entry="fdb x")),
    ],
)
def test_what_there_is_to_do(verb: str, body: object, wish: Wish) -> None:
    assert post(verb, body) == wish
    assert post(verb, body, {**JSON, "origin": "http://127.0.0.1:4321"}) == wish


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        pytest.param({}, 421, id="no host"),
        pytest.param({"host": "127.0.0.1"}, 421, id="without the port"),
        pytest.param({"host": "evil.example:4321"}, 421, id="a name that was made to resolve to us"),
        pytest.param({"host": "127.0.0.1:4321.evil.example"}, 421, id="a name that begins as ours"),
    ],
)
def test_another_hosts_name_is_no_way_in(headers: Mapping[str, str], why: int) -> None:
    assert status(get("/s3cret/", headers)) == why


@pytest.mark.parametrize(
    "path", ["/", "/wrong/", "/s3cre/", "/s3crett/", "/S3CRET/", "s3cret/", "*", "/é/", "//s3cret/"]
)
def test_without_the_token_nothing_is_told(path: str) -> None:
    assert status(get(path)) == 403


@pytest.mark.parametrize(
    "path",
    [
        "/s3cret",
        "/s3cret/nothing",
        "/s3cret/../s3cret/",
        "/s3cret/walk/../../etc/passwd",
        "/s3cret/walk/%2e%2e",
        "/s3cret/walk/-1",
        "/s3cret/walk/1e3",
        "/s3cret/walk/99999999999999999999",
        "/s3cret/walk/٣",
        "/s3cret/page.css/",
        "/s3cret/page.css%00",
        "/s3cret//",
    ],
)
def test_an_address_that_is_not_on_the_list_is_nowhere(path: str) -> None:
    assert status(get(path)) == 404


@pytest.mark.parametrize("columns", ["0", "4", "-1", "x", "999999999999", ""])
def test_a_row_has_one_to_three_nodes(columns: str) -> None:
    wish = get(f"/s3cret/events?columns={columns}")
    assert wish == Follow(3) if columns == "" else status(wish) == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"])
def test_what_is_to_be_seen_is_only_got(method: str) -> None:
    refusal = get("/s3cret/", method=method)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.allow) == (405, "GET")


@pytest.mark.parametrize("verb", ["trace", "pause", "resume", "delete"])
def test_what_is_to_be_done_is_only_posted(verb: str) -> None:
    refusal = get(f"/s3cret/{verb}")
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.allow) == (405, "POST")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "https://127.0.0.1:4321", "http://127.0.0.1:4322"])
def test_another_pages_script_may_do_nothing(origin: str) -> None:
    assert status(post("pause", {"node": "node1"}, {**JSON, "origin": origin})) == 403


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_a_form_of_another_page_is_not_taken_for_ours(kind: str | None) -> None:
    headers = HOST if kind is None else {**HOST, "content-type": kind}
    assert status(post("pause", {"node": "node1"}, headers)) == 415


@pytest.mark.parametrize(
    ("body", "why"),
    [
        pytest.param(b"", 400, id="empty"),
        pytest.param(b"{", 400, id="cut off"),
        pytest.param(b"\xff\xfe", 400, id="no text"),
        pytest.param(b"[" * 4000, 400, id="too deep"),
        pytest.param(b"[]", 400, id="no object"),
        pytest.param({}, 400, id="nothing in it"),
        pytest.param({"node": "node1", "more": "x"}, 400, id="too much in it"),
        pytest.param({"node": 7}, 400, id="a number"),
        pytest.param({"node": ["node1"]}, 400, id="a list"),
        pytest.param({"node": ""}, 400, id="no name"),
        pytest.param({"node": "n" * 401}, 400, id="a long name"),
        pytest.param(b" " * (BODY_LIMIT + 1), 413, id="too large"),
    ],
)
def test_a_body_that_is_not_as_asked_is_refused_with_the_reason(body: object, why: int) -> None:
    refusal = post("pause", body)
    assert isinstance(refusal, Refusal)
    assert refusal.status == why
    assert refusal.line.isprintable()
