"""Journeys for tests: a probe's story told on a machine of ``machines``, and what comes of it.

``Story`` lays frames as taps would have seen them; ``Story.findings`` goes into the real ``correlate``,
so that a journey made here is one that the trace could have made.  A story reads as the packet goes:
``story().leaves_pod().wraps().goes_out()`` was last seen leaving node1.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from tests.kit.answers import healthy_answers
from tests.kit.machines import SWITCH, Machine, Site, mac, two_nodes, veth_of
from tulle.model.network import IPAddress, MacAddress, Vni
from tulle.trace.correlate import Findings, correlate
from tulle.trace.decided import Answers, NodeFacts
from tulle.trace.journey import Direction, Journey, Overhead
from tulle.trace.probe_packet import IpPacket, Probe, Protocol
from tulle.trace.sightings import Capture, PacketType, recognise
from tulle.trace.topology import NetnsId
from tulle.trace.trail import NO_EVENTS, Events, SkbEvent
from tulle.wire.frames import (
    ARP_REPLY,
    ARP_REQUEST,
    ETH_P_ARP,
    ETH_P_IPV4,
    ETH_P_IPV6,
    IPPROTO_ICMPV6,
    IPPROTO_UDP,
    TCP_ACK,
    TCP_RST,
    TCP_SYN,
    Arp,
    Echo,
    Ethernet,
    IcmpError,
    Ipv4,
    Ipv6,
    NeighborDiscovery,
    Tcp,
    Transport,
    Udp,
    Vxlan,
)
from tulle.wire.frames_encode import encode_frame, encode_packet

START_NS = 1_764_000_000_000_000_000
"""Wall-clock time of the first stamp."""
PORTS = frozenset({8472, 4789})
OUTER_PORT = 42449
MEASURED = Overhead(rtt_traced_ns=18_000, rtt_plain_ns=9_000)
Way = Literal["tx", "rx"]


def make_probe(machine: Machine, protocol: Protocol = "icmp", port: int = 0, size: int | None = None) -> Probe:
    """The probe that the stories are about: its id begins 7f3a90c1."""
    source = machine.source.pod_ip if machine.places.source == machine.source.pod else machine.source.node_ip
    target = machine.target.pod_ip if machine.places.target == machine.target.pod else machine.target.node_ip
    return Probe(
        protocol=protocol,
        source=source,
        target=target,
        id=bytes.fromhex("7f3a90c1") + bytes(range(12)),
        ident=0x1234 if protocol == "icmp" else 40000,
        sequence=1,
        port=port if protocol != "icmp" else 0,
        size=size,
    )


@dataclass(slots=True)
class Story:
    """A packet's way, tap by tap.  Verbs follow the steps; what they set stays until the next verb changes it."""

    machine: Machine
    probe: Probe
    captures: list[Capture] = field(default_factory=list[Capture])
    direction: Direction = "request"
    ttl: int = 64
    wrapped: bool = False
    macs: tuple[MacAddress, MacAddress] = (mac(0), mac(0))
    t_ns: int = START_NS
    answer: Transport | None = None
    """What the reply carries; None: the fitting one for the protocol."""
    answerer: IPAddress | None = None
    """Who answers; None: the target."""
    outer_source: IPAddress | None = None

    @property
    def near(self) -> Site:
        return self.machine.sites(self.direction)[0]

    @property
    def far(self) -> Site:
        return self.machine.sites(self.direction)[1]

    def seen(self, netns: NetnsId, name: str, way: Way, wait_ns: int = 700, pkttype: PacketType = "host") -> "Story":
        """The frame as it is now, at one tap; ``wait_ns`` 0 keeps the stamp of the tap before."""
        if self.captures:
            self.t_ns += wait_ns
        frame = self.frame()
        self.captures.append(
            Capture(
                device=self.machine.device(netns, name).key,
                t_ns=self.t_ns,
                pkttype="outgoing" if way == "tx" else pkttype,
                length=len(frame),
                data=frame,
            )
        )
        return self

    def leaves_pod(self) -> "Story":
        """Steps 1 and 2, to the gateway: the bridge shares its port's stamp."""
        near, bridge = self.near, self.machine.bridge
        self.macs = near.pod_mac, near.bridge_mac
        self.seen(near.pod, "eth0", "tx").seen(near.node, veth_of(near).name, "rx", 200)
        return self.seen(near.node, bridge, "rx", 0)

    def wraps(self) -> "Story":
        """Step 3b, after the decision of 3a."""
        self.ttl -= 1
        self.macs = self.near.tunnel_mac, self.far.tunnel_mac
        return self.seen(self.near.node, self.machine.tunnel, "tx", 1900)

    def goes_out(self) -> "Story":
        """Step 3c in the tunnel's headers."""
        self.wrapped = True
        return self.seen(self.near.node, "eth0", "tx", 900)

    def crosses(self) -> "Story":
        """Steps 4 and 5."""
        self.seen(SWITCH, f"port{self.near.number}", "rx", 100)
        return self.seen(SWITCH, f"port{self.far.number}", "tx", 2000)

    def comes_in(self, pkttype: PacketType = "host") -> "Story":
        """Step 6a."""
        return self.seen(self.far.node, "eth0", "rx", 120, pkttype)

    def unwraps(self, pkttype: PacketType = "host") -> "Story":
        """Step 6b, with the NIC's stamp."""
        self.wrapped = False
        return self.seen(self.far.node, self.machine.tunnel, "rx", 0, pkttype)

    def delivers(self, pkttype: PacketType = "host") -> "Story":
        """Steps 6c, 7 and 8."""
        self.ttl -= 1
        self.macs = self.far.bridge_mac, self.far.pod_mac
        self.seen(self.far.node, self.machine.bridge, "tx", 1400)
        self.seen(self.far.node, veth_of(self.far).name, "tx", 400)
        return self.seen(self.far.pod, "eth0", "rx", 0, pkttype)

    def walks(self) -> "Story":
        """One whole direction through the tunnel."""
        self.leaves_pod().wraps().goes_out()
        if SWITCH in self.machine.topology.namespaces:
            self.crosses()
        return self.comes_in().unwraps().delivers()

    def walks_plain(self) -> "Story":
        """One whole direction over host routes."""
        self.leaves_pod()
        self.ttl -= 1
        self.macs = self.near.nic_mac, self.far.nic_mac
        return self.seen(self.near.node, "eth0", "tx", 1500).crosses().comes_in().delivers()

    def is_switched(self) -> "Story":
        """One whole direction on one node: 1, 2, 7, 8."""
        near, far = self.near, self.far
        self.macs = near.pod_mac, far.pod_mac
        self.seen(near.pod, "eth0", "tx").seen(near.node, veth_of(near).name, "rx", 200)
        return self.seen(far.node, veth_of(far).name, "tx", 600).seen(far.pod, "eth0", "rx", 0)

    def turns_round(self, wait_ns: int = 1200) -> "Story":
        """From here on it is the reply."""
        self.direction, self.ttl, self.wrapped = "reply", 64, False
        self.t_ns += wait_ns
        return self

    def asks(self, netns: NetnsId, name: str, target: IPAddress, answer: MacAddress | None = None) -> "Story":
        """An ARP or neighbour question leaving ``name``, and its answer 400 ns later."""
        asker = self.machine.device(netns, name)
        source = next((a for a in asker.addresses if a.version == target.version), target)
        own = asker.mac or mac(0)
        frames: list[tuple[Ethernet, PacketType]] = [(_question(own, source, target), "outgoing")]
        if answer is not None:
            frames.append((_answer(own, source, target, answer), "host"))
        for frame, pkttype in frames:
            self.t_ns += 400
            data = encode_frame(frame)
            self.captures.append(
                Capture(device=asker.key, t_ns=self.t_ns, pkttype=pkttype, length=len(data), data=data)
            )
        return self

    def frame(self) -> bytes:
        """The frame as the next tap would see it."""
        inner = ethernet(self.macs, self.packet())
        if not self.wrapped:
            return encode_frame(inner)
        datagram = Udp(
            source_port=OUTER_PORT,
            destination_port=self.machine.port,
            payload=Vxlan(vni=Vni(self.machine.vni), inner=inner),
            checksum=0,
        )
        source = self.outer_source or self.near.node_ip
        outer = packet(source, self.far.node_ip, IPPROTO_UDP, datagram)
        return encode_frame(ethernet((self.near.nic_mac, self.far.nic_mac), outer))

    def packet(self) -> IpPacket:
        probe = self.probe
        back = self.answerer or probe.target, probe.source
        ends = (probe.source, probe.target) if self.direction == "request" else back
        load = request(probe) if self.direction == "request" else self.answer or reply(probe)
        number = probe.number if not isinstance(load, IcmpError) else (1 if probe.family == 4 else 58)
        return packet(*ends, number, load, self.ttl)

    def findings(
        self,
        answers: Answers | None = None,
        *,
        facts: Mapping[NetnsId, NodeFacts] | None = None,
        events: Events = NO_EVENTS,
        send_error: str = "",
        overhead: Overhead = MEASURED,
        notes: tuple[str, ...] = (),
    ) -> Findings:
        """All of it as evidence."""
        return Findings(
            topology=self.machine.topology,
            places=self.machine.places,
            probe=self.probe,
            seen=recognise(self.captures, self.probe, PORTS),
            answers=healthy_answers(self.machine) if answers is None else answers,
            facts=facts or {},
            events=events,
            send_error=send_error,
            overhead=overhead,
            notes=notes,
        )

    def journey(self, answers: Answers | None = None) -> Journey:
        """The journey that ``correlate`` makes of it."""
        return correlate(self.findings(answers))


