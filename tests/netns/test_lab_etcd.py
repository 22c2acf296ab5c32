"""A lab on a real etcd: what flannel would find in it, its death and return, and that nothing of it is left."""

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.etcd import NEEDS_ETCD, PREFIX
from tests.kit.flanneld import BINARY, NEEDS_FLANNELD
from tests.kit.labs import NEEDS_ROOT, PATIENCE_S, STATE_FOLDER, LabCommand, User, a_lab, eventually
from tests.kit.ordinary import lab_of
from tulle.lab.processes import identify

pytestmark = [pytest.mark.skipif(bool(NEEDS_ROOT), reason=str(NEEDS_ROOT)), NEEDS_ETCD]
URL = f"etcd://192.168.64.3:2379{PREFIX}"


@pytest.fixture
def lab() -> Iterator[LabCommand]:
    with a_lab() as command:
        yield command


@pytest.fixture(params=["root", "ordinary"])
def anybodys(request: pytest.FixtureRequest) -> Iterator[LabCommand]:
    with lab_of(request.param) as command:
        yield command


def stored(lab: LabCommand, place: str, *flags: str) -> dict[str, str]:
    """What etcdctl finds under flannel's prefix, asked from a place of the lab."""
    lines = lab.inside(place, "etcdctl", *flags, "get", "--prefix", PREFIX).splitlines()
    return dict(zip(lines[::2], lines[1::2], strict=True))


def test_nodes_come_and_go_on_a_store_that_is_in_the_lab_alone(anybodys: LabCommand) -> None:
    lab = anybodys
    facts = lab.facts("up", "--store", "etcd", "--pods", "1")
    assert facts["store"] == URL
    assert (facts["etcd"]["address"], facts["etcd"]["paused"]) == ("192.168.64.3", False)
    lab.must("add node", "--pods", "1")
    lab.must("remove node", "node2")
    lab.must("check", "pod1 reaches pod3", "node3 reaches etcd")
    keys = stored(lab, "node1", "--endpoints", "192.168.64.3:2379")
    assert json.loads(keys[f"{PREFIX}/config"])["Backend"]["Type"] == "vxlan"
    leases = [value for key, value in keys.items() if key.startswith(f"{PREFIX}/subnets/")]
    assert [json.loads(value)["PublicIP"] for value in leases] == ["192.168.64.11", "192.168.64.13"]
    assert stored(lab, "etcd") == keys  # on its own host it needs no address
    pid = facts["etcd"]["pid"]
    lab.must("down")
    assert identify(pid) is None
    assert lab.leftovers() == []


def test_the_data_path_outlives_the_store_and_status_says_what_is_away(lab: LabCommand) -> None:
    facts = lab.facts("up", "--store", "etcd")
    os.kill(facts["etcd"]["pid"], signal.SIGKILL)
    eventually(lambda: lab.ask("node1", "status")["store"]["reachable"] is False)
    lab.must("ping", "-c", "1", "pod1", "pod4")
    assert "is away: the data path" in lab.run("", "--node", "node1", "--name", lab.name, tulle=["status"]).stdout
    assert "etcd 192.168.64.3 (does not run)" in lab.must("ls")
    assert "does not run" in lab.must("", "--name", lab.name, tulle=["graph"])
    for verb, words in (("add node", []), ("remove node", ["node2"])):
        refused = lab.run(verb, *words)
        line = f"tulle: etcd of lab {lab.name}: does not answer: 'tulle lab resume etcd' lets it go on\n"
        assert (refused.returncode, refused.stderr) == (2, line)
    assert [node["name"] for node in lab.listed()["nodes"]] == ["node1", "node2"]
    assert lab.must("resume", "etcd") == "etcd goes on\n"
    eventually(lambda: lab.ask("node1", "status")["store"]["reachable"] is True)
    assert "subnets/10.244.2.0-24" in str(stored(lab, "etcd"))
    lab.must("add node")
    lab.must("check", "pod1 reaches pod6")


