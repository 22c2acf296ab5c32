"""The least change: what is set, rebuilt, deleted, left alone, and in which order.  The laws are in ``property``."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Network, ip_interface

import pytest

from tulle.model.change import Change, Conflict, Create, Delete, Plan, Step
from tulle.model.network import MacAddress, Vni
from tulle.model.objects import (
    Address,
    BridgeKind,
    ChainAccept,
    FdbEntry,
    KernelObject,
    Link,
    Neighbor,
    NftTable,
    Route,
    Sysctl,
    VethKind,
    VxlanKind,
)
from tulle.model.state import KernelState, Scope
from tulle.ownership import Standing
from tulle.plan.diff import diff
from tulle.plan.slices import joined, slices

KIND = VxlanKind(vni=Vni(1), port=8472, local=IPv4Address("192.168.64.11"), underlay="eth0")
LINK = Link(name="flannel.1", kind=KIND, mtu=1450, mac=MacAddress("02:00:00:00:00:01"))
ADDRESS = Address(device="flannel.1", interface=ip_interface("10.244.1.0/32"))
SYSCTL = Sysctl("net/ipv6/conf/flannel.1/accept_ra", "0")
GATEWAY = IPv4Address("10.244.2.0")
MAC = MacAddress("02:00:00:00:00:02")
NEIGHBOR = Neighbor(device="flannel.1", ip=GATEWAY, mac=MAC)
FDB = FdbEntry(device="flannel.1", mac=MAC, dst=IPv4Address("192.168.64.12"))
ROUTE = Route(dst=IPv4Network("10.244.2.0/24"), device="flannel.1", via=GATEWAY, onlink=True)
TABLE = NftTable(family="inet", name="tulle", digest="new", text="…")
ACCEPT = ChainAccept(engine="nft", family="ip", table="filter", chain="FORWARD", networks=())
WANTED = (LINK, SYSCTL, ADDRESS, NEIGHBOR, FDB, ROUTE, TABLE, ACCEPT)


def plan(
    desired: Sequence[KernelObject],
    observed: Sequence[KernelObject],
    standings: Mapping[KernelObject, Standing] | None = None,
    scope: Scope | None = None,
) -> Plan:
    """The plan when everything is ours, except what ``standings`` says."""
    found = standings or {}

    def judge(obj: KernelObject) -> Standing:
        return found.get(obj, Standing.KEPT if isinstance(obj, Link) else Standing.OURS)

    return diff(KernelState.of(desired), KernelState.of(observed), judge, scope)


# -- one object ----------------------------------------------------------------------------

WRONG = replace(ROUTE, via=IPv4Address("10.244.3.0"))
OTHER_SCOPE = replace(ADDRESS, scope=253)


@pytest.mark.parametrize(
    ("desired", "observed", "standing", "steps"),
    [
        pytest.param(ROUTE, None, None, (Create(ROUTE),), id="missing: made"),
        pytest.param(ROUTE, ROUTE, Standing.OURS, (), id="right: left alone"),
        pytest.param(ROUTE, WRONG, Standing.OURS, (Change(WRONG, ROUTE),), id="wrong and ours: changed in place"),
        pytest.param(ROUTE, WRONG, Standing.KEPT, (Change(WRONG, ROUTE),), id="wrong and kept: changed in place"),
        pytest.param(ROUTE, WRONG, Standing.FOREIGN, (), id="wrong and somebody's: left alone"),
        pytest.param(ROUTE, WRONG, Standing.KERNEL, (), id="wrong and the kernel's: left alone"),
        pytest.param(ROUTE, replace(ROUTE, protocol=3), Standing.FOREIGN, (), id="right, whoever wrote it"),
        pytest.param(None, ROUTE, Standing.OURS, (Delete(ROUTE),), id="unwanted and ours: deleted"),
        pytest.param(None, ROUTE, Standing.KEPT, (), id="unwanted and kept"),
        pytest.param(None, ROUTE, Standing.FOREIGN, (), id="unwanted and somebody's"),
        pytest.param(None, ROUTE, Standing.KERNEL, (), id="unwanted and the kernel's"),
        pytest.param(
            ADDRESS, OTHER_SCOPE, Standing.OURS, (Delete(OTHER_SCOPE), Create(ADDRESS)), id="cannot be set: rebuilt"
        ),
    ],
)
def test_one_object(
    desired: KernelObject | None, observed: KernelObject | None, standing: Standing | None, steps: tuple[Step, ...]
) -> None:
    there = [observed] if observed is not None else []
    found = plan([desired] if desired is not None else [], there, {obj: standing for obj in there if standing})
    assert found.steps == steps


def test_a_stranger_in_our_place_is_a_conflict_that_names_both() -> None:
    assert plan([ROUTE], [WRONG], {WRONG: Standing.FOREIGN}) == Plan((), (Conflict(ROUTE, WRONG),))


def test_somebody_elses_object_that_is_as_wanted_is_no_conflict() -> None:
    theirs = replace(ROUTE, protocol=3)
    assert plan([ROUTE], [theirs], {theirs: Standing.FOREIGN}) == Plan()


def test_a_stranger_on_our_device_is_reported_and_elsewhere_it_is_not() -> None:
    here = Neighbor(device="flannel.1", ip=IPv4Address("10.244.2.7"), mac=MAC)
    there = Neighbor(device="eth0", ip=IPv4Address("192.168.64.7"), mac=MAC)
    found = plan([LINK], [LINK, here, there], {here: Standing.FOREIGN, there: Standing.FOREIGN})
    assert found == Plan(strangers=(here,))


def test_what_is_reported_as_a_conflict_is_not_reported_as_a_stranger_too() -> None:
    theirs = replace(NEIGHBOR, mac=MacAddress("02:00:00:00:00:09"))
    found = plan([LINK, NEIGHBOR], [LINK, theirs], {theirs: Standing.FOREIGN})
    assert found == Plan((), (Conflict(NEIGHBOR, theirs),))


def test_nothing_is_done_on_a_device_that_somebody_else_holds_the_name_of() -> None:
    bridge = Link(name="flannel.1", kind=BridgeKind())
    changed = replace(NEIGHBOR, mac=MacAddress("02:00:00:00:00:09"))
    unwanted = replace(NEIGHBOR, ip=IPv4Address("10.244.9.0"))
    found = plan(WANTED[:-2], [bridge, changed, unwanted], {bridge: Standing.FOREIGN})
    assert found.steps == ()
    assert LINK in {conflict.wanted for conflict in found.conflicts}


# -- devices and what goes with them -------------------------------------------------------


def test_a_device_that_must_be_made_anew_goes_first_and_all_on_it_is_made_again() -> None:
    wrong = replace(LINK, kind=replace(KIND, vni=Vni(7)))
    first, *rest = plan(WANTED, (wrong, *WANTED[1:])).steps
    assert first == Delete(wrong)
    assert [step for step in rest if not isinstance(step, Create)] == []
    assert {step.key for step in rest} == {obj.key for obj in WANTED[:6]}


@pytest.mark.parametrize(
    ("field", "value"),
    [("mtu", 1300), ("up", False), ("alias", "x"), ("kind", replace(KIND, learning=True))],
)
def test_a_setting_of_a_device_is_changed_in_place_and_nothing_else(field: str, value: object) -> None:
    wanted = replace(LINK, alias="tulle:vtep")
    observed = replace(wanted, **{field: value})
    assert plan((wanted, *WANTED[1:]), (observed, *WANTED[1:])).steps == (Change(observed, wanted),)


def test_another_mac_makes_the_neighbours_again_because_the_kernel_flushes_them() -> None:
    observed = replace(LINK, mac=MacAddress("02:00:00:00:00:99"))
    assert plan(WANTED, (observed, *WANTED[1:])).steps == (Change(observed, LINK), Create(NEIGHBOR))


def test_an_address_that_is_rebuilt_makes_the_routes_and_neighbours_again_because_the_kernel_drops_them() -> None:
    steps = plan(WANTED, (LINK, SYSCTL, OTHER_SCOPE, *WANTED[3:])).steps
    assert steps == (Delete(OTHER_SCOPE), Create(ADDRESS), Create(NEIGHBOR), Create(ROUTE))


def test_an_address_that_is_rebuilt_beside_another_takes_nothing_along() -> None:
    beside = Address(device="flannel.1", interface=ip_interface("10.9.9.9/32"))
    steps = plan(WANTED, (LINK, SYSCTL, OTHER_SCOPE, beside, *WANTED[3:]), {beside: Standing.FOREIGN}).steps
    assert steps == (Delete(OTHER_SCOPE), Create(ADDRESS))


def test_a_field_that_is_not_ours_to_decide_is_satisfied_by_anything() -> None:
    undecided = Link(name="flannel.1", kind=KIND, up=None)
    observed = replace(LINK, up=False, master="br0", alias="theirs", hairpin=True)
    assert plan([undecided], [observed]).steps == ()


# -- order ---------------------------------------------------------------------------------


def test_what_is_needed_is_made_before_what_needs_it() -> None:
    bridge, port = Link(name="cbr0", kind=BridgeKind()), Link(name="veth1", kind=VethKind(peer="eth0"), master="cbr0")
    shuffled = (ROUTE, ACCEPT, FDB, port, ADDRESS, TABLE, NEIGHBOR, LINK, SYSCTL, bridge)
    made = [step.key for step in plan(shuffled, ()).steps]
    expected = (bridge, LINK, port, SYSCTL, ADDRESS, NEIGHBOR, FDB, ROUTE, TABLE, ACCEPT)
    assert made == [obj.key for obj in expected]


def test_what_needs_something_is_removed_before_it_and_after_all_is_made() -> None:
    stale = (NEIGHBOR, FDB, ROUTE, ADDRESS)
    steps = plan([LINK, SYSCTL], [LINK, *stale]).steps
    assert steps == (Create(SYSCTL), Delete(ROUTE), Delete(FDB), Delete(NEIGHBOR), Delete(ADDRESS))


def test_a_new_mac_leads_somewhere_before_the_neighbour_uses_it() -> None:
    new = MacAddress("02:00:00:00:00:22")
    after = (replace(NEIGHBOR, mac=new), replace(FDB, mac=new), ROUTE)
    steps = plan(after, (NEIGHBOR, FDB, ROUTE)).steps
    assert steps == (Create(after[1]), Change(NEIGHBOR, after[0]), Delete(FDB))


# -- scope ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "keys"),
    [
        pytest.param(Scope(), set[object](), id="nothing is dirty"),
        pytest.param(Scope.of([ROUTE.key]), {ROUTE.key}, id="one key"),
        pytest.param(Scope.of(devices=["flannel.1"]), {obj.key for obj in WANTED[:6]}, id="a device"),
        pytest.param(Scope.all(), {obj.key for obj in WANTED}, id="everything"),
    ],
)
def test_only_what_is_dirty_is_planned(scope: Scope, keys: set[object]) -> None:
    assert {step.key for step in plan(WANTED, (), scope=scope).steps} == keys


def test_slices_say_each_thing_once() -> None:
    stranger = replace(NEIGHBOR, ip=IPv4Address("10.244.2.7"))
    desired, observed = KernelState.of(WANTED), KernelState.of([replace(LINK, mtu=1), WRONG, stranger])
    standings: dict[KernelObject, Standing] = {WRONG: Standing.FOREIGN, stranger: Standing.FOREIGN}
    plans = [plan(list(part.desired), list(part.observed), standings) for part in slices(desired, observed, size=1)]
    whole = plan(WANTED, list(observed), standings)
    assert len(plans) > 3
    assert joined(plans, desired) == whole
