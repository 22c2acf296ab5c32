"""Starting, waiting, stopping and starting again: an agent comes and goes, the data path stays."""

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.kit.agents import Node, cluster, until
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.stream import stream
from tests.kit.watching import (
    STRACE_MISSING,
    announcements,
    cpu_s,
    mutates,
    open_files,
    requests,
    strace,
    sysctl_writes,
    threads,
)
from tulle.agent.control import AgentAnswer

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))

SNAPSHOT = (
    ("ls", "/sys/class/net"),
    ("ip", "-d", "-j", "link", "show", "type", "vxlan"),
    ("ip", "-o", "-4", "address"),
    ("ip", "-o", "-6", "address", "show", "scope", "global"),
    ("ip", "-j", "-4", "route", "show", "table", "all"),
    ("ip", "-j", "-6", "route", "show", "proto", "116"),
    ("bridge", "-j", "fdb", "show", "dev", "flannel.1"),
    ("ip", "-j", "neigh", "show", "nud", "permanent"),
    ("nft", "-j", "list", "ruleset"),
)
"""Everything that an agent may have made, as the kernel's own tools print it.

Link-local addresses come and settle by themselves; they are left out.
"""


def picture(node: Node) -> list[str]:
    return [node.sh(*command) for command in SNAPSHOT]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_whatever_ends_the_agent_the_data_path_stays_up(tmp_path: Path, number: signal.Signals) -> None:
    with cluster(tmp_path, pods=True) as site:
        site.start()
        with stream(site.net.path("pod1"), site.net.path("pod2"), "10.244.2.2") as flow:
            until(lambda: len(flow.received) > 20, "the stream flows")
            before = time.monotonic_ns()
            held = picture(site.node(1))
            took = site.node(1).stop(number)
            until(lambda: len(flow.sent) > 150, "half a second of datagrams")
            time.sleep(0.1)
            assert flow.lost_since(before) == 0
        assert picture(site.node(1)) == held
        assert took < 1.0 or number == signal.SIGKILL
        assert (site.node(1).root / "run/flannel/subnet.env").exists()


@pytest.mark.skipif(STRACE_MISSING is not None, reason=str(STRACE_MISSING))
def test_a_restart_over_an_unchanged_world_changes_nothing_in_the_kernel(tmp_path: Path) -> None:
    with cluster(tmp_path, ipv6=True) as site:
        node = site.node(1)
        site.node(2).start("--ip-masq")
        first = _traced_life(node, tmp_path / "first")
        assert any(mutates(kind) for kind in requests(first)), "the first start is seen to change things"
        assert "/proc/sys/net/ipv4/ip_forward" in sysctl_writes(first)
        held = picture(node)
        second = _traced_life(node, tmp_path / "second")
        assert len(requests(second)) > 10, "the second start is seen to look"
        assert [kind for kind in requests(second) if mutates(kind)] == []
        assert sysctl_writes(second) == []
        assert picture(node) == held


def test_a_restart_keeps_the_lease_the_mac_and_the_file(tmp_path: Path) -> None:
    with cluster(tmp_path) as site:
        site.start()
        node = site.node(1)
        before, written = node.status()["lease"], (node.root / "run/flannel/subnet.env").stat()
        node.stop(signal.SIGKILL)
        node.start()
        node.converge(1)
        after = node.status()["lease"]
        moves = {"deadline_ns", "expires_at_ns"}
        assert {k: v for k, v in after.items() if k not in moves} == {k: v for k, v in before.items() if k not in moves}
        assert (node.root / "run/flannel/subnet.env").stat().st_ino == written.st_ino


def test_a_peer_that_left_while_the_agent_was_away_is_removed_at_its_start(tmp_path: Path) -> None:
    with cluster(tmp_path, nodes=3) as site:
        site.start()
        node = site.node(1)
        node.stop(signal.SIGKILL)
        site.node(3).stop()
        site.delete("10.244.3.0-24")
        node.start()
        node.converge(1)
        said = "".join(picture(node))
        assert "10.244.3.0" not in said
        assert "192.168.64.13" not in said


def test_an_agent_whose_store_is_away_from_the_start_waits_and_says_so(tmp_path: Path) -> None:
    with cluster(tmp_path) as site:
        node = site.node(1)
        away = site.store.rename(tmp_path / "away.db")
        site.store.mkdir()  # what is there now is no store
        node.start()
        answer = until(lambda: _starting(node), "the agent answers")
        assert answer["state"] == "starting"
        assert "waiting for the" in answer["problems"][0]
        shown = node.tulle("status")
        assert shown.returncode == 1
        assert "waiting for the" in shown.stdout
        refused = node.tulle("peers")
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith("tulle: agent: waiting for the")
        assert "flannel.1" not in node.sh("ip", "link")
        site.store.rmdir()
        away.rename(site.store)
        node.converge(0)


def test_an_agent_that_waits_ends_at_once(tmp_path: Path) -> None:
    with cluster(tmp_path) as site:
        node = site.node(1)
        site.store.rename(tmp_path / "away.db")
        node.start()
        until(lambda: _starting(node), "the agent answers")
        assert node.stop() < 1.0
        assert not node.socket.exists()


