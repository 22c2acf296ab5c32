"""Header fields stand where the codec reads them, and a mark means that the bytes differ."""

from base64 import b64decode, b64encode
from dataclasses import replace

import pytest

from tests.kit.pictures import cross_node, every_journey
from tulle.render.header_bytes import Header, headers_of
from tulle.trace.journey import Hop, Journey

JOURNEYS = every_journey()


def hop_at(step: str) -> Hop:
    return next(hop for hop in cross_node().hops if hop.step == step)


def states(headers: tuple[Header, ...], state: str) -> list[str]:
    return [f"{header.layer} {field.name}" for header in headers for field in header.fields if field.state == state]


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_the_fields_are_the_frames_own_bytes_in_order(journey: Journey) -> None:
    for hop in journey.hops:
        told = b"".join(field.data for header in headers_of(hop, None) for field in header.fields)
        assert b64decode(hop.frame).startswith(told)
        assert bool(told) == bool(hop.frame)


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_the_fields_say_what_the_hop_says(journey: Journey) -> None:
    for hop in (hop for hop in journey.hops if hop.frame and hop.inner):
        assert hop.inner is not None
        inner = {
            f"{h.layer} {field.name}": field.data for h in headers_of(hop, None) if not h.outer for field in h.fields
        }
        assert inner["Ethernet source"].hex(":") == hop.inner.smac
        assert (inner.get("IPv4 ttl") or inner["IPv6 hop limit"])[0] == hop.inner.ttl


def test_routing_changes_the_macs_the_ttl_and_its_checksum() -> None:
    marked = states(headers_of(hop_at("3b"), hop_at("2")), "changed")
    assert marked == ["Ethernet destination", "Ethernet source", "IPv4 ttl", "IPv4 checksum"]


def test_wrapping_adds_the_outer_headers_and_leaves_the_inner_ones_alone() -> None:
    headers = headers_of(hop_at("3c"), hop_at("3b"))
    assert {field.state for header in headers if header.outer for field in header.fields} == {"new"}
    assert {field.state for header in headers if not header.outer for field in header.fields} == {"same"}
    assert [header.layer for header in headers if header.outer] == ["Ethernet", "IPv4", "UDP", "VXLAN"]


@pytest.mark.parametrize("length", range(0, 150, 7))
def test_a_cut_frame_shows_its_whole_headers_only(length: int) -> None:
    hop = hop_at("3c")
    cut = replace(hop, frame=b64encode(b64decode(hop.frame)[:length]).decode())
    told = headers_of(cut, None)
    assert told == headers_of(hop, None)[: len(told)]
