"""Journeys drawn by hand, frame by frame, for what no lab shows on demand: host routes, a stop at any place.

Every frame is a real one of the house's own codec, so captures and header fields can be made from
them.  Recorded journeys of real labs are in ``tests/unit/render/journeys``.
"""

from base64 import b64encode
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from pathlib import Path

from tulle.model.network import MacAddress, Vni
from tulle.trace.journey import (
    ClockDomain,
    ClockFact,
    Direction,
    Drop,
    End,
    Finding,
    Hop,
    HopKind,
    Inner,
    Journey,
    Outer,
    Overhead,
    Overlay,
    PacketFact,
    Reason,
    Verdict,
)
from tulle.trace.json import decode_journey
from tulle.wire.frames import ETH_P_IPV4, IPPROTO_ICMP, IPPROTO_UDP, Echo, Ethernet, Ipv4, Udp, Vxlan
from tulle.wire.frames_encode import encode_frame

RECORDED = Path(__file__).parents[1] / "unit" / "render" / "journeys"

POD1, POD4, NODE1, NODE2 = "10.244.1.2", "10.244.2.3", "192.168.64.11", "192.168.64.12"
POD_MAC, CBR_MAC, VTEP1, VTEP2 = "4e:5a:00:00:00:02", "4e:5a:00:00:00:01", "02:00:0a:f4:01:00", "02:00:0a:f4:02:00"
CBR2_MAC, POD4_MAC, NIC1, NIC2 = "5e:5a:00:00:00:01", "5e:5a:00:00:00:04", "0e:00:00:00:00:0b", "0e:00:00:00:00:0c"


def recorded(name: str) -> Journey:
    """A journey that ``tulle trace --json`` wrote in a real lab."""
    return decode_journey((RECORDED / f"{name}.json").read_bytes())


def recordings() -> list[str]:
    """The names of all recorded journeys."""
    return sorted(path.stem for path in RECORDED.glob("*.json"))


@dataclass
class Walk:
    """Hops being laid one after the other; time goes on by 700 ns a sighting."""

    hops: list[Hop] = field(default_factory=list[Hop])
    direction: Direction = "request"
    ttl: int = 64
    macs: tuple[str, str] = (POD_MAC, CBR_MAC)
    wrapped: bool = False
    t_ns: int = 0

    def seen(
        self, node: str, netns: str, dev: str, step: str, way: str, kind: HopKind, *why: Reason, tie: bool = False
    ) -> None:
        number = 1 + sum(hop.n is not None for hop in self.hops)
        frame = self._frame()
        self.hops.append(
            Hop(
                n=number,
                step=step,
                dir=way,
                direction=self.direction,
                node=node,
                netns=netns,
                dev=dev,
                ifindex=2,
                kind=kind,
                t_ns=self.t_ns,
                t_source="tap",
                t_shared_with=number - 1 if tie else None,
                len=len(frame),
                pkttype="outgoing" if way == "tx" else "host",
                outer=self._outer(),
                inner=self._inner(),
                why=why,
                frame=b64encode(frame).decode(),
            )
        )
        self.t_ns += 0 if tie else 700

    def decided(self, node: str, netns: str, step: str, dev: str, *why: Reason) -> None:
        self.hops.append(
            Hop(
                n=None,
                step=step,
                direction=self.direction,
                node=node,
                netns=netns,
                kind="decision",
                dev=dev,
                why=why,
            )
        )

    @property
    def ends(self) -> tuple[str, str]:
        return (POD1, POD4) if self.direction == "request" else (POD4, POD1)

    def _inner(self) -> Inner:
        source, target = self.ends
        return Inner(src=source, dst=target, ttl=self.ttl, smac=self.macs[0], dmac=self.macs[1])

    def _outer(self) -> Outer | None:
        source, target = (NODE1, NODE2) if self.direction == "request" else (NODE2, NODE1)
        return Outer(src=source, dst=target, ttl=64, udp=(42449, 8472), vni=1) if self.wrapped else None

    def _frame(self) -> bytes:
        source, target = self.ends
        echo = Echo(request=self.direction == "request", ident=7, sequence=1, payload=bytes(56))
        inner = _ethernet(self.macs, source, target, IPPROTO_ICMP, self.ttl, echo)
        if not self.wrapped:
            return encode_frame(inner)
        outer = self._outer()
        assert outer is not None
        datagram = Udp(source_port=42449, destination_port=8472, payload=Vxlan(vni=Vni(1), inner=inner), checksum=0)
        return encode_frame(_ethernet((NIC1, NIC2), outer.src, outer.dst, IPPROTO_UDP, 64, datagram))


def _ethernet(macs: tuple[str, str], source: str, target: str, protocol: int, ttl: int, load: Echo | Udp) -> Ethernet:
    addresses = ip_address(source), ip_address(target)
    packet = Ipv4(source=addresses[0], destination=addresses[1], protocol=protocol, ttl=ttl, payload=load)  # type: ignore[arg-type]  # both are IPv4 above
    return Ethernet(source=MacAddress(macs[0]), destination=MacAddress(macs[1]), ethertype=ETH_P_IPV4, payload=packet)


