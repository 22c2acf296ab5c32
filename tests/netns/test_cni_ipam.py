"""Addresses by another plugin: asked once, told everything, and asked to take back in any state."""

import json
import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.kernels import NEEDS_ROOT
from tests.kit.peers import peer
from tests.kit.plugin import PluginNode, plugin_node

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))

SCRIPT = """#!/bin/sh
cat > "$(dirname "$0")/$CNI_COMMAND.conf"
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_IFNAME $CNI_NETNS $LD_PRELOAD" >> "$(dirname "$0")/asked"
[ -e "$(dirname "$0")/$CNI_COMMAND.answer" ] && cat "$(dirname "$0")/$CNI_COMMAND.answer"
[ ! -e "$(dirname "$0")/$CNI_COMMAND.fails" ]
"""
GIVEN: dict[str, Any] = {
    "cniVersion": "1.1.0",
    "ips": [{"address": "10.99.0.5/24", "gateway": "10.99.0.254"}],
    "routes": [{"dst": "10.98.0.0/16"}, {"dst": "10.97.0.0/16", "gw": "10.99.0.253"}],
    "dns": {"nameservers": ["10.99.0.53"]},
}


class Ipam:
    """A plugin of the test's own, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "ours").write_text(SCRIPT)
        (folder / "ours").chmod(0o755)

    def answers(self, verb: str, answer: object, *, fails: bool = False) -> None:
        (self.folder / f"{verb}.answer").write_text(json.dumps(answer))
        (self.folder / f"{verb}.fails").unlink(missing_ok=True)
        if fails:
            (self.folder / f"{verb}.fails").touch()

    @property
    def asked(self) -> list[str]:
        """The verbs, in order."""
        path = self.folder / "asked"
        return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def node(tmp_path: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path / "root") as made:
        made.path = str(tmp_path / "ipam")
        made.start()
        yield made


@pytest.fixture
def ipam(tmp_path: Path) -> Ipam:
    return Ipam(tmp_path / "ipam")


NOBODY: dict[str, Any] = {"cni.dev/valid-attachments": []}
OURS: dict[str, Any] = {"ipam": {"type": "ours", "secret": 7}}


def test_c26_it_is_told_everything_and_what_it_gives_is_on_the_pod(node: PluginNode, ipam: Ipam) -> None:
    ipam.answers("ADD", GIVEN)
    pod = node.new_pod()
    result = node.add(pod, **OURS)
    assert result["ips"] == [{"address": "10.99.0.5/24", "gateway": "10.99.0.254", "interface": 2}]
    assert result["dns"] == GIVEN["dns"]
    routes = node.ip("route show", pod)
    for line in ("default via 10.99.0.254", "10.98.0.0/16 via 10.99.0.254", "10.97.0.0/16 via 10.99.0.253"):
        assert line in routes
    assert "10.99.0.254/24" in node.ip("address show cbr0")
    assert json.loads((ipam.folder / "ADD.conf").read_text())["ipam"]["secret"] == 7
    assert (ipam.folder / "asked").read_text() == f"ADD {pod} eth0 /run/netns/{pod} \n"
    assert node.addresses == {}, "tulle keeps no file of an address that is not its own"


def test_every_verb_is_passed_on_and_its_errors_come_back(node: PluginNode, ipam: Ipam) -> None:
    ipam.answers("ADD", GIVEN)
    pod = node.new_pod()
    result = node.add(pod, **OURS)
    assert node.run("CHECK", pod, **OURS, prevResult=result).code == 0
    assert node.run("STATUS", **OURS).code == 0
    listed: dict[str, Any] = {"cni.dev/valid-attachments": [{"containerID": pod, "ifname": "eth0"}]}
    assert node.run("GC", **OURS, **listed).code == 0
    assert ipam.asked == ["ADD", "CHECK", "STATUS", "GC"]
    for verb in ("CHECK", "STATUS", "DEL"):
        ipam.answers(verb, {"code": 77, "msg": "not today", "details": "closed"}, fails=True)
        done = node.run(verb, pod, **OURS, prevResult=result)
        assert done.error == 77
        assert "not today" in done.answer["msg"]
    assert len(node.records) == 1, "what could not be given back is asked for again"
    ipam.answers("DEL", {})
    assert node.run("DEL", pod, **OURS).code == 0
    assert node.is_clean()


@pytest.mark.parametrize(
    ("answer", "fails", "code"),
    [
        pytest.param({"code": 42, "msg": "no address left"}, True, 42, id="its own error"),
        pytest.param({"cniVersion": "1.1.0"}, False, 108, id="no address"),
        pytest.param({"ips": [{"address": "10.99.0.300/24"}]}, False, 108, id="no such address"),
        pytest.param({"ips": 7}, False, 108, id="no list"),
        pytest.param("", False, 108, id="no object"),
    ],
)
def test_what_it_may_have_given_is_given_back_when_it_fails(
    node: PluginNode, ipam: Ipam, answer: object, fails: bool, code: int
) -> None:
    ipam.answers("ADD", answer, fails=fails)
    assert node.run("ADD", node.new_pod(), **OURS).error == code
    assert ipam.asked == ["ADD", "DEL"]
    assert node.is_clean()


def test_what_it_gave_is_given_back_when_the_rest_fails(node: PluginNode, ipam: Ipam) -> None:
    ipam.answers("ADD", GIVEN)
    node.ip("link add cbr0 type veth peer name other")
    assert node.run("ADD", node.new_pod(), **OURS).error == 106
    assert ipam.asked == ["ADD", "DEL"]
    assert node.records == []


def test_a_second_add_asks_nobody(node: PluginNode, ipam: Ipam) -> None:
    ipam.answers("ADD", GIVEN)
    pod = node.new_pod()
    node.add(pod, **OURS)
    assert node.run("ADD", pod, **OURS).error == 101
    assert ipam.asked == ["ADD"]


def test_del_asks_it_in_any_state(node: PluginNode, ipam: Ipam) -> None:
    """Never added; with a configuration that no longer says it; without an agent; and what GC finds."""
    ipam.answers("ADD", GIVEN)
    assert node.run("DEL", node.new_pod(), **OURS).code == 0
    assert ipam.asked == ["DEL"]
    pod = node.new_pod()
    node.add(pod, **OURS)
    assert node.run("DEL", pod).code == 0
    assert ipam.asked[-2:] == ["ADD", "DEL"]
    node.add(pod, **OURS)
    assert node.run("GC", **NOBODY).code == 0
    assert ipam.asked[-2:] == ["ADD", "DEL"]
    node.add(pod, **OURS)
    node.stop()
    node.socket.unlink()
    assert node.run("DEL", pod, **OURS).code == 0
    assert ipam.asked[-2:] == ["ADD", "DEL"]
    assert node.is_clean()


@pytest.mark.parametrize("path", ["", "relative/bin", "/nonexistent"])
def test_a_path_that_does_not_lead_to_it_is_refused(node: PluginNode, ipam: Ipam, path: str) -> None:
    node.path = path
    assert node.run("ADD", node.new_pod(), **OURS).error in {4, 108}
    assert ipam.asked == []
    assert node.devices == frozenset()


@pytest.mark.parametrize("mode", [0o775, 0o757])
def test_a_plugin_that_others_can_write_is_not_executed(node: PluginNode, ipam: Ipam, mode: int) -> None:
    (ipam.folder / "ours").chmod(mode)
    assert node.run("ADD", node.new_pod(), **OURS).error == 108
    assert ipam.asked == []


@pytest.mark.parametrize("kind", ["host-local", "static"])
@pytest.mark.parametrize("version", ["0.2.0", "0.3.1", "1.0.0"])
def test_the_real_plugins_give_addresses_in_every_version(
    node: PluginNode, tmp_path: Path, kind: str, version: str
) -> None:
    program = peer(kind)
    if program is None:
        pytest.skip(f"{kind} is not installed")
    folder = tmp_path / "ipam"
    folder.mkdir()
    shutil.copy(program, folder / "other")  # as host-local's own name it would be tulle
    conf: dict[str, Any] = {
        "host-local": {"ranges": [[{"subnet": "10.99.0.0/24"}]], "dataDir": str(tmp_path / "data")},
        "static": {"addresses": [{"address": "10.99.0.2/24", "gateway": "10.99.0.1"}]},
    }[kind]
    pod = node.new_pod()
    result = node.add(pod, cniVersion=version, ipam={"type": "other", **conf})
    assert "10.99.0.2/24" in json.dumps(result)
    assert "10.99.0.2/24" in node.ip("address show eth0", pod)
    assert node.run("DEL", pod, cniVersion=version, ipam={"type": "other", **conf}).code == 0
    assert node.is_clean()
    assert not list(tmp_path.glob("data/net/10.99.*"))
