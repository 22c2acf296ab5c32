"""A redacted journey tells the same walk and none of its names and addresses, in no form."""

import re
from base64 import b64decode
from dataclasses import replace

import pytest

from tests.kit.pictures import cross_node, no_fdb_entry, recordings, reply_lost
from tulle.render.forms import Form, draw, read_journeys
from tulle.render.redact import redact
from tulle.trace.journey import Finding, Journey
from tulle.wire.frames_decode import decode_frame

JOURNEYS = {"cross node": cross_node(), "no FDB entry": no_fdb_entry(), "reply lost": reply_lost(), **recordings()}
FORMS: tuple[Form, ...] = ("json", "html", "svg", "pcap")
SECRETS = re.compile(
    rb"10\.244\.\d+\.\d+|192\.168\.64\.\d+|fd10:244|fd64:|"
    rb"\bpod\d\b|\bnode\d\b|(?<![</])\bswitch\b|\bveth[0-9a-f]{6}|0a:58:0a:f4|0a580af4|0af40\d0|c0a8400"
)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_nothing_of_it_is_left_in_any_form(journey: Journey, form: Form) -> None:
    assert not SECRETS.findall(draw(redact(journey), form))


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_frames_hold_what_the_hops_say(journey: Journey) -> None:
    for hop in (hop for hop in redact(journey).hops if hop.frame and hop.outer is None and hop.inner):
        frame = decode_frame(memoryview(b64decode(hop.frame)), wire_len=hop.len)
        assert hop.inner is not None
        assert (frame.source, frame.destination) == (hop.inner.smac, hop.inner.dmac)
        assert (str(getattr(frame.payload, "source", "")), hop.len) == (hop.inner.src, len(b64decode(hop.frame)))


@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_the_walk_is_the_same(journey: Journey) -> None:
    masked = redact(journey)
    assert [(hop.n, hop.step, hop.kind, hop.t_ns, hop.len) for hop in masked.hops] == [
        (hop.n, hop.step, hop.kind, hop.t_ns, hop.len) for hop in journey.hops
    ]
    assert masked.verdict.status == journey.verdict.status


def test_one_name_has_one_mask_wherever_it_stands() -> None:
    masked = redact(no_fdb_entry())
    finding = masked.verdict.finding
    assert finding is not None
    stopped = masked.walk("request")[-1]
    entry = stopped.reason("fdb")
    assert entry is not None
    assert finding.facts["node"] == stopped.node == masked.source.node
    assert finding.facts["mac"] == entry.facts["mac"]
    assert finding.facts["mac"] in finding.repair


def test_what_belonged_together_still_does() -> None:
    masked = redact(cross_node())
    route = next(hop for hop in masked.hops if hop.step == "3a").why[0]
    assert route.text.split()[0].removesuffix(".0/24") == masked.target.ip.rpartition(".")[0]


def test_the_same_journey_is_masked_the_same() -> None:
    assert redact(cross_node()) == redact(cross_node())


def test_facts_that_share_a_name_with_our_own_words_are_masked_too() -> None:
    finding = Finding(
        id="D19", rule="reverse-path", node="node2", facts={"source": "10.244.1.2"}, evidence="", answer="", repair=""
    )
    journey = reply_lost()
    masked = redact(replace(journey, verdict=replace(journey.verdict, finding=finding)))
    assert masked.verdict.finding is not None
    assert masked.verdict.finding.facts["source"] == masked.source.ip


@pytest.mark.parametrize("name", ["pod", "request", "lost", "host", "underlay", "a.b", "x(y"])
def test_a_pod_may_be_called_anything(name: str) -> None:
    journey = no_fdb_entry()
    masked = redact(replace(journey, source=replace(journey.source, pod=name)))
    assert masked.source.pod == "pod-a"
    assert masked.source.role == "pod"
    assert masked.verdict.status == "lost"


def test_a_frame_that_cannot_be_read_is_left_out() -> None:
    journey = cross_node()
    broken = replace(journey, hops=(replace(journey.hops[0], frame="AAAA"), *journey.hops[1:]))
    assert redact(broken).hops[0].frame == ""


def test_the_masked_journey_reads_back() -> None:
    masked = redact(cross_node())
    for form in ("json", "html", "pcap"):
        assert read_journeys(draw(masked, form)) == (masked,)
