"""A pod's attachment as two ``KernelState``s: what the node holds for it, and what the pod's namespace holds.

The pair's inner end is made directly in the pod; the bridge is shared by all pods of the node and
is adopted when it is there.  Steps 1, 2, 7 and 8 of the packet walk run over what is made here.
"""

from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface, ip_network

from tulle.model.network import IPAddress, MacAddress
from tulle.model.objects import (
    Address,
    BridgeKind,
    KernelObject,
    Link,
    OtherKind,
    Route,
    Sysctl,
    VethKind,
)
from tulle.model.state import KernelState
from tulle.ownership import Standing
from tulle.wire.cni import Invocation, ResultAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class PodNetwork:
    """What the agent knows that every pod of the node needs; at least one subnet is there."""

    subnet: IPv4Network | None
    subnet6: IPv6Network | None
    mtu: int

    @property
    def subnets(self) -> tuple[IPv4Network | IPv6Network, ...]:
        return tuple(net for net in (self.subnet, self.subnet6) if net is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attachment:
    """The wanted state of both sides; ``host_device`` is the pair's end on the node."""

    host: KernelState
    pod: KernelState
    host_device: str
    addresses: tuple[ResultAddress, ...]


def attachment(
    call: Invocation, network: PodNetwork, addresses: tuple[IPv4Interface | IPv6Interface, ...], bridge: Link | None
) -> Attachment:
    """What ADD makes.  ``bridge`` is the node's bridge when it is there already: its MAC and MTU stay."""
    mtu = call.conf.mtu or network.mtu
    results = tuple(ResultAddress(address=ip, gateway=gateway_of(ip.network)) for ip in addresses)
    device = host_device(call.container_id, call.ifname)
    pair = VethKind(peer=call.ifname, peer_netns=call.netns, peer_mtu=mtu, peer_mac=mac_of(addresses[0].ip))
    host: list[KernelObject] = [
        _bridge(call.conf.bridge, mtu, results[0].gateway) if bridge is None else adopted(bridge),
        *(_bridge_address(call.conf.bridge, result) for result in results),
        Sysctl(f"net/ipv6/conf/{call.conf.bridge}/accept_ra", "0"),
        Link(
            name=device,
            kind=pair,
            mtu=mtu,
            master=call.conf.bridge,
            alias=f"tulle:{call.container_id}",
            hairpin=call.conf.hairpin,
        ),
        Sysctl(f"net/ipv6/conf/{device}/accept_ra", "0"),
    ]
    pod: list[KernelObject] = [
        Link(name="lo", kind=OtherKind()),
        Link(name=call.ifname, kind=VethKind()),
        Sysctl(f"net/ipv6/conf/{call.ifname}/accept_ra", "0"),
    ]
    for result in results:
        pod += _pod_objects(call.ifname, result)
    return Attachment(host=KernelState.of(host), pod=KernelState.of(pod), host_device=device, addresses=results)


def host_device(container_id: str, ifname: str) -> str:
    """The name of the node's end: the same for the same attachment, so that DEL needs no memory."""
    return "veth" + sha256(f"{container_id}/{ifname}".encode()).hexdigest()[:8]


def gateway_of(subnet: IPv4Network | IPv6Network) -> IPAddress:
    """The bridge's address: the subnet's base + 1, as flannel's ``subnet.env`` says it."""
    return subnet[1]


def mac_of(ip: IPAddress) -> MacAddress:
    """A locally administered MAC that follows from the address, so that a new pod of an old address is not mistaken."""
    tail = ip.packed if ip.version == 4 else sha256(ip.packed).digest()[:4]
    return MacAddress("0a:58:" + tail.hex(":"))


def adopted(bridge: Link) -> Link:
    """An existing bridge as we want it: up, and otherwise as it is."""
    return Link(name=bridge.name, kind=BridgeKind())


def judge(obj: KernelObject) -> Standing:
    """In the few keys of one attachment: what is of another kind is somebody else's, the rest is set right."""
    if isinstance(obj, Link) and not isinstance(obj.kind, BridgeKind | VethKind | OtherKind):
        return Standing.FOREIGN
    return Standing.KEPT


def _bridge(name: str, mtu: int, gateway: IPAddress) -> Link:
    # A bridge without a MAC of its own takes the lowest of its ports, and changes it under the pods' ARP caches.
    return Link(name=name, kind=BridgeKind(), mtu=mtu, mac=mac_of(gateway))


def _bridge_address(bridge: str, result: ResultAddress) -> Address:
    interface = ip_interface((result.gateway, result.address.network.prefixlen))
    return Address(device=bridge, interface=interface, nodad=True if result.gateway.version == 6 else None)


def _pod_objects(ifname: str, result: ResultAddress) -> tuple[KernelObject, ...]:
    version = result.address.version
    everywhere = ip_network("0.0.0.0/0" if version == 4 else "::/0")
    return (
        Address(device=ifname, interface=result.address, nodad=True if version == 6 else None),
        Route(dst=everywhere, device=ifname, via=result.gateway),
    )
