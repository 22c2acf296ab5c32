"""Labs for the page's tests: nodes whose kernels hold what their leases ask for, in memory, and a lab port on them."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tests.kit.pictures import cross_node, no_fdb_entry
from tulle.lab.leases import network_config
from tulle.lab.topology import LabNode, Topology, Wishes, design
from tulle.lab.underlay import NODE_DEVICE
from tulle.model.lease import Lease
from tulle.model.network import Host, MacAddress, NetworkConfig, Underlay, Vni
from tulle.model.objects import FdbEntry, KernelObject, Link, Neighbor, Route, VxlanKind
from tulle.model.state import KernelState
from tulle.plan.desired import Inputs, Settings, peer_objects
from tulle.render.cluster import Cluster, named, observed, planned, with_gaps
from tulle.render.lab_rows import Shared, lease_of, node_rows
from tulle.render.lab_view import LabView, NodeView
from tulle.serve.apart import Done
from tulle.trace.json import encode_journey
from tulle.wire.leases import lease_key
from tulle.wire.network_config import decode_network_config

TWO = design(Wishes())


def config_of(topology: Topology) -> NetworkConfig:
    return decode_network_config(network_config(topology.settings))


def lease(node: LabNode) -> Lease:
    """As the node's agent writes it."""
    return Lease(
        key=lease_key(node.subnet, node.subnet6),
        subnet=node.subnet,
        public_ip=node.address,
        backend_type="vxlan",
        vni=Vni(1),
        vtep_mac=MacAddress(f"02:00:00:00:00:{node.number:02x}"),
    )


def shared(topology: Topology = TWO) -> Shared:
    leases = tuple(lease(node) for node in topology.nodes)
    owners = {str(held.key): node.name for held, node in zip(leases, topology.nodes, strict=True)}
    return Shared(settings=topology.settings, config=config_of(topology), leases=leases, owners=owners)


def kernel_of(node: LabNode, topology: Topology = TWO) -> KernelState:
    """What a healthy agent makes of the others' leases, beside what no agent makes."""
    own = lease(node)
    host = Host(underlay=Underlay(device=NODE_DEVICE, mtu=1500, address=node.address, address6=None))
    inputs = Inputs(config=config_of(topology), host=host, own=own, settings=Settings())
    tunnel = Link(
        name="flannel.1",
        kind=VxlanKind(vni=Vni(1), port=8472, local=node.address, underlay=NODE_DEVICE),
        mac=own.vtep_mac,
    )
    objects: list[KernelObject] = [tunnel, Route(dst=node.subnet, device="cbr0", protocol=2)]
    for other in topology.nodes:
        if other is not node:
            objects += peer_objects(inputs, lease(other))
    objects.append(Neighbor(device="cbr0", ip=node.subnet[2], mac=MacAddress("0a:00:00:00:00:02"), permanent=False))
    return KernelState.of(objects)


def view(topology: Topology = TWO, broken: str = "", paused: str = "") -> LabView:
    """The lab healthy, but for the node whose FDB entry is missing and the one whose agent is held."""
    nodes: list[NodeView] = []
    drawn = list(planned(topology).nodes)
    for at, node in enumerate(topology.nodes):
        state = kernel_of(node, topology)
        if node.name == broken:
            state = KernelState.of(obj for obj in state if not isinstance(obj, FdbEntry))
        agent = "paused" if node.name == paused else "running"
        looked_at = observed(node.name, state, drawn[at].pods, agent)
        drawn[at] = replace(drawn[at], source="kernel", agent=agent, ways=looked_at.ways)
        rows = node_rows(node, state, shared(topology))
        nodes.append(NodeView(name=node.name, lease=lease_of(node, shared(topology)), rows=rows))
    cluster = Cluster(name=topology.name, nodes=tuple(drawn), underlay="switch")
    return LabView(cluster=with_gaps(named(cluster)), nodes=tuple(nodes))


@dataclass
class LabInMemory:
    """A lab port: commands change what the next look shows, as they would on a real one."""

    broken: str = ""
    paused: str = ""
    up: bool = True
    ran: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    fails_with: str = ""
    name: str = "lab"

    def is_there(self) -> bool:
        return self.up

    async def look(self) -> LabView:
        return view(broken=self.broken, paused=self.paused)

    async def run(self, words: Sequence[str]) -> Done:
        self.ran.append(tuple(words))
        if self.fails_with:
            return Done(code=2, out=b"", err=self.fails_with + "\n")
        match words:
            case ["trace", *_]:
                journey = no_fdb_entry() if self.broken else cross_node()
                return Done(code=int(bool(self.broken)), out=encode_journey(journey) + b"\n", err="")
            case ["lab", "pause", node, *_]:
                self.paused = node
            case ["lab", "resume", _, *_]:
                self.paused = self.broken = ""
            case ["lab", "exec", _, _, node, *_]:
                self.broken = node
            case _:
                raise AssertionError(words)
        return Done(code=0, out=b"", err="")

    def typed(self, words: Sequence[str]) -> str:
        return shlex.join(["tulle", *words])


def fdb_entry(node: str, seen: LabView) -> str:
    """The name of a node's first FDB entry."""
    found = seen.node(node)
    assert found is not None
    return next(f"{row.kind} {row.text}" for row in found.rows if row.kind == "fdb")
