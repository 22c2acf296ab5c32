"""The plugin's verbs without an agent, killed at their every system call that changes something.

What is forked here is what the shim executes, without the start of an interpreter: the calls are the verb's own.
"""

import json
import os
import shutil
import signal
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.deaths import CALLS, MISSING, deaths, killed_at
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.plugin import CONF, PluginNode, plugin_node
from tulle.cni import offline
from tulle.kernel import netns

pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)),
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
    pytest.mark.timeout(600),
]


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path) as made:
        made.write_subnet_env()
        yield made


def offline_exit(node: PluginNode, verb: str, pod: str = "", death: tuple[str, int] | None = None, **conf: Any) -> int:
    """The exit code of one execution without an agent; −9 when it died of ``death``, a call and its number."""
    hold, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.read(hold, 1)
            netns.enter(node.netns)
            os.environ.update(node.environment(verb, pod))
            sys.stdin = open(os.memfd_create("stdin"), "w+")  # noqa: SIM115  the process ends with it
            sys.stdin.write(json.dumps({**CONF, **conf}))
            sys.stdin.seek(0)
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115
            os._exit(offline.main())
        finally:
            os._exit(99)
    if death is None:
        os.write(go, b"x")
        _, status = os.waitpid(pid, 0)
    else:
        with killed_at(pid, *death):
            os.write(go, b"x")
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        _, status = os.waitpid(pid, 0)
    os.close(hold)
    os.close(go)
    return os.waitstatus_to_exitcode(status)


def put_agent_away(node: PluginNode) -> None:
    node.stop()
    node.socket.unlink(missing_ok=True)


def add_alone(node: PluginNode, *pods: str) -> list[dict[str, Any]]:
    """Attach them, and leave the node without an agent."""
    node.start()
    results = [node.add(pod) for pod in pods]
    put_agent_away(node)
    return results


def finish(node: PluginNode, number: int, verb: str, pod: str = "", **conf: Any) -> None:
    """What comes after a death: the same without an agent, or a new agent that is asked."""
    if number % 2:
        assert offline_exit(node, verb, pod, **conf) == 0
    else:
        node.start()
        assert node.run(verb, pod, **conf).code == 0
        put_agent_away(node)


@pytest.mark.parametrize("call", CALLS)
def test_a_del_alone_killed_at_every_call_is_finished_by_what_comes_next(node: PluginNode, call: str) -> None:
    pod, other = node.new_pod(), node.new_pod()
    (kept,) = add_alone(node, other)
    for number in deaths():
        add_alone(node, pod)
        code = offline_exit(node, "DEL", pod, (call, number))
        finish(node, number, "DEL", pod)
        assert set(node.addresses.values()) == {other}
        assert [record["container_id"] for record in node.records] == [other]
        assert len(node.devices) == 1
        assert not node.unfinished
        if code != -signal.SIGKILL:
            assert code == 0
            break
    assert offline_exit(node, "CHECK", other, prevResult=kept) == 0


@pytest.mark.parametrize("call", CALLS)
def test_a_gc_alone_killed_at_every_call_is_finished_by_what_comes_next(node: PluginNode, call: str) -> None:
    living = node.new_pod()
    (kept,) = add_alone(node, living)
    valid: Any = {"cni.dev/valid-attachments": [{"containerID": living, "ifname": "eth0"}]}
    (ip,) = node.addresses
    pods = [node.new_pod() for _ in range(3)]
    for number in deaths():
        add_alone(node, *pods)
        (node.root / "var/lib/cni/networks/net" / ip).unlink()
        code = offline_exit(node, "GC", "", (call, number), **valid)
        finish(node, number, "GC", "", **valid)
        assert node.addresses == {ip: living}
        assert [record["container_id"] for record in node.records] == [living]
        assert len(node.devices) == 1
        assert not node.unfinished
        if code != -signal.SIGKILL:
            assert code == 0
            break
    assert offline_exit(node, "CHECK", living, prevResult=kept) == 0


@pytest.mark.parametrize("call", CALLS)
def test_a_check_alone_killed_at_every_call_leaves_a_pod_as_it_is(node: PluginNode, call: str) -> None:
    pod = node.new_pod()
    (result,) = add_alone(node, pod)
    before = sorted((path, path.read_bytes()) for path in node.root.rglob("*") if path.is_file())
    for number in deaths():
        code = offline_exit(node, "CHECK", pod, (call, number), prevResult=result)
        assert before == sorted((path, path.read_bytes()) for path in node.root.rglob("*") if path.is_file())
        if code != -signal.SIGKILL:
            assert code == 0
            break
    finish(node, 0, "CHECK", pod, prevResult=result)


@pytest.mark.parametrize("call", ["sendto", "unlinkat"])
def test_a_del_whose_code_dies_alone_is_done_by_the_next_agent(node: PluginNode, call: str) -> None:
    """Out of memory, say: the runtime may never ask again."""
    pod = node.new_pod()
    add_alone(node, pod)
    tracer = f"{shutil.which('strace')} -f -o /dev/null -e trace={call} -e inject={call}:signal=SIGKILL:when=1"
    node.leave_word(f"{tracer} {sys.executable} -I -m tulle.cni.offline")
    assert node.run("DEL", pod).code == 0
    assert node.addresses
    assert len(list((node.root / "var/lib/tulle/tombstones").iterdir())) == 1
    node.start()
    assert node.is_clean()
