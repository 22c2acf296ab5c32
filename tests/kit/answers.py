"""What the kernels of a machine of ``machines`` answer about a packet: the whole healthy set, and each answer alone.

An answer without its object (``neighbour`` without a MAC, ``fdb`` without an address) is the kernel's "no such entry".
"""

from base64 import b64encode

from tests.kit.machines import Machine, Site, veth_of
from tulle.model.network import IPAddress, MacAddress
from tulle.trace.decided import Answers, Decision
from tulle.trace.journey import Direction, Reason, ReasonKind
from tulle.trace.topology import NetnsId

AnswersByPlace = dict[tuple[Direction, NetnsId], tuple[Decision, ...]]


def decision(
    kind: ReasonKind,
    netns: NetnsId,
    subject: object,
    text: str,
    ask: str,
    *,
    found: bool = True,
    owner: str = "",
    device: str = "",
    via: IPAddress | None = None,
    mac: MacAddress | None = None,
    dst: IPAddress | None = None,
    error: str = "",
    route_kind: str = "",
    **more: object,
) -> Decision:
    """One answer of a kernel, with the reason that is shown for it; ``more`` are further facts of the reason."""
    facts = {"dev": device, "via": via, "mac": mac, "dst": dst} | more
    reason = Reason(
        kind=kind,
        text=text,
        owner=owner,
        ask=ask,
        found=found,
        raw=b64encode(text.encode()).decode(),
        facts={name: str(value) for name, value in facts.items() if value},
    )
    return Decision(
        kind=kind,
        netns=netns,
        subject=str(subject),
        reason=reason,
        found=found,
        device=device,
        via=via,
        mac=mac,
        dst=dst,
        error=error,
        route_kind=route_kind,
    )


def healthy_answers(machine: Machine) -> AnswersByPlace:
    """What the kernels of ``machine`` say about the probe and its reply when nothing is wrong."""
    found: AnswersByPlace = {}
    directions: tuple[Direction, Direction] = ("request", "reply")
    for direction in directions:
        near, far = machine.sites(direction)
        if machine.places.same_node:
            found[direction, near.node] = (switched(near, far),)
        else:
            found[direction, near.pod] = pod_answers(near, far)
            found[direction, near.node] = _sender_answers(machine, near, far)
            found[direction, far.node] = receiver_answers(machine, far)
        found[direction, far.pod] = (local_route(far.pod, far.pod_ip),)
    return found


def _sender_answers(machine: Machine, near: Site, far: Site) -> tuple[Decision, ...]:
    has_tunnel = machine.topology.named(near.node, machine.tunnel) is not None
    return tunnel_answers(machine, near, far) if has_tunnel else plain_answers(near, far)


def pod_answers(near: Site, far: Site) -> tuple[Decision, ...]:
    return (
        decision(
            "route",
            near.pod,
            far.pod_ip,
            f"default via {near.gateway} dev eth0",
            f"ip route get {far.pod_ip}",
            device="eth0",
            via=near.gateway,
            route_kind="unicast",
        ),
        neighbour(near.pod, near.gateway, near.bridge_mac, "eth0", state="REACHABLE"),
    )


def tunnel_answers(machine: Machine, near: Site, far: Site) -> tuple[Decision, ...]:
    tunnel = machine.tunnel
    return (
        decision(
            "route",
            near.node,
            far.pod_ip,
            f"{far.subnet} via {far.vtep_ip} dev {tunnel} onlink",
            f"ip route get {far.pod_ip} from {near.pod_ip} iif {machine.bridge}",
            owner="tulle",
            device=tunnel,
            via=far.vtep_ip,
            route_kind="unicast",
        ),
        neighbour(near.node, far.vtep_ip, far.tunnel_mac, tunnel, state="PERMANENT", owner="tulle"),
        fdb(near.node, far.tunnel_mac, far.node_ip, tunnel),
        underlay_route(near.node, far.node_ip),
        neighbour(near.node, far.node_ip, far.nic_mac, "eth0", state="REACHABLE", kind="underlay-neigh"),
    )


