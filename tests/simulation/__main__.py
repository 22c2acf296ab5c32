"""Tell one story, or look for one that breaks a law.

A story is told the same way every time, by a process whose sets have the same order: with one
PYTHONHASHSEED, which is 0 unless given.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import replace

from tests.simulation.bugs import BUGS, planted
from tests.simulation.play import Told, play
from tests.simulation.story import Story, drawn


def main() -> int:
    """0: every law held; 1: one was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="tell this story")
    parser.add_argument("--seeds", type=int, nargs=2, metavar=("FIRST", "END"), help="play all these")
    parser.add_argument("--bug", choices=sorted(bug.name for bug in BUGS), help="with this mistake planted")
    parser.add_argument("--shrink", action="store_true", help="leave out every fault that the breach does not need")
    asked = parser.parse_args()
    with planted(asked.bug) if asked.bug else nullcontext():
        if asked.seed is not None:
            return _tell(shrunk(drawn(asked.seed)) if asked.shrink else drawn(asked.seed))
        return _search(range(*asked.seeds))


def _tell(story: Story) -> int:
    print(story)
    told = play(story)
    print("\n".join(told.log))
    print(told.broken or "every law holds", told.digest)
    return int(told.broken is not None)


def _search(seeds: range) -> int:
    with ProcessPoolExecutor(min(2, len(os.sched_getaffinity(0)))) as pool:
        broken = [(seed, told) for seed, told in zip(seeds, pool.map(_played, seeds), strict=True) if told.broken]
    for seed, told in broken:
        print(f"{seed}: {told.broken}")
    print(f"{len(seeds)} stories, {len(broken)} break a law")
    return int(bool(broken))


def _played(seed: int) -> Told:
    return replace(play(drawn(seed)), log=())


def shrunk(story: Story) -> Story:
    """The same breach with as few faults as it takes: leaves out one after the other for as long as that helps."""
    broken = play(story).broken
    law = None if broken is None else str(broken).partition(":")[0]
    while law is not None:
        smaller = next((each for each in _smaller(story) if _law(each) == law), None)
        if smaller is None:
            return story
        story = smaller
    return story


def _smaller(story: Story) -> Iterator[Story]:
    for index in range(len(story.faults)):
        yield replace(story, faults=story.faults[:index] + story.faults[index + 1 :])
    if story.tulle_nodes > 2:
        yield replace(story, tulle_nodes=story.tulle_nodes - 1)
    if story.flanneld_nodes:
        yield replace(story, flanneld_nodes=story.flanneld_nodes - 1)


def _law(story: Story) -> str | None:
    broken = play(story).broken
    return None if broken is None else str(broken).partition(":")[0]


if __name__ == "__main__":
    if "PYTHONHASHSEED" not in os.environ:
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(  # noqa: S606 - itself, with its own arguments
            sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]]
        )
    sys.exit(main())
