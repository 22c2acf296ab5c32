"""Being in a lab: commands, shells, pings and checks, from the command line."""

import os
import pty
import select
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.labs import NEEDS_ROOT, PATIENCE_S, LabCommand, User, a_lab, environment

pytestmark = pytest.mark.skipif(bool(NEEDS_ROOT), reason=str(NEEDS_ROOT))
FACTS = {
    "schema",
    "lab",
    "ready",
    "rootless",
    "holder_pid",
    "underlay",
    "mtu",
    "network",
    "pod_mode",
    "network6",
    "backend",
    "vni",
    "port",
    "outside",
    "etcd",
} | {
    "store",
    "nodes",
    "pods",
}
NODE_FACTS = {"name", "address", "address6", "subnet", "subnet6", "netns", "root", "agent_pid", "agent_paused", "pods"}
POD_FACTS = {"name", "node", "netns", "container_id", "addresses"}


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabCommand]:
    """One dual-stack lab with checks of its own for the questions of this file."""
    file = tmp_path_factory.mktemp("lab") / "lab.toml"
    file.write_text('ipv6 = true\nchecks = ["pod1 reaches pod4 over ipv6 with mtu 1430", "pod2 reaches node2"]\n')
    with a_lab(User(environment={"COLUMNS": "200"})) as command:
        command.must("up", str(file))
        yield command


def test_an_exit_code_inside_is_ours(lab: LabCommand) -> None:
    assert "10.244.1.2/24" in lab.inside("pod1", "ip", "-o", "address", "show", "eth0")
    assert lab.run("exec", "pod1", "--", "sh", "-c", "exit 7").returncode == 7
    assert lab.run("exec", "pod1", "sh", "-c", "exit 8").returncode == 8
    assert lab.run("exec", "node1", "--", "sh", "-c", "kill -9 $$").returncode == -9


def test_in_a_node_tulle_means_that_nodes_agent(lab: LabCommand) -> None:
    for node, subnet in (("node1", "10.244.1.0/24"), ("node2", "10.244.2.0/24")):
        assert subnet in lab.inside(node, sys.executable, "-m", "tulle", "status")


def test_the_underlay_is_a_place_too(lab: LabCommand) -> None:
    assert "master br0" in lab.inside("switch", "ip", "link", "show", "port2")


@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/sh", ""])
def test_a_shell_is_interactive_and_says_where_it_is(lab: LabCommand, shell: str) -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "tulle", "lab", "sh", "--name", lab.name, "pod1"]
        variables = {**environment(), "SHELL": shell, "HOME": "/nonexistent", "TERM": "dumb"}
        os.execve(command[0], command, variables)  # noqa: S606  # the forked child becomes it
    try:
        _read_until(terminal, lambda text: "pod1" in text and text.rstrip()[-1] in "$#")
        os.write(terminal, b"ip -o -4 address show eth0; tty\n")
        text = _read_until(terminal, lambda text: "/dev/pts" in text and text.rstrip()[-1] in "$#")
        assert "10.244.1.2/24" in text
        os.write(terminal, b"exit 7\n")
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    finally:
        os.close(terminal)


def _read_until(terminal: int, enough: Callable[[str], bool]) -> str:
    text, deadline = "", time.monotonic() + PATIENCE_S
    while not enough(text):
        assert time.monotonic() < deadline, text
        if select.select([terminal], [], [], 1)[0]:
            text += os.read(terminal, 4096).decode()
    return text


def test_pings_are_counted_and_a_lost_one_is_exit_1(lab: LabCommand) -> None:
    assert lab.must("ping", "-c", "2", "pod1", "pod4").splitlines()[-1] == "2 sent, 2 received"
    assert "fd10:244:0:2::3" in lab.must("ping", "-6", "-c", "1", "pod1", "pod4")
    lost = lab.run("ping", "-c", "1", "-W", "0.2", "pod1", "10.244.1.200")
    assert lost.returncode == 1
    assert lost.stdout.splitlines()[-1] == "1 sent, 0 received"
    echoes = lab.facts("ping", "-c", "2", "node1", "192.168.64.12")
    assert (echoes["schema"], echoes["from"], echoes["to"]) == ("tulle.ping/1", "node1", "192.168.64.12")
    assert [echo["sequence"] for echo in echoes["echoes"]] == [1, 2]


def test_the_files_checks_hold(lab: LabCommand) -> None:
    assert lab.must("check").splitlines()[-1] == "all 2 hold"
    facts = lab.facts("check")
    assert (facts["schema"], facts["lab"]) == ("tulle.check/1", lab.name)
    assert [check["check"] for check in facts["checks"]] == [
        "pod1 reaches pod4 over ipv6 with mtu 1430",
        "pod2 reaches node2",
    ]
    assert all(check["holds"] and check["rtt_ns"] for check in facts["checks"])


def test_what_does_not_hold_is_exit_1_and_said_with_its_reason(lab: LabCommand) -> None:
    done = lab.run(
        "check",
        "-W",
        "0.3",
        "pod1 reaches pod4 with mtu 1430",
        "pod1 reaches pod4 with mtu 1431",
        "pod1 does not reach pod2",
    )
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("yes  pod1 reaches pod4 with mtu 1430: reply after")
    assert lines[1] == "NO   pod1 reaches pod4 with mtu 1431: Message too long"
    assert lines[2].startswith("NO   pod1 does not reach pod2: reply after")
    assert lines[3] == "2 of 3 do not hold"
    assert lab.must("check", "-W", "0.3", "pod1 does not reach 10.244.1.99").endswith("all 1 hold\n")


def test_a_check_sees_what_breaks(lab: LabCommand) -> None:
    lab.inside("pod3", "ip", "route", "del", "default")
    try:
        assert lab.run("check", "-W", "0.3", "pod1 reaches pod3").returncode == 1
    finally:
        lab.inside("pod3", "ip", "route", "add", "default", "via", "10.244.2.1")
    lab.must("check", "pod1 reaches pod3")


def test_the_facts_are_those_that_the_docs_name(lab: LabCommand) -> None:
    facts = lab.listed()
    assert facts["schema"] == "tulle.lab/1"
    assert set(facts) == FACTS
    assert {key for node in facts["nodes"] for key in node} == NODE_FACTS
    assert {key for pod in facts["pods"] for key in pod} == POD_FACTS
    for language in ("docs/lab.md", "docs/lab.zh.md"):
        page = (Path(__file__).parents[2] / language).read_text()
        assert all(f"`{key}`" in page for key in FACTS | NODE_FACTS | POD_FACTS), language


def test_a_picture_ends_up_in_plain_characters_when_asked(lab: LabCommand) -> None:
    assert lab.must("ls", "--ascii").isascii()
    assert not lab.must("ls").isascii()
    chinese = lab.must("", "--lang", "zh", "--name", lab.name, tulle=["lab", "ls"])
    assert "2 个节点，4 个 Pod，就绪" in chinese


def test_a_quiet_up_says_nothing_and_json_says_all() -> None:
    with a_lab() as other:
        assert other.must("up", "-q", "--nodes", "1", "--pods", "0") == ""
        assert other.facts("add node", "late", "--pods", "1")["nodes"][1]["name"] == "late"
        assert [pod["name"] for pod in other.facts("remove node", "node1")["pods"]] == ["pod1"]
        assert other.facts("down") == {"schema": "tulle.lab/1", "removed": [other.name]}
        assert other.facts("down") == {"schema": "tulle.lab/1", "removed": []}
