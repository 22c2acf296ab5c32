"""Laws of diff and apply, on the kernel in memory: from any beginning, through any trouble, to what is wanted.

A beginning is what an earlier agent left, damaged by others, with foreign objects planted among it.
The pass here is the agent's, without its loop: observe, judge, diff, apply.
"""

from collections.abc import Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from errno import EBUSY, EEXIST, EINVAL, ENOBUFS, ENOENT, ENOMEM
from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_interface
from typing import Any, TypeVar

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.kit.cluster import DUAL, DUAL_HOST, OWN_DUAL, bare_host, dual_lease, intent, lease, mac, snapshot
from tulle.errors import KernelError
from tulle.kernel.fake import FakeKernel
from tulle.model.change import Change, Create, Delete, Plan, Step
from tulle.model.lease import Lease, LeaseEvent, Put
from tulle.model.network import MacAddress, Vni
from tulle.model.objects import (
    Address,
    AddressKey,
    BridgeKind,
    FdbEntry,
    KernelObject,
    Link,
    LinkKey,
    Neighbor,
    NftTable,
    Route,
    Sysctl,
    VxlanKind,
)
from tulle.model.state import KernelState, Scope
from tulle.ownership import Standing
from tulle.plan.compare import Gap, gap
from tulle.plan.desired import node_ownership
from tulle.plan.diff import diff, in_order
from tulle.plan.intent import Intent
from tulle.plan.slices import joined, slices

T = TypeVar("T")

TROUBLES = (ENOMEM, EBUSY, ENOBUFS, EINVAL, EEXIST, ENOENT)
STRANGE_MAC = MacAddress("02:de:ad:be:ef:00")
FOREIGN: tuple[KernelObject, ...] = (
    Route(dst=IPv4Network("10.244.200.0/24"), device="eth0", via=IPv4Address("192.168.64.1"), protocol=4),
    Route(dst=IPv4Network("172.16.0.0/12"), device="flannel.1", protocol=3),
    Neighbor(device="flannel.1", ip=IPv4Address("10.244.2.7"), mac=STRANGE_MAC),
    Neighbor(device="eth0", ip=IPv4Address("192.168.64.77"), mac=STRANGE_MAC),
    FdbEntry(device="flannel.1", mac=STRANGE_MAC, dst=IPv4Address("192.168.64.77")),
    FdbEntry(device="flannel.1", mac=MacAddress("00:00:00:00:00:00"), dst=IPv4Address("192.168.64.77")),
    Address(device="flannel.1", interface=ip_interface("10.9.9.9/32")),
    Link(name="docker0", kind=BridgeKind(), mac=STRANGE_MAC),
)


def at_once(work: Coroutine[Any, Any, T]) -> T:
    """The result of work that waits for nothing but its turn, without an event loop, which costs more than the work."""
    while True:
        try:
            work.send(None)
        except StopIteration as end:
            return end.value


def run_pass(kernel: FakeKernel, wanted: Intent) -> Plan:
    """One pass over everything; the plan that it carried out."""
    plan = planned(kernel, wanted)
    at_once(kernel.apply(plan))
    return plan


def planned(kernel: FakeKernel, wanted: Intent) -> Plan:
    state, observed = wanted.desired.state, look(kernel, wanted)
    judge = node_ownership(DUAL, wanted.seen_macs)
    judge = judge.recognising(observed)
    return diff(state, observed, judge, Scope.all(state.objects))


def look(kernel: FakeKernel, wanted: Intent) -> KernelState:
    return at_once(kernel.observe(Scope.all(wanted.desired.state.objects)))


def assert_holds(kernel: FakeKernel, wanted: Intent) -> None:
    """All that is wanted is there, unless a stranger has its place, and nothing is left to do."""
    observed, again = look(kernel, wanted), planned(kernel, wanted)
    assert again.steps == ()
    taken = {conflict.key for conflict in again.conflicts}
    for obj in wanted.desired.state:
        found = observed.get(obj.key)
        assert obj.key in taken or (found is not None and gap(obj, found) is Gap.NONE), obj


