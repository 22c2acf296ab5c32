"""Every form that holds a journey gives it back, and whatever it was read from, it is drawn to the same bytes."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.pictures import cross_node, every_journey, no_fdb_entry
from tulle.errors import DecodeError
from tulle.render.forms import Form, draw, read_journeys
from tulle.trace.journey import Journey
from tulle.trace.json import encode_journey

JOURNEYS = every_journey()
FORMS: tuple[Form, ...] = ("svg", "html", "pcap", "json")
WHOLE: tuple[Form, ...] = ("html", "pcap", "json")


@pytest.mark.slow
@pytest.mark.parametrize("source", WHOLE)
@pytest.mark.parametrize("journey", JOURNEYS.values(), ids=JOURNEYS)
def test_any_form_is_drawn_again_to_identical_bytes(journey: Journey, source: Form) -> None:
    (again,) = read_journeys(draw(journey, source))
    assert again == journey
    for form in FORMS:
        assert draw(again, form) == draw(journey, form)


def test_indented_json_and_a_line_per_journey_are_both_read() -> None:
    one, two = cross_node(), no_fdb_entry()
    assert read_journeys(msgspec.json.format(encode_journey(one), indent=2)) == (one,)
    assert read_journeys(draw(one, "json") + draw(two, "json")) == (one, two)


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[1]", b"\x0a\x0d\x0d\x0a", b"<!doctype html>", b"\xff\xfe", draw(cross_node(), "svg")]
)
def test_what_holds_no_journey_is_refused(data: bytes) -> None:
    with pytest.raises(DecodeError):
        read_journeys(data)


@pytest.mark.parametrize(
    "change",
    [{"frame": "no base64!"}, {"n": -1}, {"len": 1 << 40}, {"t_ns": -5}, {"t_ns": 1 << 62}, {"t_shared_with": -1}],
    ids=str,
)
def test_values_that_no_kernel_gives_are_refused(change: dict[str, Any]) -> None:
    journey = cross_node()
    forged = replace(journey, hops=(replace(journey.hops[0], **change), *journey.hops[1:]))
    with pytest.raises(DecodeError):
        read_journeys(draw(forged, "json"))


@given(st.sampled_from([cross_node(), no_fdb_entry()]), st.data())
def test_a_damaged_file_is_drawn_or_refused_and_nothing_else(journey: Journey, data: st.DataObject) -> None:
    source = data.draw(st.sampled_from(WHOLE))
    whole = bytearray(draw(journey, source))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(whole) - 1))
        whole[at] = data.draw(st.sampled_from(b'0918"{}[],:\\x\x00\xff'))
    with suppress(DecodeError):
        for again in read_journeys(bytes(whole)):
            for form in FORMS:
                draw(again, form)
