"""Names that people type, turned into namespaces; what does not exist is answered with what does."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from tulle.cli import places
from tulle.errors import ConfigError, Unsupported
from tulle.lab.folder import LabFolder
from tulle.lab.state import LabState, PodRecord, Process, planned
from tulle.lab.topology import Wishes, design


@pytest.fixture
def labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LabFolder]:
    """A folder of labs that the commands will look into, and an empty /run/netns."""
    folder = LabFolder(tmp_path / "labs", rootless=False)

    def lab_folder(_environment: object, _uid: int) -> LabFolder:
        return folder

    monkeypatch.setattr(places, "lab_folder", lab_folder)
    monkeypatch.setattr(places, "NETNS_FOLDER", tmp_path / "netns")
    monkeypatch.delenv("TULLE_LAB", raising=False)
    places.folder.cache_clear()
    yield folder
    places.folder.cache_clear()


def a_lab(name: str, holder: Process | None = None) -> LabState:
    base = planned(design(Wishes(name=name, ipv6=True)), "boot", rootless=holder is not None)
    pod = PodRecord(name="pod4", node="node2", container_id="x", addresses=("10.244.2.3/24", "fd10:244:0:2::3/64"))
    return replace(base, pods=(pod,), holder=holder, ready=True)


def test_a_pod_is_found_with_its_node_and_addresses(labs: LabFolder) -> None:
    labs.write(a_lab("lab"))
    place = places.resolve("pod4")
    assert (place.kind, place.node, place.lab) == ("pod", "node2", "lab")
    assert place.netns == Path("/run/netns/tulle-lab-pod4")
    assert place.addresses == (ip_address("10.244.2.3"), ip_address("fd10:244:0:2::3"))


def test_a_node_and_the_underlay_are_places_too(labs: LabFolder) -> None:
    labs.write(a_lab("lab"))
    assert places.resolve("node2").addresses == (ip_address("192.168.64.12"), ip_address("fd64::c"))
    assert places.resolve("switch").kind == "underlay"
    assert places.node_root("node1") == labs.path / "lab/node1"


def test_a_rootless_place_is_entered_through_its_holder(labs: LabFolder) -> None:
    labs.write(a_lab("lab", holder=Process(pid=4711, started=1)))
    assert places.resolve("pod4").holder == 4711


def test_a_namespace_of_run_netns_a_path_and_a_pid_are_places(labs: LabFolder, tmp_path: Path) -> None:
    labs.path.mkdir()
    (tmp_path / "netns").mkdir()
    (tmp_path / "netns/blue").touch()
    assert places.resolve("blue").netns == tmp_path / "netns/blue"
    assert places.resolve("/proc/self/ns/net").netns == Path("/proc/self/ns/net")
    assert places.resolve(str(os.getpid())).netns == Path(f"/proc/{os.getpid()}/ns/net")


@pytest.mark.parametrize("name", ["pod9", "999999999", "/run/netns/none", "Ⅷ", "²"])
def test_what_does_not_exist_is_one_line(labs: LabFolder, name: str) -> None:
    labs.write(a_lab("lab"))
    with pytest.raises(ConfigError) as error:
        places.resolve(name)
    assert str(error.value).startswith(f"{name}: no such")
    assert "\n" not in str(error.value)


def test_an_unknown_pod_is_answered_with_what_there_is(labs: LabFolder) -> None:
    labs.write(a_lab("lab"))
    with pytest.raises(ConfigError, match="pod9: no such node, pod, namespace or process: node1, node2, pod4, switch"):
        places.resolve("pod9")


def test_the_only_lab_is_meant_and_among_several_the_one_called_lab(labs: LabFolder) -> None:
    labs.write(a_lab("shop"))
    assert places.resolve("pod4").lab == "shop"
    labs.write(a_lab("bank"))
    assert places.chosen_lab() is None
    with pytest.raises(ConfigError, match="lab lab: no such lab: choose with --name: bank, shop"):
        places.node_root("node1")
    labs.write(a_lab("lab"))
    assert places.resolve("pod4").lab == "lab"


def test_a_lab_is_chosen_by_flag_before_environment(labs: LabFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lab", "shop", "bank"):
        labs.write(a_lab(name))
    monkeypatch.setenv("TULLE_LAB", "shop")
    assert places.resolve("pod4").lab == "shop"
    assert places.resolve("pod4", "bank").lab == "bank"


def test_a_lab_that_was_named_must_exist(labs: LabFolder) -> None:
    labs.write(a_lab("lab"))
    with pytest.raises(ConfigError, match="lab none: no such lab: there is lab"):
        places.resolve("pod4", "none")
    with pytest.raises(ConfigError, match=r"lab '../x': must be 1 to 15"):
        places.resolve("pod4", "../x")


def test_an_unknown_node_is_answered_with_those_that_there_are(labs: LabFolder) -> None:
    labs.write(a_lab("lab"))
    with pytest.raises(ConfigError, match="node node9: lab lab has no such node: it has node1, node2"):
        places.node_root("node9")


def test_where_there_are_no_network_namespaces_one_line_says_so(
    labs: LabFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(Unsupported, match="network namespaces: not available here: they are Linux's"):
        places.resolve("pod1")
    assert not labs.path.exists()
