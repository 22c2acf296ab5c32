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
    """What a pod's own tables say: everything goes to the gateway."""
    return (
        route(near.pod, far.pod_ip, "default", "eth0", via=near.gateway, owner="boot"),
        neighbour(near.pod, near.gateway, near.bridge_mac, "eth0"),
    )


def tunnel_answers(machine: Machine, near: Site, far: Site) -> tuple[Decision, ...]:
    """What the sender's node says with an overlay: the agent's three entries, and the underlay's two."""
    tunnel = machine.tunnel
    return (
        route(near.node, far.pod_ip, far.subnet, tunnel, via=far.vtep_ip, owner="tulle", onlink=True),
        neighbour(near.node, far.vtep_ip, far.tunnel_mac, tunnel, state="PERMANENT", owner="tulle"),
        fdb(near.node, far.tunnel_mac, far.node_ip, tunnel),
        underlay_route(near.node, far.node_ip),
        neighbour(near.node, far.node_ip, far.nic_mac, "eth0", kind="underlay-neigh"),
    )


def plain_answers(near: Site, far: Site) -> tuple[Decision, ...]:
    """What the sender's node says with host routes."""
    return (
        route(near.node, far.pod_ip, far.subnet, "eth0", via=far.node_ip, owner="tulle"),
        neighbour(near.node, far.node_ip, far.nic_mac, "eth0"),
    )


def receiver_answers(machine: Machine, far: Site) -> tuple[Decision, ...]:
    """What the target's node says."""
    return (
        route(far.node, far.pod_ip, far.subnet, machine.bridge, owner="kernel"),
        neighbour(far.node, far.pod_ip, far.pod_mac, machine.bridge),
        bridge_entry(far.node, far.pod_mac, veth_of(far).name, machine.bridge),
    )


def switched(near: Site, far: Site, bridge: str = "cbr0") -> Decision:
    """What the bridge of one node says about a frame to its other pod."""
    return bridge_entry(near.node, far.pod_mac, veth_of(far).name, bridge)


def route(
    netns: NetnsId,
    target: IPAddress,
    prefix: str,
    device: str,
    *,
    via: IPAddress | None = None,
    owner: str = "",
    onlink: bool = False,
    kind: ReasonKind = "route",
) -> Decision:
    """A route that was found."""
    text = f"{prefix}{f' via {via}' if via else ''} dev {device}{' onlink' if onlink else ''}"
    return decision(
        kind,
        netns,
        target,
        text,
        f"ip route get fibmatch {target}",
        owner=owner,
        device=device,
        via=via,
        route_kind="unicast",
    )


def local_route(netns: NetnsId, address: IPAddress) -> Decision:
    """The address is the namespace's own."""
    text, ask = f"local {address} dev eth0", f"ip route get fibmatch {address}"
    return decision("route", netns, address, text, ask, owner="kernel", device="eth0", route_kind="local")


def no_route(netns: NetnsId, target: IPAddress, error: str = "ENETUNREACH") -> Decision:
    """The kernel knows no way."""
    return decision("route", netns, target, error, f"ip route get fibmatch {target}", found=False, error=error)


def refusing_route(netns: NetnsId, target: IPAddress, kind: str) -> Decision:
    """A route that says no."""
    text, ask = f"{kind} {target}", f"ip route get fibmatch {target}"
    return decision("route", netns, target, text, ask, found=False, owner="boot", error="EHOSTUNREACH", route_kind=kind)


def underlay_route(netns: NetnsId, target: IPAddress, *, error: str = "") -> Decision:
    """The way of the outer packet; with an error there is none."""
    if not error:
        return route(netns, target, f"{target}", "eth0", owner="kernel", kind="underlay-route")
    ask = f"ip route get fibmatch {target}"
    return decision("underlay-route", netns, target, error, ask, found=False, error=error)


def neighbour(
    netns: NetnsId,
    address: IPAddress,
    owner_mac: MacAddress | None,
    device: str,
    *,
    state: str = "REACHABLE",
    owner: str = "kernel",
    kind: ReasonKind = "neigh",
) -> Decision:
    """A neighbour entry; without a MAC it is missing."""
    return decision(
        kind,
        netns,
        address,
        f"{address} dev {device} " + (f"lladdr {owner_mac} {state}" if owner_mac else "ENOENT"),
        f"ip neigh get {address} dev {device}",
        found=owner_mac is not None,
        owner=owner if owner_mac else "",
        device=device,
        mac=owner_mac,
        ip=address,
        state=state if owner_mac else "",
    )


def fdb(netns: NetnsId, subject: MacAddress, to: IPAddress | None, device: str) -> Decision:
    """A tunnel's FDB entry; without an address it is missing."""
    return decision(
        "fdb",
        netns,
        subject,
        f"{subject} dev {device} dst {to}" if to else f"{subject} dev {device}: Fdb entry not found",
        f"bridge fdb get {subject} dev {device} self",
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
        f"{subject} dev {port} master {bridge}" if port else f"{subject} br {bridge}: Fdb entry not found",
        f"bridge fdb get {subject} br {bridge}",
        found=bool(port),
        owner="kernel" if port else "",
        device=port,
        mac=subject,
        port=port,
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