def on_tunnels(kernel: FakeKernel, wanted: Intent) -> set[object]:
    """The keys of permanent entries on devices of ours, and of routes of ours."""
    judge = node_ownership(DUAL, wanted.seen_macs)
    return {
        obj.key
        for obj in look(kernel, wanted)
        if isinstance(obj, Route | Neighbor | FdbEntry | Address)
        and (getattr(obj, "device", None) in judge.tunnels or judge(obj) is Standing.OURS)
        and judge(obj) is not Standing.KERNEL
    }


# -- beginnings ---------------------------------------------------------------------------


@st.composite
def peers(draw: st.DrawFn) -> list[Lease]:
    """Decent leases of nodes 2 to 5, each with its own MAC, of which there may be several."""
    numbers = draw(st.sets(st.integers(2, 5), max_size=4))
    return [
        draw(st.sampled_from([lease, dual_lease]))(
            number,
            vtep_mac=mac(number + 16 * draw(st.integers(0, 1))),
            public_ip=IPv4Address(f"192.168.64.{10 + number + 100 * draw(st.integers(0, 1))}"),
        )
        for number in sorted(numbers)
    ]


@dataclass(frozen=True)
class Harm:
    """Something that others did: ``pick`` chooses among the objects that are there."""

    what: str
    pick: int


harms = st.builds(
    Harm,
    st.sampled_from(
        ["delete"] * 6 + ["down", "up", "mac", "mtu", "vni", "point elsewhere", "scope", "sysctl", "flush"]
    ),
    st.integers(0, 1_000),
)


def harm(kernel: FakeKernel, wanted: Intent, harms: Iterable[Harm]) -> None:
    for each in harms:
        there = sorted((obj for obj in look(kernel, wanted) if not _is_host(obj)), key=repr)
        if there:
            with suppress(KernelError):
                kernel.meddle(*_harming(each.what, there[each.pick % len(there)]))


def _is_host(obj: KernelObject) -> bool:
    return getattr(obj, "device", getattr(obj, "name", "")) in {"eth0", "lo"} and not isinstance(obj, NftTable)


def _harming(what: str, obj: KernelObject) -> Sequence[Step]:
    match what, obj:
        case "delete", Sysctl():
            return ()
        case "delete", _:
            return (Delete(obj),)
        case "vni", Link(kind=VxlanKind() as kind):
            return Delete(obj), Create(replace(obj, kind=replace(kind, vni=Vni(77))))
        case _:
            changed = _changed(what, obj)
            return () if changed is None else (Change(obj, changed),)


def _changed(what: str, obj: KernelObject) -> KernelObject | None:
    match what, obj:
        case "link", Link():
            return replace(obj, up=not obj.up)
        case "mac", Link():
            return replace(obj, mac=STRANGE_MAC)
        case "mtu", Link():
            return replace(obj, mtu=1300)
        case "elsewhere", FdbEntry():
            return replace(obj, dst=IPv4Address("192.168.64.99"))
        case "elsewhere", Neighbor():
            return replace(obj, mac=STRANGE_MAC)
        case "elsewhere", Route():
            return replace(obj, via=None, onlink=False)
        case "scope", Address():
            return replace(obj, scope=253)
        case "value", Sysctl():
            return replace(obj, value="1" if obj.value == "0" else "0")
        case "value", NftTable():
            return replace(obj, digest="")
        case _:
            return None


def beginning(before: Sequence[Lease], harms: Sequence[Harm], foreign: Sequence[KernelObject]) -> FakeKernel:
    """A kernel that an agent with these peers left, and what others made of it."""
    kernel = FakeKernel(bare_host())
    earlier = dual_intent(*before)
    run_pass(kernel, earlier)
    assert_holds(kernel, earlier)
    harm(kernel, earlier, harms)
    for obj in foreign:
        with suppress(KernelError):
            kernel.meddle(Create(obj))
    kernel.calls.clear()
    return kernel


def dual_intent(*leases: Lease, then: Sequence[LeaseEvent] = ()) -> Intent:
    return intent(snapshot(OWN_DUAL, *leases), *then, config=DUAL, host=DUAL_HOST, own=OWN_DUAL)


