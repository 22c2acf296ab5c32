"""The one variable of the daemon: every event gives the next intent and what it makes dirty.

That the incremental intent equals the one from scratch is a law of ``tests/property``; here are its stories.
"""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network
from typing import Any, NoReturn

import pytest

from tests.kit.cluster import HOST, OWN, intent, lease, mac, snapshot
from tulle.model.book import HOLD_NS
from tulle.model.layered import Layered
from tulle.model.lease import Garbled, Gone, LeaseEvent, Put, Undecodable
from tulle.model.network import DroppingChain
from tulle.model.objects import ChainAccept, FdbKey, Link, NeighborKey, ObjectKey, RouteKey
from tulle.model.state import KernelState, Scope
from tulle.ownership import Standing
from tulle.plan.diff import diff

PEER = lease(2)


def entries(number: int) -> set[ObjectKey]:
    """The keys of a peer's three entries."""
    gateway = IPv4Address(f"10.244.{number}.0")
    return {
        NeighborKey("flannel.1", gateway),
        FdbKey("flannel.1", mac(number)),
        RouteKey(IPv4Network(f"10.244.{number}.0/24"), 254, 0),
    }


def test_before_the_first_snapshot_there_are_no_peers_and_nothing_is_dirty() -> None:
    found, scope = intent().after(Put(PEER, 2), 0)
    assert not found.book.synced
    assert not scope
    assert found.admission.peers == {}


def test_the_first_snapshot_makes_everything_dirty() -> None:
    found, scope = intent().after(snapshot(OWN, PEER), 0)
    assert scope == Scope.all()
    assert entries(2) <= found.desired.state.objects.keys()


def test_another_snapshot_makes_dirty_what_differs() -> None:
    _, scope = intent(snapshot(OWN, PEER)).after(snapshot(OWN, PEER, lease(3)), 0)
    assert scope == Scope.of(entries(3))


@pytest.mark.parametrize(
    ("event", "dirty"),
    [
        pytest.param(Put(lease(3), 2), entries(3), id="a new peer"),
        pytest.param(Put(PEER, 2), set[ObjectKey](), id="a mere renewal of the same value"),
        pytest.param(Put(replace(PEER, expires_at_ns=5), 2), entries(2), id="a renewal with another end"),
        pytest.param(Gone(PEER.key, 2), entries(2), id="a peer that left"),
        pytest.param(Gone(lease(9).key, 2), set[ObjectKey](), id="somebody who was never there"),
        pytest.param(
            Put(replace(PEER, vtep_mac=mac(9)), 2), entries(2) | {FdbKey("flannel.1", mac(9))}, id="another MAC"
        ),
        pytest.param(Put(replace(PEER, public_ip=IPv4Address("127.0.0.1")), 2), entries(2), id="a hostile value"),
    ],
)
def test_an_event_makes_dirty_just_the_entries_of_its_peer(event: Put | Gone, dirty: set[ObjectKey]) -> None:
    _, scope = intent(snapshot(OWN, PEER)).after(event, 0)
    assert scope == Scope.of(dirty)


class _Crowd(dict[Any, Any]):
    """A dict that answers for single keys only."""

    def __iter__(self) -> NoReturn:
        raise AssertionError("somebody went through all of it")

    keys = values = items = copy = __iter__


