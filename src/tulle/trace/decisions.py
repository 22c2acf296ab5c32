"""Ask each namespace what it decided about the packet: route, neighbour, FDB entry, underlay; and its switches.

The questions go to the kernel's own look-ups (RTM_GETROUTE with the device that the packet came
in on, RTM_GETNEIGH), not to tulle's idea of them, and each answer keeps its bytes.  Answers are
read after the probe, so they explain it only as long as nobody changes the tables meanwhile;
the tracepoint's look-up, where there is one, is from the moment itself.
"""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final

from tulle.model.network import IPAddress, MacAddress
from tulle.model.objects import RTPROT_TULLE
from tulle.trace.answers import author, first_neighbor, reason_of, refusal, route_facts, route_text, state_of
from tulle.trace.asking import Answer, Rtnetlink
from tulle.trace.decided import Decision, NodeFacts, Query
from tulle.trace.journey import ReasonKind
from tulle.trace.spaces import Spaces, inside
from tulle.trace.topology import Device, Namespace, NetnsId, Topology
from tulle.wire.rtnetlink.neighbors import (
    NUD_FAILED,
    NUD_INCOMPLETE,
    NUD_NOARP,
    NUD_PERMANENT,
    NeighborMessage,
    get_fdb_entry,
    get_neighbor,
)
from tulle.wire.rtnetlink.parts import NO_DEVICE, RTM_NEWROUTE, IfIndex
from tulle.wire.rtnetlink.routes import (
    RT_TABLE_MAIN,
    RouteMessage,
    decode_route,
    dump_routes,
    get_route,
)

REFUSING: Final = frozenset({"blackhole", "unreachable", "prohibit", "throw"})
_ANY_MAC: Final = MacAddress("00:00:00:00:00:00")
"""The VXLAN device's default destination."""


@dataclass(slots=True)
class Questioner:
    """Conversations with the namespaces of one topology, opened as they are needed."""

    spaces: Spaces
    topology: Topology
    _open: dict[NetnsId, Rtnetlink] = field(default_factory=dict[NetnsId, Rtnetlink])

    def __enter__(self) -> "Questioner":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for conversation in self._open.values():
            conversation.close()
        self._open.clear()

    def decide(self, query: Query) -> tuple[Decision, ...]:
        """What the namespace answers about one packet, in the order in which it decides."""
        space = self.topology.namespaces[query.netns]
        return tuple(_Namespace(space, self._to(query.netns)).decisions(query))

    def facts(self, query: Query) -> NodeFacts:
        """The namespace's switches for packets of this family; rp_filter is the stricter of "all" and the device's."""
        forwarding = "ipv4/ip_forward" if query.target.version == 4 else "ipv6/conf/all/forwarding"
        with inside(self.spaces.descriptor(query.netns)):
            is_on = _sysctl(forwarding)
            filters = [_sysctl(f"ipv4/conf/{name}/rp_filter") for name in ("all", query.arrived_by) if name]
        known = [mode for mode in filters if mode is not None]
        return NodeFacts(forwarding=None if is_on is None else is_on != 0, rp_filter=max(known, default=None))

    def _to(self, netns: NetnsId) -> Rtnetlink:
        if netns not in self._open:
            self._open[netns] = Rtnetlink(self.spaces.descriptor(netns))
        return self._open[netns]