def test_a_paused_store_goes_on_where_it_was(lab: LabCommand) -> None:
    lab.must("up", "--store", "etcd", "--nodes", "1", "--pods", "0")
    assert lab.must("pause", "etcd") == "etcd is paused\n"
    assert lab.listed()["etcd"]["paused"]
    assert lab.must("resume", "etcd") == "etcd goes on\n"
    assert lab.must("resume", "etcd") == "etcd was not paused\n"
    lab.must("pause", "etcd")
    lab.must("down")
    assert lab.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_up_that_ends_anywhere_leaves_what_down_cleans(lab: LabCommand, number: signal.Signals) -> None:
    chance = random.Random(f"etcd {number}")
    for after_s in (chance.uniform(0.3, 1.5) for _ in range(3)):
        process = lab.popen("up", "--store", "etcd", "--pods", "1")
        time.sleep(after_s)
        process.send_signal(number)
        process.communicate(timeout=PATIENCE_S)
        lab.must("down")
        assert lab.leftovers() == [], after_s


def test_an_etcd_that_ends_at_once_says_why_and_nothing_is_left(lab: LabCommand, tmp_path: Path) -> None:
    done = with_etcd(lab, tmp_path, 'case $1 in --version) echo "etcd Version: 3.5.1";; *) echo no room; exit 1;; esac')
    assert (done.returncode, done.stderr) == (2, "tulle: etcd: no room\n")
    assert lab.leftovers() == []


@pytest.mark.parametrize(
    ("script", "line"),
    [
        pytest.param('echo "etcd Version: 3.3.27"', "/etcd is 3.3: install etcd 3.4 or newer", id="too old"),
        pytest.param("echo hello", "/etcd does not say its version: install etcd 3.4 or newer", id="something else"),
        pytest.param(None, "etcd: not available here: it is not in PATH: install etcd 3.4 or newer", id="absent"),
    ],
)
def test_without_a_fit_etcd_nothing_is_begun(lab: LabCommand, tmp_path: Path, script: str | None, line: str) -> None:
    done = with_etcd(lab, tmp_path, script)
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (STATE_FOLDER / f"{lab.name}.json").exists()


def with_etcd(lab: LabCommand, folder: Path, script: str | None) -> subprocess.CompletedProcess[str]:
    """``up`` with this program as the only etcd in PATH."""
    if script is not None:
        program = folder / "etcd"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    return LabCommand(lab.name, User(environment={"PATH": str(folder)})).run("up", "--store", "etcd")


@NEEDS_FLANNELD
@pytest.mark.timeout(120)
def test_a_real_flanneld_takes_a_labs_node_over_by_hand(lab: LabCommand, tmp_path: Path) -> None:
    """The recipe of docs/lab.md: end the node's agent, start flannel's daemon in its place."""
    facts = lab.facts("up", "--store", "etcd")
    node = facts["nodes"][1]
    lab.inside("node2", "kill", str(node["agent_pid"]))
    eventually(lambda: identify(node["agent_pid"]) is None)
    words = ["-etcd-endpoints", "http://192.168.64.3:2379", "-iface", "eth0", "-ip-masq"]
    flanneld = lab.popen("exec", "node2", "--", str(BINARY), *words, "-subnet-file", str(tmp_path / "subnet.env"))
    try:
        eventually((tmp_path / "subnet.env").exists)
        assert "FLANNEL_SUBNET=10.244.2.1/24" in (tmp_path / "subnet.env").read_text()
        lab.must("check", "pod1 reaches pod4", "pod4 reaches pod1")
        lab.must("add node")
        eventually(lambda: "10.244.3.0/24" in lab.inside("node2", "ip", "route"))  # written by flannel's daemon
        lab.must("check", "pod6 reaches pod4")
    finally:
        flanneld.terminate()
        flanneld.communicate(timeout=PATIENCE_S)
