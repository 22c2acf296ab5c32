"""The control socket: questions and answers, and what it does with strangers and nonsense."""

import asyncio
import os
import select
import socket
import stat
from collections.abc import Callable, Mapping
from errno import EMFILE
from pathlib import Path
from typing import Any

import pytest

from tulle.agent import control
from tulle.agent.control import BEAT_S, AgentAnswer, ControlServer, JsonObject, ask, ask_meanwhile
from tulle.errors import ConfigError
from tulle.wire.control import CniRequest, decode_json, encode_cni, encode_frame


async def echo(request: JsonObject) -> JsonObject:
    return {"echo": request.get("text")}


async def refuse(_: JsonObject) -> JsonObject:
    raise ConfigError("pod x", "must exist")


async def break_down(_: JsonObject) -> JsonObject:
    raise ZeroDivisionError


async def plugin(environment: Mapping[str, str], stdin: bytes, _: Callable[[], bool]) -> tuple[int, bytes]:
    return 7, environment["CNI_COMMAND"].encode() + b":" + stdin


def served(path: Path) -> ControlServer:
    return ControlServer(path, plugin, {"echo": echo, "refuse": refuse, "break": break_down})


async def asked(path: Path, request: JsonObject) -> JsonObject:
    return await asyncio.to_thread(ask, path, request, 5.0)


async def raw(path: Path, data: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(data)
    answer = await reader.read()
    writer.close()
    return answer


def test_a_question_is_answered(tmp_path: Path) -> None:
    async def story() -> JsonObject:
        server = served(tmp_path / "agent.sock")
        await server.start()
        try:
            return await asked(tmp_path / "agent.sock", {"verb": "echo", "text": "豆腐"})
        finally:
            await server.close()

    assert asyncio.run(story()) == {"echo": "豆腐"}
    assert not (tmp_path / "agent.sock").exists()


@pytest.mark.parametrize(
    ("request_", "line"),
    [
        ({"verb": "refuse"}, "pod x: must exist"),
        ({"verb": "nonsense"}, "must be one of echo"),
        ({"verb": "break"}, "failed on this request"),
    ],
)
def test_an_error_is_one_line_for_the_asker(tmp_path: Path, request_: JsonObject, line: str) -> None:
    async def story() -> None:
        server = served(tmp_path / "agent.sock")
        await server.start()
        try:
            await asked(tmp_path / "agent.sock", request_)
        finally:
            await server.close()

    with pytest.raises(AgentAnswer, match=line):
        asyncio.run(story())


def test_a_plugin_execution_gets_its_exit_code_and_output(tmp_path: Path) -> None:
    async def story() -> bytes:
        server = served(tmp_path / "agent.sock")
        await server.start()
        try:
            return await raw(tmp_path / "agent.sock", encode_cni(CniRequest({"CNI_COMMAND": "ADD"}, b"{\0}")))
        finally:
            await server.close()

    assert asyncio.run(story()) == encode_frame(b"") + encode_frame(b"\x07ADD:{\0}")


def test_a_plugin_that_gave_up_is_not_served_any_more(tmp_path: Path) -> None:
    """It hung up while the agent stood still: what it wanted is another's by now."""
    asked: list[str] = []

    async def remember(environment: Mapping[str, str], _: bytes, __: Callable[[], bool]) -> tuple[int, bytes]:
        asked.append(environment["CNI_COMMAND"])
        return 0, b""

    async def story() -> None:
        server = ControlServer(tmp_path / "agent.sock", remember, {})
        await server.start()
        with socket.socket(socket.AF_UNIX) as gone:
            gone.connect(str(tmp_path / "agent.sock"))
            gone.sendall(encode_cni(CniRequest({"CNI_COMMAND": "ADD"}, b"")))
        try:
            await raw(tmp_path / "agent.sock", encode_cni(CniRequest({"CNI_COMMAND": "DEL"}, b"")))
        finally:
            await server.close()

    asyncio.run(story())
    assert asked == ["DEL"]


def test_a_crowd_of_plugins_hears_that_they_were_read_before_work_begins(tmp_path: Path) -> None:
    """Work holds the loop, and a machine may be slow: nobody of them shall take the agent for dead meanwhile."""
    path, crowd = tmp_path / "agent.sock", 20
    sockets = [socket.socket(socket.AF_UNIX) for _ in range(crowd)]
    heard: list[int] = []
    done = asyncio.Event()

    async def work(_: Mapping[str, str], __: bytes, ___: Callable[[], bool]) -> tuple[int, bytes]:
        heard.append(sum(bool(select.select([each], [], [], 0)[0]) for each in sockets))
        if len(heard) == crowd:
            done.set()
        return 0, b""

    async def story() -> None:
        server = ControlServer(path, work, {})
        await server.start()
        for each in sockets:
            each.connect(str(path))
            each.sendall(encode_cni(CniRequest({"CNI_COMMAND": "ADD"}, b"")))
        await done.wait()
        await server.close()

    asyncio.run(story())
    assert heard == [crowd] * crowd
    for each in sockets:
        each.close()


def test_the_plugin_is_told_when_nobody_waits_any_more(tmp_path: Path) -> None:
    path, told, done = tmp_path / "agent.sock", list[bool](), asyncio.Event()

    async def story() -> None:
        client = socket.socket(socket.AF_UNIX)

        async def work(_: Mapping[str, str], __: bytes, is_awaited: Callable[[], bool]) -> tuple[int, bytes]:
            told.append(is_awaited())
            client.close()
            told.append(is_awaited())
            done.set()
            return 0, b""

        server = ControlServer(path, work, {})
        await server.start()
        client.connect(str(path))
        client.sendall(encode_cni(CniRequest({"CNI_COMMAND": "ADD"}, b"")))
        await done.wait()
        await server.close()

    asyncio.run(story())
    assert told == [True, False]


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", encode_frame(b"X"), encode_frame(b"J[]")])
def test_nonsense_is_answered_as_such(tmp_path: Path, data: bytes) -> None:
    async def story() -> bytes:
        server = served(tmp_path / "agent.sock")
        await server.start()
        try:
            return await raw(tmp_path / "agent.sock", data)
        finally:
            await server.close()

    assert "malformed" in decode_json(asyncio.run(story())[4:])["error"]["line"]


def test_the_socket_is_private_and_a_dead_agents_socket_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "run" / "agent.sock"
    path.parent.mkdir()
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(path))
    dead.close()

    async def story() -> int:
        server = served(path)
        await server.start()
        try:
            return stat.S_IMODE(os.lstat(path).st_mode)
        finally:
            await server.close()

    assert asyncio.run(story()) == 0o600


