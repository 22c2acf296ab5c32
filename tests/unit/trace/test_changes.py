"""What the headers say at one sighting, and which of them changed on the way to the next."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.kit.journeys import PORTS, Story, story
from tests.kit.machines import NODE1, NODE2, two_nodes
from tulle.trace.changes import changes, inner_of, outer_of
from tulle.trace.sightings import Sighting, recognise


def sightings(told: Story) -> list[Sighting]:
    return list(recognise(told.captures, told.probe, PORTS).sightings)


@pytest.fixture(scope="module")
def walk() -> list[Sighting]:
    return sightings(story().walks())


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        pytest.param(1, (), id="a veth pair changes nothing"),
        pytest.param(
            3,
            (
                "ttl 64→63",
                "smac 4e:5a:00:00:00:65→02:00:0a:f4:01:00",
                "dmac 4e:5a:00:00:01:01→02:00:0a:f4:02:00",
            ),
            id="routing writes TTL and both MACs",
        ),
        pytest.param(4, ("+outer",), id="the tunnel puts headers round it"),
        pytest.param(5, (), id="the cable changes nothing"),
        pytest.param(8, ("−outer",), id="the other end takes them off"),
        pytest.param(
            9,
            (
                "ttl 63→62",
                "smac 02:00:0a:f4:01:00→4e:5a:00:00:01:02",
                "dmac 02:00:0a:f4:02:00→4e:5a:00:00:00:68",
            ),
            id="routing again",
        ),
    ],
)
def test_changes_along_a_walk(walk: list[Sighting], at: int, expected: tuple[str, ...]) -> None:
    assert changes(walk[at - 1], walk[at]) == expected


def test_a_router_on_the_underlay_changes_only_the_outer_headers(walk: list[Sighting]) -> None:
    before = walk[5]
    told = story()
    told.wrapped, told.macs, told.ttl = True, (told.near.tunnel_mac, told.far.tunnel_mac), 63
    outer = before.layers.outer
    assert outer is not None
    hop = replace(before.layers, outer=replace(outer, source=outer.destination, destination=outer.source))
    assert changes(before, replace(before, layers=hop)) == (
        "outer smac 4e:5a:00:00:02:01→4e:5a:00:00:02:02",
        "outer dmac 4e:5a:00:00:02:02→4e:5a:00:00:02:01",
    )


def test_a_rewritten_source_is_told() -> None:
    first = sightings(story().leaves_pod())[-1]
    rewritten = replace(first.layers.packet, source=ip_address("192.168.64.11"))  # pyright: ignore[reportArgumentType]  # IPv4 as before
    later = replace(first, layers=replace(first.layers, packet=rewritten))
    assert changes(first, later) == ("src 10.244.1.2→192.168.64.11",)
    assert changes(later, first) == ("src 192.168.64.11→10.244.1.2",)


def test_outer_headers_are_those_on_the_wire(walk: list[Sighting]) -> None:
    outer = outer_of(walk[4])
    assert outer is not None
    assert (outer.src, outer.dst, outer.udp, outer.vni) == ("192.168.64.11", "192.168.64.12", (42449, 8472), 1)
    assert outer_of(walk[0]) is None


def test_an_unfinished_checksum_belongs_to_the_headers_that_the_nic_will_finish() -> None:
    told = story(two_nodes(), "tcp", 80).leaves_pod().wraps().goes_out()
    partial = [replace(capture, csum_partial=True) for capture in told.captures]
    found = recognise(partial, told.probe, PORTS).sightings
    bare, wrapped = found[0], found[-1]
    assert inner_of(bare).csum == "partial"
    assert inner_of(wrapped).csum is None
    outer = outer_of(wrapped)
    assert outer is not None
    assert outer.csum == "partial"
    assert (bare.device.netns, wrapped.device.netns) == (NODE1 + 90, NODE2 - 1)
