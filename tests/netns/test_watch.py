"""The live view at a real terminal, over a lab that is damaged, paused and taken away meanwhile."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager

import pytest

from tests.kit.labs import NEEDS_ROOT, LabCommand, a_lab, environment
from tests.kit.terminals import Terminal, terminal
from tulle.cli.screen import ENTER, LEAVE

pytestmark = pytest.mark.skipif(bool(NEEDS_ROOT), reason=str(NEEDS_ROOT))


@pytest.fixture(scope="module")
def lab() -> Iterator[LabCommand]:
    with a_lab() as command:
        command.must("up", "-q")
        yield command


@contextmanager
def watching(lab: LabCommand, *words: str, columns: int = 80, rows: int = 24) -> Generator[Terminal]:
    """``tulle watch`` over the lab, its first picture painted."""
    command = [sys.executable, "-m", "tulle", "watch", "--name", lab.name, "--interval", "0.2", *words]
    with terminal(command, environment(), columns, rows) as seen:
        seen.shows("tulle watch")
        yield seen


def test_a_damage_is_seen_and_its_repair_with_the_time_that_it_took(lab: LabCommand) -> None:
    with watching(lab) as seen:
        text = seen.shows("node1", "node2", "flannel.1", "pod1", "10.244.2.0/24", "q quit")
        assert max(map(len, text.splitlines())) <= 80
        repairs = lab.ask("node1", "status")["repairs"]
        lab.inside("node1", "ip", "route", "del", "10.244.2.0/24")
        text = seen.shows("repaired", "ip route add 10.244.2.0/24")
        line = next(line for line in text.splitlines() if "ip route add 10.244.2.0/24" in line)
        assert line.split()[1:3] == ["node1", "repaired"]
        assert line.split()[4] in {"µs)", "ms)", "s)"}
        seen.until(lambda text: str(repairs + 1) in text)


def test_what_passes_is_counted_where_it_passes(lab: LabCommand) -> None:
    with watching(lab, "--node", "node2", rows=40) as seen:
        quiet = seen.shows("flannel.1", "0 B/s")
        assert "node1" not in quiet
        ping = lab.popen("ping", "pod1", "pod4", "-c", "40")

        def busy(text: str) -> bool:
            rows = {line.split()[0]: line.split() for line in text.splitlines() if "p/s" in line}
            return all(rows[name][2] not in {"0", "–"} for name in ("eth0", "flannel.1", "cbr0"))

        try:
            seen.until(busy)
        finally:
            ping.terminate()
            ping.communicate()


def test_a_paused_agent_is_shown_and_comes_back_by_itself(lab: LabCommand) -> None:
    with watching(lab, columns=200, rows=40) as seen:
        seen.shows("node2  ready")
        lab.must("pause", "node2")
        try:
            seen.shows("node2  no answer", "node2 silent")
            seen.type(b"\t")
            seen.shows("what is wrong: node2")
        finally:
            lab.must("resume", "node2")
        seen.shows("node2  ready", "node2 answers")


def test_keys_choose_explain_and_hold_the_picture(lab: LabCommand) -> None:
    with watching(lab) as seen:
        seen.shows("▶ node1")
        seen.type(b"\x1b[B")
        seen.shows("▶ node2", "── node2 ")
        seen.type(b"?")
        seen.shows("DROPS counts since you watch", "any key goes back")
        seen.type(b"x")
        seen.shows("▶ node2")
        seen.type(b"p")
        seen.shows("PAUSED")
        seen.type(b"p")
        seen.until(lambda text: "PAUSED" not in text)


@pytest.mark.parametrize(("columns", "rows"), [(200, 50), (40, 12), (20, 3)])
def test_a_new_size_is_filled_at_once(lab: LabCommand, columns: int, rows: int) -> None:
    with watching(lab) as seen:
        seen.shows("▶ node1")
        seen.resize(columns, rows)
        text = seen.until(lambda text: text.startswith("tulle watc") and "q quit" in text.splitlines()[-1])
        assert len(text.splitlines()) == rows
        assert ("│" in text) == (columns == 200)


def by_key(seen: Terminal) -> None:
    seen.type(b"q")


def by_ctrl_c(seen: Terminal) -> None:
    seen.type(b"\x03")


def by_sigterm(seen: Terminal) -> None:
    seen.process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        pytest.param(by_key, 0, id="q"),
        pytest.param(by_ctrl_c, 130, id="Ctrl-C"),
        pytest.param(by_sigterm, 143, id="SIGTERM"),
    ],
)
def test_the_terminal_is_given_back_as_it_was(lab: LabCommand, ending: Callable[[Terminal], None], code: int) -> None:
    with watching(lab) as seen:
        assert seen.raw.startswith(ENTER)
        assert seen.modes != seen.modes_before
        ending(seen)
        assert seen.end() == code
        assert seen.raw.endswith(LEAVE)
        assert seen.modes == seen.modes_before


def test_ctrl_z_gives_the_terminal_to_the_shell_and_fg_takes_it_again(lab: LabCommand) -> None:
    with watching(lab) as seen:
        seen.shows("▶ node1")
        seen.process.send_signal(signal.SIGTSTP)
        os.waitpid(seen.process.pid, os.WUNTRACED)
        assert seen.text is not None
        assert seen.raw.endswith(LEAVE)
        assert seen.modes == seen.modes_before
        seen.process.send_signal(signal.SIGCONT)
        seen.until(lambda _: seen.raw.count(ENTER) == 2 and not seen.raw.endswith(LEAVE))
        by_key(seen)
        assert seen.end() == 0


def test_a_window_that_is_closed_ends_it(lab: LabCommand) -> None:
    with watching(lab) as seen:
        seen.hang_up()
        assert seen.end() == 129


def test_chinese_stands_in_its_columns(lab: LabCommand) -> None:
    with watching(lab, "--lang", "zh") as seen:
        text = seen.shows("个节点", "q 退出", "隧道", "p/s")
        lines = {line.split()[0]: line for line in text.splitlines() if "p/s" in line}
        assert lines["flannel.1"].index("/s") == lines["cbr0"].index("/s")


def test_elsewhere_than_on_a_terminal_it_is_lines(lab: LabCommand) -> None:
    command = [sys.executable, "-m", "tulle", "watch", "--name", lab.name]
    done = subprocess.run(
        [*command, "--once", "--interval", "0.1"], capture_output=True, text=True, check=False, env=environment()
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    assert "flannel.1" in done.stdout
    with subprocess.Popen(
        [*command, "--json", "-i", "0.1"], stdout=subprocess.PIPE, text=True, env=environment()
    ) as stream:
        assert stream.stdout is not None
        first, second = (json.loads(stream.stdout.readline()) for _ in range(2))
        stream.terminate()
    assert [node["name"] for node in second["nodes"]] == ["node1", "node2"]
    assert first["nodes"][0]["links"][0]["rates"] is None
    assert second["nodes"][0]["links"][0]["rates"]["rx_bytes"] >= 0
    assert second["nodes"][0]["status"]["schema"] == "tulle.status/1"