def test_a_living_agents_socket_is_left_to_it(tmp_path: Path) -> None:
    async def story() -> None:
        first = served(tmp_path / "agent.sock")
        await first.start()
        try:
            await served(tmp_path / "agent.sock").start()
        finally:
            await first.close()

    with pytest.raises(ConfigError, match="another agent"):
        asyncio.run(story())


def test_a_question_that_comes_in_pieces_is_answered(tmp_path: Path) -> None:
    frame = encode_cni(CniRequest({"CNI_COMMAND": "ADD"}, b"x" * 100_000))

    async def story() -> bytes:
        server = served(tmp_path / "agent.sock")
        await server.start()
        try:
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "agent.sock"))
            for piece in (frame[:2], frame[2:10], frame[10:]):
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
            answer = await reader.read()
            writer.close()
            return answer
        finally:
            await server.close()

    assert asyncio.run(story()) == encode_frame(b"") + encode_frame(b"\x07ADD:" + b"x" * 100_000)


def test_one_who_leaves_in_the_middle_takes_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CONNECTIONS", 1)

    async def story() -> JsonObject:
        server = served(tmp_path / "agent.sock")
        await server.start()
        try:
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "agent.sock"))
            writer.write(b"\0\0")
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            return await asked(tmp_path / "agent.sock", {"verb": "echo", "text": "next"})
        finally:
            await server.close()

    assert asyncio.run(story()) == {"echo": "next"}