foreigners = st.lists(st.sampled_from(FOREIGN), unique=True, max_size=4)
damage = st.lists(harms, max_size=6)


# -- laws ---------------------------------------------------------------------------------


@given(peers(), damage, foreigners, peers())
def test_one_pass_reaches_what_is_wanted_and_the_next_has_nothing_to_do(
    before: list[Lease], damage: list[Harm], foreign: list[KernelObject], after: list[Lease]
) -> None:
    kernel, wanted = beginning(before, damage, foreign), dual_intent(*after)
    run_pass(kernel, wanted)
    assert_holds(kernel, wanted)


@given(peers(), damage, foreigners, peers(), st.integers(1, 9))
def test_a_plan_worked_out_in_slices_is_the_plan(
    before: list[Lease], damage: list[Harm], foreign: list[KernelObject], after: list[Lease], size: int
) -> None:
    kernel, wanted = beginning(before, damage, foreign), dual_intent(*after)
    state, observed = wanted.desired.state, look(kernel, wanted)
    judge = node_ownership(DUAL, wanted.seen_macs)
    whole = diff(state, observed, judge)
    sliced = joined((diff(part.desired, part.observed, judge) for part in slices(state, observed, size)), state)
    assert sorted(map(repr, sliced.steps)) == sorted(map(repr, whole.steps))
    assert set(sliced.conflicts) == set(whole.conflicts)
    assert set(sliced.strangers) == set(whole.strangers)
    assert sliced.steps == in_order(sliced.steps, state)


@given(peers(), damage, foreigners, peers())
def test_what_is_not_ours_is_in_no_step_and_stays_as_it_is(
    before: list[Lease], damage: list[Harm], foreign: list[KernelObject], after: list[Lease]
) -> None:
    kernel, wanted = beginning(before, damage, foreign), dual_intent(*after)
    observed = look(kernel, wanted)
    there = [obj for obj in foreign if obj.key in observed]
    plan = run_pass(kernel, wanted)
    touched = {step.key for step in plan.steps}
    assert touched.isdisjoint(obj.key for obj in there)
    assert rebuilt_devices(plan) <= {"flannel.1", "flannel-v6.1"}
    if not disturbs(plan):
        after_pass = look(kernel, wanted)
        assert [obj for obj in there if after_pass.get(obj.key) != observed.get(obj.key)] == []


def rebuilt_devices(plan: Plan) -> set[str]:
    return {step.obj.name for step in plan.steps if isinstance(step, Delete) and isinstance(step.obj, Link)}


def disturbs(plan: Plan) -> bool:
    """Is a device made anew or changed, or its address replaced?  The kernel then drops what was on it or used it."""
    return any(isinstance(step.key, LinkKey | AddressKey) and not isinstance(step, Create) for step in plan.steps)


@given(peers(), foreigners, peers())
def test_what_nobody_wants_any_more_is_gone_and_nothing_else(
    before: list[Lease], foreign: list[KernelObject], after: list[Lease]
) -> None:
    kernel, wanted = beginning(before, (), foreign), dual_intent(*after)
    planted = on_tunnels(kernel, wanted) & {obj.key for obj in foreign}
    run_pass(kernel, wanted)
    expected = {obj.key for obj in wanted.desired.state if isinstance(obj, Route | Neighbor | FdbEntry | Address)}
    assert on_tunnels(kernel, wanted) == expected | planted


@given(peers(), damage, peers(), st.integers(0, 40), st.sampled_from(TROUBLES))
def test_after_any_refused_step_two_more_passes_converge(
    before: list[Lease], damage: list[Harm], after: list[Lease], step: int, errno: int
) -> None:
    kernel, wanted = beginning(before, damage, ()), dual_intent(*after)
    steps = len(planned(kernel, wanted).steps)
    if steps:
        kernel.fail(errno, after=step % steps)
    for _ in range(3):
        run_pass(kernel, wanted)
    assert_holds(kernel, wanted)


