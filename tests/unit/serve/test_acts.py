"""From an act to the command that it is: made of what the lab has, never of what the request says."""

import pytest

from tests.kit.lab_views import fdb_entry, view
from tests.kit.pictures import HOSTILE, cross_node, never_left, no_fdb_entry, reply_lost
from tulle.serve.acts import command_of, journey_of, outcome_of, said_of
from tulle.serve.requests import Act, Pause, Refusal, Remove, Resume, Trace
from tulle.trace.json import encode_journey

LAB = view()


def test_an_act_is_a_command_that_a_person_could_type() -> None:
    assert command_of(Trace(source="pod1", target="node2"), LAB) == (
        *("trace", "pod1", "node2", "--name", "lab"),
        "--jsonl",
    )
    assert command_of(Pause("node1"), LAB) == ("lab", "pause", "node1", "--name", "lab")
    assert command_of(Resume("node2"), LAB) == ("lab", "resume", "node2", "--name", "lab")
    assert command_of(Remove(node="node1", entry=fdb_entry("node1", LAB)), LAB) == (
        *("lab", "exec", "--name", "lab", "node1", "--"),
        *("bridge", "fdb", "delete", "02:00:00:00:00:02", "dev", "flannel.1", "dst", "192.168.64.12", "self"),
    )


@pytest.mark.parametrize(
    ("act", "status"),
    [
        pytest.param(Trace(source="pod9", target="pod1"), 404, id="a pod that is not there"),
        pytest.param(Trace(source="pod1", target="--json"), 404, id="a flag"),
        pytest.param(Trace(source="pod1", target="/proc/1/ns/net"), 404, id="a namespace of somebody else's"),
        pytest.param(Trace(source="1", target="pod1"), 404, id="a process"),
        pytest.param(Trace(source="pod1", target="pod1"), 400, id="to itself"),
        pytest.param(Pause("pod1"), 404, id="a pod has no agent"),
        pytest.param(Resume("node1; reboot"), 404, id="a shell's word"),
        pytest.param(Remove(node=HOSTILE, entry="fdb"), 404, id="a hostile name"),
        pytest.param(Remove(node="node1", entry=HOSTILE), 404, id="an entry that nobody has"),
        pytest.param(
            Remove(node="node1", entry="route 10.244.1.0/24 dev cbr0 proto 2"), 403, id="the kernel's own route"
        ),
    ],
)
def test_what_the_lab_does_not_have_is_refused_in_one_printable_line(act: Act, status: int) -> None:
    refusal = command_of(act, LAB)
    assert isinstance(refusal, Refusal)
    assert refusal.status == status
    assert refusal.line.isprintable()


def test_an_entry_that_is_gone_already_is_not_deleted_again() -> None:
    before = fdb_entry("node1", LAB)
    refusal = command_of(Remove(node="node1", entry=before), view(broken="node1"))
    assert isinstance(refusal, Refusal)
    assert refusal.status == 404


def test_every_act_tells_what_came_of_it_in_both_languages() -> None:
    for act in (Pause("node1"), Resume("node1"), Remove(node="node1", entry="x")):
        said = said_of(act)
        assert "node1" in said.en
        assert "node1" in said.zh
        assert said.en != said.zh


def test_a_walk_that_arrived_says_so_and_names_its_nodes() -> None:
    told = outcome_of(cross_node())
    assert told["delivered"] is True
    assert str(told["en"]).startswith("pod1 → pod4: arrived in")
    assert told["nodes"] == ["node1", "node2", "underlay"]
    assert told["stopped"] == ""


def test_a_walk_that_stopped_names_the_node_and_the_finding() -> None:
    told = outcome_of(no_fdb_entry())
    assert (told["delivered"], told["stopped"]) == (False, "node1")
    assert "D01 node1 has no FDB entry" in str(told["en"])
    assert "D01" in str(told["zh"])


def test_a_reply_that_is_lost_stops_where_it_was_seen_last() -> None:
    assert outcome_of(reply_lost())["stopped"] == "node2"
    assert outcome_of(never_left())["stopped"] == "node1"


def test_what_is_no_journey_is_none() -> None:
    journey = cross_node()
    assert journey_of(encode_journey(journey) + b"\n") == journey
    assert journey_of(b"") is None
    assert journey_of(b"{}\n") is None
