"""Pictures of a running lab: what ``trace`` writes is what ``show`` draws, and ``graph`` is what the kernels hold."""

import json
import signal
import subprocess
import sys
from collections.abc import Generator
from dataclasses import replace
from os import kill
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.kit.kernels import NEEDS_ROOT
from tests.kit.labs import LabCommand, a_lab, environment
from tests.kit.ordinary import MISSING, ordinary_user
from tulle.lab.topology import Wishes, design
from tulle.render.cluster import Cluster, ClusterPod, planned
from tulle.render.forms import read_journeys
from tulle.render.scene_build import scene_of

needs_root = pytest.mark.skipif(NEEDS_ROOT is not None, reason=NEEDS_ROOT or "")


@pytest.fixture(scope="module")
def lab() -> Generator[LabCommand]:
    with a_lab() as lab:
        lab.must("up")
        yield lab


def tulle(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tulle", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(), check=False)


def facts(*words: str) -> dict[str, Any]:
    done = tulle(*words, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@needs_root
def test_a_trace_writes_every_form_of_one_walk_and_show_draws_them_again(lab: LabCommand, tmp_path: Path) -> None:
    files = {form: tmp_path / f"walk.{form}" for form in ("json", "svg", "html", "pcapng")}
    asked = ["--out", str(files["json"]), "--svg", str(files["svg"]), "--html", str(files["html"])]
    done = tulle("trace", "pod1", "pod4", "--name", lab.name, "-q", *asked, "--pcap", str(files["pcapng"]))
    assert done.returncode == 0, done.stderr
    assert f"tshark -r {files['pcapng']} -d udp.port==8472,vxlan" in done.stderr
    (journey,) = read_journeys(files["json"].read_bytes())
    assert [b.step for b in scene_of(journey).badges if b.direction == "request"] == (
        ["1", "2", "3a", "3b", "3c", "4", "5", "6a", "6b", "6c", "7", "8"]
    )
    for source in ("json", "html", "pcapng"):
        again = tmp_path / "again"
        assert tulle("show", str(files[source]), "--svg", str(again)).returncode == 0
        assert again.read_bytes() == files["svg"].read_bytes()


@needs_root
def test_a_picture_on_stdout_is_alone_there(lab: LabCommand) -> None:
    done = tulle("trace", "pod1", "pod2", "--name", lab.name, "--svg", "-")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("<svg ")
    assert done.stdout.endswith("</svg>\n")


@needs_root
def test_a_redacted_trace_names_nobody(lab: LabCommand, tmp_path: Path) -> None:
    page = tmp_path / "walk.html"
    done = tulle("trace", "pod1", "pod4", "--name", lab.name, "--redact", "--html", str(page))
    assert done.returncode == 0, done.stderr
    for text in (page.read_text(), done.stdout):
        assert "10.244." not in text
        assert "192.168.64." not in text
        assert "node1" not in text


@needs_root
def test_the_graph_of_a_running_lab_is_what_its_topology_promised(lab: LabCommand) -> None:
    promised = planned(design(Wishes(name=lab.name)))
    drawn = facts("graph", "--name", lab.name)
    addresses = {pod["name"]: pod["addresses"][0].partition("/")[0] for pod in lab.facts("ls")["labs"][0]["pods"]}
    nodes = [
        replace(
            node,
            source="kernel",
            agent="running",
            pods=tuple(ClusterPod(name=pod.name, address=addresses[pod.name]) for pod in node.pods),
        )
        for node in promised.nodes
    ]
    assert drawn == {"schema": "tulle.graph/1", **_plain(replace(promised, nodes=tuple(nodes)))}


def _plain(cluster: Cluster) -> dict[str, Any]:
    return json.loads(msgspec.json.encode(cluster))


@needs_root
def test_one_nodes_kernel_knows_its_peer_by_its_lease_only(lab: LabCommand) -> None:
    drawn = facts("graph", "--node", "node1", "--name", lab.name)
    assert [(node["name"], node["source"]) for node in drawn["nodes"]] == [
        ("node1", "kernel"),
        ("192.168.64.12", "peer"),
    ]


@needs_root
def test_a_hole_in_the_tables_is_seen_in_graph_and_walk(lab: LabCommand, tmp_path: Path) -> None:
    agents = [node["agent_pid"] for node in lab.facts("ls")["labs"][0]["nodes"]]
    entry = lab.inside("node1", "bridge", "fdb", "show", "dev", "flannel.1").split()
    for pid in agents:
        kill(pid, signal.SIGSTOP)
    try:
        lab.inside("node1", "bridge", "fdb", "del", entry[0], "dev", "flannel.1", "dst", "192.168.64.12")
        (way,) = facts("graph", "--name", lab.name)["nodes"][0]["ways"]
        assert way["missing"] == ["FDB entry"]
        walk = tmp_path / "walk.json"
        assert tulle("trace", "pod1", "pod4", "--name", lab.name, "-q", "--out", str(walk)).returncode == 1
        scene = scene_of(read_journeys(walk.read_bytes())[0])
        assert scene.stop is not None
        assert scene.walk("request")[-1].hop.step == "3b"
        assert [e.kind for card in scene.cards for e in card.entries if not e.found] == ["fdb"]
    finally:
        for pid in agents:
            kill(pid, signal.SIGCONT)


def test_this_machines_own_kernel_is_drawn_as_it_is() -> None:
    drawn = facts("graph", "--here")
    assert drawn["nodes"][0]["source"] == "kernel"


@pytest.mark.skipif(MISSING is not None, reason=MISSING or "")
def test_an_ordinary_user_gets_every_picture_of_a_lab_of_their_own() -> None:
    with ordinary_user() as user, a_lab(user) as lab:
        lab.must("up")
        files = {form: user.home / f"walk.{form}" for form in ("svg", "html", "pcap")}
        asked = [word for form, path in files.items() for word in (f"--{form}", str(path))]
        done = lab.run("", "-q", *asked, tulle=("trace", "pod1", "pod4", "--name", lab.name))
        assert done.returncode == 0, done.stderr
        drawn = user.home / "again.svg"
        again = lab.run("", "--svg", str(drawn), tulle=("show", str(files["pcap"])))
        assert again.returncode == 0, again.stderr
        assert drawn.read_bytes() == files["svg"].read_bytes()
        tree = lab.run("", tulle=("graph", "--name", lab.name)).stdout
        assert "10.244.2.0/24 → flannel.1 → node2 192.168.64.12" in tree
