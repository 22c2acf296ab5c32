"""One route of a peer, what can become of it, and the pass in which it did: values for tests of reports and news."""

from dataclasses import replace
from errno import ENOMEM
from ipaddress import IPv4Address, IPv4Network

from tulle.agent.report import Pass
from tulle.errors import KernelError
from tulle.model.change import Conflict, Create, Outcome, Plan
from tulle.model.network import MacAddress
from tulle.model.objects import Neighbor, Route
from tulle.model.state import Scope

ROUTE = Route(dst=IPv4Network("10.244.2.0/24"), device="flannel.1", via=IPv4Address("10.244.2.0"), onlink=True)
OTHER = replace(ROUTE, dst=IPv4Network("10.244.3.0/24"))
DONE, FAILED = Outcome(Create(ROUTE)), Outcome(Create(OTHER), KernelError(ENOMEM, Create(OTHER)))
CONFLICT = Conflict(ROUTE, replace(ROUTE, device="eth0", protocol=4))
STRANGER = Neighbor(device="flannel.1", ip=IPv4Address("10.244.2.7"), mac=MacAddress("02:00:00:00:00:77"))


def a_pass(
    *outcomes: Outcome, plan: Plan | None = None, looked_at: Scope | None = None, intended: Scope | None = None
) -> Pass:
    """A pass noticed at 10 ns, begun at 15, over at 20."""
    return Pass.of(
        looked_at=looked_at or Scope.all(),
        intended=intended or Scope(),
        plan=Plan() if plan is None else plan,
        outcomes=outcomes,
        noticed_ns=10,
        started_ns=15,
        ended_ns=20,
    )
