"""One contract for the plugin's shims: its specification in Python, and the C binary on three machines."""

import json
import os
import random
import signal
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.kit.kernels import NEEDS_HOST_ROOT
from tests.kit.shims import (
    COMMANDS,
    CONF,
    CROSS,
    NO_BINARY,
    Shim,
    answering,
    cross_built,
    fake_agent,
    frame,
    listening,
    saying,
    silent,
)
from tulle import __version__
from tulle.cni import shim as specification

VERSIONS = ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]
NOBODY = 65534
BROKEN = {
    "closes at once": b"",
    "ends within the length": b"\x00\x00",
    "ends after the length": b"\x00\x00\x00\x10",
    "ends within the answer": frame(b"\x00" + b"x" * 100)[:50],
    "a length of 4 GiB": b"\xff\xff\xff\xff" + b"x" * 64,
    "a length just above the limit": struct.pack(">I", (4 << 20) + 1),
}


@pytest.fixture(params=["c", "python", *CROSS])
def shim(request: pytest.FixtureRequest, builds: Path, tmp_path: Path) -> Shim:
    name: str = request.param
    if name == "c" and NO_BINARY:
        pytest.skip(NO_BINARY)
    return Shim(COMMANDS.get(name) or cross_built(name, builds), tmp_path)


# -- what is carried ---------------------------------------------------------------------


@pytest.mark.parametrize(("code", "stdout"), [(0, b""), (0, b'{"ips":[]}\n'), (1, b'{"code":7}\n'), (0, b"x" * 70_000)])
def test_the_agents_answer_is_carried_verbatim(shim: Shim, code: int, stdout: bytes) -> None:
    with fake_agent(shim.socket, answering(code, stdout)):
        done = shim.run("ADD")
    assert (done.code, done.stdout, done.stderr) == (code, stdout, b"")


def test_the_agent_gets_the_plugins_environment_and_stdin_verbatim(shim: Shim) -> None:
    stdin = CONF + b'  {"not": json\x00\xff'
    with fake_agent(shim.socket, answering(0, b"")) as agent:
        shim.run("DEL", stdin, CNI_ARGS="K=V;é=1", TULLE_EXTRA="x", HOME="/root", XCNI_NO="y")
    (asked,) = agent.asked
    head, _, rest = asked[1:].partition(b"\0\0")
    carried = dict(item.split(b"=", 1) for item in head.split(b"\0"))
    assert asked[:1] == b"C"
    assert rest == stdin
    wanted = {**shim.environment("DEL"), "CNI_ARGS": "K=V;é=1", "TULLE_EXTRA": "x"}
    assert carried == {name.encode(): value.encode() for name, value in wanted.items()}


def test_one_mebibyte_is_carried_and_one_byte_more_is_refused_alone(shim: Shim) -> None:
    with fake_agent(shim.socket, answering(0, b"")) as agent:
        assert shim.run("DEL", b" " * (1 << 20)).code == 0
        done = shim.run("DEL", b" " * ((1 << 20) + 1))
    assert done.error == 6
    assert len(agent.asked) == 1


def test_an_environment_that_is_too_large_is_refused(shim: Shim) -> None:
    with fake_agent(shim.socket, answering(0, b"")) as agent:
        assert shim.run("ADD", CNI_ARGS="x" * 100_000, TULLE_MORE="y" * 100_000).error == 4
    assert agent.asked == []


def test_an_agent_at_work_may_take_longer_than_a_silent_one(shim: Shim) -> None:
    def slow(sock: socket.socket) -> None:
        for _ in range(6):
            sock.sendall(frame(b""))
            sock.settimeout(0.5)
            with pytest.raises(TimeoutError):  # the client waits, and says nothing
                sock.recv(1)
        sock.sendall(frame(b"\x00done\n"))

    with fake_agent(shim.socket, slow):
        done = shim.run("ADD")
    assert (done.code, done.stdout) == (0, b"done\n")


