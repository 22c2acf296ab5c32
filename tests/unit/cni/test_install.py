"""``tulle cni install`` and ``uninstall``: whole files, nobody's work replaced, exactly what was written taken away."""

import errno
import json
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace as changed
from pathlib import Path
from typing import Any

import pytest

from tests.kit.shims import BINARY, NO_BINARY
from tulle.cli.main import main
from tulle.cni import install as installation
from tulle.cni.install import Report, Wish
from tulle.errors import ConfigError
from tulle.kernel.system import SystemFiles

KUBE_FLANNEL: dict[str, Any] = {
    "name": "cbr0",
    "cniVersion": "0.3.1",
    "plugins": [
        {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}


@pytest.fixture
def wish(tmp_path: Path) -> Wish:
    """Folders as a fresh host has them, and a binary."""
    source = tmp_path / "built"
    source.write_bytes(b"the plugin")
    bin_dir, conf_dir = tmp_path / "opt/cni/bin", tmp_path / "etc/cni/net.d"
    return Wish(bin_dir=bin_dir, conf_dir=conf_dir, record=tmp_path / "var/lib/tulle/installed.json", source=source)


def install(wish: Wish) -> Report:
    return installation.install(wish, SystemFiles())


def uninstall(wish: Wish) -> Report:
    return installation.uninstall(wish, SystemFiles())


def files(*folders: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for folder in folders if folder.is_dir() for path in folder.iterdir()}


def whats(report: Report) -> dict[str, str]:
    return {Path(act.path).name: act.what for act in report.acts}


def conflist(wish: Wish) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((wish.conf_dir / "10-tulle.conflist").read_bytes())
    return found


def test_a_fresh_host_gets_the_plugin_under_both_names_loopback_and_one_configuration(wish: Wish) -> None:
    install(wish)
    assert set(files(wish.bin_dir)) == {"tulle", "tulle-cni", "loopback"}
    assert set(files(wish.conf_dir)) == {"10-tulle.conflist"}
    assert stat.S_IMODE((wish.bin_dir / "tulle").stat().st_mode) == 0o755
    assert conflist(wish)["cniVersion"] == "1.0.0"
    assert conflist(wish)["cniVersions"][-1] == "1.1.0"
    assert conflist(wish)["name"] == "cbr0"


def test_a_second_run_changes_nothing(wish: Wish) -> None:
    install(wish)
    before = {path: path.stat().st_ino for path in (*wish.bin_dir.iterdir(), *wish.conf_dir.iterdir())}
    assert set(whats(install(wish)).values()) == {"kept"}
    assert {path: path.stat().st_ino for path in (*wish.bin_dir.iterdir(), *wish.conf_dir.iterdir())} == before


def test_a_dry_run_writes_nothing_at_all(wish: Wish, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert set(whats(install(changed(wish, dry_run=True))).values()) == {"wrote"}
    install(wish)
    everything = files(wish.bin_dir, wish.conf_dir)
    assert set(whats(uninstall(changed(wish, dry_run=True))).values()) == {"removed"}
    assert files(wish.bin_dir, wish.conf_dir) == everything
    uninstall(wish)
    assert [path for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [p for p in before if p.is_file()]


def test_host_ports_are_in_the_chain_as_soon_as_portmap_is_there(wish: Wish) -> None:
    assert [note.what for note in install(wish).notes] == ["no-portmap"]
    assert [plugin["type"] for plugin in conflist(wish)["plugins"]] == ["tulle"]
    (wish.bin_dir / "portmap").write_bytes(b"portmap")
    assert install(wish).notes == []
    assert [plugin["type"] for plugin in conflist(wish)["plugins"]] == ["tulle", "portmap"]


def test_a_newer_binary_takes_the_place_of_the_old_and_an_edited_configuration_stays(wish: Wish) -> None:
    install(wish)
    wish.source.write_bytes(b"the newer plugin")
    edited = json.dumps({**conflist(wish), "plugins": [{"type": "tulle", "mtu": 1400}]})
    (wish.conf_dir / "10-tulle.conflist").write_text(edited)
    assert whats(install(wish)) == {"tulle-cni": "wrote", "tulle": "wrote", "loopback": "wrote"} | {
        "10-tulle.conflist": "kept"
    }
    assert (wish.conf_dir / "10-tulle.conflist").read_text() == edited
    assert whats(install(changed(wish, force=True)))["10-tulle.conflist"] == "wrote"
    assert conflist(wish)["plugins"][0].get("mtu") is None


def test_somebody_elses_loopback_stays_unless_it_is_asked_for(wish: Wish) -> None:
    wish.bin_dir.mkdir(parents=True)
    (wish.bin_dir / "loopback").write_bytes(b"another")
    install(wish)
    assert files(wish.bin_dir)["loopback"] == b"another"
    install(changed(wish, loopback=True))
    assert files(wish.bin_dir)["loopback"] == b"the plugin"


def test_the_networks_name_is_kept_by_a_run_that_does_not_say_one(wish: Wish) -> None:
    install(changed(wish, name="pods"))
    install(wish)
    assert conflist(wish)["name"] == "pods"


def test_uninstall_removes_what_install_wrote_and_nothing_else(wish: Wish) -> None:
    for folder in (wish.bin_dir, wish.conf_dir):
        folder.mkdir(parents=True)
    (wish.bin_dir / "bridge").write_bytes(b"theirs")
    (wish.conf_dir / "99-other.conflist").write_text("{}")
    install(wish)
    assert uninstall(wish).complete
    assert set(files(wish.bin_dir, wish.conf_dir)) == {"bridge", "99-other.conflist"}
    assert uninstall(wish).acts == []


def test_uninstall_takes_the_configuration_first_and_leaves_what_was_changed(wish: Wish) -> None:
    install(wish)
    (wish.bin_dir / "tulle").write_bytes(b"somebody's own build")
    report = uninstall(wish)
    assert not report.complete
    assert whats(report) == {"10-tulle.conflist": "removed", "loopback": "removed", "tulle": "left"} | {
        "tulle-cni": "removed"
    }
    assert Path(report.acts[0].path).name == "10-tulle.conflist"
    assert files(wish.bin_dir) == {"tulle": b"somebody's own build"}


def test_flannels_configuration_is_taken_over_with_only_its_type_changed_and_comes_back(wish: Wish) -> None:
    wish.conf_dir.mkdir(parents=True)
    old = wish.conf_dir / "10-flannel.conflist"
    old.write_text(json.dumps(KUBE_FLANNEL))
    assert [note.what for note in install(wish).notes if note.path == old] == ["sorts-first", "flannels"]
    report = install(changed(wish, flannels="10-flannel.conflist"))
    first, *others = KUBE_FLANNEL["plugins"]
    assert conflist(wish) == {**KUBE_FLANNEL, "plugins": [{**first, "type": "tulle"}, *others]}
    assert [name for name in files(wish.conf_dir) if name.endswith((".conf", ".conflist", ".json"))] == [
        "10-tulle.conflist"
    ]
    assert [note.what for note in report.notes] == []
    install(wish)
    assert conflist(wish)["cniVersion"] == "0.3.1"
    uninstall(wish)
    assert files(wish.conf_dir) == {"10-flannel.conflist": json.dumps(KUBE_FLANNEL).encode()}


def test_a_single_plugin_of_flannels_becomes_a_list(wish: Wish) -> None:
    wish.conf_dir.mkdir(parents=True)
    (wish.conf_dir / "10-flannel.conf").write_text('{"name": "old", "type": "flannel", "delegate": {"mtu": 1400}}')
    install(changed(wish, flannels="10-flannel.conf"))
    assert conflist(wish)["name"] == "old"
    assert conflist(wish)["plugins"] == [{"type": "tulle", "delegate": {"mtu": 1400}}]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"plugins": 7}', '{"name": "n", "plugins": [{"type": "bridge"}]}'])
def test_a_configuration_that_is_not_flannels_is_refused_before_anything_is_written(wish: Wish, content: str) -> None:
    wish.conf_dir.mkdir(parents=True)
    (wish.conf_dir / "10-flannel.conflist").write_text(content)
    with pytest.raises(ConfigError, match=r"10-flannel\.conflist"):
        install(changed(wish, flannels="10-flannel.conflist"))
    assert files(wish.bin_dir) == {}


def test_planted_links_are_not_followed(wish: Wish, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.write_bytes(b"precious")
    wish.bin_dir.mkdir(parents=True)
    (wish.bin_dir / "tulle").symlink_to(target)
    with pytest.raises(ConfigError, match="symbolic link"):
        install(wish)
    install(changed(wish, force=True))
    assert not (wish.bin_dir / "tulle").is_symlink()
    (wish.bin_dir / "tulle-cni").unlink()
    (wish.bin_dir / "tulle-cni").symlink_to(target)
    assert whats(uninstall(wish))["tulle-cni"] == "left"
    assert target.read_bytes() == b"precious"


@pytest.mark.parametrize("mode", [0o777, 0o775])
def test_a_folder_that_others_can_write_is_refused(wish: Wish, mode: int) -> None:
    wish.bin_dir.mkdir(parents=True)
    wish.bin_dir.chmod(mode)
    with pytest.raises(ConfigError, match="others than root"):
        install(wish)
    assert files(wish.bin_dir) == {}


def test_a_disk_that_refuses_leaves_the_old_file_whole_and_nothing_beside_it(
    wish: Wish, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(wish)
    wish.source.write_bytes(b"the newer plugin")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        install(wish)
    assert set(files(wish.bin_dir).values()) == {b"the plugin"}
    assert set(files(wish.bin_dir)) == {"tulle", "tulle-cni", "loopback"}


@pytest.mark.skipif(NO_BINARY is not None, reason=str(NO_BINARY))
def test_a_plugin_that_runs_all_the_while_never_meets_half_a_file(wish: Wish) -> None:
    shutil.copy(BINARY, wish.source)
    install(wish)
    done = threading.Event()
    seen: list[object] = []
    runner = threading.Thread(target=_run_again_and_again, args=(wish.bin_dir / "tulle", done, seen.append))
    runner.start()
    for number in range(30):
        wish.source.write_bytes(BINARY.read_bytes() + bytes(number))
        install(wish)
    done.set()
    runner.join()
    assert len(seen) > 5
    assert set(seen) == {0}


def _run_again_and_again(plugin: Path, done: threading.Event, note: Callable[[object], None]) -> None:
    while not done.is_set():
        try:
            ran = subprocess.run(
                [plugin], env={"CNI_COMMAND": "VERSION"}, stdin=subprocess.DEVNULL, capture_output=True, check=False
            )
            note(ran.returncode if b"1.1.0" in ran.stdout else ran.stdout)
        except OSError as error:
            note(error.errno)


@pytest.mark.skipif(NO_BINARY is not None, reason=str(NO_BINARY))
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_command_says_what_it_does_in_a_line_each(
    tmp_path: Path, lang: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["cni", "install", "--root", str(tmp_path), "--lang", lang]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5
    assert str(tmp_path / "opt/cni/bin/tulle-cni") in lines[0]
    assert main(["cni", "uninstall", "--root", str(tmp_path), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["schema"] == "tulle.cni-install/1"
    assert {act["what"] for act in answer["acts"]} == {"removed"}
    assert main(["cni", "uninstall", "--root", str(tmp_path), "--lang", lang]) == 0


@pytest.mark.parametrize(
    "words", [["--name", "-x"], ["--name", "a/b"], ["--from", "/elsewhere/10-flannel.conflist"], ["--from", ".."]]
)
def test_bad_words_are_named_in_one_line(tmp_path: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["cni", "install", "--root", str(tmp_path), words[0] + "=" + words[1]]) == 2
    assert capsys.readouterr().err.startswith(f"tulle: {words[0]} {words[1]}")
