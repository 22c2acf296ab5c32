"""The lab's server on a real socket: whatever a client says, it gets one clear answer.

The lab is one in memory; a real one is netns', the browser e2e's.
"""

import asyncio
import json
import re
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.kit.lab_views import LabInMemory, fdb_entry, view
from tulle import http_connection
from tulle.serve import server
from tulle.serve.apart import Done
from tulle.serve.requests import Site
from tulle.serve.server import LabServer

WORD = "a-word-of-this-test"
DEADLINE_S = 60.0


@dataclass
class Client:
    """One page's end of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, text: str | bytes) -> None:
        self.writer.write(text if isinstance(text, bytes) else text.encode())
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await self.reader.readexactly(int(headers["content-length"])) if "content-length" in headers else b""
        return int(head[0].split()[1]), headers, body

    async def event(self) -> tuple[str, Any]:
        """The next event of a stream."""
        while True:
            found = re.search(rb"event: (\w+)\ndata: (.*)\n\n", await self.reader.readuntil(b"\n\n"), re.DOTALL)
            if found is not None:
                return found[1].decode(), json.loads(found[2])

    def close(self) -> None:
        self.writer.close()


@dataclass
class Served:
    """A server with its lab, and who speaks to it."""

    lab: LabInMemory
    site: Site
    task: "asyncio.Task[None]"
    clients: list[Client] = field(default_factory=list[Client])

    async def connect(self) -> Client:
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.site.port)))
        return self.clients[-1]

    def request(self, method: str, path: str, body: object = None, **headers: str) -> str:
        data = "" if body is None else json.dumps(body)
        told = {"Host": f"127.0.0.1:{self.site.port}", "Content-Type": "application/json"} | headers
        lines = [f"{method} /{WORD}/{path} HTTP/1.1", *(f"{name}: {value}" for name, value in told.items())]
        return "\r\n".join([*lines, f"Content-Length: {len(data)}", "", data])

    async def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        client = await self.connect()
        await client.send(self.request(method, path, body))
        status, headers, answer = await client.answer()
        client.close()
        return status, json.loads(answer) if headers["content-type"] == "application/json" else answer.decode()

    async def follow(self) -> Client:
        client = await self.connect()
        await client.send(self.request("GET", "events"))
        status, headers, _ = await client.answer()
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        return client


@asynccontextmanager
async def serving(lab: LabInMemory) -> AsyncGenerator[Served]:
    sock = socket.create_server(("127.0.0.1", 0))
    site = Site(port=sock.getsockname()[1], token=WORD)
    served = Served(lab, site, asyncio.ensure_future(LabServer(lab, site).serve(sock)))
    try:
        yield served
    finally:
        for client in served.clients:
            client.close()
        served.task.cancel()
        await asyncio.gather(served.task, return_exceptions=True)


def on_a_server(test: Callable[[Served], Awaitable[None]], lab: LabInMemory | None = None) -> LabInMemory:
    """Run a test against a server of its own; the lab, for what was done to it."""
    chosen = lab or LabInMemory()

    async def run() -> None:
        async with asyncio.timeout(DEADLINE_S), serving(chosen) as served:
            await test(served)

    asyncio.run(run())
    return chosen


def test_the_whole_story_of_a_page() -> None:
    async def story(served: Served) -> None:
        for path, word in (("", "<!doctype html>"), ("page.css", "#picture"), ("page.js", "EventSource")):
            status, text = await served.ask("GET", path)
            assert status == 200
            assert word in text
        page = await served.follow()
        name, seen = await page.event()
        assert (name, seen["wrong"], seen["paused"]) == ("view", 0, [])
        assert [place["name"] for place in seen["places"]] == ["pod1", "pod2", "pod3", "pod4", "node1", "node2"]

        status, told = await served.ask("POST", "trace", {"from": "pod1", "to": "pod4"})
        assert (status, told["delivered"], told["walk"]) == (200, True, "walk/1")
        assert "pod1 → pod4" in (await served.ask("GET", "walk/1"))[1]

        assert (await served.ask("POST", "pause", {"node": "node1"}))[0] == 200
        assert (await page.event())[1]["paused"] == ["node1"]
        entry = fdb_entry("node1", view())
        status, told = await served.ask("POST", "delete", {"node": "node1", "object": entry})
        assert (status, told["command"].split()[-9:-6]) == (200, ["bridge", "fdb", "delete"])
        assert (await page.event())[1]["wrong"] == 1

        told = (await served.ask("POST", "trace", {"from": "pod1", "to": "pod4"}))[1]
        assert (told["delivered"], told["stopped"]) == (False, "node1")
        assert (await served.ask("POST", "delete", {"node": "node1", "object": entry}))[0] == 404

        assert (await served.ask("POST", "resume", {"node": "node1"}))[0] == 200
        assert (await page.event())[1]["wrong"] == 0
        assert (await served.ask("POST", "trace", {"from": "pod1", "to": "pod4"}))[1]["delivered"]

    on_a_server(story)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        pytest.param("\x00\x01\x02\r\n\r\n", 400, id="no HTTP"),
        pytest.param("GET / HTTP/1.1\r\n\r\n", 400, id="no host"),
        pytest.param("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, id="two hosts"),
        pytest.param("GET / HTTP/1.0\r\n\r\n", 421, id="HTTP/1.0 without a host"),
        pytest.param("GET /{token}/ HTTP/1.1\r\nHost: evil.example\r\n\r\n", 421, id="DNS rebinding"),
        pytest.param("GET /wrong/ HTTP/1.1\r\nHost: {host}\r\n\r\n", 403, id="wrong token"),
        pytest.param("GET /{token}/walk/../../../etc/passwd HTTP/1.1\r\nHost: {host}\r\n\r\n", 404, id="traversal"),
        pytest.param("GET /{token}/walk/1 HTTP/1.1\r\nHost: {host}\r\n\r\n", 404, id="a walk that is not there"),
        pytest.param("GET http://{host}/{token}/ HTTP/1.1\r\nHost: {host}\r\n\r\n", 403, id="as to a proxy"),
        pytest.param("DELETE /{token}/ HTTP/1.1\r\nHost: {host}\r\n\r\n", 405, id="wrong method"),
        pytest.param("GET /{token}/trace HTTP/1.1\r\nHost: {host}\r\n\r\n", 405, id="an act by GET"),
        pytest.param("GET / HTTP/1.1\r\nX: {long}\r\n\r\n", 431, id="endless headers"),
        pytest.param("GET /{long} HTTP/1.1\r\nHost: {host}\r\n\r\n", 431, id="endless address"),
        pytest.param(
            "POST /{token}/pause HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            "Content-Length: 100000\r\n\r\n{long}",
            413,
            id="a body that is too large",
        ),
        pytest.param(
            "POST /{token}/pause HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
            "Transfer-Encoding: chunked\r\n\r\n10000\r\n{long}",
            413,
            id="a body without an end",
        ),
        pytest.param("POST /{token}/pause HTTP/1.1\r\nHost: {host}\r\nContent-Length: x\r\n\r\n", 400, id="no length"),
        pytest.param(
            "POST /{token}/pause HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{{}}",
            415,
            id="a form's type",
        ),
        pytest.param(
            "POST /{token}/pause HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nOrigin: http://evil.example"
            "\r\nContent-Length: 2\r\n\r\n{{}}",
            403,
            id="another page",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line_with_the_right_status(said: str, status: int) -> None:
    async def say(served: Served) -> None:
        client = await served.connect()
        host = f"127.0.0.1:{served.site.port}"
        await client.send(said.format(token=WORD, host=host, long="x" * 70_000))
        got, headers, body = await client.answer()
        assert (got, headers["content-type"]) == (status, "application/json")
        line = json.loads(body)["error"]
        assert re.fullmatch(r"[A-Za-z0-9 -]+: .+", line), line
        assert (await served.ask("GET", ""))[0] == 200

    assert on_a_server(say).ran == []


@pytest.mark.parametrize(
    ("verb", "body", "status"),
    [
        ("trace", {"from": "pod9", "to": "pod4"}, 404),
        ("trace", {"from": "pod1", "to": "--svg=/etc/passwd"}, 404),
        ("trace", {"from": "pod1", "to": "pod1"}, 400),
        ("trace", {"from": "pod1"}, 400),
        ("pause", {"node": "node9"}, 404),
        ("pause", {"node": "$(reboot)"}, 404),
        ("resume", {"node": "../node1"}, 404),
        ("delete", {"node": "node1", "object": "route 0.0.0.0/0"}, 404),
        ("delete", {"node": "node1", "object": "route 10.244.1.0/24 dev cbr0 proto 2"}, 403),
    ],
)
def test_a_name_that_the_lab_does_not_have_reaches_no_command(verb: str, body: object, status: int) -> None:
    async def ask(served: Served) -> None:
        got, told = await served.ask("POST", verb, body)
        assert (got, list(told)) == (status, ["error"])

    assert on_a_server(ask).ran == []


def test_a_command_that_fails_tells_its_last_line() -> None:
    async def ask(served: Served) -> None:
        status, told = await served.ask("POST", "pause", {"node": "node1"})
        assert (status, told["error"]) == (409, "tulle: agent of node1: does not run")
        assert told["command"] == "tulle lab pause node1 --name lab"
        assert (await served.ask("POST", "trace", {"from": "pod1", "to": "pod2"}))[0] == 503

    on_a_server(ask, LabInMemory(fails_with="noise\ntulle: agent of node1: does not run"))


def test_one_connection_carries_one_request_after_the_other() -> None:
    async def ask(served: Served) -> None:
        client = await served.connect()
        await client.send(served.request("GET", "page.js") + served.request("GET", "nothing"))
        assert [(await client.answer())[0] for _ in range(2)] == [200, 404]

    on_a_server(ask)


def test_a_client_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_connection, "PATIENCE_S", 0.05)

    async def ask(served: Served) -> None:
        client = await served.connect()
        await client.send(f"GET /{WORD}/ HTTP/1.1\r\nHo")
        assert (await client.answer())[0] == 408
        assert await client.reader.read() == b""

    on_a_server(ask)


def test_clients_that_go_in_the_middle_do_no_harm() -> None:
    async def ask(served: Served) -> None:
        for said in ("", "GET", served.request("GET", "events"), served.request("POST", "pause", {"node": "node2"})):
            client = await served.connect()
            await client.send(said)
            client.close()
        assert (await served.ask("GET", ""))[0] == 200

    on_a_server(ask)


def test_more_clients_than_there_is_room_for_are_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "CONNECTIONS", 2)

    async def ask(served: Served) -> None:
        first = await served.follow()
        await served.follow()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await served.ask("GET", "")
        first.close()
        while True:  # until the server has seen it go
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                assert (await served.ask("GET", ""))[0] == 200
                return

    on_a_server(ask)


@dataclass
class SlowLab(LabInMemory):
    """Holds every command until it is told to go on."""

    begun: list[str] = field(default_factory=list[str])
    busy: asyncio.Event = field(default_factory=asyncio.Event)
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, words: Sequence[str]) -> Done:
        self.begun.append(words[1])
        self.busy.set()
        await self.gate.wait()
        return await super().run(words)


def test_acts_of_several_pages_are_done_one_at_a_time_and_told_to_all() -> None:
    lab = SlowLab()

    async def ask(served: Served) -> None:
        pages = [await served.follow() for _ in range(3)]
        assert [(await page.event())[1]["paused"] for page in pages] == [[], [], []]
        acts = [asyncio.ensure_future(served.ask("POST", "pause", {"node": "node1"})) for _ in range(3)]
        await lab.busy.wait()
        assert (await served.ask("GET", ""))[0] == 200  # the page is there meanwhile
        assert lab.begun == ["pause"]
        lab.gate.set()
        assert [status for status, _ in await asyncio.gather(*acts)] == [200, 200, 200]
        assert [(await page.event())[1]["paused"] for page in pages] == [["node1"]] * 3

    on_a_server(ask, lab)


def test_a_server_that_stops_lets_every_agent_go_on_and_tells_its_pages() -> None:
    async def ask(served: Served) -> None:
        page = await served.follow()
        await page.event()
        assert (await served.ask("POST", "pause", {"node": "node2"}))[0] == 200
        served.task.cancel()
        while (event := await page.event())[0] != "over":
            pass
        assert "has ended" in event[1]["en"]
        await asyncio.gather(served.task, return_exceptions=True)

    assert on_a_server(ask).ran[-1] == ("lab", "resume", "node2", "--name", "lab")


def test_an_agent_that_somebody_else_paused_stays_so_though_a_page_asks_again() -> None:
    async def ask(served: Served) -> None:
        assert (await served.ask("POST", "pause", {"node": "node2"}))[0] == 200

    assert [words[1] for words in on_a_server(ask, LabInMemory(paused="node2")).ran] == ["pause"]


def test_an_agent_that_was_resumed_is_left_alone_at_the_end() -> None:
    async def ask(served: Served) -> None:
        await served.ask("POST", "pause", {"node": "node2"})
        await served.ask("POST", "resume", {"node": "node2"})

    assert [words[1] for words in on_a_server(ask).ran] == ["pause", "resume"]


def test_when_the_lab_goes_its_pages_are_told_and_the_server_ends() -> None:
    async def ask(served: Served) -> None:
        page = await served.follow()
        await page.event()
        served.lab.up = False
        name, told = await page.event()
        assert name == "over"
        assert "the lab is gone" in told["en"].lower()
        await served.task

    on_a_server(ask)


def test_only_the_newest_walks_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "WALKS", 2)

    async def ask(served: Served) -> None:
        for _ in range(3):
            await served.ask("POST", "trace", {"from": "pod1", "to": "pod4"})
        assert [(await served.ask("GET", f"walk/{number}"))[0] for number in (1, 2, 3)] == [404, 200, 200]

    on_a_server(ask)
