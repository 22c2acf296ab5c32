"""A lab node's tables as a learner reads them: each entry with its step, its meaning, and whether it is right.

Pure.  What should be there is what the agent's own planner asks for, from the same leases; what
may be deleted is what the agent's own judge calls ours.
"""

import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from tulle.lab.topology import LabNode, LabSettings
from tulle.lab.underlay import NODE_DEVICE
from tulle.model.change import Delete
from tulle.model.lease import Lease
from tulle.model.network import Host, NetworkConfig, Underlay
from tulle.model.objects import RT_TABLE_MAIN, FdbEntry, KernelObject, Link, Neighbor, ObjectKey, Route, VxlanKind
from tulle.model.state import KernelState
from tulle.ownership import Judge, Standing
from tulle.plan.compare import Gap, gap
from tulle.plan.desired import Inputs, Settings, node_ownership, peer_objects
from tulle.plan.text import format_object, format_step
from tulle.render.scene import Said

Kind: TypeAlias = Literal["route", "neighbour", "fdb"]
RowState: TypeAlias = Literal["right", "wrong", "missing", "other"]
"""As the lease asks, otherwise, not there; or nothing that a lease asks for."""
Entry: TypeAlias = Route | Neighbor | FdbEntry
KINDS: Final[tuple[Kind, ...]] = ("route", "neighbour", "fdb")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One entry.  ``text`` is in iproute2's words; ``step`` the step of the walk that looks at it, "" when none does.

    ``removal`` is the command that deletes it, empty when it is not the overlay's to delete.
    """

    kind: Kind
    text: str
    step: str
    means: Said
    state: RowState
    removal: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """What all nodes of a lab share: its settings, the overlay's configuration, the leases, who has which."""

    settings: LabSettings
    config: NetworkConfig
    leases: tuple[Lease, ...]
    owners: Mapping[str, str]
    """A lease's key → the name of the node that holds it."""


def node_rows(node: LabNode, state: KernelState, shared: Shared) -> tuple[Row, ...]:
    """Every route, neighbour and FDB entry of the node, and those that it lacks, in the order of the walk."""
    own = next((lease for lease in shared.leases if shared.owners.get(lease.key) == node.name), None)
    wanted = {} if own is None else dict(_wanted(node, own, shared))
    judge = _judge(state, shared)
    tunnels = {link.name for link in state.each(Link) if isinstance(link.kind, VxlanKind)}
    rows = [_asked_for(obj, state.get(key), peer, judge) for key, (obj, peer) in wanted.items()]
    rows += [
        _row(obj, "other", _meaning(obj, tunnels), judge)
        for obj in state
        if isinstance(obj, Entry) and obj.key not in wanted and _is_shown(obj)
    ]
    return tuple(sorted(rows, key=lambda row: (KINDS.index(row.kind), row.state == "other", row.text)))


def lease_of(node: LabNode, shared: Shared) -> str:
    """The node's lease in one line; "" when it holds none."""
    lease = next((lease for lease in shared.leases if shared.owners.get(lease.key) == node.name), None)
    if lease is None:
        return ""
    subnets = " ".join(str(subnet) for subnet in lease.subnets)
    places = " ".join(str(ip) for ip in (lease.public_ip, lease.public_ip6) if ip is not None)
    macs = " ".join(mac for mac in (lease.vtep_mac, lease.vtep_mac6) if mac is not None)
    return f"{subnets} → {places}" + (f" · VTEP {macs}" if macs else "")


def _wanted(node: LabNode, own: Lease, shared: Shared) -> Iterator[tuple[ObjectKey, tuple[Entry, str]]]:
    """What each peer's lease asks of this node, by the agent's own planner, and who that peer is."""
    underlay = Underlay(device=NODE_DEVICE, mtu=shared.settings.mtu, address=node.address, address6=node.address6)
    inputs = Inputs(config=shared.config, host=Host(underlay=underlay), own=own, settings=Settings())
    for lease in shared.leases:
        if lease.key != own.key:
            for obj in peer_objects(inputs, lease):
                if isinstance(obj, Entry):
                    yield obj.key, (obj, shared.owners.get(lease.key, str(lease.public_ip or lease.public_ip6)))


