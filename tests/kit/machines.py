"""Machines for traces, written by hand: two nodes with pods and a switch, as ``discover`` would have found them.

```
 node1 ┌ pod1 ┐  ┌ pod2 ┐                                 node2 ┌ pod4 ┐
       │ eth0 │  │ eth0 │                                       │ eth0 │
       └──┬───┘  └──┬───┘                                       └──┬───┘
       vethp1    vethp2          switch                         vethp4
          └─ cbr0 ─┘  flannel.1 ─ eth0 ── port1 br0 port2 ── eth0 ─ flannel.1  cbr0 ┘
```
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, ip_address, ip_network

from tulle.model.network import IPAddress, MacAddress
from tulle.trace.journey import Direction
from tulle.trace.places import Places, cast
from tulle.trace.topology import Device, DeviceKey, Namespace, NetnsId, Topology

POD1, POD2, POD4 = NetnsId(101), NetnsId(102), NetnsId(104)
NODE1, NODE2, SWITCH = NetnsId(11), NetnsId(12), NetnsId(50)
NAMES: Mapping[NetnsId, str] = {
    POD1: "pod1",
    POD2: "pod2",
    POD4: "pod4",
    NODE1: "node1",
    NODE2: "node2",
    SWITCH: "switch",
}
CBR0, FLANNEL, ETH0, VETH1, VETH2 = 3, 4, 2, 5, 6
"""Interface indexes on a node; a pod's eth0 is 2, too."""


def mac(number: int) -> MacAddress:
    """``4e:5a:00:00:00:01`` for 1."""
    return MacAddress(f"4e:5a:{number.to_bytes(4, 'big').hex(':')}")


def vtep_mac(node: int) -> MacAddress:
    return MacAddress(f"02:00:0a:f4:{node:02x}:00")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """One end: a pod on its node, with the devices that a packet meets there."""

    number: int
    pod: NetnsId
    node: NetnsId
    veth: int
    pod_ip: IPAddress
    node_ip: IPAddress
    gateway: IPAddress
    vtep_ip: IPAddress
    """The pod subnet's own first address, which stands for the tunnel's end."""

    @property
    def pod_mac(self) -> MacAddress:
        return mac(self.pod)

    @property
    def bridge_mac(self) -> MacAddress:
        return mac(0x100 + self.number)

    @property
    def nic_mac(self) -> MacAddress:
        return mac(0x200 + self.number)

    @property
    def tunnel_mac(self) -> MacAddress:
        return vtep_mac(self.number)

    @property
    def subnet(self) -> str:
        return str(ip_network(f"{self.vtep_ip}/{24 if self.vtep_ip.version == 4 else 64}"))


