"""What the control socket answers about a node: one function per verb, JSON in and JSON out."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from tulle.agent.node import Node
from tulle.agent.reconciler import Reconciler
from tulle.agent.status import JsonObject, history_json, leases_json, peers_json, plan_json, status_json
from tulle.errors import ConfigError
from tulle.model.state import KernelState

Verb = Callable[[JsonObject], Awaitable[JsonObject]]
NodeVerb = Callable[[Node, JsonObject], Awaitable[JsonObject]]

LONGEST_WAIT_S: Final = 60.0


async def status(node: Node, _: JsonObject) -> JsonObject:
    return status_json(node.status())


async def peers(node: Node, request: JsonObject) -> JsonObject:
    """All of them; ``most``: at most so many, those that are not well first."""
    return peers_json(node.status(), _whole(request, "most", 0) or None)


async def history(node: Node, request: JsonObject) -> JsonObject:
    """What happened lately; ``after``: only what came after the entry of this number."""
    return history_json(node.reconciler.history, node.started_ns, _whole(request, "after", 0))


async def leases(node: Node, _: JsonObject) -> JsonObject:
    return leases_json(node.status())


async def plan(node: Node, request: JsonObject) -> JsonObject:
    """The dry run; ``from_scratch``: as if the kernel held nothing yet."""
    scratch = KernelState.of() if request.get("from_scratch") else None
    return plan_json(await node.reconciler.dry_run(scratch), node.reconciler.intent.desired.inputs)


async def wait(node: Node, request: JsonObject) -> JsonObject:
    """Answer once the node is converged with at least ``peers`` peers, or after ``timeout_s`` seconds."""
    least = _whole(request, "peers", 0)

    def reached(reconciler: Reconciler) -> bool:
        return reconciler.converged and len(reconciler.intent.admission.peers) >= least

    done = await node.reconciler.wait_until(reached, patience_s(request))
    return {"done": done, "peers": node.status().peers, "state": status_json(node.status())["state"]}


VERBS: Final[Mapping[str, NodeVerb]] = {
    "status": status,
    "peers": peers,
    "leases": leases,
    "history": history,
    "plan": plan,
    "wait": wait,
}


def patience_s(request: JsonObject) -> float:
    """How long a question may wait for its answer.  Raises ConfigError."""
    return min(LONGEST_WAIT_S, float(_whole(request, "timeout_s", 10)))


def _whole(request: JsonObject, name: str, default: int) -> int:
    value: object = request.get(name, default)
    if not isinstance(value, int | float) or isinstance(value, bool) or not 0 <= value <= 1e9:
        raise ConfigError(name, "must be a number, not negative")
    return int(value)