def plain_answers(near: Site, far: Site) -> tuple[Decision, ...]:
    return (
        decision(
            "route",
            near.node,
            far.pod_ip,
            f"{far.subnet} via {far.node_ip} dev eth0",
            f"ip route get {far.pod_ip}",
            owner="tulle",
            device="eth0",
            via=far.node_ip,
            route_kind="unicast",
        ),
        neighbour(near.node, far.node_ip, far.nic_mac, "eth0", state="REACHABLE"),
    )


def receiver_answers(machine: Machine, far: Site) -> tuple[Decision, ...]:
    return (
        decision(
            "route",
            far.node,
            far.pod_ip,
            f"{far.subnet} dev {machine.bridge} src {far.gateway}",
            f"ip route get {far.pod_ip}",
            owner="kernel",
            device=machine.bridge,
            route_kind="unicast",
        ),
        neighbour(far.node, far.pod_ip, far.pod_mac, machine.bridge, state="REACHABLE"),
        bridge_entry(far.node, far.pod_mac, veth_of(far).name, machine.bridge),
    )


def switched(near: Site, far: Site, bridge: str = "cbr0") -> Decision:
    return bridge_entry(near.node, far.pod_mac, veth_of(far).name, bridge)


def local_route(netns: NetnsId, address: IPAddress) -> Decision:
    return decision(
        "route",
        netns,
        address,
        f"local {address} dev lo table local",
        f"ip route get {address}",
        owner="kernel",
        device="lo",
        route_kind="local",
    )


def neighbour(
    netns: NetnsId,
    address: IPAddress,
    owner_mac: MacAddress | None,
    device: str,
    *,
    state: str = "",
    owner: str = "",
    kind: ReasonKind = "neigh",
) -> Decision:
    """A neighbour entry; without a MAC it is missing."""
    return decision(
        kind,
        netns,
        address,
        f"{address} lladdr {owner_mac} {state}" if owner_mac else "nothing",
        f"ip neigh show {address} dev {device}",
        found=owner_mac is not None,
        owner=owner,
        device=device,
        mac=owner_mac,
        ip=address,
        state=state,
    )


def fdb(netns: NetnsId, subject: MacAddress, to: IPAddress | None, device: str) -> Decision:
    """A tunnel's FDB entry; without an address it is missing."""
    return decision(
        "fdb",
        netns,
        subject,
        f"{subject} dst {to} self permanent" if to else "nothing",
        f"bridge fdb show dev {device} | grep {subject}",
        found=to is not None,
        owner="tulle" if to else "",
        device=device,
        mac=subject,
        dst=to,
    )


def bridge_entry(netns: NetnsId, subject: MacAddress, port: str, bridge: str) -> Decision:
    """A bridge's FDB entry; without a port it is missing."""
    return decision(
        "bridge-fdb",
        netns,
        subject,
        f"{subject} dev {port} master {bridge}" if port else "nothing",
        f"bridge fdb show br {bridge} | grep {subject}",
        found=bool(port),
        device=port,
        mac=subject,
        port=port,
    )


def underlay_route(netns: NetnsId, target: IPAddress, *, error: str = "") -> Decision:
    return decision(
        "underlay-route",
        netns,
        target,
        f"{target} dev eth0" if not error else f"{target}: {error}",
        f"ip route get {target}",
        found=not error,
        device="eth0" if not error else "",
        error=error,
    )


def no_route(netns: NetnsId, target: IPAddress, error: str = "ENETUNREACH") -> Decision:
    """The kernel refuses to route."""
    return decision(
        "route", netns, target, f"RTNETLINK answers: {error}", f"ip route get {target}", found=False, error=error
    )


def refusing_route(netns: NetnsId, target: IPAddress, kind: str) -> Decision:
    return decision(
        "route",
        netns,
        target,
        f"{kind} {target}",
        f"ip route get {target}",
        found=False,
        error="EINVAL",
        route_kind=kind,
    )


def changed(
    answers: Answers, direction: Direction, netns: NetnsId, *instead: Decision, gone: tuple[ReasonKind, ...] = ()
) -> AnswersByPlace:
    """``answers`` with other ones of the same kinds in one place, and some not given at all."""
    new = {answer.kind: answer for answer in instead}
    old = {answer.kind: answer for answer in answers.get((direction, netns), ())}
    mixed = tuple(answer for kind, answer in (old | new).items() if kind not in gone)
    place: tuple[Direction, NetnsId] = direction, netns
    return {**answers, place: mixed}