def test_without_a_descriptor_whoever_waits_is_served_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PAUSE_S", 0.01)
    accept = socket.socket.accept
    refused: list[int] = []

    def full(self: socket.socket) -> tuple[socket.socket, Any]:
        if not refused:
            refused.append(EMFILE)
            raise OSError(EMFILE, "Too many open files")
        return accept(self)

    async def story() -> JsonObject:
        server = served(tmp_path / "agent.sock")
        await server.start()
        monkeypatch.setattr(socket.socket, "accept", full)
        try:
            return await asked(tmp_path / "agent.sock", {"verb": "echo", "text": "later"})
        finally:
            await server.close()

    assert asyncio.run(story()) == {"echo": "later"}
    assert refused == [EMFILE]


def test_a_file_in_the_sockets_place_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    path.write_text("precious")
    with pytest.raises(ConfigError, match="not a socket"):
        asyncio.run(served(path).start())
    assert path.read_text() == "precious"


def test_no_agent_is_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(AgentAnswer, match="start it with tulled"):
        ask(tmp_path / "agent.sock", {"verb": "status"}, 1.0)


@pytest.mark.slow
def test_a_long_plugin_call_says_that_it_is_at_work(tmp_path: Path) -> None:
    async def slow(_: Mapping[str, str], __: bytes, ___: Callable[[], bool]) -> tuple[int, bytes]:
        await asyncio.sleep(2.5 * BEAT_S)
        return 0, b"done"

    async def story() -> bytes:
        server = ControlServer(tmp_path / "agent.sock", slow, {})
        await server.start()
        try:
            return await raw(tmp_path / "agent.sock", encode_cni(CniRequest({"CNI_COMMAND": "ADD"}, b"")))
        finally:
            await server.close()

    assert asyncio.run(story()) == encode_frame(b"") * 3 + encode_frame(b"\0done")


@pytest.mark.slow
def test_whoever_comes_while_others_wait_hears_it_too(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    request = encode_cni(CniRequest({"CNI_COMMAND": "ADD"}, b""))

    async def slow(_: Mapping[str, str], __: bytes, ___: Callable[[], bool]) -> tuple[int, bytes]:
        await asyncio.sleep(1.8 * BEAT_S)
        return 0, b"done"

    async def story() -> list[bytes]:
        server = ControlServer(path, slow, {})
        await server.start()
        try:
            first = asyncio.create_task(raw(path, request))
            await asyncio.sleep(BEAT_S / 2)
            return [await raw(path, request), await first]
        finally:
            await server.close()

    later, first = asyncio.run(story())
    assert first == encode_frame(b"") * 2 + encode_frame(b"\0done")
    assert later == encode_frame(b"") * 3 + encode_frame(b"\0done"), "the first one's beat is everybody's"


@pytest.mark.parametrize("body", [b"CCNI_COMMAND=ADD\0CNI_COMMAND=DEL\0\0", b"CA=1\0"], ids=["twice", "cut short"])
def test_a_plugin_call_that_cannot_be_read_gets_a_cni_error(tmp_path: Path, body: bytes) -> None:
    async def story() -> bytes:
        server = served(tmp_path / "agent.sock")
        await server.start()
        try:
            return await raw(tmp_path / "agent.sock", encode_frame(body))
        finally:
            await server.close()

    answer = asyncio.run(story())[4:]
    assert answer[0] == 1
    assert decode_json(answer[1:])["code"] == 4


def test_one_who_has_other_things_to_do_gets_the_same_answers(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"

    async def story() -> None:
        server = served(path)
        await server.start()
        try:
            assert await ask_meanwhile(path, {"verb": "echo", "text": "豆腐"}, 5.0) == {"echo": "豆腐"}
            with pytest.raises(AgentAnswer, match="pod x: must exist"):
                await ask_meanwhile(path, {"verb": "refuse"}, 5.0)
        finally:
            await server.close()
        with pytest.raises(AgentAnswer, match="not running"):
            await ask_meanwhile(path, {"verb": "echo"}, 5.0)

    asyncio.run(story())


def test_an_agent_that_says_nothing_is_waited_for_in_vain_only_so_long(tmp_path: Path) -> None:
    path = tmp_path / "agent.sock"
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(AgentAnswer, match=r"no answer on .* in 0\.05 s"):
            asyncio.run(ask_meanwhile(path, {"verb": "status"}, 0.05))
