"""What the agent counts, as metrics.  Pure: the status of the node, and what the kernel counts on its devices."""

from collections.abc import Iterator, Mapping
from typing import Final

from tulle import __version__
from tulle.agent.health import unready
from tulle.agent.report import BOUNDS_S, KINDS
from tulle.agent.status import NodeStatus
from tulle.cni.fill import COUNTLESS
from tulle.plan.desired import tunnels
from tulle.wire.net_dev import DeviceTraffic
from tulle.wire.prometheus import Metric, Sample, histogram_samples

NS: Final = 1_000_000_000
STATES: Final = ("used", "free", "resting")


def agent_metrics(started_ns: int, status: NodeStatus | None, traffic: Mapping[str, DeviceTraffic]) -> list[Metric]:
    """All metrics; ``status`` is None before the node has taken its place, ``started_ns`` on the wall clock."""
    reasons = unready(status) if status is not None else ["starting"]
    found = [
        _gauge("tulle_build_info", "The version that runs; always 1.", 1, version=__version__),
        _gauge("tulle_start_time_seconds", "When the agent was started, since the epoch.", started_ns / NS),
        _gauge("tulle_ready", "1 when /readyz says yes.", int(not reasons)),
    ]
    if status is not None:
        found += [*_leases(status), *_store(status), *_work(status), *_addresses(status), *_traffic(status, traffic)]
    return found


def _leases(status: NodeStatus) -> Iterator[Metric]:
    book, admission = status.intent.book, status.intent.admission
    counts = {
        "admitted": len(admission.peers),
        "refused": len(admission.refused),
        "held": len(book.held),
        "undecodable": len(book.undecodable),
    }
    yield _gauge("tulle_peers", "Peers whose pods are reached.", status.peers)
    yield Metric(
        name="tulle_leases",
        kind="gauge",
        help="Leases of other nodes, by what became of them; a held one may be admitted too.",
        samples=[Sample(count, {"state": state}) for state, count in counts.items()],
    )
    if status.lease_deadline_ns is not None and status.now_ns is not None:
        left_s = (status.lease_deadline_ns - status.now_ns) / NS
        text = "Until when our own lease may be trusted, from now; below 0: no new pods."
        yield _gauge("tulle_lease_expiry_seconds", text, round(left_s, 3))


def _store(status: NodeStatus) -> Iterator[Metric]:
    book = status.intent.book
    yield _gauge("tulle_store_up", "1 when the store answered last.", int(status.store_reachable))
    yield _gauge("tulle_store_synced", "1 once every lease was read.", int(book.synced))
    yield _gauge("tulle_store_revision", "The store's revision that was seen last.", book.revision)


def _work(status: NodeStatus) -> Iterator[Metric]:
    report = status.report
    yield _gauge("tulle_converged", "1 when nothing is left to do.", int(status.converged))
    yield _gauge("tulle_conflicts", "Wanted objects whose place something foreign holds.", len(report.conflicts))
    yield _gauge("tulle_foreign_objects", "Foreign objects on our own devices, kept.", len(report.strangers))
    yield _gauge("tulle_failed_steps", "Steps that failed and are tried again.", len(report.failures))
    yield _gauge("tulle_problems", "What else keeps the node from being ready.", len(report.problems))
    yield _counter("tulle_passes_total", "Passes over dirty keys.", report.passes)
    yield _counter("tulle_steps_total", "Steps that were carried out.", report.steps)
    repaired = {**dict.fromkeys(KINDS, 0), **report.repaired}
    yield Metric(
        name="tulle_repairs_total",
        kind="counter",
        help="What others had changed and was put right, by kind.",
        samples=[Sample(count, {"kind": kind}) for kind, count in sorted(repaired.items())],
    )
    yield Metric(
        name="tulle_pass_duration_seconds",
        kind="histogram",
        help="How long a pass took.",
        samples=histogram_samples(BOUNDS_S, report.durations.counts, report.durations.total_ns / NS),
    )


def _addresses(status: NodeStatus) -> Iterator[Metric]:
    """Of IPv4 all; of an IPv6 subnet, which nobody fills, what is in use."""
    counted = [(use.subnet, state, getattr(use, state)) for use in status.addresses for state in STATES]
    samples = [Sample(n, {"subnet": net, "state": state}) for net, state, n in counted if n < COUNTLESS]
    yield Metric(
        name="tulle_pod_addresses",
        kind="gauge",
        help="The node's addresses for pods; those that rest are free, and were a pod's before.",
        samples=samples,
    )
    yield Metric(
        name="tulle_pod_addresses_low",
        kind="gauge",
        help="1 from when a tenth is left until a fifth is free again.",
        samples=[Sample(int(use.low), {"subnet": use.subnet}) for use in status.addresses],
    )


def _traffic(status: NodeStatus, traffic: Mapping[str, DeviceTraffic]) -> Iterator[Metric]:
    """What the kernel counts on the overlay's devices; a backend without one has nothing to count."""
    ours = [name for name in tunnels(status.intent.desired.inputs.config) if name in traffic]
    for way, attribute in (("receive", "received"), ("transmit", "sent")):
        counts = {name: getattr(traffic[name], attribute) for name in ours}
        for unit, field, what in (
            ("bytes", "octets", "Bytes"),
            ("packets", "packets", "Packets"),
            ("errors", "errors", "Packets lost to errors"),
            ("drops", "drops", "Packets dropped"),
        ):
            yield Metric(
                name=f"tulle_device_{way}_{unit}_total",
                kind="counter",
                help=f"{what} on the overlay's device, inner packets, since the device was made.",
                samples=[Sample(getattr(count, field), {"device": name}) for name, count in counts.items()],
            )


def _gauge(name: str, text: str, value: float, **labels: str) -> Metric:
    return Metric(name=name, kind="gauge", help=text, samples=[Sample(value, labels)])


def _counter(name: str, text: str, value: float) -> Metric:
    return Metric(name=name, kind="counter", help=text, samples=[Sample(value)])
