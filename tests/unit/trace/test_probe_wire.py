"""The probe as a raw socket sends it, and what such a socket takes for its reply."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.kit.journeys import Story, make_probe
from tests.kit.machines import two_nodes
from tulle.trace.probe_packet import Protocol, direction_of
from tulle.trace.probe_wire import encode_probe, is_reply
from tulle.wire.frames_decode import decode_packet

ETHERNET, IPV6_HEADER = 14, 40


@pytest.mark.parametrize("protocol", ["icmp", "tcp"])
@pytest.mark.parametrize("family", [4, 6])
def test_the_reply_is_known_as_a_raw_socket_hands_it_over(protocol: Protocol, family: int) -> None:
    machine = two_nodes(family)
    told = Story(machine, make_probe(machine, protocol, 80)).walks().turns_round().walks()
    packet = told.captures[-1].data[ETHERNET:]
    received = packet[IPV6_HEADER:] if family == 6 else packet  # raw IPv6 sockets hand over no header
    assert is_reply(received, told.probe.target, told.probe)
    other = replace(told.probe, id=bytes(16), sequence=77)
    assert not is_reply(received, told.probe.target, other)


@pytest.mark.parametrize("family", [4, 6])
def test_the_probe_itself_is_not_its_reply(family: int) -> None:
    probe = make_probe(two_nodes(family))
    assert not is_reply(encode_probe(probe), probe.target, probe)


def test_a_syn_carries_the_id_and_is_recognised() -> None:
    machine = two_nodes()
    told = Story(machine, make_probe(machine, "tcp", 80)).leaves_pod()
    header = told.captures[0].data[ETHERNET : ETHERNET + 20]
    packet = decode_packet(memoryview(header + encode_probe(told.probe)), wire_len=20 + len(encode_probe(told.probe)))
    assert direction_of(packet, told.probe) == "request"


@pytest.mark.parametrize("received", [b"", b"\x45", bytes(20), bytes(64)])
def test_anything_else_that_arrives_is_no_reply_and_no_error(received: bytes) -> None:
    probe = make_probe(two_nodes())
    assert not is_reply(received, probe.target, probe)


def test_addresses_of_two_families_are_a_mistake_of_ours() -> None:
    probe = replace(make_probe(two_nodes()), target=ip_address("fd00::1"))
    with pytest.raises(ValueError, match="two families"):
        encode_probe(probe)