def test_a_store_that_goes_away_changes_nothing_but_the_status(tmp_path: Path) -> None:
    with cluster(tmp_path) as site:
        site.start()
        node = site.node(1)
        held = picture(node)
        hidden = tmp_path / "hidden"
        hidden.mkdir()
        for part in tmp_path.glob("leases.db*"):
            part.rename(hidden / part.name)
        site.store.mkdir()  # what is there now is no store
        until(lambda: not node.status()["store"]["reachable"], "the agent notices", lambda: node.log)
        assert node.status()["state"].startswith("degraded: store")
        assert picture(node) == held
        site.store.rmdir()
        for part in hidden.iterdir():
            part.rename(tmp_path / part.name)
        until(lambda: node.status()["store"]["reachable"], "the store is back", lambda: node.log)
        node.converge(1)
        assert picture(node) == held


def test_a_lease_of_ours_that_somebody_deletes_is_taken_again(tmp_path: Path) -> None:
    with cluster(tmp_path) as site:
        site.start()
        site.delete("10.244.1.0-24")
        until(lambda: "was lost" in site.node(1).log, "the agent notices", lambda: site.node(1).log)
        site.node(1).converge(1)
        site.node(2).converge(1)
        assert site.node(1).status()["lease"]["key"] == "10.244.1.0-24"


def test_an_agent_that_comes_to_hold_another_subnet_moves_its_address_and_its_file(tmp_path: Path) -> None:
    """Its own subnet was taken meanwhile: it takes another, and nothing of the old one stays."""
    with cluster(tmp_path, nodes=2) as site:
        node = site.node(1)
        node.start()
        node.converge(0)
        node.stop()
        site.steal(1)
        node.start()
        node.converge(0)
        subnet = str(node.status()["lease"]["subnet"])
        assert subnet not in {"10.244.1.0/24", "10.244.2.0/24"}
        (link,) = node.json("ip", "-j", "-4", "address", "show", "flannel.1")
        assert [row["local"] for row in link["addr_info"]] == [subnet.removesuffix("/24")]
        assert (
            f"FLANNEL_SUBNET={subnet.replace('.0/24', '.1/24')}" in (node.root / "run/flannel/subnet.env").read_text()
        )


def test_a_virtual_address_that_comes_to_the_node_is_not_taken_for_its_own(tmp_path: Path) -> None:
    """Not while the agent runs, and not by the next one either, for which it comes first."""
    with cluster(tmp_path) as site:
        site.start("--audit-period", "1")
        node = site.node(1)
        node.ip("address add 192.168.64.5/32 dev eth0")
        _passes_after(node, node.status()["passes"] + 2)
        assert _sent_from(node) == "192.168.64.11"
        node.stop()
        node.ip("address del 192.168.64.11/24 dev eth0")
        node.ip("address add 192.168.64.11/24 dev eth0")  # behind the virtual one
        node.start()
        node.converge(1)
        assert _sent_from(node) == "192.168.64.11"


def test_a_subnet_env_that_is_no_such_file_does_not_stop_the_agent(tmp_path: Path) -> None:
    with cluster(tmp_path) as site:
        node = site.node(1)
        path = node.root / "run/flannel/subnet.env"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"\xff\x00 nonsense")
        node.start()
        node.converge(0)
        assert path.read_text().startswith("FLANNEL_NETWORK=10.244.0.0/16\n")


def test_a_quiet_agent_sends_nothing_says_nothing_and_keeps_nothing(tmp_path: Path) -> None:
    """A few audits long; the sixty seconds, and what they cost, are the bench's."""
    with cluster(tmp_path) as site:
        site.start("--audit-period", "1")
        node = site.node(1)
        passes = _passes_after(node, 3)
        assert node.process is not None
        pid, log = node.process.pid, node.log
        with announcements(site.net.path("node1")) as heard:
            _passes_after(node, passes + 4)
            assert heard() == [], "nothing was announced in the node's namespace"
        assert node.log == log

        def keeps_nothing() -> (
            bool
        ):  # what is lost at each pass shows in all of them; the pool of threads grows now and then
            files, tasks = _least_held(pid)
            _passes_after(node, node.status()["passes"] + 4)
            files_then, tasks_then = _least_held(pid)
            return files_then <= files and tasks_then <= tasks

        until(keeps_nothing, "no descriptor, no thread more")
        assert node.status()["repairs"] == 0
        assert cpu_s(pid) > 0


def _traced_life(node: Node, record: Path) -> str:
    """The system calls of an agent that starts, converges, answers and ends."""
    node.start("--ip-masq", before=strace(record))
    node.converge(1)
    node.ask("plan")
    os.kill(node.status()["pid"], signal.SIGTERM)  # strace, our child, would keep the signal to itself
    until(lambda: node.process is None or node.process.poll() is not None, "the agent ends")
    node.process = None
    return record.read_text()


def _least_held(pid: int) -> tuple[int, int]:
    """Descriptors and threads that a process has for longer than a question takes."""
    seen: list[tuple[int, int]] = []
    for _ in range(20):
        seen.append((len(open_files(pid)), threads(pid)))
        time.sleep(0.01)
    return min(files for files, _ in seen), min(tasks for _, tasks in seen)


def _sent_from(node: Node) -> str:
    """The outer source address of the node's tunnel."""
    (link,) = node.json("ip", "-j", "-d", "link", "show", "flannel.1")
    local: str = link["linkinfo"]["info_data"]["local"]
    return local


def _passes_after(node: Node, least: int) -> int:
    """How many passes there were, once there were ``least``."""
    return until(lambda: passes if (passes := node.status()["passes"]) >= least else 0, f"{least} passes")


def _starting(node: Node) -> dict[str, Any]:
    """The status of an agent that waits for something; empty while it does not answer or has not begun to wait."""
    try:
        answer = node.status()
    except AgentAnswer:
        return {}
    return answer if answer["state"] == "starting" and answer["problems"] != ["starting"] else {}