def story(machine: Machine | None = None, protocol: Protocol = "icmp", port: int = 0, size: int | None = None) -> Story:
    """A story that has not begun, of a probe from pod1 to pod4 unless the machine says otherwise."""
    machine = machine or two_nodes()
    return Story(machine, make_probe(machine, protocol, port, size))


def request(probe: Probe) -> Transport:
    """What the probe carries."""
    match probe.protocol:
        case "icmp":
            return Echo(request=True, ident=probe.ident, sequence=probe.sequence, payload=probe.payload)
        case "udp":
            return Udp(source_port=probe.ident, destination_port=probe.port, payload=probe.payload)
        case "tcp":
            return segment(probe.ident, probe.port, TCP_SYN, sequence=probe.sequence, payload=probe.payload)


def reply(probe: Probe) -> Transport:
    """What comes back from a target that answers."""
    match probe.protocol:
        case "icmp":
            return Echo(request=False, ident=probe.ident, sequence=probe.sequence, payload=probe.payload)
        case "udp":
            return Udp(source_port=probe.port, destination_port=probe.ident, payload=probe.payload)
        case "tcp":
            return segment(probe.port, probe.ident, TCP_RST | TCP_ACK, acknowledgement=probe.sequence + 1)


def segment(
    source: int, target: int, flags: int, *, sequence: int = 0, acknowledgement: int = 0, payload: bytes = b""
) -> Tcp:
    return Tcp(
        source_port=source,
        destination_port=target,
        sequence=sequence,
        acknowledgement=acknowledgement,
        flags=flags,
        window=64240,
        payload=payload,
    )


