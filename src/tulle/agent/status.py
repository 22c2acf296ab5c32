"""What the agent knows about itself, as one value, and its JSON form (``tulle.status/1``)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tulle.agent.history import History
from tulle.agent.report import PassReport
from tulle.cni.fill import AddressUse
from tulle.errors import DecodeError
from tulle.model.change import Plan
from tulle.model.lease import Lease, LeaseKey
from tulle.model.network import DroppingChain
from tulle.model.objects import ChainAcceptKey, KernelObject
from tulle.ownership import Standing
from tulle.plan.desired import Inputs, node_ownership
from tulle.plan.intent import Intent
from tulle.plan.text import format_object, format_plan

STATUS_SCHEMA = "tulle.status/1"
PLAN_SCHEMA = "tulle.plan/1"

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """A node at one moment.  ``converged``: nothing is dirty and nothing failed since the first snapshot."""

    intent: Intent
    report: PassReport
    converged: bool
    node_id: str
    store: str
    store_reachable: bool
    lease_deadline_ns: int | None
    started_ns: int
    pid: int
    now_ns: int | None = None
    """The clock that deadlines are on (CLOCK_BOOTTIME)."""
    news: int = 0
    """The number of the latest entry of the history."""
    addresses: tuple[AddressUse, ...] = ()
    """How full the node's subnets are."""
    extra: JsonObject = field(default_factory=dict[str, Any])

    @property
    def peers(self) -> int:
        return len(self.intent.admission.peers)


def status_json(status: NodeStatus) -> JsonObject:
    """``tulle.status/1``: additive; addresses as text, times as integer nanoseconds."""
    inputs = status.intent.desired.inputs
    book, admission, report = status.intent.book, status.intent.admission, status.report
    underlay = inputs.host.underlay
    foreign, unclaimed = _strangers(report.strangers, inputs)
    return {
        "schema": STATUS_SCHEMA,
        "state": _state(status),
        "converged": status.converged,
        "node_id": status.node_id,
        "pid": status.pid,
        "started_ns": status.started_ns,
        "now_ns": status.now_ns,
        "network": [str(net) for net in inputs.config.networks],
        "backend": {"type": inputs.config.backend.type, **builtins(inputs.config.backend)},
        "underlay": builtins(underlay),
        "lease": lease_json(status),
        "store": {
            "url": status.store,
            "reachable": status.store_reachable,
            "synced": book.synced,
            "recalled_ns": book.recalled_ns if status.intent.recalled else None,
            "revision": book.revision,
            "cluster_id": book.cluster_id,
        },
        "peers": len(admission.peers),
        "addresses": [builtins(use) for use in status.addresses],
        "refused": [builtins(refusal) for refusal in admission.refusals],
        "held": sorted(book.held),
        "undecodable": [builtins(entry) for entry in book.undecodable.values()],
        "conflicts": [{"wanted": format_object(c.wanted), "holder": format_object(c.holder)} for c in report.conflicts],
        "strangers": foreign,
        "unclaimed": unclaimed,
        "dropping_chains": [_dropping_chain(chain, status) for chain in inputs.host.dropping_chains],
        "failures": [{"step": str(o.error.request), "reason": str(o.error)} for o in report.failures if o.error],
        "problems": list(report.problems),
        "passes": report.passes,
        "steps": report.steps,
        "repairs": report.repairs,
        "last_pass_ns": report.last_pass_ns,
        "last_pass_at_ns": report.last_pass_at_ns,
        "last_audit_at_ns": report.last_audit_at_ns,
        "news": status.news,
        **status.extra,
    }


def starting_json(waits_for: str, store: str, started_ns: int, pid: int) -> JsonObject:
    """``tulle.status/1`` of an agent that has no lease yet, and why."""
    return {
        "schema": STATUS_SCHEMA,
        "state": "starting",
        "converged": False,
        "pid": pid,
        "started_ns": started_ns,
        "store": {"url": store},
        "problems": [waits_for],
    }


def _dropping_chain(chain: DroppingChain, status: NodeStatus) -> JsonObject:
    """A foreign chain that drops what it does not accept, and whether an accept of ours is wanted in it."""
    wanted = status.intent.desired.state
    key = ChainAcceptKey(chain.engine, chain.family, chain.table, chain.chain)
    return {**builtins(chain), "accepted": key in wanted}


