"""The order of a plan, in processes that walk their sets in different orders."""

import os
import subprocess
import sys

from tests.kit.cluster import HOST, OWN, intent, lease, snapshot
from tulle.model.lease import Gone, Put
from tulle.model.state import KernelState
from tulle.plan.desired import node_ownership
from tulle.plan.diff import diff
from tulle.plan.text import format_plan

SEEDS = ("1", "2", "3")
STORY = f"from {__name__} import told; print(told(), end='')"


def told() -> str:
    """The first plan of a node with many peers, then those for some that come and for some that go."""
    found = intent(snapshot(*(lease(number) for number in range(2, 30))))
    inputs = found.desired.inputs
    judge = node_ownership(inputs.config, found.seen_macs, HOST.underlay.device)
    plans = [diff(found.desired.state, KernelState.of(), judge)]
    come, scope = found.after(Put(lease(30), 2), 0)
    plans.append(diff(come.desired.state, found.desired.state, judge, scope))
    gone, scope = come.after(Gone(lease(7).key, 3), 0)
    gone, other = gone.after(Gone(lease(9).key, 4), 0)
    plans.append(diff(gone.desired.state, come.desired.state, judge, scope | other))
    return "".join(map(format_plan, plans))


def test_the_order_of_a_plan_does_not_depend_on_the_hash_seed() -> None:
    orders = {
        subprocess.run(
            [sys.executable, "-c", STORY],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(sys.path)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in SEEDS
    }
    assert orders == {told()}
    assert told().count("10.244.7.0/24") == 2, "one peer came and went"
    assert OWN.key not in told()
