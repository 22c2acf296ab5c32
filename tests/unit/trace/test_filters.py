"""The taps' filter, run by a small machine of the test's own: it keeps the probe in every form and little else."""

from dataclasses import replace
from ipaddress import ip_address

import pytest

from tests.kit.journeys import PORTS, Story, make_probe, story
from tests.kit.machines import POD1, two_nodes
from tulle.trace.filters import SNAP_LENGTH, Instruction, encoded, tap_filter
from tulle.trace.flow import Flow
from tulle.trace.probe_packet import Probe, Protocol

NETWORK, PROTOCOL = 0xFFF00000, 0xFFFFF000
ETHERNET = 14


def run(program: tuple[Instruction, ...], frame: bytes) -> int:
    """What the kernel would return for ``frame``: the bytes that are kept.  A load past the end ends with 0."""
    a, x, at = 0, 0, 0
    while True:
        code, yes, no, constant = program[at]
        at += 1
        if code == 0x06:
            return constant
        if code == 0x15:
            at += yes if a == constant else no
        elif code in SIZES:
            value = load(frame, code, constant, x)
            if value is None:
                return 0
            a, x = (a, (value & 0xF) * 4) if code == 0xB1 else (value, x)
        else:
            a, x = calculate(code, constant, a, x)


SIZES = {0x20: 4, 0x28: 2, 0x30: 1, 0x40: 4, 0x48: 2, 0x50: 1, 0xB1: 1}
"""Loads: of a word, half or byte, absolute or from X; and of a header's length."""


def load(frame: bytes, code: int, constant: int, x: int) -> int | None:
    if constant == PROTOCOL:
        return int.from_bytes(frame[12:14], "big")
    offset = signed(constant) - signed(NETWORK) + ETHERNET + (x if code in (0x40, 0x48, 0x50) else 0)
    if offset + SIZES[code] > len(frame):
        return None
    return int.from_bytes(frame[offset : offset + SIZES[code]], "big")


def calculate(code: int, constant: int, a: int, x: int) -> tuple[int, int]:
    match code:
        case 0x54:
            return a & constant, x
        case 0x64:
            return a << constant, x
        case 0x0C:
            return a + x, x
        case 0x07:
            return a, a
        case 0x01:
            return a, constant
        case _:
            raise AssertionError(f"no such instruction: {code:#x}")


def signed(number: int) -> int:
    return number - (1 << 32) if number >> 31 else number


def flow_of(probe: Probe) -> Flow:
    return Flow(protocol=probe.protocol, source=probe.source, target=probe.target, port=probe.port)


def kept(told: Story, flow: Flow | None = None) -> list[int]:
    program = tap_filter(flow or flow_of(told.probe), PORTS)
    return [run(program, capture.data) for capture in told.captures]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("protocol", ["icmp", "udp", "tcp"])
def test_the_probe_and_its_reply_pass_in_the_tunnel_and_out_of_it(protocol: Protocol, family: int) -> None:
    machine = two_nodes(family)
    told = Story(machine, make_probe(machine, protocol, 8080)).walks().turns_round().walks()
    assert len(told.captures) == 24
    assert set(kept(told)) == {SNAP_LENGTH}


def test_questions_for_a_mac_pass_whoever_asks() -> None:
    assert set(kept(story().asks(POD1, "eth0", ip_address("10.99.0.1")))) == {SNAP_LENGTH}


def test_packets_of_others_do_not_pass_be_they_in_the_tunnel_or_not() -> None:
    told = story().walks()
    others = replace(flow_of(told.probe), source=ip_address("10.244.1.9"), target=ip_address("10.244.2.9"))
    assert set(kept(told, others)) == {0}


def test_another_port_between_the_same_two_does_not_pass() -> None:
    machine = two_nodes()
    told = Story(machine, make_probe(machine, "tcp", 8080)).walks()
    assert set(kept(told, replace(flow_of(told.probe), port=9090))) == {0}


def test_one_address_is_enough_because_nat_may_have_changed_the_other() -> None:
    told = story().walks()
    assert set(kept(told, replace(flow_of(told.probe), source=ip_address("10.9.9.9")))) == {SNAP_LENGTH}


@pytest.mark.parametrize("cut", range(0, 110, 3))
def test_a_frame_that_is_cut_anywhere_is_no_trouble(cut: int) -> None:
    told = story().walks()
    program = tap_filter(flow_of(told.probe), PORTS)
    for capture in told.captures:
        assert run(program, capture.data[:cut]) in (0, SNAP_LENGTH)


def test_every_jump_is_within_the_kernels_reach_and_the_program_is_bytes() -> None:
    for family in (4, 6):
        machine = two_nodes(family)
        program = tap_filter(flow_of(make_probe(machine, "tcp", 80)), range(1, 20))
        assert all(0 <= yes <= 255 and 0 <= no <= 255 for _, yes, no, _ in program)
        assert len(encoded(program)) == 8 * len(program)
