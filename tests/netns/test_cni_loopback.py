"""The plugin as compiled for three machines, called ``loopback``: no agent, no files, lo up in the container."""

import json
import os
import secrets
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.kit.enter import enter
from tests.kit.kernels import NEEDS_ROOT
from tests.kit.shims import BINARY, CROSS, NO_BINARY, Done, Shim, cross_built
from tulle.kernel import netns

pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)),
    pytest.mark.skipif(NO_BINARY is not None, reason=str(NO_BINARY)),
]
CONF = {"cniVersion": "1.0.0", "name": "lo", "type": "loopback"}


@pytest.fixture
def pod() -> Generator[Path]:
    name = f"tullet-{secrets.token_hex(4)}"
    path = netns.create(name)
    yield path
    netns.delete(name)


@pytest.fixture(params=["c", *CROSS])
def folder(request: pytest.FixtureRequest, builds: Path, tmp_path: Path) -> Path:
    """A folder with the plugin in it, as a program called ``loopback``."""
    loopback, machine = tmp_path / "loopback", str(request.param)
    if machine == "c":
        loopback.symlink_to(BINARY)
    else:
        emulator, binary = cross_built(machine, builds)
        loopback.write_text(f"#!/bin/sh\nexec {emulator} -0 loopback {binary}\n")
        loopback.chmod(0o755)
    return tmp_path


def run(folder: Path, verb: str, netns_path: Path | str, **conf: Any) -> Done:
    shim = Shim((str(folder / "loopback"),), folder)
    environment = {**shim.environment(verb), "CNI_NETNS": str(netns_path), "CNI_IFNAME": "lo"}
    return shim.execute(environment, stdin=json.dumps({**CONF, **conf}).encode())


def is_up(pod: Path) -> bool:
    shown = subprocess.run(
        [*enter(pod.name), "ip", "-j", "link", "show", "lo"], check=True, capture_output=True, text=True
    ).stdout
    return "UP" in json.loads(shown)[0]["flags"]


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_add_brings_lo_up_and_answers_in_the_version(folder: Path, pod: Path, version: str) -> None:
    done = run(folder, "ADD", pod, cniVersion=version)
    assert done.code == 0
    assert is_up(pod)
    assert done.answer["cniVersion"] == version
    if version < "0.3.0":
        assert done.answer["ip4"] == {"ip": "127.0.0.1/8"}
    else:
        assert done.answer["interfaces"] == [{"name": "lo", "mac": "00:00:00:00:00:00", "sandbox": str(pod)}]
        assert [ip["address"] for ip in done.answer["ips"]] == ["127.0.0.1/8", "::1/128"]
        assert ["version" in ip for ip in done.answer["ips"]] == [version < "1"] * 2


def test_check_finds_lo_down_and_del_sets_it_down(folder: Path, pod: Path) -> None:
    assert run(folder, "CHECK", pod).error == 103
    run(folder, "ADD", pod)
    assert run(folder, "CHECK", pod).code == 0
    assert run(folder, "DEL", pod).code == 0
    assert not is_up(pod)


def test_the_previous_plugins_result_is_passed_on(folder: Path, pod: Path) -> None:
    before = {"cniVersion": "1.0.0", "ips": [{"address": "192.0.2.1/24"}]}
    assert json.loads(run(folder, "ADD", pod, prevResult=before).stdout) == before


@pytest.mark.parametrize("path", ["/nonexistent", "/etc/passwd", "/proc/self/ns/net", "/proc/self/ns/mnt"])
def test_what_is_no_containers_namespace_is_refused(folder: Path, path: str) -> None:
    assert run(folder, "ADD", path).error == 8
    assert run(folder, "DEL", path).code == 0


@pytest.mark.parametrize("path", ["", "relative", '/a"b', "/" + "a" * 2000])
def test_a_path_that_is_none_is_refused(folder: Path, path: str) -> None:
    assert run(folder, "ADD", path).error == 4


@pytest.mark.parametrize("verb", ["GC", "STATUS"])
def test_what_keeps_nothing_has_nothing_to_say(folder: Path, verb: str) -> None:
    done = run(folder, verb, "")
    assert (done.code, done.stdout) == (0, b"")


def test_version_needs_nothing(folder: Path) -> None:
    assert "supportedVersions" in run(folder, "VERSION", "").answer


def test_the_node_keeps_its_own_namespace(folder: Path, pod: Path) -> None:
    before = os.stat("/proc/self/ns/net").st_ino
    run(folder, "ADD", pod)
    assert os.stat("/proc/self/ns/net").st_ino == before
