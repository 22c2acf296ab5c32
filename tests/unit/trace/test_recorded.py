"""Recorded walks of real labs, taken apart to their frames: the same frames are recognised and read the same again."""

from itertools import pairwise

import pytest

from tests.kit.pictures import recorded, recordings
from tests.kit.recordings import PORTS, captures_of, probe_of
from tulle.trace.changes import changes, inner_of, outer_of
from tulle.trace.journey import Hop, Journey
from tulle.trace.sightings import Sighting, recognise

ALL = pytest.mark.parametrize("name", recordings())


@ALL
def test_every_frame_of_a_recording_is_the_probe_or_its_reply(name: str) -> None:
    journey = recorded(name)
    found = recognise(captures_of(journey), probe_of(journey), PORTS)
    expected = [hop.direction for hop in journey.hops if hop.n is not None]
    assert sorted(sighting.direction for sighting in found.sightings) == sorted(expected)


def sighted(journey: Journey) -> list[tuple[Hop, Sighting]]:
    """Each hop that a tap saw, with what its frame is recognised as."""
    probe, hops = probe_of(journey), [hop for hop in journey.hops if hop.n is not None]
    found: list[tuple[Hop, Sighting]] = []
    for hop, capture in zip(hops, captures_of(journey), strict=True):
        (sighting,) = recognise([capture], probe, PORTS).sightings
        found.append((hop, sighting))
    return found


@ALL
def test_a_recorded_frame_says_what_its_hop_says(name: str) -> None:
    for hop, sighting in sighted(recorded(name)):
        assert (inner_of(sighting), outer_of(sighting)) == (hop.inner, hop.outer)


@ALL
def test_what_changed_between_two_recorded_frames_is_what_was_recorded(name: str) -> None:
    for (_, before), (hop, after) in pairwise(sighted(recorded(name))):
        if before.direction == after.direction:
            assert changes(before, after) == hop.diff


@ALL
def test_the_digest_of_a_recording_is_that_of_the_probe_in_its_frames(name: str) -> None:
    journey = recorded(name)
    probe = probe_of(journey)
    assert (probe.digest, probe.id.hex()[:8]) == (journey.packet.digest, journey.packet.id)