@pytest.mark.parametrize("errno", TROUBLES)
def test_each_step_of_a_first_start_may_be_refused(errno: int) -> None:
    wanted = dual_intent(dual_lease(2), lease(3))
    for number in range(len(planned(FakeKernel(bare_host()), wanted).steps)):
        kernel = FakeKernel(bare_host())
        kernel.fail(errno, after=number)
        for _ in range(3):
            run_pass(kernel, wanted)
        assert_holds(kernel, wanted)


@given(peers(), peers(), st.integers(0, 40))
def test_what_an_agent_was_killed_over_is_cleared_by_the_next(
    before: list[Lease], after: list[Lease], stop: int
) -> None:
    """Of a peer that changed its MAC the old FDB entry may stay, as a stranger: nothing names that MAC any more."""
    kernel, wanted = beginning(before, (), ()), dual_intent(*after)
    plan = planned(kernel, wanted)
    assume(not any(isinstance(step, Change) and isinstance(step.after, Neighbor) for step in plan.steps))
    at_once(kernel.apply(Plan(plan.steps[: stop % (len(plan.steps) + 1)])))
    reborn = dual_intent(*after)
    run_pass(kernel, reborn)
    expected = {obj.key for obj in reborn.desired.state if isinstance(obj, Route | Neighbor | FdbEntry | Address)}
    assert on_tunnels(kernel, reborn) == expected


@given(peers(), damage, peers(), st.integers(0, 40))
def test_a_new_agent_without_memory_converges_from_wherever_the_old_one_was_killed(
    before: list[Lease], damage: list[Harm], after: list[Lease], stop: int
) -> None:
    kernel, wanted = beginning(before, damage, ()), dual_intent(*before, then=[Put(each, 2) for each in after])
    plan = planned(kernel, wanted)
    at_once(kernel.apply(Plan(plan.steps[: stop % (len(plan.steps) + 1)])))
    reborn = dual_intent(*wanted.book.leases.values())
    run_pass(kernel, reborn)
    assert_holds(kernel, reborn)


# -- make before break --------------------------------------------------------------------


def reaches(state: KernelState, peer: Lease) -> bool:
    """Does a packet for the peer's pods leave for the peer, by the entries that are there?"""
    assert peer.subnet is not None
    for route in state.each(Route):
        if route.dst == peer.subnet and route.device == "flannel.1" and isinstance(route.via, IPv4Address):
            neighbor = next((n for n in state.each(Neighbor) if (n.device, n.ip) == ("flannel.1", route.via)), None)
            return neighbor is not None and any(
                (entry.device, entry.mac, entry.dst) == ("flannel.1", neighbor.mac, peer.public_ip)
                for entry in state.each(FdbEntry)
            )
    return False


@given(peers(), peers())
def test_a_peer_that_stays_is_reached_at_every_moment(before: list[Lease], after: list[Lease]) -> None:
    kernel, wanted = beginning(before, (), ()), dual_intent(*before, then=[Put(each, 2) for each in after])
    # Another dual-stack-ness is another key: the older claim of the subnet stays, whatever the younger one says.
    stays = [peer for peer in wanted.admission.peers.values() if peer.subnet in {old.subnet for old in before}]
    old = {peer.subnet: peer for peer in before}
    for step in planned(kernel, wanted).steps:
        at_once(kernel.apply(Plan((step,))))
        state = look(kernel, wanted)
        for peer in stays:
            assert reaches(state, peer) or reaches(state, old[peer.subnet]), (step, peer)


def test_a_device_that_must_be_made_anew_is_the_only_gap() -> None:
    kernel, wanted = beginning([lease(2)], [], []), dual_intent(lease(2))
    (link,) = (found for found in look(kernel, wanted).each(Link) if found.key == LinkKey("flannel.1"))
    assert isinstance(link.kind, VxlanKind)
    kernel.meddle(Delete(link), Create(replace(link, kind=replace(link.kind, port=4789))))
    first, *rest = planned(kernel, wanted).steps
    assert isinstance(first, Delete)
    assert not any(isinstance(step, Delete) for step in rest)
    assert IPv6Address("fd64::11") in {obj.interface.ip for obj in look(kernel, wanted).each(Address)}