def test_an_agent_that_has_read_the_call_may_be_silent_for_longer(shim: Shim) -> None:
    def starved(sock: socket.socket) -> None:
        sock.sendall(frame(b""))
        sock.settimeout(specification.SILENCE_S + 1)
        with pytest.raises(TimeoutError):  # the client waits, and says nothing
            sock.recv(1)
        sock.sendall(frame(b"\x00done\n"))

    with fake_agent(shim.socket, starved):
        assert shim.run("ADD").stdout == b"done\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["c", "python"])
def test_an_agent_that_has_read_the_call_is_not_waited_for_without_end(name: str, tmp_path: Path) -> None:
    if name == "c" and NO_BINARY:
        pytest.skip(NO_BINARY)

    def stopped(sock: socket.socket) -> None:
        sock.sendall(frame(b""))
        silent(sock)

    shim = Shim(COMMANDS[name], tmp_path)
    with fake_agent(shim.socket, stopped):
        done = shim.run("ADD")
    assert done.error == 11
    assert "silent" in done.answer["details"]


def test_a_root_longer_than_a_socket_address_works(shim: Shim) -> None:
    deep = Shim(shim.command, shim.root / ("x" * 120))
    with fake_agent(deep.socket, answering(0, b"yes\n")):
        assert deep.run("ADD").stdout == b"yes\n"


