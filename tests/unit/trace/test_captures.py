"""A journey survives being a capture file: the frames as packets, the rest beside them."""

from base64 import b64decode
from dataclasses import replace

import pytest

from tests.kit.pictures import cross_node, every_journey, no_fdb_entry
from tulle.errors import DecodeError
from tulle.trace.captures import decode_capture, encode_capture, tap_name
from tulle.trace.journey import Journey
from tulle.wire.pcapng import Section
from tulle.wire.pcapng_decode import decode_sections
from tulle.wire.pcapng_encode import encode_section

JOURNEYS = every_journey()


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_a_journey_reads_back_and_writes_the_same_bytes(journey: Journey) -> None:
    written = encode_capture(journey)
    assert decode_capture(written) == journey
    assert encode_capture(decode_capture(written)) == written


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_every_sighting_is_a_packet_of_its_own_tap(journey: Journey) -> None:
    (section,) = decode_sections(encode_capture(journey))
    seen = [hop for hop in journey.hops if hop.n is not None]
    assert [packet.data for packet in section.packets] == [b64decode(hop.frame) for hop in seen]
    for hop, packet in zip(seen, section.packets, strict=True):
        assert section.interfaces[packet.interface].name == tap_name(hop).encode(errors="replace").decode()
        assert packet.direction == {"tx": "out", "rx": "in"}[hop.dir]
        assert packet.comment.startswith(f"hop {hop.n}/{len(seen)}")


def test_stamps_count_from_when_it_was_recorded() -> None:
    journey = replace(cross_node(), created="2026-01-02T03:04:05Z")
    (section,) = decode_sections(encode_capture(journey))
    assert section.packets[0].t_ns == 1_767_323_045_000_000_000
    last = [hop for hop in journey.hops if hop.n is not None][-1]
    assert section.packets[-1].t_ns - section.packets[0].t_ns == last.t_ns


def test_interfaces_say_which_step_they_are() -> None:
    (section,) = decode_sections(encode_capture(cross_node()))
    told = {interface.name: interface.description for interface in section.interfaces}
    assert told["node1:flannel.1"] == "step 3b, reply step 6b, netns root"
    assert told["node1/pod1:eth0"] == "step 1, reply step 8, netns pod1"


def test_addresses_have_names_and_the_section_the_verdict() -> None:
    (section,) = decode_sections(encode_capture(no_fdb_entry()))
    assert {"pod1", "pod4"} <= set(section.names.values())
    assert section.comment == (
        "pod1 -> pod4: lost; stopped at step 3b, node1 root flannel.1; "
        "dropped in vxlan_xmit: VXLAN_NO_REMOTE; D01 no-fdb-entry"
    )


def test_a_capture_by_hand_has_no_journey_in_it() -> None:
    with pytest.raises(DecodeError, match="no journey in it"):
        decode_capture(encode_section(Section()))


def test_a_capture_that_lost_packets_is_refused() -> None:
    (section,) = decode_sections(encode_capture(cross_node()))
    with pytest.raises(DecodeError, match="packets"):
        decode_capture(encode_section(replace(section, packets=section.packets[1:])))
