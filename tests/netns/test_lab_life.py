"""A lab from ``up`` to ``down``: what it is, what it never touches, and what is left when it is killed."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.enter import enter
from tests.kit.labs import NEEDS_ROOT, LabCommand, a_lab, eventually
from tulle.kernel.netns import create, delete, inside

pytestmark = pytest.mark.skipif(bool(NEEDS_ROOT), reason=str(NEEDS_ROOT))
IP_RECVTTL, IP_TTL = 12, 2


@pytest.fixture
def lab() -> Iterator[LabCommand]:
    with a_lab() as command:
        yield command


@pytest.fixture
def foreign(lab: LabCommand) -> Iterator[Path]:
    """Somebody else's namespace whose name looks like the lab's, with a bridge called as ours in it."""
    name = f"tulle-{lab.name}-extra"
    path = create(name)
    subprocess.run([*enter(name), "ip", "link", "add", "cbr0", "type", "bridge"], check=True)
    subprocess.run([*enter(name), "ip", "link", "add", "flannel.1", "type", "bridge"], check=True)
    try:
        yield path
    finally:
        delete(name)


def links(path: Path) -> set[str]:
    with inside(path):
        return {name for _, name in socket.if_nameindex()}


def test_every_pod_reaches_every_other_and_down_leaves_only_what_is_foreign(lab: LabCommand, foreign: Path) -> None:
    facts = lab.facts("up")
    assert [pod["addresses"] for pod in facts["pods"]] == [
        ["10.244.1.2/24"],
        ["10.244.1.3/24"],
        ["10.244.2.2/24"],
        ["10.244.2.3/24"],
    ]
    for source, target in (("pod1", "pod2"), ("pod1", "pod4"), ("pod4", "pod1"), ("pod1", "node2"), ("node1", "pod3")):
        echoes = lab.facts("ping", "-c", "1", source, target)["echoes"]
        assert [echo["error"] for echo in echoes] == [None], (source, target)
    lab.must("down")
    assert lab.leftovers() == [str(foreign)]
    assert {"cbr0", "flannel.1"} <= links(foreign)


def test_down_may_be_repeated(lab: LabCommand) -> None:
    assert "there was no lab" in lab.must("down")
    lab.must("up", "--nodes", "1", "--pods", "0")
    assert "is gone" in lab.must("down")
    assert "there was no lab" in lab.must("down")


def test_a_name_in_use_is_refused_and_nothing_of_it_is_touched(lab: LabCommand) -> None:
    before = lab.facts("up")
    again = lab.run("up")
    assert again.returncode == 2
    assert again.stderr.startswith(f"tulle: lab {lab.name}: is already there: ")
    assert lab.facts("ping", "-c", "1", "pod1", "pod4")["echoes"][0]["rtt_ns"]
    assert [node["agent_pid"] for node in before["nodes"]] == [node["agent_pid"] for node in lab.listed()["nodes"]]


@pytest.mark.parametrize("taken", ["node2", "pod3", "switch"])
def test_a_foreign_namespace_under_a_name_of_ours_is_refused_and_survives(lab: LabCommand, taken: str) -> None:
    name = f"tulle-{lab.name}-{taken}"
    path = create(name)
    try:
        done = lab.run("up")
        assert done.returncode == 2
        assert done.stderr == f"tulle: namespace {name}: is already there and belongs to no lab: choose another name\n"
        assert lab.leftovers() == [str(path)]
    finally:
        delete(name)


def test_a_foreign_folder_in_the_labs_place_is_refused_and_survives(lab: LabCommand) -> None:
    folder = Path("/run/tulle/lab") / lab.name
    folder.mkdir(parents=True)
    (folder / "precious").touch()
    try:
        done = lab.run("up")
        assert done.returncode == 2
        assert "is already there and belongs to no lab" in done.stderr
        assert lab.leftovers() == [str(folder)]
        assert (folder / "precious").exists()
    finally:
        (folder / "precious").unlink()
        folder.rmdir()


def test_labs_live_side_by_side(lab: LabCommand) -> None:
    with a_lab() as other:
        starting = [lab.popen("up"), other.popen("up", "--underlay", "router")]
        assert [process.communicate(timeout=60)[1] for process in starting] == ["", ""]
        assert [process.returncode for process in starting] == [0, 0]
        lab.must("ping", "-c", "1", "pod1", "pod4")
        other.must("down")
        assert other.leftovers() == []
        lab.must("ping", "-c", "1", "pod1", "pod4")


def test_a_namespace_that_another_lab_lists_is_that_labs_even_before_it_is_made(
    lab: LabCommand, tmp_path: Path
) -> None:
    """``tulle-a-b-node1`` is node ``b-node1`` of lab ``a``, or ``node1`` of lab ``a-b``."""
    file = tmp_path / "lab.toml"
    file.write_text("[nodes]\nb-node1 = []\n")
    lab.must("up", str(file))
    other = LabCommand(f"{lab.name}-b")
    for _ in ("it is there", "it is gone"):
        done = other.run("up")
        assert done.returncode == 2
        assert done.stderr.startswith(f"tulle: namespace tulle-{other.name}-node1: belongs to lab {lab.name}: choose")
        delete(lab.netns("b-node1").name)
    lab.must("down")
    assert lab.leftovers() == []


def test_two_ups_of_one_name_at_once_make_one_lab(lab: LabCommand) -> None:
    starting = [lab.popen("up") for _ in range(3)]
    outputs = [process.communicate(timeout=60) for process in starting]
    assert sorted(process.returncode for process in starting) == [0, 2, 2], outputs
    lab.must("ping", "-c", "1", "pod1", "pod4")


def test_a_node_comes_and_goes(lab: LabCommand) -> None:
    lab.must("up")
    assert lab.must("add node", "--pods", "1") == "node3 is up: pod5\n"
    assert {peer["state"] for peer in lab.ask("node1", "peers")["peers"]} == {"ok"}
    lab.must("ping", "-c", "1", "pod1", "pod5")
    assert lab.must("remove node", "node2") == "node2 is gone\n"
    assert [node["name"] for node in lab.listed()["nodes"]] == ["node1", "node3"]
    assert not lab.netns("node2").exists()
    assert not lab.netns("pod4").exists()
    lab.must("ping", "-c", "1", "pod5", "pod1")
    eventually(lambda: "10.244.2.0/24" not in lab.inside("node1", "ip", "route"))
    assert lab.must("add node", "again", "--pods", "0").startswith("again is up: 10.244.2.0/24")
    lab.must("down")
    assert lab.leftovers() == []


def test_the_last_node_stays(lab: LabCommand) -> None:
    lab.must("up", "--nodes", "1", "--pods", "0")
    done = lab.run("remove node", "node1")
    assert done.returncode == 2
    assert done.stderr == "tulle: node node1: is the last one of the lab: use 'tulle lab down'\n"


def test_a_router_underlay_takes_one_off_the_outer_ttl(lab: LabCommand) -> None:
    lab.must("up", "--underlay", "router", "--ipv6")
    lab.must("ping", "-c", "1", "pod1", "pod4")
    lab.must("ping", "-6", "-c", "1", "pod1", "pod4")
    assert _ttl(lab, "node1", "node2", "192.168.64.12") == 63


def test_a_switch_underlay_leaves_the_outer_ttl(lab: LabCommand) -> None:
    lab.must("up", "--ipv6", "--pods", "1")
    lab.must("ping", "-6", "-c", "1", "pod1", "pod2")
    assert _ttl(lab, "node1", "node2", "192.168.64.12") == 64


def test_a_file_names_nodes_and_pods(lab: LabCommand, tmp_path: Path) -> None:
    file = tmp_path / "lab.toml"
    file.write_text('mtu = 1400\nvni = 7\nport = 4789\n[nodes]\nleft = ["web"]\nright = ["db"]\n')
    lab.must("up", str(file))
    lab.must("ping", "-c", "1", "web", "db")
    assert "mtu 1350" in lab.inside("left", "ip", "link", "show", "flannel.7")
    assert "mtu 1350" in lab.inside("web", "ip", "link", "show", "eth0")


def _ttl(lab: LabCommand, source: str, target: str, address: str) -> int:
    """The TTL with which a datagram of one node arrives at another."""
    with inside(lab.netns(target)):
        receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside(lab.netns(source)):
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sender, receiver:
        receiver.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        receiver.settimeout(5)
        receiver.bind((address, 0))
        sender.sendto(b"how far?", receiver.getsockname())
        _, ancillary, _, _ = receiver.recvmsg(64, 64)
        return int.from_bytes(next(data for _, kind, data in ancillary if kind == IP_TTL), sys.byteorder)


def test_a_paused_agent_repairs_nothing_until_it_is_resumed(lab: LabCommand) -> None:
    lab.must("up", "--pods", "1")
    assert lab.must("pause", "node1") == "the agent of node1 is paused\n"
    assert lab.must("pause", "node1") == "the agent of node1 was paused already\n"
    assert [node["agent_paused"] for node in lab.listed()["nodes"]] == [True, False]
    lab.inside("node1", "ip", "route", "delete", "10.244.2.0/24")
    assert lab.run("ping", "-c", "1", "-W", "0.2", "pod1", "pod2").returncode == 1
    assert "10.244.2.0/24" not in lab.inside("node1", "ip", "route")
    assert lab.must("resume", "node1") == "the agent of node1 goes on\n"
    eventually(lambda: lab.run("ping", "-c", "1", "pod1", "pod2").returncode == 0)
    assert lab.must("resume", "node1") == "the agent of node1 was not paused\n"
    refused = lab.run("pause", "node7")
    assert (refused.returncode, refused.stderr.splitlines()) == (
        2,
        [f"tulle: node node7: lab {lab.name} has no such node: it has node1, node2"],
    )


def test_a_node_is_added_beside_those_that_nobody_looks_after(lab: LabCommand) -> None:
    facts = lab.facts("up", "--nodes", "3", "--pods", "1")
    lab.must("pause", "node2")
    lab.inside("node3", "kill", str(facts["nodes"][2]["agent_pid"]))
    eventually(lambda: lab.listed()["nodes"][2]["agent_pid"] is None)
    lab.must("add node", "--pods", "1")
    lab.must("check", "pod1 reaches pod4")


def test_down_takes_a_paused_agent_with_it(lab: LabCommand) -> None:
    lab.must("up", "--pods", "0")
    lab.must("pause", "node2")
    lab.must("down")
    assert lab.leftovers() == []