def _sysctl(name: str) -> int | None:
    """A number below ``/proc/sys/net`` of this thread's namespace; None: it is not there."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/sys/net", name).read_text())
    return None


@dataclass(frozen=True, slots=True)
class _Namespace:
    """One namespace, its devices and the conversation with it."""

    space: Namespace
    kernel: Rtnetlink

    def decisions(self, query: Query) -> Iterator[Decision]:
        bridge = self._named(query.bridge)
        if bridge is not None and query.bridge_mac is not None and query.bridge_mac != bridge.mac:
            yield self._switched(bridge, query.bridge_mac)
            return
        arrived_by = bridge or self._named(query.arrived_by)
        route = self._route("route", query.target, query.source, arrived_by)
        yield route
        device = self._named(route.device)
        if not route.found or route.route_kind != "unicast" or device is None:
            return
        neighbor = self._neighbor("neigh", device, route.via or query.target, route.reason.owner)
        yield neighbor
        if neighbor.mac is None:
            return
        if device.kind == "bridge":
            yield self._switched(device, neighbor.mac)
        elif device.kind == "vxlan":
            yield from self._tunnelled(device, neighbor.mac, route.reason.owner)

    def _tunnelled(self, device: Device, mac: MacAddress, router: str) -> Iterator[Decision]:
        entry = self._fdb(device, mac, router)
        yield entry
        if entry.dst is None:
            return
        route = self._route("underlay-route", entry.dst, device.local, None)
        yield route
        underlay = self._named(route.device)
        if route.found and route.route_kind == "unicast" and underlay is not None:
            yield self._neighbor("underlay-neigh", underlay, route.via or entry.dst)

    def _route(
        self, kind: ReasonKind, target: IPAddress, source: IPAddress | None, arrived_by: Device | None
    ) -> Decision:
        iif = IfIndex(arrived_by.ifindex) if arrived_by else NO_DEVICE
        ask = f"ip{' -6' * (target.version == 6)} route get fibmatch {target}"
        ask += f" from {source}" if source is not None else ""
        ask += f" iif {arrived_by.name}" if arrived_by else ""
        answer = self.kernel.ask(get_route(target, iif=iif, src=source, fib_match=True))
        messages = [decode_route(message) for message in answer.messages if message.kind == RTM_NEWROUTE]
        if not messages:
            return self._refused(kind, target, ask, answer)
        route = messages[0]
        return Decision(
            kind=kind,
            netns=self.space.id,
            subject=str(target),
            reason=reason_of(
                kind,
                route_text(route, self._name(route.oif)),
                ask,
                answer,
                author(route.protocol),
                route_facts(route, self._name(route.oif)),
            ),
            device=self._name(route.oif),
            via=route.gateway,
            route_kind=route.kind,
        )

    def _refused(self, kind: ReasonKind, target: IPAddress, ask: str, answer: Answer) -> Decision:
        """No way, or a route that says so: the table's own entry then, and who wrote it."""
        wall = self._wall(target)
        owner = author(wall.protocol) if wall else ""
        text = route_text(wall, self._name(wall.oif)) if wall else refusal(answer)
        return Decision(
            kind=kind,
            netns=self.space.id,
            subject=str(target),
            reason=reason_of(kind, text, ask, answer, owner, {"dst": str(target)}, found=False),
            found=False,
            error=answer.error,
            route_kind=wall.kind if wall else "",
        )

    def _wall(self, target: IPAddress) -> RouteMessage | None:
        """The longest prefix over ``target`` in the main table, when it is one that refuses."""
        tables = self.kernel.dump(dump_routes(target.version, table=RT_TABLE_MAIN))
        routes = [decode_route(message) for message in tables.messages if message.kind == RTM_NEWROUTE]
        over = [route for route in routes if target in route.dst and not (route.dead or route.cloned)]
        best = max(over, key=lambda route: (route.dst.prefixlen, -route.priority), default=None)
        return best if best is not None and best.kind in REFUSING else None

    def _neighbor(self, kind: ReasonKind, device: Device, ip: IPAddress, router: str = "") -> Decision:
        answer = self.kernel.ask(get_neighbor(IfIndex(device.ifindex), ip))
        entry = first_neighbor(answer)
        usable = entry is not None and entry.lladdr is not None and not entry.state & (NUD_INCOMPLETE | NUD_FAILED)
        state = state_of(entry) if entry else ""
        mac = entry.lladdr if entry is not None and usable else None
        text = f"{ip} dev {device.name} " + (f"lladdr {mac} {state}" if mac else state or refusal(answer))
        facts = {"ip": str(ip), "dev": device.name, "mac": mac or "", "state": state}
        ask = f"ip neigh get {ip} dev {device.name}"
        return Decision(
            kind=kind,
            netns=self.space.id,
            subject=str(ip),
            reason=reason_of(kind, text, ask, answer, _writer(entry, router), facts, found=usable),
            found=usable,
            device=device.name,
            mac=mac,
            error=answer.error,
            state=state,
        )

    def _fdb(self, device: Device, mac: MacAddress, router: str) -> Decision:
        """Where the tunnel sends frames for ``mac``: its own entry, else the device's default."""
        answer = self.kernel.ask(get_fdb_entry(IfIndex(device.ifindex), mac))
        entry, asked = first_neighbor(answer), mac
        if entry is None:
            default = self.kernel.ask(get_fdb_entry(IfIndex(device.ifindex), _ANY_MAC))
            if (found := first_neighbor(default)) is not None:
                answer, entry, asked = default, found, _ANY_MAC
        text = f"{asked} dev {device.name} dst {entry.dst}" if entry else f"{mac} dev {device.name}: {refusal(answer)}"
        facts = {"mac": mac, "dev": device.name, "dst": str(entry.dst) if entry and entry.dst else ""}
        ask = f"bridge fdb get {asked} dev {device.name} self"
        return Decision(
            kind="fdb",
            netns=self.space.id,
            subject=mac,
            reason=reason_of("fdb", text, ask, answer, _writer(entry, router), facts, found=entry is not None),
            found=entry is not None,
            device=device.name,
            dst=entry.dst if entry else None,
            error=answer.error,
        )

    def _switched(self, bridge: Device, mac: MacAddress) -> Decision:
        """The bridge's port for ``mac``; not found: it floods."""
        answer = self.kernel.ask(get_fdb_entry(IfIndex(bridge.ifindex), mac))
        entry = first_neighbor(answer)
        port = self._name(entry.ifindex) if entry else ""
        text = f"{mac} dev {port} master {bridge.name}" if entry else f"{mac} br {bridge.name}: {refusal(answer)}"
        return Decision(
            kind="bridge-fdb",
            netns=self.space.id,
            subject=mac,
            reason=reason_of(
                "bridge-fdb",
                text,
                f"bridge fdb get {mac} br {bridge.name}",
                answer,
                "kernel" if entry is not None and not entry.permanent else "",
                {"mac": mac, "port": port, "bridge": bridge.name},
                found=entry is not None,
            ),
            found=entry is not None,
            device=port,
            error=answer.error,
        )

    def _named(self, name: str | None) -> Device | None:
        return next((device for device in self.space.devices if device.name == name), None) if name else None

    def _name(self, index: int) -> str:
        return next(
            (device.name for device in self.space.devices if device.ifindex == index), f"if{index}" if index else ""
        )


def _writer(entry: NeighborMessage | None, router: str) -> str:
    """Who wrote a neighbour or FDB entry, which carries no author: what was resolved is the kernel's.

    A permanent one that a route of tulle's leads to is tulle's (the rule of ``ownership``); else nobody says.
    """
    if entry is None:
        return ""
    if not entry.state & (NUD_PERMANENT | NUD_NOARP):
        return "kernel"
    return router if router == author(RTPROT_TULLE) else ""
