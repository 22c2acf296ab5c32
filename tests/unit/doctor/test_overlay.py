"""What an answer, an error and silence say about plain routes."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest

from tulle.doctor.overlay import Answer, Finding, Target, Verdict, Way, judge, overall, probe_frame, read_answer
from tulle.model.network import MacAddress
from tulle.wire.frames import IPPROTO_ICMP, Echo, Ethernet, IcmpError, Ipv4, Ipv6
from tulle.wire.frames_decode import decode_frame
from tulle.wire.frames_encode import encode_frame

PUBLIC = IPv4Address("192.168.64.12")
TARGET = Target(subnet=ip_network("10.244.2.0/24"), public_ip=PUBLIC)
WAY = Way(
    device="eth0",
    own_mac=MacAddress("02:00:00:00:00:01"),
    next_mac=MacAddress("02:00:00:00:00:02"),
    source=IPv4Address("192.168.64.11"),
)
VTEP, BRIDGE = IPv4Address("10.244.2.0"), IPv4Address("10.244.2.1")
ROUTER = IPv4Address("192.168.64.1")
CONTROL = Answer(PUBLIC, PUBLIC)
TOKEN = bytes(range(16))


@pytest.mark.parametrize(
    ("way", "answers", "verdict", "evidence"),
    [
        pytest.param(WAY, [CONTROL, Answer(VTEP, VTEP)], Verdict.PLAIN, "10.244.2.0 answered without", id="its VTEP"),
        pytest.param(WAY, [CONTROL, Answer(BRIDGE, BRIDGE)], Verdict.PLAIN, "10.244.2.1 answered", id="its bridge"),
        pytest.param(WAY, [CONTROL], Verdict.REFUSED, "192.168.64.12 answers, and 10.244.2.0", id="only itself"),
        pytest.param(
            WAY,
            [CONTROL, Answer(VTEP, ROUTER, "net unreachable")],
            Verdict.REFUSED,
            "192.168.64.1 says: net unreachable",
            id="a router refuses",
        ),
        pytest.param(
            WAY, [CONTROL, Answer(VTEP, PUBLIC, "host unreachable")], Verdict.UNKNOWN, "it arrived", id="no pods yet"
        ),
        pytest.param(WAY, [], Verdict.UNKNOWN, "192.168.64.12 itself does not answer", id="silence"),
        pytest.param(None, [], Verdict.UNKNOWN, "no way to 192.168.64.12", id="no way"),
        pytest.param(
            WAY, [Answer(ip_address("10.244.3.0"), ROUTER)], Verdict.UNKNOWN, "itself does not", id="about another peer"
        ),
    ],
)
def test_a_verdict_comes_with_its_evidence(
    way: Way | None, answers: list[Answer], verdict: Verdict, evidence: str
) -> None:
    found = judge(TARGET, way, answers)
    assert (found.verdict, evidence in found.evidence) == (verdict, True), found.evidence


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], Verdict.UNKNOWN),
        ([Verdict.PLAIN], Verdict.PLAIN),
        ([Verdict.PLAIN, Verdict.UNKNOWN], Verdict.UNKNOWN),
        ([Verdict.PLAIN, Verdict.UNKNOWN, Verdict.REFUSED], Verdict.REFUSED),
    ],
)
def test_one_refusal_is_enough_and_nothing_known_is_not_yes(verdicts: list[Verdict], expected: Verdict) -> None:
    findings = [Finding(target=TARGET, verdict=verdict, evidence="") for verdict in verdicts]
    assert overall(findings) is expected


@pytest.mark.parametrize("inside", [VTEP, IPv6Address("fd10:244:0:2::")])
def test_the_probe_goes_to_the_next_hop_from_our_own_address(inside: IPv4Address | IPv6Address) -> None:
    way = WAY if inside.version == 4 else replace(WAY, source=IPv6Address("fd64::11"))
    frame = decode_frame(memoryview(probe_frame(way, inside, 7, TOKEN)))
    assert (frame.destination, frame.source) == (WAY.next_mac, WAY.own_mac)
    packet = frame.payload
    assert isinstance(packet, Ipv4 | Ipv6)
    assert (packet.source, packet.destination) == (way.source, inside)


def test_answers_are_told_from_everything_else() -> None:
    reply = Ipv4(
        source=VTEP,
        destination=IPv4Address("192.168.64.11"),
        protocol=IPPROTO_ICMP,
        ttl=64,
        payload=Echo(request=False, ident=7, sequence=0, payload=TOKEN),
    )
    assert read_answer(_framed(reply), 7, TOKEN) == Answer(VTEP, VTEP)
    assert read_answer(_framed(reply), 8, TOKEN) is None, "another process's"
    assert read_answer(_framed(reply), 7, TOKEN[::-1]) is None, "another run's"
    assert read_answer(probe_frame(WAY, VTEP, 7, TOKEN), 7, TOKEN) is None, "our own question"
    assert read_answer(b"\x00", 7, TOKEN) is None
    asked = decode_frame(memoryview(probe_frame(WAY, VTEP, 7, TOKEN))).payload
    assert isinstance(asked, Ipv4)
    error = replace(reply, source=ROUTER, payload=IcmpError(type=3, code=0, info=0, quoted=asked))
    assert read_answer(_framed(error), 7, TOKEN) == Answer(VTEP, ROUTER, "net unreachable")


def _framed(packet: Ipv4) -> bytes:
    return encode_frame(Ethernet(destination=WAY.own_mac, source=WAY.next_mac, ethertype=0x0800, payload=packet))