def unreachable(probe: Probe, code: int | None = None, kind: int | None = None) -> IcmpError:
    """The ICMP error about the probe: port unreachable, unless another one is asked for."""
    four = probe.family == 4
    quoted = packet(probe.source, probe.target, probe.number, request(probe), 62)
    return IcmpError(
        type=kind if kind is not None else 3 if four else 1,
        code=code if code is not None else 3 if four else 4,
        info=0,
        quoted=quoted,
    )


def packet(source: IPAddress, target: IPAddress, protocol: int, load: Transport, ttl: int = 64) -> IpPacket:
    """An IP packet of the addresses' family."""
    if isinstance(source, IPv4Address) and isinstance(target, IPv4Address):
        return Ipv4(source=source, destination=target, protocol=protocol, ttl=ttl, payload=load)
    assert isinstance(source, IPv6Address)
    assert isinstance(target, IPv6Address)
    return Ipv6(source=source, destination=target, protocol=protocol, next_header=protocol, hop_limit=ttl, payload=load)


def ethernet(macs: tuple[MacAddress, MacAddress], load: IpPacket) -> Ethernet:
    """A frame from the first MAC to the second."""
    ethertype = ETH_P_IPV4 if isinstance(load, Ipv4) else ETH_P_IPV6
    return Ethernet(source=macs[0], destination=macs[1], ethertype=ethertype, payload=load)


def echo_packet(probe: Probe, ttl: int = 64) -> bytes:
    """The probe's IP packet, as a device without Ethernet headers shows it."""
    return encode_packet(packet(probe.source, probe.target, probe.number, request(probe), ttl))


def _question(own: MacAddress, source: IPAddress, target: IPAddress) -> Ethernet:
    if isinstance(source, IPv4Address) and isinstance(target, IPv4Address):
        body = Arp(operation=ARP_REQUEST, sender_mac=own, sender_ip=source, target_mac=mac(0), target_ip=target)
        return Ethernet(source=own, destination=MacAddress("ff:ff:ff:ff:ff:ff"), ethertype=ETH_P_ARP, payload=body)
    assert isinstance(target, IPv6Address)
    return ethernet((own, MacAddress("33:33:ff:00:00:01")), _nd(source, target, target, advertisement=False))


def _answer(own: MacAddress, source: IPAddress, target: IPAddress, answer: MacAddress) -> Ethernet:
    if isinstance(source, IPv4Address) and isinstance(target, IPv4Address):
        body = Arp(operation=ARP_REPLY, sender_mac=answer, sender_ip=target, target_mac=own, target_ip=source)
        return Ethernet(source=answer, destination=own, ethertype=ETH_P_ARP, payload=body)
    assert isinstance(target, IPv6Address)
    return ethernet((answer, own), _nd(target, source, target, advertisement=True))


def _nd(source: IPAddress, target: IPAddress, subject: IPv6Address, *, advertisement: bool) -> IpPacket:
    return packet(source, target, IPPROTO_ICMPV6, NeighborDiscovery(advertisement=advertisement, target=subject), 255)


def freed(told: Story, reason: str, place: str, *, after_ns: int = 300, skb: int = 0xFFFF8881) -> Events:
    """Tracepoint events: the skb leaves with the story's first frame and is freed after its last."""
    first, last = told.captures[0], told.captures[-1]
    return Events(
        skbs=(
            SkbEvent(t_ns=first.t_ns + 80, kind="xmit", skb=skb, device="eth0", length=first.length),
            SkbEvent(t_ns=last.t_ns + after_ns, kind="free", skb=skb, reason=reason, place=place),
        )
    )
