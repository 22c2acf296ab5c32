"""The lab's memory: what it holds survives the file, and nothing malformed is believed."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tulle.errors import ConfigError, DecodeError
from tulle.lab import folder as labs_folder
from tulle.lab.folder import LabFolder, lab_folder
from tulle.lab.processes import boot_id, end_all, identify, is_alive
from tulle.lab.state import LabState, PodRecord, Process, decode_state, encode_state, planned
from tulle.lab.topology import Wishes, design


def state(name: str = "lab") -> LabState:
    return planned(design(Wishes(name=name, ipv6=True)), "boot", rootless=False)


def test_a_state_survives_its_file() -> None:
    assert decode_state(encode_state(state())) == state()


def test_a_new_state_lists_every_namespace_before_one_is_made() -> None:
    assert state().namespaces == (
        "tulle-lab-switch",
        "tulle-lab-node1",
        "tulle-lab-node2",
        "tulle-lab-pod1",
        "tulle-lab-pod2",
        "tulle-lab-pod3",
        "tulle-lab-pod4",
    )


def test_a_removed_node_takes_its_pods_and_namespaces_along() -> None:
    left = state().without(state().nodes[0])
    assert left.namespaces == ("tulle-lab-switch", "tulle-lab-node2", "tulle-lab-pod3", "tulle-lab-pod4")
    assert [node.name for node in left.nodes] == ["node2"]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"\xff", encode_state(state())[:-9], b'{"schema":"tulle.lab/2"}']
)
def test_a_malformed_state_is_refused(content: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_state(content)


def test_a_state_of_another_schema_is_refused() -> None:
    with pytest.raises(DecodeError, match=r"tulle\.lab/9"):
        decode_state(encode_state(state()).replace(b"tulle.lab/1", b"tulle.lab/9"))


def test_an_unknown_node_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match="node node7: lab lab has no such node: it has node1, node2"):
        state().node("node7")


def test_files_that_come_and_go_while_a_lab_is_removed_do_not_keep_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database's, that somebody closes and opens again."""
    folder, unlink = LabFolder(tmp_path, rootless=False), os.unlink
    folder.make_home("one")
    (folder.home("one") / "leases.db-wal").touch()
    happened = list[str]()

    def meanwhile(name: str, *, dir_fd: int | None = None) -> None:
        unlink(name, dir_fd=dir_fd)
        happened.append(name)
        if len(happened) == 1:
            unlink(name, dir_fd=dir_fd)  # somebody was faster
        if len(happened) == 2:
            (folder.home("one") / "leases.db-shm").touch()

    monkeypatch.setattr(os, "unlink", meanwhile)
    (folder.home("one") / "leases.db").touch()
    folder.remove("one")
    assert not folder.home("one").exists()
    assert len(happened) == 3


def test_a_folder_lists_writes_and_removes(tmp_path: Path) -> None:
    folder = LabFolder(tmp_path, rootless=False)
    assert folder.read("one") is None
    folder.write(state("one"))
    folder.write(state("two"))
    folder.make_home("one")
    (tmp_path / "not a lab.json").write_text("{}")
    assert folder.names() == ("one", "two")
    folder.remove("one")
    folder.remove("one")
    assert folder.names() == ("two",)
    assert not (tmp_path / "one").exists()


