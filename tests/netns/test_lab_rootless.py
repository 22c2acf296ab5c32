"""The lab of an ordinary user: everything that a lab does, in a user namespace; one line where there may be none."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.labs import PATIENCE_S, LabCommand, User, a_lab
from tests.kit.ordinary import MISSING, forbidden_user, ordinary_user

pytestmark = pytest.mark.skipif(bool(MISSING), reason=str(MISSING))


@pytest.fixture
def user() -> Iterator[User]:
    with ordinary_user() as somebody:
        yield somebody


@pytest.fixture
def lab(user: User) -> Iterator[LabCommand]:
    with a_lab(user) as command:
        yield command


def test_a_whole_life_without_root(lab: LabCommand) -> None:
    facts = lab.facts("up", "--ipv6")
    assert facts["rootless"] is True
    assert [node["agent_pid"] is not None for node in facts["nodes"]] == [True, True]
    lab.must("ping", "-c", "1", "pod1", "pod4")
    lab.must("ping", "-6", "-c", "1", "pod1", "pod4")
    assert "all 8 hold" in lab.must("check")
    assert f"lab {lab.name}: 2 nodes, 4 pods, ready" in lab.must("ls")
    assert "10.244.2.0/24 via 10.244.2.0 dev flannel.1" in lab.inside("node1", "ip", "route")
    assert "ready" in lab.must("", "--node", "node2", "--name", lab.name, tulle=["status"])
    assert lab.must("add node", "--pods", "1") == "node3 is up: pod5\n"
    assert lab.must("remove node", "node2") == "node2 is gone\n"
    lab.must("ping", "-c", "1", "pod5", "pod1")
    lab.must("down")
    assert lab.leftovers() == []
    assert not (lab.user.folder.parent).exists()


def test_labs_of_one_user_live_side_by_side(lab: LabCommand, user: User) -> None:
    with a_lab(user) as other:
        lab.must("up", "--nodes", "1", "--pods", "2")
        other.must("up", "--underlay", "router")
        for each, target in ((lab, "pod2"), (other, "pod4")):
            each.must("ping", "-c", "1", "pod1", target)
        lab.must("down")
        other.must("ping", "-c", "1", "pod1", "pod4")
        assert "no such lab" in lab.run("ping", "pod1", "pod2").stderr


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_up_that_ends_anywhere_leaves_what_down_cleans(lab: LabCommand, number: signal.Signals) -> None:
    for after_s in (0.15, 0.25, 0.35, 0.5):
        process = lab.popen("up")
        time.sleep(after_s)
        os.killpg(process.pid, number)
        process.communicate(timeout=PATIENCE_S)
        lab.must("down")
        assert lab.leftovers() == [], after_s


def test_a_holder_that_died_takes_the_namespaces_along_and_down_the_rest(lab: LabCommand) -> None:
    facts = lab.facts("up", "--nodes", "1", "--pods", "1")
    os.kill(facts["holder_pid"], signal.SIGKILL)
    lab.must("down")
    assert lab.leftovers() == []


def test_a_garbage_state_is_refused_by_name_and_hides_no_other_lab(lab: LabCommand, user: User) -> None:
    lab.must("up", "--nodes", "1", "--pods", "0")
    file = user.folder / f"{lab.name}.json"
    content = file.read_bytes()
    file.write_text("{}")
    try:
        for verb, *words in (["down"], ["up"], ["add node"], ["ping", "a", "b"], ["exec", "a", "true"], ["check"]):
            done = lab.run(verb, *words)
            assert done.returncode == 2
            assert done.stderr.startswith(f"tulle: lab {lab.name}: {file} is not its state: ")
            assert done.stderr.count("\n") == 1
        with a_lab(user) as other:
            other.must("up", "--nodes", "1", "--pods", "0")
            for words in (["lab", "ls"], ["lab", "down", "--all"]):
                done = lab.run("", tulle=words)
                assert done.returncode == 2
                assert f"lab {other.name}" in done.stdout
                assert f"tulle: lab {lab.name}: {file} is not its state" in done.stderr
            assert other.leftovers() == []
    finally:
        file.write_bytes(content)
    lab.must("down")
    assert lab.leftovers() == []


def test_what_somebody_planted_for_the_labs_folder_is_refused_and_left(lab: LabCommand, user: User) -> None:
    (user.folder.parent).symlink_to("/var/tmp")
    try:
        done = lab.run("up")
        assert done.returncode == 2
        assert done.stderr.startswith(f"tulle: {user.folder.parent}: must be a folder of your own")
    finally:
        (user.folder.parent).unlink()


def test_where_user_namespaces_are_forbidden_one_line_says_what_allows_them(tmp_path: Path) -> None:
    with a_lab(forbidden_user(tmp_path)) as lab:
        done = lab.run("up")
        assert done.returncode == 2, done
        assert done.stdout == ""
        assert done.stderr.startswith("tulle: a lab without root: user namespaces")
        assert "user.max_user_namespaces" in done.stderr
        assert "run as root" in done.stderr
        assert done.stderr.count("\n") == 1
        assert lab.leftovers() == []
    assert not list(tmp_path.iterdir())
