"""Acting by memory: the node's own part is made right, peers' entries are added, nothing is taken away."""

from dataclasses import replace

from tests.kit.cluster import OWN, bare_host, intent, lease, mac, snapshot
from tulle.model.change import Create, Step
from tulle.model.objects import FdbEntry, Link, Neighbor, ObjectKey, Route
from tulle.model.state import KernelState
from tulle.plan.desired import node_objects, node_ownership
from tulle.plan.diff import diff
from tulle.plan.intent import Intent
from tulle.plan.recall import additions

BY_MEMORY = intent(snapshot(OWN, lease(2), lease(3)))
OWN_KEYS = {obj.key for obj in node_objects(BY_MEMORY.desired.inputs)}


def planned(found: Intent, *more: Link) -> set[tuple[type[Step], ObjectKey]]:
    """What memory does to a kernel that was left by ``found``: the objects of its steps."""
    observed = KernelState.of([*bare_host(), *found.desired.state]).changed((), more)
    judge = node_ownership(BY_MEMORY.desired.inputs.config, BY_MEMORY.seen_macs | found.seen_macs)
    plan = additions(diff(BY_MEMORY.desired.state, observed, judge), OWN_KEYS)
    return {(type(step), step.key) for step in plan.steps}


def test_on_a_kernel_that_holds_it_all_nothing_is_done() -> None:
    assert planned(BY_MEMORY) == set()


def test_a_peer_that_is_missing_is_added() -> None:
    without = intent(snapshot(OWN, lease(2)))
    kinds = (Route, Neighbor, FdbEntry)
    third = {
        obj.key for obj in BY_MEMORY.desired.state if isinstance(obj, kinds) and obj.key not in without.desired.state
    }
    assert planned(without) == {(Create, key) for key in third}


def test_a_peer_that_memory_does_not_know_is_left_as_it_is() -> None:
    assert planned(intent(snapshot(OWN, lease(2), lease(3), lease(4)))) == set()


def test_what_the_kernel_holds_of_a_peer_goes_before_what_memory_says() -> None:
    moved = intent(snapshot(OWN, lease(2), lease(3, vtep_mac=mac(9))))
    assert {step for step, _ in planned(moved)} == {Create}


def test_the_nodes_own_device_is_set_right() -> None:
    device = next(obj for obj in BY_MEMORY.desired.state if isinstance(obj, Link))
    assert {key for _, key in planned(BY_MEMORY, replace(device, mtu=1300))} == {device.key}
