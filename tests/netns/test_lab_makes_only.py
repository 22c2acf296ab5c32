"""The lab makes namespaces and the underlay; everything else in a node's kernel is made by that node's agent."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, ip_address
from pathlib import Path
from typing import Any

import pytest

from tests.kit.enter import enter
from tests.kit.labs import NEEDS_ROOT, PATIENCE_S, LabCommand, User, a_lab, environment, eventually
from tests.kit.strace import MISSING, Listing, Told, read_listing, watching
from tulle.errors import TulleError
from tulle.lab.pods import PLUGIN

pytestmark = pytest.mark.skipif(bool(NEEDS_ROOT), reason=str(NEEDS_ROOT))
UNDERLAY = IPv4Network("192.168.64.0/24")
AF_INET, AF_BRIDGE = 2, 7
WIRES = {"br0", "port1", "port2", "eth0", "lo"}
SILENT_AGENT = """
import sys, time
from tulle.cli import lab_life, main

serve = lab_life._serve
lab_life._serve = lambda options: time.sleep(600) if options.root.name == sys.argv[1] else serve(options)
sys.exit(main.main(sys.argv[2:]))
"""
"""``tulle`` whose agent of one node does nothing."""


@pytest.fixture
def lab() -> Iterator[LabCommand]:
    with a_lab() as command:
        yield command


@pytest.mark.skipif(bool(MISSING), reason=str(MISSING))
@pytest.mark.parametrize("underlay", ["switch", "router"])
def test_every_change_is_told_to_the_kernel_by_the_process_whose_it_is(
    lab: LabCommand, underlay: str, tmp_path: Path
) -> None:
    listing = tmp_path / "listing"
    watched = LabCommand(lab.name, User(prefix=watching(listing)))
    process = watched.popen("up", "-q", "--underlay", underlay)
    eventually(lambda: (process.poll() is not None) or _is_ready(lab))
    agents = {node["name"]: node["agent_pid"] for node in lab.listed()["nodes"]}
    lab.must("down")
    _, err = process.communicate(timeout=PATIENCE_S)  # strace ends with the last of them
    assert err == ""
    _judge(read_listing(listing), agents, underlay)


def _is_ready(lab: LabCommand) -> bool:
    done = lab.run("ls", "--json")
    return done.returncode == 0 and '"ready": true' in done.stdout


def _judge(listing: Listing, agents: dict[str, int], underlay: str) -> None:
    up = listing.programs[0][0]
    by_owner: dict[int, list[Told]] = {up: [], **{pid: [] for pid in agents.values()}}
    for told in listing.told:
        by_owner[listing.owner(told.thread, set(by_owner))].append(told)
    _judge_the_lab(by_owner[up], underlay)
    _judge_an_agent(by_owner[agents["node1"]], peer="192.168.64.12", subnet="10.244.2.0", pods=2)
    _judge_an_agent(by_owner[agents["node2"]], peer="192.168.64.11", subnet="10.244.1.0", pods=2)
    programs = {(listing.owner(thread, set(by_owner)), name) for thread, name in listing.programs[1:]}
    assert {name for owner, name in programs if owner == up} <= {PLUGIN, Path(sys.executable).name}
    assert {owner for owner, name in programs if name == "nft"} == set(agents.values())


def _judge_the_lab(told: Sequence[Told], underlay: str) -> None:
    assert _names(told) <= WIRES
    kinds = {each.kind for each in told}
    assert kinds - {"RTM_NEWROUTE"} == {"RTM_NEWLINK", "RTM_NEWADDR"}
    assert ("RTM_NEWROUTE" in kinds) is (underlay == "router")
    assert all(ip_address(each.attributes["IFA_LOCAL"]) in UNDERLAY for each in told if each.kind == "RTM_NEWADDR")
    for each in told:
        if each.kind == "RTM_NEWROUTE" and each.attributes["dst_len"]:
            assert ip_address(each.attributes["RTA_DST"]) in UNDERLAY


def _judge_an_agent(told: Sequence[Told], *, peer: str, subnet: str, pods: int) -> None:
    names = _names(told)
    assert {"flannel.1", "cbr0"} <= names
    assert not names & (WIRES - {"eth0", "lo"}), "a pod has an eth0 and a lo as well"
    assert len([name for name in names if name.startswith("veth")]) == pods
    assert subnet in {each.attributes.get("RTA_DST") for each in told if each.kind == "RTM_NEWROUTE"}
    neighbours = [each.attributes for each in told if each.kind == "RTM_NEWNEIGH"]
    assert [each["NDA_DST"] for each in neighbours if each["family"] == AF_BRIDGE] == [peer]
    assert [each["NDA_DST"] for each in neighbours if each["family"] == AF_INET] == [subnet]


def _names(told: Sequence[Told]) -> set[str]:
    """The devices that were named in changes of links, at either end of a pair."""
    found: set[str] = set()
    for each in told:
        if each.kind in {"RTM_NEWLINK", "RTM_SETLINK"}:
            found |= set(_every(each.attributes, "IFLA_IFNAME"))
    return found


def _every(value: Any, key: str) -> Iterator[str]:
    """All values of an attribute, however deep."""
    pairs: list[tuple[Any, Any]] = list(value.items()) if isinstance(value, dict) else [pair[:2] for pair in value]  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType, reportUnknownVariableType]  # pyroute2's trees have no types
    for name, inner in pairs:
        if name == key:
            yield str(inner)
        elif isinstance(inner, dict) or name == "attrs":
            yield from _every(inner, key)


def test_a_node_whose_agent_never_starts_leaves_its_peers_without_its_entries(lab: LabCommand) -> None:
    process = _up_with_a_silent_agent(lab)
    try:
        eventually(lambda: _knows(lab, "node1", "10.244.3.0/24") and _knows(lab, "node3", "10.244.1.0/24"))
        for node in ("node1", "node3"):
            state = _state(lab, node)
            assert "10.244.2." not in state
            assert "192.168.64.12" not in state
        assert _state(lab, "node2") == ""
        assert lab.run("down").stderr == f"tulle: lab {lab.name}: another tulle command is at work on it: wait for it\n"
    finally:
        process.kill()
        process.communicate()
    lab.must("down")
    assert lab.leftovers() == []


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [
        pytest.param(signal.SIGKILL, 2, "tulle: agent of node2: ended at once\n", id="killed"),
        pytest.param(signal.SIGINT, 130, "", id="by Ctrl-C, which a new child may hear before up does"),
    ],
)
def test_an_agent_that_is_ended_before_it_serves_ends_the_lab(
    lab: LabCommand, number: signal.Signals, code: int, said: str
) -> None:
    process = _up_with_a_silent_agent(lab)
    eventually(lambda: _knows(lab, "node1", "10.244.3.0/24"))
    pid = next(node["agent_pid"] for node in lab.listed()["nodes"] if node["name"] == "node2")
    os.kill(pid, number)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, err) == (code, "", said)
    assert lab.leftovers() == []


def _up_with_a_silent_agent(lab: LabCommand) -> subprocess.Popen[str]:
    """``up`` of three nodes, with pods on all but the second, whose agent does nothing."""
    words = ["node2", "lab", "up", "--name", lab.name, "--nodes", "3", "--pods", "0"]
    return subprocess.Popen(
        [sys.executable, "-c", SILENT_AGENT, *words],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _knows(lab: LabCommand, node: str, subnet: str) -> bool:
    """Does a node's agent answer, and hold an entry for ``subnet``?"""
    if not lab.netns(node).exists():
        return False
    try:
        lab.ask(node, "status")
    except (TulleError, OSError, AssertionError):
        return False
    return subnet in _state(lab, node)


def _state(lab: LabCommand, node: str) -> str:
    """The overlay in a node's kernel, as its routes, neighbours and FDB entries."""
    space, found = lab.netns(node).name, ""
    for command in ([*enter(space), "ip", "route"], [*enter(space), "ip", "neigh"], [*enter(space), "bridge", "fdb"]):
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found += "".join(f"{line}\n" for line in done.stdout.splitlines() if "flannel" in line and "33:33" not in line)
    return found