def _judge(state: KernelState, shared: Shared) -> Judge:
    macs = (mac for lease in shared.leases for mac in (lease.vtep_mac, lease.vtep_mac6) if mac is not None)
    judge = node_ownership(shared.config, macs)
    return judge.recognising(state)


def _asked_for(wanted: Entry, found: KernelObject | None, peer: str, judge: Judge) -> Row:
    means = _of_a_peer(wanted, peer)
    if not isinstance(found, Entry):
        return Row(kind=_kind(wanted), text=_text(wanted), step=_step(wanted), means=means, state="missing")
    return _row(found, "right" if gap(wanted, found) is Gap.NONE else "wrong", (_step(wanted), means), judge)


def _row(obj: Entry, state: RowState, meaning: tuple[str, Said], judge: Judge) -> Row:
    step, means = meaning
    removal = _removal(obj) if judge(obj) is Standing.OURS else ()
    return Row(kind=_kind(obj), text=_text(obj), step=step, means=means, state=state, removal=removal)


def _removal(obj: Entry) -> tuple[str, ...]:
    """The planner's own text of the deletion, as the words of a command."""
    (line,) = format_step(Delete(obj))
    return tuple(shlex.split(line))


def _text(obj: Entry) -> str:
    """Without its kind, which the table's heading says."""
    return format_object(obj).partition(" ")[2]


def _kind(obj: Entry) -> Kind:
    match obj:
        case Route():
            return "route"
        case Neighbor():
            return "neighbour"
        case FdbEntry():
            return "fdb"


def _is_shown(obj: Entry) -> bool:
    """Not what every device has for itself: link-local and multicast routes, entries without an answer."""
    match obj:
        case Route():
            return obj.table == RT_TABLE_MAIN and not (obj.dst.is_link_local or obj.dst.is_multicast)
        case Neighbor():
            return obj.device != "lo" and obj.mac is not None and not (obj.ip.is_link_local or obj.ip.is_multicast)
        case FdbEntry():
            return obj.dst is not None


# -- what an entry means ------------------------------------------------------------------


def _step(obj: Entry) -> str:
    return "3a" if isinstance(obj, Route) else "3b"


def _of_a_peer(obj: Entry, peer: str) -> Said:
    match obj:
        case Route():
            return Said(f"{peer}'s pods are reached through {obj.device}", f"{peer} 的 Pod 经 {obj.device} 到达")
        case Neighbor():
            return Said(f"{peer}'s end of the tunnel has this MAC", f"{peer} 的隧道端点使用此 MAC")
        case FdbEntry():
            return Said(f"that MAC is reached at {peer}, {obj.dst}", f"该 MAC 位于 {peer}，地址 {obj.dst}")


def _meaning(obj: Entry, tunnels: Collection[str]) -> tuple[str, Said]:
    """Step and meaning of an entry that no lease asks for."""
    device = obj.device or ""
    if device in tunnels:
        return "", Said("in the tunnel, and no lease asks for it", "位于隧道中，但没有租约需要它")
    match obj:
        case Neighbor() if device == NODE_DEVICE:
            return "3c", Said("a node that was asked for on the underlay", "在底层网络上询问到的节点")
        case Neighbor():
            return "7", Said("who answered on the bridge", "网桥上应答的一方")
        case Route() if device == NODE_DEVICE:
            return "3c", Said("the underlay: other nodes", "底层网络：其他节点")
        case Route():
            return "6c", Said("this node's own pods", "本节点自己的 Pod")
        case FdbEntry():
            return "", Said("", "")


def name_of(row: Row) -> str:
    """What a request calls a row: its kind and its text, which tell it apart on its node."""
    return f"{row.kind} {row.text}"