def test_a_stop_and_a_continue_in_the_middle_do_no_harm(shim: Shim) -> None:
    def meddling(sock: socket.socket) -> None:
        pid, _, _ = struct.unpack("iII", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        os.kill(pid, signal.SIGSTOP)
        os.kill(pid, signal.SIGCONT)
        sock.sendall(frame(b"\x00yes\n"))

    with fake_agent(shim.socket, meddling):
        assert shim.run("ADD").stdout == b"yes\n"


def test_a_reader_that_is_gone_is_a_failure_and_no_signal(shim: Shim) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        with fake_agent(shim.socket, answering(0, b"yes\n")):
            assert shim.execute(shim.environment("ADD"), stdin=CONF, stdout=writer).code == 1
    finally:
        os.close(writer)


# -- what is answered alone --------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_version_is_answered_without_an_agent(shim: Shim, version: str) -> None:
    done = shim.execute({"CNI_COMMAND": "VERSION"}, stdin=json.dumps({"cniVersion": version}).encode())
    assert (done.code, done.answer) == (0, {"cniVersion": version, "supportedVersions": VERSIONS})


@pytest.mark.parametrize(
    "stdin",
    [
        b"",
        b"{}",
        b"nonsense",
        b'{"cniVersion":"9.9.9"}',
        b'{"cniVersion":1}',
        b'{"a":{"cniVersion":"0.4.0"}}',
        b'{"cniVersion":"0.4.0"} trailing',
        b'{"cniVersion":"0.4.0","n":NaN}',
        b'{"cniVersion":"0.4.0","n":01}',
        b'{"cniVersion":"0.4.0","s":"\x01"}',
        b'{"cniVersion":"0.4.0","s":"\\q"}',
        b'{"cniVersion":"0.4.0","d":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"cniVersion":"0.4.0","d":' + b"[" * 100_000,
        b'{"cniVersion":"0.4.0",}',
        b'["cniVersion","0.4.0"]',
    ],
)
def test_what_names_no_version_is_answered_in_the_newest(shim: Shim, stdin: bytes) -> None:
    assert shim.execute({"CNI_COMMAND": "VERSION"}, stdin=stdin).answer["cniVersion"] == "1.1.0"


@pytest.mark.parametrize(
    "stdin",
    [
        b' \n\t{ "cniVersion" : "0.4.0" } \r\n',
        b'{"cniVersion":"1.0.0","cniVersion":"0.4.0"}',
        b'{"a":[1,-2.5e+3,true,false,null,{"b":[]}],"s":"\\u00e9\\n\\"","cniVersion":"0.4.0"}',
        b'{"n":' + b"9" * 5000 + b',"cniVersion":"0.4.0"}',
        b'{"cniVersion":"0.4.0","s":"\xff\xfe"}',
        b'{"cniVersion":"0.4.0","d":' + b"[" * 31 + b"]" * 31 + b"}",
    ],
)
def test_the_version_is_found_wherever_it_stands(shim: Shim, stdin: bytes) -> None:
    assert shim.execute({"CNI_COMMAND": "VERSION"}, stdin=stdin).answer["cniVersion"] == "0.4.0"
    assert specification.requested_version(stdin) == "0.4.0"


def test_without_a_command_it_says_what_it_is(shim: Shim) -> None:
    done = shim.execute({}, stdin=b"")
    assert (done.code, done.stdout) == (0, b"")
    assert done.stderr.decode() == f"tulle-cni {__version__}: a CNI plugin, versions 0.1.0 to 1.1.0\n"
    assert shim.execute({}, "--version").stdout.decode() == f"tulle-cni {__version__}\n"


@pytest.mark.parametrize("verb", ["add", "UPDATE", "ADD ", "VERSIONS"])
def test_an_unknown_command_is_refused_alone(shim: Shim, verb: str) -> None:
    with fake_agent(shim.socket, answering(0, b"")) as agent:
        assert shim.run(verb).error == 4
    assert agent.asked == []


def test_stdin_that_cannot_be_read_is_an_io_failure(shim: Shim) -> None:
    with open(os.devnull, "wb") as write_only:
        assert shim.execute(shim.environment("ADD"), stdin=write_only).error == 5


# -- without an agent --------------------------------------------------------------------


@pytest.mark.parametrize(("verb", "code"), [("ADD", 11), ("STATUS", 50), ("CHECK", 11), ("GC", 11)])
def test_without_an_agent_the_runtime_hears_it_at_once(shim: Shim, verb: str, code: int) -> None:
    done = shim.run(verb)
    assert done.error == code
    assert done.answer["cniVersion"] == "1.0.0"
    assert done.answer["details"].startswith(f"{shim.root}/run/tulle/agent.sock: No such file")


@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_answer_is_one_clean_error(shim: Shim, said: bytes) -> None:
    with fake_agent(shim.socket, saying(said)):
        assert shim.run("ADD").error == 11
        assert shim.run("STATUS").error == 50


def test_a_silent_agent_is_not_waited_for(shim: Shim) -> None:
    with fake_agent(shim.socket, silent):
        done = shim.run("ADD")
    assert done.error == 11
    assert "silent" in done.answer["details"]


def test_an_agent_that_accepts_nobody_is_silent_too(shim: Shim) -> None:
    shim.socket.parent.mkdir(parents=True)
    with listening(shim.socket) as server:
        server.listen(0)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as first:
            first.setblocking(False)
            first.connect(str(shim.socket))
            assert shim.run("ADD").error == 11


@pytest.mark.parametrize("behaviour", [silent, saying(b"\x00")], ids=["silent", "broken"])
def test_a_del_that_nobody_answers_is_kept_for_later(shim: Shim, behaviour: Callable[[socket.socket], None]) -> None:
    with fake_agent(shim.socket, behaviour) as agent:
        done = shim.run("DEL")
    assert (done.code, done.stdout) == (0, b"")
    (tombstone,) = shim.tombstones
    assert tombstone.read_bytes() == agent.asked[0]
    assert tombstone.stat().st_mode & 0o777 == 0o600
    assert tombstone.parent == shim.root / "var/lib/tulle/tombstones"


def test_a_del_is_kept_in_run_when_the_disk_takes_nothing(shim: Shim) -> None:
    (shim.root / "var/lib/tulle").mkdir(parents=True)
    (shim.root / "var/lib/tulle/tombstones").write_text("in the way")
    assert shim.run("DEL").code == 0
    (tombstone,) = shim.tombstones
    assert tombstone.parent == shim.root / "run/tulle/tombstones"


def test_a_del_that_cannot_be_kept_fails_and_is_tried_again(shim: Shim) -> None:
    for place in ("var/lib/tulle", "run/tulle"):
        (shim.root / place).mkdir(parents=True)
        (shim.root / place / "tombstones").write_text("in the way")
    assert shim.run("DEL").error == 11


def leave_word(shim: Shim, *words: str) -> Path:
    """Say how to start the agent's code without an agent, as the agent does."""
    path = shim.root / "var/lib/tulle/cni-offline"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(word.encode() + b"\0" for word in words))
    return path


