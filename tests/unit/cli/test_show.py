"""``tulle show``: any form from any form, and nothing of the operating system needed for it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.labs import environment
from tests.kit.pictures import RECORDED, cross_node, no_fdb_entry, recordings
from tulle.cli.main import main
from tulle.render.forms import Form, draw

FORMS: dict[Form, str] = {"json": "walk.json", "html": "walk.html", "pcap": "walk.pcapng"}
BARE = """
import sys
class Missing:
    names = {"fcntl", "ctypes", "_ctypes", "resource", "socket", "_socket", "pwd", "grp", "termios", "posix_ipc"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ImportError(f"{name} is blocked by the test")
for name in Missing.names:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Missing())
from tulle.cli.main import main
sys.exit(main(sys.argv[1:]))
"""
"""An interpreter on a system that has none of it."""


def bare(*words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", BARE, *words],
        input=stdin,
        capture_output=True,
        timeout=60,
        env=environment(),
        check=False,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", recordings())
def test_without_the_operating_system_every_form_is_drawn_to_the_same_bytes(name: str, tmp_path: Path) -> None:
    outputs = [word for form in ("svg", "html", "pcap") for word in (f"--{form}", str(tmp_path / form))]
    done = bare("show", str(RECORDED / f"{name}.json"), *outputs)
    assert done.returncode == 0, done.stderr
    for form in ("svg", "html", "pcap"):
        assert (tmp_path / form).read_bytes() == draw(recordings()[name], form)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_walk_reads_the_same_from_each_form(form: Form, tmp_path: Path) -> None:
    path = tmp_path / FORMS[form]
    path.write_bytes(draw(no_fdb_entry(), form))
    json = tmp_path / "again.json"
    json.write_bytes(draw(no_fdb_entry(), "json"))
    for words in ([], ["--lang", "zh"], ["--json"], ["--svg", "-"]):
        told = bare("show", str(path), *words)
        assert told.returncode == 0, told.stderr
        assert told.stdout == bare("show", str(json), *words).stdout


def test_stdin_is_a_file_too() -> None:
    assert b"pod1" in bare("show", "-", "-q", stdin=draw(cross_node(), "json")).stdout


def test_a_capture_comes_with_the_word_that_opens_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walk, out = tmp_path / "walk.json", tmp_path / "walk.pcapng"
    walk.write_bytes(draw(cross_node(), "json"))
    assert main(["show", str(walk), "--pcap", str(out)]) == 0
    assert capsys.readouterr().err == f"{out}: tshark -r {out} -d udp.port==8472,vxlan\n"


def test_redacted_it_says_the_same_without_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    walk = tmp_path / "walk.json"
    walk.write_bytes(draw(no_fdb_entry(), "json"))
    assert main(["show", str(walk), "--redact"]) == 0
    told = capsys.readouterr().out
    assert "10.244." not in told
    assert "pod1" not in told
    assert "pod-a" in told


@pytest.mark.parametrize(
    "data", [b"", b"not a walk", b"{}", b"<svg/>", b"\x0a\x0d\x0d\x0a1234", b"<!doctype html><p>another page"]
)
def test_a_file_without_a_walk_is_one_line_and_exit_code_2(
    data: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "something"
    path.write_bytes(data)
    assert main(["show", str(path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"tulle: {path}: holds no walk that can be read: ")
    assert error.count("\n") == 1


def test_a_file_that_is_not_there_is_said_by_its_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tmp_path / "gone.json")]) == 2
    assert "gone.json: No such file or directory" in capsys.readouterr().err