def site(node: int, pod: NetnsId, veth: int, family: int = 4) -> Site:
    """The lab's own addresses for a pod on ``node``."""
    number = pod - 100
    if family == 4:
        own, subnet = f"192.168.64.{10 + node}", f"10.244.{node}."
        addresses = (f"{subnet}{number + 1}", own, f"{subnet}1", f"{subnet}0")
    else:
        subnet = f"fd10:244:0:{node}::"
        addresses = (f"{subnet}{number + 1}", f"fd64::{10 + node}", f"{subnet}1", subnet)
    pod_ip, node_ip, gateway, vtep_ip = (ip_address(text) for text in addresses)
    return Site(
        number=node,
        pod=pod,
        node=NetnsId(10 + node),
        veth=veth,
        pod_ip=pod_ip,
        node_ip=node_ip,
        gateway=gateway,
        vtep_ip=vtep_ip,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A topology, the cast of one walk on it, and its two sites."""

    topology: Topology
    places: Places
    source: Site
    target: Site
    tunnel: str = "flannel.1"
    bridge: str = "cbr0"
    vni: int = 1
    port: int = 8472

    def sites(self, direction: Direction) -> tuple[Site, Site]:
        """Sender's first."""
        return (self.source, self.target) if direction == "request" else (self.target, self.source)

    def device(self, netns: NetnsId, name: str) -> Device:
        found = self.topology.named(netns, name)
        assert found is not None, f"no {name} in {NAMES.get(netns, netns)}"
        return found

    def with_device(self, netns: NetnsId, name: str, **changed: object) -> "Machine":
        """The same machine with one device changed."""
        old = self.device(netns, name)
        space = self.topology.namespaces[netns]
        new = replace(old, **changed)  # pyright: ignore[reportArgumentType]  # the test names real fields
        devices = tuple(new if device is old else device for device in space.devices)
        spaces = dict(self.topology.namespaces) | {netns: replace(space, devices=devices)}
        return replace(self, topology=Topology(spaces))

    def without(self, *gone: NetnsId) -> "Machine":
        """The same machine with namespaces that nobody may look into."""
        spaces = {netns: space for netns, space in self.topology.namespaces.items() if netns not in gone}
        return replace(self, topology=Topology(spaces))


def two_nodes(
    family: int = 4,
    *,
    pods: tuple[NetnsId, NetnsId] = (POD1, POD4),
    wire: bool = True,
    overlay: bool = True,
    tunnel: str = "",
    bridge: str = "cbr0",
    vni: int = 1,
    port: int = 8472,
) -> Machine:
    """The picture above.  ``wire`` False: no tap between the nodes; ``pods`` may share node1 or name a node."""
    tunnel = tunnel or (f"flannel.{vni}" if family == 4 else f"flannel-v6.{vni}")
    one, two = site(1, POD1, VETH1, family), site(1, POD2, VETH2, family)
    four = site(2, POD4, VETH1, family)
    spaces = [
        _pod(one),
        _pod(two),
        _pod(four),
        _node(one, [one, two], tunnel if overlay else "", bridge, vni, port, wire=wire),
        _node(four, [four], tunnel if overlay else "", bridge, vni, port, wire=wire),
    ]
    if wire:
        spaces.append(_switch([one, four]))
    topology = Topology({space.id: space for space in spaces})
    known = {POD1: one, POD2: two, POD4: four, NODE1: one, NODE2: four}
    return Machine(
        topology=topology,
        places=cast(topology, *pods, NAMES, {NODE1: "node", NODE2: "node"}),
        source=known[pods[0]],
        target=known[pods[1]],
        tunnel=tunnel,
        bridge=bridge,
        vni=vni,
        port=port,
    )


def same_node() -> Machine:
    """pod1 and pod2 on node1."""
    return two_nodes(pods=(POD1, POD2))


def _pod(own: Site) -> Namespace:
    eth0 = Device(
        netns=own.pod,
        ifindex=ETH0,
        name="eth0",
        kind="veth",
        mac=own.pod_mac,
        mtu=1450,
        peer=DeviceKey(own.node, own.veth),
        addresses=(own.pod_ip,),
    )
    return Namespace(id=own.pod, name=NAMES[own.pod], devices=(_loopback(own.pod), eth0))


def _node(own: Site, pods: Iterable[Site], tunnel: str, bridge: str, vni: int, port: int, *, wire: bool) -> Namespace:
    nic = Device(
        netns=own.node,
        ifindex=ETH0,
        name="eth0",
        kind="veth" if wire else "",
        mac=own.nic_mac,
        mtu=1500,
        peer=DeviceKey(SWITCH, own.number) if wire else None,
        addresses=(own.node_ip,),
    )
    cbr0 = Device(
        netns=own.node,
        ifindex=CBR0,
        name=bridge,
        kind="bridge",
        mac=own.bridge_mac,
        mtu=1450,
        addresses=(own.gateway,),
    )
    vxlan = Device(
        netns=own.node,
        ifindex=FLANNEL,
        name=tunnel,
        kind="vxlan",
        mac=own.tunnel_mac,
        mtu=1450,
        lower=ETH0,
        vni=vni,
        port=port,
        local=own.node_ip,
        addresses=(own.vtep_ip,),
    )
    veths = tuple(veth_of(pod) for pod in pods)
    devices = (_loopback(own.node), nic, cbr0, *((vxlan,) if tunnel else ()), *veths)
    return Namespace(id=own.node, name=NAMES[own.node], devices=devices)


def veth_of(pod: Site) -> Device:
    """The pair's end on the node."""
    return Device(
        netns=pod.node,
        ifindex=pod.veth,
        name=f"vethp{pod.pod - 100}",
        kind="veth",
        mac=mac(0x300 + pod.pod),
        mtu=1450,
        master=CBR0,
        peer=DeviceKey(pod.pod, ETH0),
    )


def _switch(nodes: Iterable[Site]) -> Namespace:
    bridge = Device(netns=SWITCH, ifindex=9, name="br0", kind="bridge", mac=mac(0x400))
    ports = tuple(
        Device(
            netns=SWITCH,
            ifindex=node.number,
            name=f"port{node.number}",
            kind="veth",
            mac=mac(0x400 + node.number),
            master=9,
            peer=DeviceKey(node.node, ETH0),
        )
        for node in nodes
    )
    return Namespace(id=SWITCH, name="switch", devices=(_loopback(SWITCH), *ports, bridge))


def _loopback(netns: NetnsId) -> Device:
    return Device(netns=netns, ifindex=1, name="lo", loopback=True, addresses=(IPv4Address("127.0.0.1"),))
