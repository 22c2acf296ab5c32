"""What the agent says about itself: the state in one word, and JSON that never lies about a peer."""

import json
from dataclasses import replace
from errno import ENOMEM
from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.kit.cluster import HOST, OWN, dual_lease, intent, lease, snapshot
from tulle.agent.status import NodeStatus, PassReport, leases_json, peers_json, plan_json, status_json
from tulle.errors import KernelError
from tulle.model.change import Conflict, Create, Outcome, Plan
from tulle.model.lease import Garbled, LeaseKey, Undecodable
from tulle.model.network import DroppingChain
from tulle.model.objects import RTPROT_BOOT, Neighbor, Route
from tulle.plan.intent import Intent

ROUTE = Route(dst=lease(2).subnets[0], device="flannel.1", via=IPv4Address("10.244.2.0"), onlink=True)
FAILED = Outcome(Create(ROUTE), KernelError(ENOMEM, Create(ROUTE)))
TAKEN = Conflict(ROUTE, replace(ROUTE, device="eth0", protocol=4))
SYNCED = intent(snapshot(OWN, lease(2), lease(3)))
INPUTS = SYNCED.desired.inputs


def status(found: Intent = SYNCED, *, reachable: bool = True, converged: bool = True, **report: object) -> NodeStatus:
    return NodeStatus(
        intent=found,
        report=replace(PassReport(), **report),
        converged=converged,
        node_id="me",
        store="sqlite:///x",
        store_reachable=reachable,
        lease_deadline_ns=7,
        started_ns=1,
        pid=42,
    )


@pytest.mark.parametrize(
    ("found", "state"),
    [
        pytest.param(status(), "ready", id="all is well"),
        pytest.param(status(converged=False), "converging", id="something is dirty"),
        pytest.param(status(intent()), "waiting for the store", id="no snapshot yet"),
        pytest.param(status(reachable=False), "degraded: store", id="the store is away"),
        pytest.param(status(failures=(FAILED,)), "degraded", id="a step failed"),
        pytest.param(status(conflicts=(TAKEN,)), "degraded", id="a stranger holds a key"),
        pytest.param(status(problems=("underlay: gone",)), "degraded", id="no underlay"),
        pytest.param(status(failures=(FAILED,), reachable=False), "degraded", id="a failure before the store"),
    ],
)
def test_the_state_in_one_word(found: NodeStatus, state: str) -> None:
    assert status_json(found)["state"] == state


def test_every_answer_is_json_and_begins_with_its_schema() -> None:
    found = status(intent(snapshot(OWN, dual_lease(2))), failures=(FAILED,), conflicts=(TAKEN,), strangers=(ROUTE,))
    for answer in (
        status_json(found),
        peers_json(found),
        leases_json(found),
        plan_json(Plan((Create(ROUTE),)), INPUTS),
    ):
        assert next(iter(json.loads(json.dumps(answer)))) == "schema"


def test_the_status_names_what_is_wrong_and_where() -> None:
    found = status(failures=(FAILED,), conflicts=(TAKEN,), problems=("underlay: gone",))
    answer = status_json(found)
    assert answer["failures"][0]["reason"].endswith("Cannot allocate memory")
    assert "10.244.2.0/24" in answer["conflicts"][0]["wanted"]
    assert "eth0" in answer["conflicts"][0]["holder"]
    assert answer["problems"] == ["underlay: gone"]
    assert (answer["peers"], answer["store"]["revision"], answer["lease"]["deadline_ns"]) == (2, 1, 7)


def test_held_refused_and_unreadable_leases_are_named() -> None:
    key = LeaseKey("10.244.9.0-24")
    found = intent(
        snapshot(OWN, lease(2), lease(3, vni=9)),
        snapshot(OWN, lease(3, vni=9), cluster_id="another"),
        Garbled(Undecodable(key, "not JSON"), 2),
    )
    answer = status_json(status(found))
    assert answer["held"] == [lease(2).key]
    assert answer["refused"] == [{"key": lease(3).key, "rule": "VNI 9 is not 1"}]
    assert answer["undecodable"] == [{"key": key, "reason": "not JSON"}]


def test_a_peer_is_broken_when_an_entry_of_it_failed_or_is_taken() -> None:
    for wrong in (status(failures=(FAILED,)), status(conflicts=(TAKEN,))):
        states = {peer["key"]: peer["state"] for peer in peers_json(wrong)["peers"]}
        assert states == {lease(2).key: "broken", lease(3).key: "ok"}


def test_a_peer_shows_the_three_entries_that_reach_it() -> None:
    (peer,) = peers_json(status(intent(snapshot(OWN, lease(2)))))["peers"]
    assert [entry.split()[0] for entry in peer["objects"]] == ["fdb", "neighbour", "route"]
    assert peer["public_ip"] == "192.168.64.12"


def test_of_many_peers_those_that_are_not_well_come_first() -> None:
    many = intent(snapshot(OWN, *map(lease, range(2, 9))))
    failed = replace(FAILED, step=Create(replace(ROUTE, dst=lease(7).subnets[0])))
    shown = peers_json(status(many, failures=(failed,)), most=2)["peers"]
    assert [(peer["key"], peer["state"]) for peer in shown] == [(lease(7).key, "broken"), (lease(2).key, "ok")]


def test_leases_are_told_apart_and_our_own_comes_first() -> None:
    found = intent(snapshot(OWN, lease(2), lease(4)), snapshot(OWN, lease(3, vni=9), cluster_id="another"))
    rows = leases_json(status(found))["leases"]
    assert [(row["key"], row["state"]) for row in rows] == [
        (OWN.key, "self"),
        (lease(2).key, "held"),
        (lease(3).key, "refused"),
        (lease(4).key, "held"),
    ]


def test_a_dropping_chain_says_whether_we_are_accepted_in_it() -> None:
    chain = DroppingChain(engine="nft", family="ip", table="filter", chain="FORWARD")
    found, _ = SYNCED.after_host(replace(HOST, dropping_chains=(chain,)))
    (shown,) = status_json(status(found))["dropping_chains"]
    assert (shown["chain"], shown["accepted"]) == ("FORWARD", True)


def test_a_plan_is_its_text_and_its_conflicts() -> None:
    stranger = Neighbor(device="flannel.1", ip=IPv4Address("10.244.2.7"), mac=None)
    left = Route(
        dst=IPv4Network("10.244.9.0/24"), device="flannel.1", via=IPv4Address("10.244.9.0"), protocol=RTPROT_BOOT
    )
    answer = plan_json(Plan((Create(ROUTE),), (TAKEN,), (stranger, left)), INPUTS)
    assert (answer["empty"], answer["steps"]) == (False, 1)
    assert answer["text"].startswith("ip route add 10.244.2.0/24")
    assert (len(answer["conflicts"]), len(answer["strangers"])) == (1, 1)
    assert answer["unclaimed"] == ["route 10.244.9.0/24 via 10.244.9.0 dev flannel.1 proto 3"]
    assert plan_json(Plan(), INPUTS)["empty"]