ROUTE = Reason(
    kind="route",
    text="10.244.2.0/24 via 10.244.2.0 dev flannel.1 onlink",
    owner="tulle",
    facts={"dst": "10.244.2.0/24", "via": "10.244.2.0", "dev": "flannel.1"},
)
NEIGH = Reason(kind="neigh", text=f"10.244.2.0 lladdr {VTEP2}", owner="tulle", facts={"ip": "10.244.2.0", "mac": VTEP2})
FDB = Reason(kind="fdb", text=f"{VTEP2} dst {NODE2}", owner="tulle", facts={"mac": VTEP2, "dst": NODE2})
NO_FDB = Reason(
    kind="fdb", text="nothing", found=False, facts={"mac": VTEP2}, ask=f"bridge fdb show dev flannel.1 | grep {VTEP2}"
)
PLAIN = Reason(
    kind="route",
    text=f"10.244.2.0/24 via {NODE2} dev eth0",
    owner="tulle",
    facts={"dst": "10.244.2.0/24", "via": NODE2, "dev": "eth0"},
)


def leaving(walk: Walk, fdb: Reason = FDB) -> None:
    """Steps 1 to 3b on node1."""
    walk.seen("node1", "pod1", "eth0", "1", "tx", "pod")
    walk.seen("node1", "root", "vethp1", "", "rx", "veth", tie=True)
    walk.seen("node1", "root", "cbr0", "2", "rx", "bridge")
    walk.ttl, walk.macs = 63, (VTEP1, VTEP2)
    walk.decided("node1", "root", "3a", "flannel.1", ROUTE)
    walk.seen("node1", "root", "flannel.1", "3b", "tx", "vxlan", NEIGH, fdb)


def crossing(walk: Walk) -> None:
    """Steps 3c to 6a."""
    walk.seen("node1", "root", "eth0", "3c", "tx", "underlay")
    walk.seen("underlay", "switch", "port1", "4", "rx", "underlay")
    walk.seen("underlay", "switch", "port2", "5", "tx", "underlay")
    walk.seen("node2", "root", "eth0", "6a", "rx", "underlay")


def arriving(walk: Walk) -> None:
    """Steps 6c to 8 on node2."""
    walk.ttl, walk.macs = walk.ttl - 1, (CBR2_MAC, POD4_MAC)
    walk.seen("node2", "root", "cbr0", "6c", "tx", "bridge")
    walk.seen("node2", "root", "vethp4", "7", "tx", "veth")
    walk.seen("node2", "pod4", "eth0", "8", "rx", "pod", tie=True)


def cross_node() -> Journey:
    """The picture of ``packet-walk``, request only."""
    walk = Walk()
    leaving(walk)
    walk.wrapped = True
    crossing(walk)
    walk.wrapped = False
    walk.seen("node2", "root", "flannel.1", "6b", "rx", "vxlan", tie=True)
    arriving(walk)
    return journey(tuple(walk.hops))


def host_routes() -> Journey:
    """The same without an overlay: no 3b, no 6b."""
    walk = Walk()
    walk.seen("node1", "pod1", "eth0", "1", "tx", "pod")
    walk.seen("node1", "root", "cbr0", "2", "rx", "bridge")
    walk.decided("node1", "root", "3a", "eth0", PLAIN)
    walk.ttl, walk.macs = 63, (NIC1, NIC2)
    crossing(walk)
    arriving(walk)
    return replace(journey(tuple(walk.hops)), overlay=None)


def no_fdb_entry() -> Journey:
    """Lost in the tunnel device, with the kernel's drop and the diagnosis."""
    walk = Walk()
    leaving(walk, NO_FDB)
    finding = Finding(
        id="D01",
        rule="no-fdb-entry",
        node="node1",
        facts={"node": "node1", "mac": VTEP2, "ip": "10.244.2.0", "device": "flannel.1"},
        evidence=NO_FDB.ask,
        answer="",
        repair=f"bridge fdb append {VTEP2} dev flannel.1 dst {NODE2}",
    )
    verdict = Verdict(
        status="lost",
        stopped_at="3b",
        stopped_on="node1 root flannel.1",
        drop=Drop(reason="VXLAN_NO_REMOTE", place="vxlan_xmit", t_ns=3000),
        finding=finding,
    )
    return journey(tuple(walk.hops), verdict)


def journey(hops: tuple[Hop, ...], verdict: Verdict | None = None) -> Journey:
    """``hops`` from pod1 to pod4 as a journey."""
    return Journey(
        source=End(pod="pod1", ip=POD1, node="node1"),
        target=End(pod="pod4", ip=POD4, node="node2"),
        packet=PacketFact(id="7f3a90c1", proto="icmp", digest="sha256:0", len=98),
        hops=hops,
        verdict=verdict or Verdict(status="no-reply", direction="reply"),
        overhead=Overhead(rtt_traced_ns=None, rtt_plain_ns=None),
        clock=ClockFact(domains=(ClockDomain(id="k0", nodes=("node1", "node2")),)),
        overlay=Overlay(backend="vxlan", vni=1, port=8472, mtu=1450, device="flannel.1", nodes=(NODE1, NODE2)),
        tool="tulle 0.1",
    )


def every_journey() -> list[Journey]:
    """All that are drawn by hand and all that were recorded."""
    return [cross_node(), host_routes(), no_fdb_entry(), never_left(), *(recorded(name) for name in recordings())]


def never_left() -> Journey:
    """No hop at all: the kernel refused to send."""
    return replace(journey(()), verdict=Verdict(status="lost", note="EPERM"))
