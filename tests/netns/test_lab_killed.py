"""Commands that end in the middle, at seeded points: ``down`` leaves nothing of the lab, and all that is foreign."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.kit.enter import enter
from tests.kit.labs import NEEDS_ROOT, PATIENCE_S, STATE_FOLDER, LabCommand, a_lab, eventually
from tulle.kernel.netns import create, delete
from tulle.lab.processes import identify
from tulle.lab.state import LabState, Process, decode_state, encode_state, planned
from tulle.lab.topology import Wishes, design

pytestmark = pytest.mark.skipif(bool(NEEDS_ROOT), reason=str(NEEDS_ROOT))
SIGNALS = [signal.SIGKILL, signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def lab() -> Iterator[LabCommand]:
    with a_lab() as command, foreign(command.name):
        yield command


@contextmanager
def foreign(name: str) -> Generator[None]:
    """What is called almost as the lab's things are: namespaces, a state file, a bridge with the lab's alias.

    All of it has to be there afterwards, as it was.
    """
    # Names that the lab's own search for leftovers does not take for the lab's.
    twin = name[::-1]
    spaces = [f"tulle-{twin}-node1", f"tulle-{twin}-switch"]
    file = STATE_FOLDER / f"{twin}.json"
    paths = [create(space) for space in spaces]
    STATE_FOLDER.mkdir(parents=True, exist_ok=True)
    state = encode_state(planned(design(Wishes(name=twin)), "another boot", rootless=False))
    file.write_bytes(state)
    for space in spaces:
        for words in (("flannel.1", "type", "bridge"), ("cbr0", "type", "bridge"), ("port1", "type", "dummy0")):
            subprocess.run([*enter(space), "ip", "link", "add", *words], check=False, capture_output=True)
    before = [_links(space) for space in spaces]
    try:
        yield
        assert all(path.exists() for path in paths)
        assert [_links(space) for space in spaces] == before
        assert file.read_bytes() == state
    finally:
        for space in spaces:
            delete(space)
        file.unlink(missing_ok=True)
        for folder in (STATE_FOLDER, STATE_FOLDER.parent):
            with suppress(OSError):
                folder.rmdir()


def _links(space: str) -> str:
    return subprocess.run([*enter(space), "ip", "-o", "link"], check=True, capture_output=True, text=True).stdout


def interrupt(lab: LabCommand, number: signal.Signals, after_s: float, verb: str, *words: str) -> None:
    """Start a command and end it, or find it finished, ``after_s`` later."""
    process = lab.popen(verb, *words)
    time.sleep(after_s)
    process.send_signal(number)
    process.communicate(timeout=PATIENCE_S)


def points(verb: str, number: signal.Signals, longest_s: float, count: int) -> list[float]:
    """When to end a command: ``count`` seeded moments."""
    chance = random.Random(f"{verb} {number}")
    return sorted(chance.uniform(0.05, longest_s) for _ in range(count))


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("part", range(3))
def test_an_up_that_ends_anywhere_leaves_what_down_cleans(lab: LabCommand, number: signal.Signals, part: int) -> None:
    for after_s in points(f"up {part}", number, 0.8, 4):
        interrupt(lab, number, after_s, "up", "--nodes", "3", "--ipv6")
        lab.must("down")
        assert lab.leftovers() == [], after_s


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("verb", ["add node", "remove node"])
def test_a_node_that_half_comes_or_goes_leaves_what_down_cleans(
    lab: LabCommand, verb: str, number: signal.Signals
) -> None:
    for after_s in points(verb, number, 0.6, 2):
        lab.must("up", "--pods", "1")
        interrupt(lab, number, after_s, verb, "node3" if verb == "add node" else "node2")
        lab.must("ping", "-c", "1", "node1", "pod1")
        lab.must("down")
        assert lab.leftovers() == [], after_s


@pytest.mark.parametrize("number", SIGNALS)
def test_a_down_that_ends_anywhere_is_finished_by_the_next(lab: LabCommand, number: signal.Signals) -> None:
    for after_s in points("down", number, 0.4, 3):
        lab.must("up", "--nodes", "3", "--pods", "1")
        interrupt(lab, number, after_s, "down")
        lab.must("down")
        assert lab.leftovers() == [], after_s


def test_a_half_made_node_is_removed_or_its_name_used_again(lab: LabCommand) -> None:
    lab.must("up", "--pods", "1")
    process = lab.popen("add node", "late")
    eventually(lab.netns("late").exists)
    process.kill()
    process.communicate()
    assert "late" in [node["name"] for node in lab.listed()["nodes"]]
    assert lab.must("remove node", "late") == "late is gone\n"
    lab.must("add node", "late")
    lab.must("ping", "-c", "1", "pod1", "late")


@pytest.mark.parametrize("part", range(2))
def test_ctrl_c_in_a_terminal_reaches_all_of_up_and_it_cleans_up_by_itself(lab: LabCommand, part: int) -> None:
    chance = random.Random(part)
    for _ in range(6):
        process = lab.popen("up", "--nodes", "6", "--pods", "3")
        eventually((STATE_FOLDER / f"{lab.name}.json").exists)
        time.sleep(chance.uniform(0, 0.6))
        os.killpg(process.pid, signal.SIGINT)  # what a terminal does: the plugins that run hear it as well
        out, err = process.communicate(timeout=PATIENCE_S)
        assert process.returncode in {0, 130, -signal.SIGINT}, err  # before, while and after it listens to it
        if process.returncode == 130:
            assert (out, err, lab.leftovers()) == ("", "", [])
        else:
            lab.must("down")


def test_agents_that_died_are_shown_and_do_not_keep_down(lab: LabCommand) -> None:
    facts = lab.facts("up")
    pids = [node["agent_pid"] for node in facts["nodes"]]
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: all(identify(pid) is None for pid in pids))
    assert [node["agent_pid"] for node in lab.listed()["nodes"]] == [None, None]
    lab.must("ping", "-c", "1", "pod1", "pod4")  # the data path outlives them
    lab.must("down")
    assert lab.leftovers() == []


def test_agents_that_hang_do_not_keep_down(lab: LabCommand) -> None:
    for node in lab.facts("up", "--pods", "0")["nodes"]:
        os.kill(node["agent_pid"], signal.SIGSTOP)
    lab.must("down")
    assert lab.leftovers() == []


def test_of_another_boot_only_files_are_removed(lab: LabCommand) -> None:
    """Its process numbers and namespaces belong to others by now."""
    lab.must("up", "--nodes", "1", "--pods", "0")
    file = STATE_FOLDER / f"{lab.name}.json"
    content = file.read_bytes()
    lab.must("down")
    stranger = subprocess.Popen(["sleep", "600"])
    space = create(f"tulle-{lab.name}-node1")
    try:
        started = identify(stranger.pid)
        assert started is not None
        _plant(file, replace(decode_state(content), boot_id="another", agents={"node1": started}))
        lab.must("down")
        assert stranger.poll() is None
        assert lab.leftovers() == [str(space)]
    finally:
        stranger.kill()
        stranger.wait()
        delete(space.name)


def test_a_process_that_has_an_agents_number_by_now_is_left_alone(lab: LabCommand) -> None:
    lab.must("up", "--nodes", "1", "--pods", "0")
    file = STATE_FOLDER / f"{lab.name}.json"
    state = decode_state(file.read_bytes())
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        known = state.agents | {"node2": Process(pid=stranger.pid, started=1)}
        _plant(file, replace(state, agents=known))
        lab.must("down")
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
    assert lab.leftovers() == []


def _plant(file: Path, state: LabState) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode_state(state))
