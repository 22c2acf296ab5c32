"""Is the agent alive, and is the node ready?  Judged from what the agent knows, as one line each.

*Alive* is what a restart would help against: the loop that answers, and passes that come to an
end.  *Ready* is the whole truth: the store in sync, our own lease valid, the kernel as it should be.
"""

from collections.abc import Iterator
from typing import Final

from tulle.agent.status import NodeStatus

NS: Final = 1_000_000_000
LONGEST_PASS_S: Final = 30.0
"""A pass over ten thousand peers takes seconds; one that takes longer than this hangs."""


def stuck(busy_since_ns: int | None, now_ns: int) -> str | None:
    """Why a restart would help; None: it would not."""
    if busy_since_ns is None or now_ns - busy_since_ns < LONGEST_PASS_S * NS:
        return None
    return f"reconciler: in one pass for {(now_ns - busy_since_ns) // NS} s"


def unready(status: NodeStatus) -> list[str]:
    """Why the node is not ready, one line each, the gravest first; none: it is."""
    return [*_kernel(status), *_lease(status), *_store(status)]


def summary(status: NodeStatus) -> str:
    """The node in one line, for whoever lists services."""
    reasons = unready(status)
    subnets = " ".join(str(subnet) for subnet in status.intent.desired.inputs.own.subnets)
    node = f"{subnets}, {status.peers} peer{'' if status.peers == 1 else 's'}"
    return f"{node}; {reasons[0]}" if reasons else node


def _kernel(status: NodeStatus) -> Iterator[str]:
    report = status.report
    if not report.passes:
        yield "kernel: no pass yet"
    yield from report.problems
    for many, one in ((len(report.conflicts), "conflict"), (len(report.failures), "failed step")):
        if many:
            yield f"kernel: {many} {one}{'s' if many > 1 else ''}: see 'tulle status'"


def _lease(status: NodeStatus) -> Iterator[str]:
    deadline_ns, now_ns = status.lease_deadline_ns, status.now_ns
    if deadline_ns is None or (now_ns is not None and now_ns >= deadline_ns):
        yield "own lease: past its deadline, no new pods"


def _store(status: NodeStatus) -> Iterator[str]:
    if not status.intent.may_act:
        yield "store: not read yet"
    elif status.intent.book.recalled_ns is not None:
        yield "store: away, the node goes by its memory"
    elif not status.store_reachable:
        yield f"store: away, last seen at revision {status.intent.book.revision}"