def lease_json(status: NodeStatus) -> JsonObject:
    """Our own lease."""
    own = status.intent.desired.inputs.own
    return {**builtins(own), "deadline_ns": status.lease_deadline_ns}


def leases_json(status: NodeStatus) -> JsonObject:
    """All leases that this node knows, its own first: ``self``, ``ok``, ``held`` or ``refused``."""
    book, admission = status.intent.book, status.intent.admission
    own = lease_json(status)
    rows: list[JsonObject] = [{**own, "state": "self"}]
    for key, lease in sorted({**book.leases, **admission.peers}.items()):
        if key != own["key"]:
            state = "held" if key in book.held else "ok" if key in admission.peers else "refused"
            rows.append({**builtins(lease), "state": state})
    return {"schema": STATUS_SCHEMA, "leases": rows}


def lease_from_json(row: JsonObject) -> Lease:
    """A lease as it stands in ``leases_json``.  Raises DecodeError."""
    try:
        return msgspec.convert(row, Lease, dec_hook=lambda kind, value: kind(value))
    except (msgspec.MsgspecError, ValueError) as error:
        raise DecodeError("lease", reason=str(error)) from None


def peers_json(status: NodeStatus, most: int | None = None) -> JsonObject:
    """Each admitted peer with its lease and the kernel objects that reach it; with ``most``, those not well first."""
    wanted = status.intent.desired
    failed = {outcome.step.key for outcome in status.report.failures}
    conflicts = {conflict.key for conflict in status.report.conflicts}
    broken, held = failed | conflicts, status.intent.book.held

    def state(key: LeaseKey) -> str:
        wrong = broken and not broken.isdisjoint(wanted.keys_of(key))
        return "broken" if wrong else "held" if key in held else "ok"

    def shown(key: LeaseKey, lease: Lease) -> JsonObject:
        keys = wanted.keys_of(key)
        objects = [obj for obj_key in keys if (obj := wanted.state.get(obj_key)) is not None]
        return {**builtins(lease), "state": state(key), "objects": sorted(format_object(obj) for obj in objects)}

    peers = sorted(status.intent.admission.peers.items())
    if most is not None and len(peers) > most:
        peers = sorted(peers, key=lambda peer: state(peer[0]) == "ok")[:most]
    return {"schema": STATUS_SCHEMA, "peers": [shown(*peer) for peer in peers]}


def history_json(history: History, started_ns: int, number: int) -> JsonObject:
    """What happened after entry ``number``; numbers begin anew with the agent, which ``started_ns`` tells apart."""
    entries = history.after(number)
    return {
        "schema": STATUS_SCHEMA,
        "started_ns": started_ns,
        "last": history.last,
        "entries": [{"number": entry.number, "at_ns": entry.at_ns, **builtins(entry.news)} for entry in entries],
    }


def _strangers(found: Iterable[KernelObject], inputs: Inputs) -> tuple[list[str], list[str]]:
    """As text: what is somebody else's on a link of ours, and apart what looks like flannel's and has no lease."""
    judge = node_ownership(inputs.config, (), inputs.host.underlay.device)
    texts: dict[bool, list[str]] = {False: [], True: []}
    for obj in found:
        texts[judge(obj) is Standing.UNCLAIMED].append(format_object(obj))
    return texts[False], texts[True]


def plan_json(plan: Plan, inputs: Inputs) -> JsonObject:
    """``tulle.plan/1``: the steps as the text that an operator could type."""
    foreign, unclaimed = _strangers(plan.strangers, inputs)
    return {
        "schema": PLAN_SCHEMA,
        "empty": not plan.steps,
        "steps": len(plan.steps),
        "text": format_plan(plan),
        "conflicts": [{"wanted": format_object(c.wanted), "holder": format_object(c.holder)} for c in plan.conflicts],
        "strangers": foreign,
        "unclaimed": unclaimed,
    }


def builtins(value: object) -> JsonObject:
    """A frozen value as JSON's own types; addresses and networks as text."""
    return msgspec.to_builtins(value, enc_hook=str)


def _state(status: NodeStatus) -> str:
    if not status.intent.may_act:
        return "waiting for the store"
    if status.report.failures or status.report.conflicts or status.report.problems:
        return "degraded"
    if not status.store_reachable:
        return "degraded: store"
    return "ready" if status.converged else "converging"
