"""The agent's plugin killed at its every system call that changes something: a DEL always finishes the job."""

import os
import shutil
import signal
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit.kernels import NEEDS_ROOT
from tests.kit.plugin import PluginNode, plugin_node

pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)),
    pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed"),
    pytest.mark.timeout(600),
]

CALLS = ["openat", "write", "linkat", "renameat", "unlinkat", "mkdir", "flock", "sendto", "setns", "fsync"]
MOST = 60
"""More often than any of them is called in one ADD or DEL."""


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path) as made:
        yield made


@contextmanager
def killed_at(node: PluginNode, call: str, number: int) -> Generator[None]:
    """The agent dies when it makes ``call`` for the ``number``-th time in the body."""
    inject = f"inject={call}:signal=SIGKILL:when={number}"
    words = ["strace", "-f", "-e", f"trace={call}", "-e", inject, "-o", os.devnull, "-p", str(node.pid)]
    tracer = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        assert tracer.stderr is not None
        assert "attached" in tracer.stderr.readline()
        yield
    finally:
        tracer.send_signal(signal.SIGTERM)
        try:
            tracer.communicate(timeout=10)
        except subprocess.TimeoutExpired:  # it waits for a thread that is gone
            tracer.kill()
            tracer.communicate()


def has_died(node: PluginNode) -> bool:
    """Was it killed?  One that was is reaped."""
    assert node.pid is not None
    pid, _ = os.waitpid(node.pid, os.WNOHANG)
    if pid:
        node.pid = None
        node.socket.unlink(missing_ok=True)
    return bool(pid)


def check_a_del_finishes(node: PluginNode, pod: str) -> None:
    """Restarted, the agent serves a DEL that leaves nothing, and the pod can be attached again."""
    if node.pid is None:
        node.start()
    assert node.run("DEL", pod).code == 0
    assert node.is_clean(), (node.addresses, node.records, node.devices, node.unfinished)


@pytest.mark.parametrize("call", CALLS)
def test_an_add_killed_at_every_call_is_undone_by_del(node: PluginNode, call: str) -> None:
    pod = node.new_pod()
    for number in range(1, MOST):
        if node.pid is None:
            node.start()
        with killed_at(node, call, number):
            node.run("ADD", pod)
        died = has_died(node)
        check_a_del_finishes(node, pod)
        if not died:
            break
    else:
        pytest.fail(f"more than {MOST} calls of {call}")


@pytest.mark.parametrize("call", CALLS)
def test_a_del_killed_at_every_call_is_finished_by_the_next(node: PluginNode, call: str) -> None:
    pod = node.new_pod()
    for number in range(1, MOST):
        if node.pid is None:
            node.start()
        node.add(pod)
        with killed_at(node, call, number):
            node.run("DEL", pod)
        died = has_died(node)
        check_a_del_finishes(node, pod)
        if not died:
            break
    else:
        pytest.fail(f"more than {MOST} calls of {call}")
