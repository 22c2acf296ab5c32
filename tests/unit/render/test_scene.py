"""A scene tells its journey hop for hop, and adds nothing."""

from itertools import pairwise

import pytest

from tests.kit.pictures import cross_node, every_journey, host_routes, no_fdb_entry
from tulle.render.scene import Scene
from tulle.render.scene_build import scene_of
from tulle.trace.journey import Journey

JOURNEYS = every_journey()

DIRECTIONS = ("request", "reply")


def steps(scene: Scene, state: str) -> list[str]:
    return [badge.step for badge in scene.badges if badge.state == state and badge.direction == "request"]


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_every_hop_is_a_beat_in_the_walks_own_order(journey: Journey) -> None:
    scene = scene_of(journey)
    for direction in DIRECTIONS:
        assert list(journey.walk(direction)) == [beat.hop for beat in scene.walk(direction)]


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_every_step_has_its_badge_and_no_other_does(journey: Journey) -> None:
    scene = scene_of(journey)
    for direction in DIRECTIONS:
        shown = [b.step for b in scene.badges if b.direction == direction and b.state != "ghost"]
        assert shown == [hop.step for hop in journey.walk(direction) if hop.step]


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_a_walk_is_one_line_without_a_gap(journey: Journey) -> None:
    for direction in DIRECTIONS:
        beats = scene_of(journey).walk(direction)
        for before, after in pairwise(beats):
            assert before.at == after.path[0]


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_lines_run_straight_and_inside_the_picture(journey: Journey) -> None:
    scene = scene_of(journey)
    for leg in scene.legs:
        for a, b in pairwise(leg.path):
            assert a.x == b.x or a.y == b.y
        assert all(0 < point.x < 960 and 0 < point.y < scene.floor for point in leg.path)


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_the_same_journey_gives_the_same_scene(journey: Journey) -> None:
    assert scene_of(journey) == scene_of(journey)


def test_the_packet_is_wrapped_from_the_tunnel_device_to_the_tunnel_device() -> None:
    beats = scene_of(cross_node()).walk("request")
    assert [beat.hop.step for beat in beats if beat.wrapped] == ["3c", "4", "5", "6a", "6b"]


def test_what_was_not_reached_stands_there_as_ghosts_without_names() -> None:
    scene = scene_of(no_fdb_entry())
    assert steps(scene, "ghost") == ["3c", "4", "5", "6a", "6b", "6c", "7", "8"]
    assert not any(station.name for station in scene.stations if station.ghost)
    assert all(not leg.reached for leg in scene.legs[-8:])


def test_a_node_that_was_not_reached_is_marked() -> None:
    reached = {box.name.en: box.reached for box in scene_of(no_fdb_entry()).boxes if box.kind == "node"}
    assert reached == {"node1": True, "node2": False}


def test_without_an_overlay_no_tunnel_is_drawn() -> None:
    scene = scene_of(host_routes())
    assert scene.tunnel == ""
    assert not any(leg.wrapped for leg in scene.legs)


def test_the_card_shows_what_decided_and_what_is_missing() -> None:
    (card,) = scene_of(no_fdb_entry()).cards
    assert [(e.kind, e.found) for e in card.entries] == [("route", True), ("neigh", True), ("fdb", False)]


def test_the_cross_stands_where_the_packet_stopped() -> None:
    scene = scene_of(no_fdb_entry())
    assert scene.stop is not None
    assert scene.walk("request")[-1].at == scene.stop.at
