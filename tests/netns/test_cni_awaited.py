"""Calls that nobody waits for any more, and agents that stand still in the middle of one.

An IPAM plugin of the test's own is where an ADD stands meanwhile: the agent has begun with it, and not ended.
"""

import json
import os
import signal
import subprocess
from collections.abc import Generator
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from tests.kit.kernels import NEEDS_ROOT
from tests.kit.plugin import CONF, NETWORK, PluginNode, plugin_node
from tests.kit.shims import COMMANDS
from tulle.kernel import netns

pytestmark = pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT))

SCRIPT = """#!/bin/sh
cd "$(dirname "$0")"
cat > /dev/null
[ "$CNI_COMMAND" = ADD ] && . ./add
echo "$CNI_COMMAND" >> asked
[ "$CNI_COMMAND" != ADD ] || echo '{"cniVersion":"1.1.0","ips":[{"address":"10.99.0.5/24"}]}'
"""
OURS: dict[str, Any] = {"ipam": {"type": "ours"}}


@pytest.fixture
def ipam(tmp_path: Path) -> Path:
    """Its folder; what ``add`` in it says is done in each ADD."""
    folder = tmp_path / "ipam"
    folder.mkdir()
    (folder / "ours").write_text(SCRIPT)
    (folder / "ours").chmod(0o755)
    (folder / "add").touch()
    return folder


@pytest.fixture
def node(tmp_path: Path, ipam: Path) -> Generator[PluginNode]:
    with plugin_node(tmp_path / "root") as made:
        made.path = str(ipam)
        made.network = replace(NETWORK, subnet=IPv4Network("10.99.0.0/24"))
        made.start()
        yield made


def asked(ipam: Path) -> list[str]:
    path = ipam / "asked"
    return path.read_text().split() if path.exists() else []


def begin(node: PluginNode, verb: str, pod: str) -> subprocess.Popen[bytes]:
    """An execution on its way."""
    conf, environment = node.root / "conf", node.environment(verb, pod)
    conf.write_text(json.dumps({**CONF, **OURS}))
    with conf.open("rb") as stdin:
        return netns.run_in(
            node.netns,
            lambda: subprocess.Popen(COMMANDS[node.shim], env=environment, stdin=stdin, stdout=subprocess.PIPE),
        )


def test_f47_an_add_whose_plugin_was_killed_in_the_middle_is_undone(node: PluginNode, ipam: Path) -> None:
    """As a runtime does whose own time is up.  Whether it deletes, or is dead itself, is not known."""
    (ipam / "add").write_text("touch begun; while [ ! -e go ]; do sleep 0.01; done")
    pod = node.new_pod()
    with begin(node, "ADD", pod) as process:
        node.wait_until((ipam / "begun").exists, "the ADD to begin")
        process.kill()
    waiting = begin(node, "ADD", pod)
    (ipam / "add").write_text("")
    (ipam / "go").touch()
    with waiting:
        stdout, _ = waiting.communicate(timeout=20)
    assert waiting.returncode == 0, "the next ADD of this pod comes behind the undone one"
    assert json.loads(stdout)["ips"][0]["address"] == "10.99.0.5/24"
    assert asked(ipam) == ["ADD", "DEL", "ADD"]
    assert node.run("DEL", pod, **OURS).code == 0
    assert node.is_clean(), (node.records, node.devices)


def test_f47_an_add_that_waited_until_nobody_waits_for_it_is_not_begun(node: PluginNode, ipam: Path) -> None:
    (ipam / "add").write_text("touch begun; while [ ! -e go ]; do sleep 0.01; done")
    pod = node.new_pod()
    with begin(node, "ADD", pod) as first:
        node.wait_until((ipam / "begun").exists, "the ADD to begin")
        with begin(node, "ADD", pod) as second:
            node.wait_until(lambda: sleeps(second.pid), "the second to wait")
            second.kill()
        (ipam / "go").touch()
        first.communicate(timeout=20)
    assert first.returncode == 0
    assert node.run("STATUS", **OURS).code == 0
    assert asked(ipam) == ["ADD", "STATUS"]
    assert node.run("DEL", pod, **OURS).code == 0
    assert node.is_clean()


def sleeps(pid: int) -> bool:
    """Has it sent its question?  Nothing else makes it wait.  Source: proc(5), stat."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_an_agent_that_stands_still_in_the_middle_for_longer_than_it_may_be_silent_is_waited_for(
    node: PluginNode, ipam: Path
) -> None:
    """It said that it has read the call: a machine that is overloaded is no reason to fail a pod."""
    (ipam / "add").write_text(f"kill -STOP {node.agent}; (sleep 3; kill -CONT {node.agent}) >/dev/null 2>&1 &")
    pod = node.new_pod()
    assert node.add(pod, **OURS)["ips"][0]["address"] == "10.99.0.5/24"
    assert node.run("DEL", pod, **OURS).code == 0
    assert node.is_clean()


@pytest.mark.slow
def test_f47_an_agent_that_stands_still_for_good_in_the_middle_is_given_up_and_undoes_when_it_goes_on(
    node: PluginNode, ipam: Path
) -> None:
    (ipam / "add").write_text(f"kill -STOP {node.agent}")
    pod = node.new_pod()
    done = node.run("ADD", pod, **OURS)
    assert done.error == 11
    assert "silent" in done.answer["details"]
    os.kill(node.agent, signal.SIGCONT)
    node.wait_until(lambda: asked(ipam) == ["ADD", "DEL"], "the ADD to be undone")
    node.wait_until(node.is_clean, "nothing to be left")
