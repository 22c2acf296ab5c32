"""The small values: what they say about themselves."""

from ipaddress import IPv4Address, IPv4Network

import pytest

from tests.kit.cluster import CONFIG, DUAL, dual_lease, lease
from tulle.model.change import Change, Conflict, Create, Delete, Plan
from tulle.model.network import Vni, Vxlan
from tulle.model.objects import Neighbor, Route, RouteKey

ROUTE = Route(dst=IPv4Network("10.244.2.0/24"), device="flannel.1", via=IPv4Address("10.244.2.0"), onlink=True)
STRANGER = Neighbor(device="flannel.1", ip=IPv4Address("10.244.2.7"), mac=None)


def test_steps_and_conflicts_have_the_key_of_what_they_are_about() -> None:
    found = (Create(ROUTE), Change(ROUTE, ROUTE), Delete(ROUTE), Conflict(ROUTE, ROUTE))
    assert {each.key for each in found} == {RouteKey(IPv4Network("10.244.2.0/24"), 254, 0)}


@pytest.mark.parametrize(
    ("plan", "does_something"),
    [
        pytest.param(Plan(), False, id="nothing"),
        pytest.param(Plan((Delete(ROUTE),)), True, id="a step"),
        pytest.param(Plan(conflicts=(Conflict(ROUTE, ROUTE),)), False, id="a conflict is no step"),
        pytest.param(Plan(strangers=(STRANGER,)), False, id="a stranger is no step"),
    ],
)
def test_a_plan_is_true_when_there_is_something_to_do(plan: Plan, does_something: bool) -> None:
    assert bool(plan) is does_something


def test_devices_are_called_as_flannel_calls_them() -> None:
    assert (Vxlan().device, Vxlan(vni=Vni(7)).device, Vxlan(vni=Vni(7)).device6) == (
        "flannel.1",
        "flannel.7",
        "flannel-v6.7",
    )


def test_ipv4_comes_first() -> None:
    assert [net.version for net in DUAL.networks] == [4, 6]
    assert [net.version for net in CONFIG.networks] == [4]
    assert [net.version for net in dual_lease(2).subnets] == [4, 6]
    assert dual_lease(2, subnet=None).subnets == dual_lease(2).subnets[1:]


def test_a_lease_is_called_by_its_key() -> None:
    assert str(lease(2)) == "10.244.2.0-24"