def _crowd(mapping: Mapping[Any, Any]) -> Mapping[Any, Any]:
    return Layered(_Crowd(mapping))


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(Put(lease(3), 2), id="a new peer"),
        pytest.param(Put(replace(PEER, public_ip=IPv4Address("192.168.64.99")), 2), id="a peer that moved"),
        pytest.param(Put(replace(PEER, vtep_mac=mac(9)), 2), id="another MAC"),
        pytest.param(Put(lease(3, vtep_mac=mac(2)), 2), id="a claim that a peer has"),
        pytest.param(Gone(PEER.key, 2), id="a peer that left"),
        pytest.param(Garbled(Undecodable(PEER.key, "no JSON"), 2), id="a key that cannot be read"),
    ],
)
def test_an_event_costs_what_it_changes_however_many_others_there_are(event: LeaseEvent) -> None:
    hostile = (lease(5, public_ip=IPv4Address("127.0.0.1")), lease(6, vtep_mac=mac(4)))
    found = intent(snapshot(OWN, PEER, lease(4), *hostile))
    admission, peers = found.admission, _crowd(found.admission.peers)
    crowded = replace(
        found,
        book=replace(found.book, leases=_crowd(found.book.leases)),
        admission=replace(
            admission,
            peers=peers,
            refused=_crowd(admission.refused),
            holders=_crowd(admission.holders),
            waiting=_crowd(admission.waiting),
        ),
        desired=replace(
            found.desired,
            inputs=replace(found.desired.inputs, peers=peers),
            state=KernelState(_crowd(found.desired.state.objects)),
        ),
    )
    after, scope = crowded.after(event, 0)
    expected, same = found.after(event, 0)
    assert scope == same
    wanted, lacking = after.desired.state, KernelState.of()
    assert diff(wanted, lacking, _ours, scope) == diff(expected.desired.state, lacking, _ours, scope)


def _ours(_: object) -> Standing:
    return Standing.OURS


def test_a_mac_that_was_in_the_book_is_remembered_after_its_peer_left() -> None:
    found = intent(snapshot(OWN, PEER), Put(replace(PEER, vtep_mac=mac(9)), 2), Gone(PEER.key, 3))
    assert {mac(2), mac(9)} <= found.seen_macs
    assert not entries(2) & found.desired.state.objects.keys()


def test_a_held_lease_stays_programmed_and_goes_when_its_hour_is_over() -> None:
    held = intent(snapshot(OWN, PEER), snapshot(OWN, cluster_id="another"))
    assert entries(2) <= held.desired.state.objects.keys()
    before, scope = held.after_time(HOLD_NS - 1)
    assert before is held
    assert not scope
    after, scope = held.after_time(HOLD_NS)
    assert scope == Scope.of(entries(2))
    assert not entries(2) & after.desired.state.objects.keys()


def test_another_host_makes_everything_dirty_and_its_own_facts_show() -> None:
    moved = replace(HOST, underlay=replace(HOST.underlay, mtu=9000))
    found, scope = intent(snapshot(OWN, PEER)).after_host(moved)
    assert scope == Scope.all()
    (link,) = found.desired.state.each(Link)
    assert link.mtu == 8950
    assert entries(2) <= found.desired.state.objects.keys()


def test_a_host_that_is_connected_to_a_peers_subnet_now_refuses_that_peer() -> None:
    found, _ = intent(snapshot(OWN, PEER)).after_host(replace(HOST, connected=(IPv4Network("10.244.2.0/25"),)))
    assert found.admission.peers == {}
    assert [refusal.key for refusal in found.admission.refusals] == [PEER.key]


def test_a_dropping_chain_that_appears_wants_our_accept() -> None:
    chain = DroppingChain(engine="nft", family="ip", table="filter", chain="FORWARD")
    found, _ = intent(snapshot(OWN)).after_host(replace(HOST, dropping_chains=(chain,)))
    (accept,) = found.desired.state.each(ChainAccept)
    assert (accept.table, accept.networks) == ("filter", (IPv4Network("10.244.0.0/16"),))


def test_the_same_own_lease_changes_nothing_and_another_everything() -> None:
    before = intent(snapshot(OWN, PEER))
    assert before.after_own(OWN) == (before, Scope())
    found, scope = before.after_own(lease(7, public_ip=OWN.public_ip))
    assert scope == Scope.all()
    assert {obj.subnet for obj in (found.desired.inputs.own,)} == {IPv4Network("10.244.7.0/24")}
