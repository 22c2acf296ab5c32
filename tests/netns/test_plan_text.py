"""The dry run's text is the plan: a shell that executes it leaves the same kernel as ``apply`` does."""

import shutil
import subprocess
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.kit.cluster import DUAL, DUAL_HOST, OWN, OWN_DUAL, dual_lease, intent, lease, snapshot
from tests.kit.enter import enter
from tests.kit.kernels import NEEDS_ROOT, World, real_world
from tulle.agent.reconciler import Reconciler
from tulle.kernel.system import SystemClock, SystemRandom
from tulle.model.change import Delete, Plan
from tulle.model.network import DroppingChain
from tulle.model.objects import RTPROT_KERNEL, FdbEntry, KernelObject, Link, Neighbor, NftTable, Route
from tulle.model.state import KernelState, Scope, object_device
from tulle.plan.desired import node_ownership
from tulle.plan.diff import diff
from tulle.plan.intent import Intent
from tulle.plan.text import format_plan
from tulle.plan.underlay import UnderlayWish

MISSING = next((tool for tool in ("ip", "bridge", "nft") if shutil.which(tool) is None), None)
pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=str(NEEDS_ROOT)),
    pytest.mark.skipif(MISSING is not None, reason=f"{MISSING} is not installed"),
]

FOREIGN = """
table ip filter {
  chain FORWARD { type filter hook forward priority filter; policy drop; }
}
table inet guard {
  chain through { type filter hook forward priority 10; policy drop; }
}
"""
CHAINS = (
    DroppingChain(engine="nft", family="ip", table="filter", chain="FORWARD"),
    DroppingChain(engine="nft", family="inet", table="guard", chain="through"),
)
SINGLE = intent(snapshot(OWN, lease(2), lease(3)))
BOTH = intent(snapshot(OWN_DUAL, dual_lease(2), dual_lease(3)), config=DUAL, host=DUAL_HOST, own=OWN_DUAL)
ACCEPTING = intent(
    snapshot(OWN_DUAL, dual_lease(2)), config=DUAL, host=replace(DUAL_HOST, dropping_chains=CHAINS), own=OWN_DUAL
)


def execute(world: World, text: str) -> None:
    """Run a plan's text in the world's namespace, as an operator would who pastes it."""
    shell = [*enter(world.name), "sh", "-e"]
    done = subprocess.run(shell, input=text, text=True, capture_output=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (0, ""), f"{done.stderr}\n{text}"


def plan(wanted: Intent, observed: KernelState) -> Plan:
    state = wanted.desired.state
    judge = node_ownership(wanted.desired.inputs.config, wanted.seen_macs)
    return diff(state, observed, judge, Scope.all().including(state))


def ours(world: World, wanted: Intent) -> dict[object, KernelObject]:
    """The part of a namespace that a plan is about; what the kernel adds by itself left out."""
    seen = world.see(Scope.all().including(wanted.desired.state))
    return {key: obj for key, obj in seen.objects.items() if key in wanted.desired.state or _on_a_tunnel(obj)}


def _on_a_tunnel(obj: KernelObject) -> bool:
    by_kernel = isinstance(obj, Route) and obj.protocol == RTPROT_KERNEL
    passing = isinstance(obj, Neighbor) and not obj.permanent
    return "flannel" in (object_device(obj) or "") and not by_kernel and not passing and "fe80" not in str(obj)


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param(SINGLE, id="IPv4"),
        pytest.param(BOTH, id="dual stack"),
        pytest.param(ACCEPTING, id="with accepts in foreign chains"),
    ],
)
def test_the_text_from_scratch_makes_the_state_that_apply_makes(wanted: Intent) -> None:
    with ExitStack() as stack:
        applied, typed = stack.enter_context(real_world()), stack.enter_context(real_world())
        for world in (applied, typed):
            execute(world, f"nft -f - <<'EOF'\n{FOREIGN}\nEOF\n")
        made = plan(wanted, KernelState.of())
        applied.do(*made.steps)
        execute(typed, format_plan(made))
        assert ours(typed, wanted) == ours(applied, wanted)
        assert not plan(wanted, typed.see(Scope.all().including(wanted.desired.state))), "and nothing is left to do"


ROUTE, NEIGHBOR, ENTRY = (
    next(obj for obj in SINGLE.desired.state.each(kind) if obj.key in SINGLE.desired.keys_of(lease(2).key))
    for kind in (Route, Neighbor, FdbEntry)
)
(TABLE,) = SINGLE.desired.state.each(NftTable)
(DEVICE,) = SINGLE.desired.state.each(Link)


@pytest.mark.parametrize(
    "lost",
    [
        pytest.param((ROUTE,), id="route"),
        pytest.param((NEIGHBOR,), id="neighbour"),
        pytest.param((ENTRY, TABLE), id="FDB entry and table"),
        pytest.param((DEVICE,), id="device, with all that is on it"),
    ],
)
def test_the_text_after_damage_names_just_what_is_missing_and_mends_it(lost: tuple[KernelObject, ...]) -> None:
    with real_world() as world:
        world.do(*plan(SINGLE, KernelState.of()).steps)
        whole = ours(world, SINGLE)
        world.meddle(*map(Delete, lost))
        now = ours(world, SINGLE)
        missing = {key for key, obj in whole.items() if now.get(key) != obj}
        reconciler = Reconciler(world.kernel, SystemClock(), SystemRandom(), UnderlayWish(iface=("eth0",)), SINGLE)
        dry = world.runner.run(reconciler.dry_run())
        assert {step.key for step in dry.steps} == missing
        execute(world, format_plan(dry))
        assert ours(world, SINGLE) == whole
        assert not world.runner.run(reconciler.dry_run())


def test_a_dry_run_changes_nothing() -> None:
    with real_world() as world:
        before = ours(world, SINGLE)
        reconciler = Reconciler(world.kernel, SystemClock(), SystemRandom(), UnderlayWish(iface=("eth0",)), SINGLE)
        assert world.runner.run(reconciler.dry_run()).steps
        assert ours(world, SINGLE) == before
