"""The lease protocol through drawn stories, told twice the same, and through planted mistakes, which are found."""

import os
import subprocess
import sys

import pytest

from tests.simulation.bugs import BUGS, Bug, planted
from tests.simulation.play import play

STORIES = 2000 if os.environ.get("TULLE_PROPERTIES") == "deep" else 40
BATCH = 10
BROKE_ONCE = (
    236,  # S6: of what was deleted while the store froze nobody heard, and then its history was another
    264,  # S8: while a store that forgot gave our subnet away, its other gaps counted as deletions
    298,  # S9: a node joined at a flanneld's address
    534,  # S8: the agent was down for longer than a lease lives, and the store was wiped
    1299,  # S2: a stranger wrote over a lease that had just expired
    1727,  # S2: nobody can know that a flanneld's lease has expired
)


def simulation(*arguments: str, hash_seed: int = 0) -> "subprocess.CompletedProcess[str]":
    """The command, in a process whose sets are ordered by ``hash_seed``."""
    command = [sys.executable, "-m", "tests.simulation", *arguments]
    environment = os.environ | {"PYTHONHASHSEED": str(hash_seed)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, STORIES, BATCH))
def test_every_law_holds_in_drawn_stories(first: int) -> None:
    told = simulation("--seeds", str(first), str(first + BATCH), hash_seed=first)
    assert told.returncode == 0, (
        f"PYTHONHASHSEED={first} python -m tests.simulation --seed N\n{told.stdout}{told.stderr}"
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", BROKE_ONCE)
def test_every_law_holds_in_a_story_that_broke_one(seed: int) -> None:
    told = simulation("--seed", str(seed))
    assert told.returncode == 0, told.stdout + told.stderr


@pytest.mark.slow
@pytest.mark.parametrize("bug", [pytest.param(bug, id=bug.name) for bug in BUGS])
def test_a_planted_mistake_is_found(bug: Bug) -> None:
    with planted(bug.name):
        found = (play(bug.story(seed)).broken for seed in range(bug.seeds))
        assert any(broken is not None for broken in found)


def test_at_least_thirty_mistakes_are_planted() -> None:
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 30


@pytest.mark.slow
def test_a_story_is_told_the_same_way_by_another_process() -> None:
    once, again = (simulation("--seed", "7") for _ in range(2))
    assert once.returncode == 0, once.stdout + once.stderr
    assert once.stdout == again.stdout
