"""The journey's own questions, and its JSON form ``tulle.trace/1``: lossless, in a fixed order, checked when read."""

import json
from dataclasses import replace

import pytest

from tests.kit.journeys import story
from tulle.errors import DecodeError
from tulle.trace.journey import SCHEMA, Journey
from tulle.trace.json import decode_journey, encode_journey


@pytest.fixture(scope="module")
def journey() -> Journey:
    return story().walks().turns_round().walks().journey()


def test_a_walk_is_one_direction_and_its_sightings_are_the_hops_that_a_tap_saw(journey: Journey) -> None:
    assert {hop.direction for hop in journey.walk("reply")} == {"reply"}
    assert len(journey.sightings("request")) == 12
    assert [hop.step for hop in journey.walk("request") if hop not in journey.sightings("request")] == ["3a"]


def test_a_hop_gives_its_reason_by_kind_or_none(journey: Journey) -> None:
    tunnel = next(hop for hop in journey.walk("request") if hop.step == "3b")
    found = tunnel.reason("fdb")
    assert found is not None
    assert found.facts["dst"] == "192.168.64.12"
    assert tunnel.reason("arp") is None


def test_json_begins_with_the_schema_and_names_the_ends_from_and_to(journey: Journey) -> None:
    fields = json.loads(encode_journey(journey))
    assert list(fields)[:9] == ["schema", "mode", "created", "tool", "from", "to", "overlay", "clock", "packet"]
    assert (fields["schema"], fields["from"]["pod"], fields["to"]["pod"]) == (SCHEMA, "pod1", "pod4")


def test_what_is_written_reads_back_the_same_and_writes_the_same_bytes(journey: Journey) -> None:
    data = encode_journey(journey)
    assert decode_journey(data) == journey
    assert encode_journey(decode_journey(data)) == data
    assert b"\n" not in data


def test_a_newer_file_with_unknown_keys_is_read(journey: Journey) -> None:
    fields = json.loads(encode_journey(journey))
    fields["weather"] = "fine"
    fields["hops"][0]["colour"] = "blue"
    assert decode_journey(json.dumps(fields).encode()) == journey


def test_an_absent_field_has_its_default(journey: Journey) -> None:
    fields = json.loads(encode_journey(journey))
    del fields["side"], fields["notes"]
    assert decode_journey(json.dumps(fields).encode()) == replace(journey, side=(), notes=())


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"walk", id="not JSON"),
        pytest.param(b"[]", id="not an object"),
        pytest.param(b'{"\x80":1}', id="not UTF-8"),
        pytest.param(b'{"schema":"tulle.status/1"}', id="another schema"),
        pytest.param(b'{"schema":["tulle.trace/1"]}', id="a schema that is no text"),
        pytest.param(b'{"schema":"tulle.trace/1"}', id="no journey in it"),
        pytest.param(b'{"schema":"tulle.trace/1","from":{},"to":{}}', id="ends without a name"),
        pytest.param(b'{"a":' * 5000, id="deeper than anybody writes"),
    ],
)
def test_what_is_no_journey_is_a_decode_error(data: bytes) -> None:
    with pytest.raises(DecodeError, match=SCHEMA):
        decode_journey(data)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("hops", "none", id="hops that are no list"),
        pytest.param("verdict", {"status": "perhaps"}, id="a status that does not exist"),
        pytest.param("packet", None, id="no packet"),
    ],
)
def test_a_field_of_the_wrong_type_is_a_decode_error(journey: Journey, key: str, value: object) -> None:
    fields = json.loads(encode_journey(journey)) | {key: value}
    with pytest.raises(DecodeError, match=SCHEMA):
        decode_journey(json.dumps(fields).encode())