OFFLINE = ("/bin/sh", "-c", 'echo "$1 $CNI_COMMAND $(cat)"; exit 3', "sh", "offline")


@pytest.mark.parametrize("verb", ["DEL", "CHECK", "GC"])
def test_without_an_agent_its_code_runs_alone(shim: Shim, verb: str) -> None:
    leave_word(shim, *OFFLINE)
    done = shim.run(verb)
    assert (done.code, done.stdout) == (3, f"offline {verb} {CONF.decode()}\n".encode())


ENDS = {
    "killed": "kill -KILL $$",
    "killed in the middle of its answer": "printf '{\"code\":'; kill -KILL $$",
    "ended without a word": "exit 1",
    "too slow": f"[ $PPID = {os.getpid()} ] || kill -ALRM $PPID; exec sleep 60",
}
"""How the agent's code may end alone without an answer.  The alarm is the shim's own, before its time."""


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_a_del_that_ends_alone_without_an_answer_is_kept_for_later(shim: Shim, end: str) -> None:
    with fake_agent(shim.socket, silent) as agent:
        shim.run("DEL")
    (usual,) = shim.tombstones
    usual.unlink()
    leave_word(shim, "/bin/sh", "-c", end)
    done = shim.run("DEL")
    assert (done.code, done.stdout) == (0, b"")
    (tombstone,) = shim.tombstones
    assert tombstone.read_bytes() == agent.asked[0]


@pytest.mark.parametrize("verb", ["CHECK", "GC"])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_what_ends_alone_without_an_answer_is_one_clean_error(shim: Shim, verb: str, end: str) -> None:
    leave_word(shim, "/bin/sh", "-c", end)
    done = shim.run(verb)
    assert done.error == 11
    assert "without an answer" in done.answer["details"]
    assert shim.tombstones == []


def test_alone_the_answer_may_be_empty_and_is_no_tombstone(shim: Shim) -> None:
    leave_word(shim, "/bin/sh", "-c", "exit 0")
    done = shim.run("DEL")
    assert (done.code, done.stdout) == (0, b"")
    assert shim.tombstones == []


def test_a_shim_that_is_killed_takes_the_agents_code_with_it(shim: Shim) -> None:
    """It would keep the runtime waiting for the end of stderr, and work beside the next call."""
    leave_word(shim, "/bin/sh", "-c", f"[ $PPID = {os.getpid()} ] || kill -KILL $PPID; exec sleep 60")
    assert shim.run("DEL").code == -signal.SIGKILL  # communicate: nobody has stderr any more


@pytest.mark.parametrize("verb", ["ADD", "STATUS"])
def test_what_needs_the_agent_does_not_run_alone(shim: Shim, verb: str) -> None:
    leave_word(shim, *OFFLINE)
    assert shim.run(verb).error in {11, 50}


def test_beside_a_silent_agent_nothing_runs_alone(shim: Shim) -> None:
    leave_word(shim, *OFFLINE)
    with fake_agent(shim.socket, silent):
        assert shim.run("CHECK").error == 11


@pytest.mark.parametrize("words", [(), ("relative/sh",), ("/nonexistent/python", "-I")], ids=str)
def test_a_word_that_leads_nowhere_is_passed_over(shim: Shim, words: tuple[str, ...]) -> None:
    leave_word(shim, *words)
    assert shim.run("DEL").code == 0
    assert len(shim.tombstones) == 1