def test_a_folder_never_follows_a_link_in_place_of_a_lab(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").touch()
    folder = LabFolder(tmp_path / "labs", rootless=False)
    folder.path.mkdir()
    (folder.path / "one").symlink_to(precious)
    folder.remove("one")
    assert (precious / "file").exists()


def test_a_name_with_a_path_in_it_never_reaches_the_disk(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="must be 1 to 15"):
        LabFolder(tmp_path, rootless=False).read("../secrets")


def test_two_commands_at_once_on_one_lab_are_refused(tmp_path: Path) -> None:
    source = "import sys\nfrom pathlib import Path\nfrom tulle.lab.folder import LabFolder\n"
    source += "with LabFolder(Path(sys.argv[1]), False).lock('one'): pass"
    command = [sys.executable, "-c", source, str(tmp_path / "lab")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    folder = LabFolder(tmp_path / "lab", rootless=False)
    with folder.lock("one"):
        refused = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "another tulle command is at work on it" in refused.stderr
    assert subprocess.run(command, env=environment, check=False).returncode == 0
    assert not tmp_path.exists(), "the last lab leaves no folder"


def test_an_ordinary_user_gets_a_private_folder() -> None:
    with TemporaryDirectory() as short:  # a socket below it has 108 bytes for its path
        uid = _given_to_an_ordinary_user(Path(short))
        assert lab_folder({"XDG_RUNTIME_DIR": short}, uid).path == Path(short, "tulle/lab")
        Path(short).chmod(0o755)
        assert lab_folder({"XDG_RUNTIME_DIR": short}, uid).path == Path(f"/tmp/tulle-{uid}/lab")


def test_root_has_its_labs_below_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(labs_folder.ROOT_FOLDER) == "/run/tulle/lab"
    monkeypatch.setattr(labs_folder, "ROOT_FOLDER", tmp_path / "tulle/lab")  # whose /run this is does not matter
    assert lab_folder({"XDG_RUNTIME_DIR": "/run/user/0"}, 0) == LabFolder(tmp_path / "tulle/lab", rootless=False)


def _planted_link(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.mkdir()
    path.symlink_to(elsewhere)


def _open_to_all(path: Path) -> None:
    path.mkdir()
    path.chmod(0o777)


def _a_file(path: Path) -> None:
    path.touch()


PLANTED = [
    pytest.param(_planted_link, id="a link"),
    pytest.param(_open_to_all, id="open to all"),
    pytest.param(_a_file, id="no folder"),
]


@pytest.mark.parametrize("plant", PLANTED)
@pytest.mark.parametrize("rootless", [True, False])
def test_what_somebody_planted_in_the_folders_place_is_refused_and_left(
    tmp_path: Path, plant: Callable[[Path], None], rootless: bool
) -> None:
    plant(tmp_path / "tulle")
    folder = LabFolder(tmp_path / "tulle/lab", rootless=rootless)
    with pytest.raises(ConfigError, match="must be a folder of your own"), folder.lock("one"):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) in (["tulle"], ["elsewhere", "tulle"])
    assert not list((tmp_path / "tulle").glob("*"))


@pytest.mark.parametrize("plant", PLANTED)
def test_roots_folder_is_judged_before_anything_in_it_is_read(
    tmp_path: Path, plant: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labs_folder, "ROOT_FOLDER", tmp_path / "tulle")
    plant(tmp_path / "tulle")
    with pytest.raises(ConfigError, match="must be a folder of your own"):
        lab_folder({}, 0)


def _given_to_an_ordinary_user(path: Path) -> int:
    """Somebody who is not root owns ``path`` alone from now on; their number."""
    path.chmod(0o700)
    uid = path.stat().st_uid or 65534
    if os.geteuid() == 0:
        try:
            os.chown(path, uid, -1)
        except OSError as error:
            pytest.skip(f"a second user: there is none in this user namespace: {error.strerror}")
    return uid


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\xff\x00garbage", id="no text"),
        pytest.param(b'{"schema": "tulle.lab/1"}', id="fields missing"),
        pytest.param(b"[" * 100_000, id="too deep"),
    ],
)
def test_a_garbage_state_is_one_line_that_names_file_and_next_step(tmp_path: Path, content: bytes) -> None:
    folder = LabFolder(tmp_path, rootless=False)
    (tmp_path / "one.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"lab one: .*/one\.json is not its state: .*put the file right") as error:
        folder.read("one")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"namespaces": ("precious",)}, id="a foreign namespace"),
        pytest.param({"namespaces": ("tulle-one-../../etc/passwd",)}, id="a path as namespace"),
        pytest.param({"namespaces": ("tulle-two-node1",)}, id="another lab's namespace"),
        pytest.param({"nodes": (replace(state().nodes[0], name="../.."),)}, id="a path as node"),
        pytest.param({"settings": replace(state().settings, name="two")}, id="another lab"),
    ],
)
def test_a_state_that_lists_what_is_not_the_labs_is_no_state(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = LabFolder(tmp_path, rootless=False)
    (tmp_path / "one.json").write_bytes(encode_state(replace(state("one"), **change)))
    with pytest.raises(ConfigError, match="is not its state"):
        folder.read("one")


def test_what_killed_writers_left_beside_a_state_goes_and_nothing_else(tmp_path: Path) -> None:
    folder = LabFolder(tmp_path / "lab", rootless=False)
    folder.path.mkdir()
    for name in (".one.json.4711.new", ".one.json.new", ".one.json.47x.new", ".two.json.4711.new"):
        (folder.path / name).touch()
    with folder.lock("one"):
        pass
    left = sorted(path.name for path in folder.path.iterdir())
    assert left == [".one.json.47x.new", ".one.json.new", ".two.json.4711.new"]
    folder.remove("two")  # an interrupt in the middle of its own writing
    assert sorted(path.name for path in folder.path.iterdir()) == left[:2]


def test_a_process_is_told_apart_from_a_later_one_of_its_number() -> None:
    child = subprocess.Popen(["sleep", "60"])
    found = identify(child.pid)
    assert found is not None
    assert is_alive(found)
    later = Process(pid=found.pid, started=found.started + 1)
    assert end_all([later], 1) == ()
    assert child.poll() is None
    assert end_all([found], 5) == ()
    assert child.wait() == -15
    assert not is_alive(found)


def test_a_process_that_ignores_sigterm_is_killed() -> None:
    source = "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    found = identify(child.pid)
    assert found is not None
    assert end_all([found], 0.05) == (found,)
    assert child.wait() == -9
    child.stdout.close()


def test_a_boot_has_a_name() -> None:
    assert boot_id() == boot_id()


def test_a_pod_record_survives() -> None:
    pod = PodRecord(name="pod1", node="node1", container_id="lab-pod1", addresses=("10.244.1.2/24",))
    base = state()
    whole = LabState(
        settings=base.settings, boot_id="b", agents={"node1": Process(pid=1, started=2)}, pods=(pod,), nodes=base.nodes
    )
    assert decode_state(encode_state(whole)).pod("pod1") == pod
    assert whole.pod("pod9") is None