def test_a_word_that_others_can_write_is_not_followed(shim: Shim) -> None:
    leave_word(shim, *OFFLINE).chmod(0o666)
    assert shim.run("CHECK").error == 11


def test_a_linked_word_is_not_followed(shim: Shim) -> None:
    path = leave_word(shim, *OFFLINE)
    path.rename(shim.root / "elsewhere")
    path.symlink_to(shim.root / "elsewhere")
    assert shim.run("CHECK").error == 11


@pytest.mark.skipif(NEEDS_HOST_ROOT is not None, reason=str(NEEDS_HOST_ROOT))
def test_another_users_word_is_not_followed(shim: Shim) -> None:
    os.chown(leave_word(shim, *OFFLINE), NOBODY, NOBODY)
    assert shim.run("CHECK").error == 11


# -- whom it trusts ----------------------------------------------------------------------


def test_a_linked_socket_is_not_followed(shim: Shim) -> None:
    with fake_agent(shim.root / "elsewhere" / "agent.sock", answering(0, b"")) as agent:
        shim.socket.parent.mkdir(parents=True)
        shim.socket.symlink_to(shim.root / "elsewhere" / "agent.sock")
        assert shim.run("ADD").error == 11
    assert agent.asked == []


def test_a_linked_folder_is_not_followed(shim: Shim) -> None:
    with fake_agent(shim.root / "elsewhere" / "agent.sock", answering(0, b"")) as agent:
        (shim.root / "run").mkdir()
        (shim.root / "run/tulle").symlink_to(shim.root / "elsewhere")
        assert shim.run("ADD").error == 11
    assert agent.asked == []


def test_a_file_in_the_sockets_place_is_not_asked(shim: Shim) -> None:
    shim.socket.parent.mkdir(parents=True)
    shim.socket.write_text("no socket")
    assert shim.run("ADD").error == 11


@pytest.mark.skipif(NEEDS_HOST_ROOT is not None, reason=str(NEEDS_HOST_ROOT))
@pytest.mark.parametrize("planted", ["run", "run/tulle", "run/tulle/agent.sock"])
def test_what_another_user_owns_is_not_trusted(shim: Shim, planted: str) -> None:
    with fake_agent(shim.socket, answering(0, b"")) as agent:
        os.chown(shim.root / planted, NOBODY, NOBODY)
        assert shim.run("ADD").error == 11
    assert agent.asked == []


@pytest.mark.skipif(NEEDS_HOST_ROOT is not None, reason=str(NEEDS_HOST_ROOT))
def test_a_socket_that_another_user_serves_gets_nothing(shim: Shim) -> None:
    shim.socket.parent.mkdir(parents=True)
    with listening(shim.socket) as server:
        os.seteuid(NOBODY)
        try:
            server.listen(16)  # the peer's credentials are those of this call
        finally:
            os.seteuid(0)
        done = shim.run("ADD")
    assert done.error == 11
    assert "another user" in done.answer["details"]


@pytest.mark.parametrize("seed", range(4))
def test_any_text_says_the_same_version_to_both(shim: Shim, seed: int) -> None:
    chance = random.Random(seed)
    whole = b'{"cniVersion":"0.4.0","a":[1,-2.5e+3,true,null,{"b":"\\u00e9x"}],"name":"n"}'
    for _ in range(60):
        text = bytearray(whole)
        for _ in range(chance.randrange(4)):
            place = chance.randrange(len(text))
            match chance.randrange(3):
                case 0:
                    text[place] = chance.randrange(256)
                case 1:
                    del text[place : place + chance.randrange(6)]
                case _:
                    text[place:place] = bytes(chance.choices(b'{}[]",:\\0123456789eE.-+tfn \x00', k=3))
        done = shim.execute({"CNI_COMMAND": "VERSION"}, stdin=bytes(text))
        assert done.answer["cniVersion"] == specification.requested_version(bytes(text)), bytes(text)
