"""A tulle node of the simulation: a machine that lasts, and one life of the agent after another on it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from random import Random
from typing import Final, Protocol

from tests.kit.etcd_memory import MemoryClient, MemoryEtcd
from tests.kit.virtual_time import MemoryFiles
from tests.simulation.life import Life, LifeClock, LifeKernel, LifeRandom
from tests.simulation.wire import NodeWire, SimWire
from tulle.agent.daemon import be_a_node
from tulle.agent.desk import Desk
from tulle.agent.node import Node
from tulle.agent.options import AgentOptions
from tulle.agent.start import Rim
from tulle.errors import TulleError
from tulle.kernel.fake import FakeKernel
from tulle.model.change import Plan
from tulle.model.network import MacAddress, Vni
from tulle.model.objects import (
    RTPROT_KERNEL,
    Address,
    FdbEntry,
    KernelObject,
    Link,
    Neighbor,
    ObjectKey,
    OtherKind,
    Route,
    VxlanKind,
)
from tulle.store.etcd import EtcdStore
from tulle.store.ports import Grant

PREFIX: Final = "/coreos.com/network"
TUNNEL: Final = "flannel.1"
AUDIT_S: Final = 60.0
RESTART_S: Final = 2.0
"""How soon a supervisor starts an agent again that ended by itself."""

# A machine's number is in its underlay address, so that no two kinds may share one.  tulle's first nodes are 1 to 5.
FLANNELD: Final = 10
JOINED: Final = 20
"""Nodes from this number on, up to 79, join later."""
CLONE: Final = 90
"""Nodes from this number on stand at another's address, and are refused."""
HOSTILE: Final = 170
"""Whoever writes what no node may believe."""
STRANGER: Final = 180
"""Who writes over another's lease, up to 229."""


@dataclass(frozen=True, slots=True)
class Peer:
    """What a kernel needs to reach a node's pods."""

    subnet: IPv4Network
    public_ip: IPv4Address
    mac: MacAddress


def reached(objects: Mapping[ObjectKey, KernelObject]) -> set[Peer]:
    """The peers that a kernel would send packets to: route → neighbour → FDB entry, all three there."""
    fdb = {obj.mac: obj.dst for obj in objects.values() if isinstance(obj, FdbEntry) and obj.device == TUNNEL}
    neighbors = {obj.ip: obj.mac for obj in objects.values() if isinstance(obj, Neighbor) and obj.device == TUNNEL}
    found = set[Peer]()
    for route in objects.values():
        if isinstance(route, Route) and route.device == TUNNEL and isinstance(route.via, IPv4Address):
            mac = neighbors.get(route.via)
            where = fdb.get(mac) if mac is not None else None
            if mac is not None and isinstance(where, IPv4Address) and isinstance(route.dst, IPv4Network):
                found.add(Peer(route.dst, where, mac))
    return found


class Watcher(Protocol):
    """What a node tells the story while it lives."""

    def said(self, what: str) -> None: ...

    def plans(self, node: "SimNode", plan: Plan) -> None: ...

    def breaks(self, law: str, what: str) -> None: ...

    def placed(self, node: "SimNode") -> None: ...


def underlay_ip(number: int) -> IPv4Address:
    return IPv4Address(f"192.168.64.{10 + number}")


def machine_objects(number: int) -> list[KernelObject]:
    """A machine as it boots: an underlay device with its address, and things of others that nobody may touch."""
    address = IPv4Interface(f"192.168.64.{10 + number}/24")
    eth0 = Link(
        name="eth0",
        kind=OtherKind(),
        mtu=1500,
        up=True,
        master="",
        alias="",
        mac=MacAddress(f"52:54:00:00:00:{number:02x}"),
    )
    connected = Route(dst=address.network, device="eth0", source=address.ip, protocol=RTPROT_KERNEL)
    return [eth0, Address(device="eth0", interface=address), connected, *foreign_objects()]


def foreign_objects() -> list[KernelObject]:
    """What somebody else has put there."""
    return [
        Route(dst=IPv4Network("0.0.0.0/0"), device="eth0", via=IPv4Address("192.168.64.1"), protocol=3),
        Route(dst=IPv4Network("10.9.0.0/16"), device="eth0", via=IPv4Address("192.168.64.1"), protocol=4),
        Neighbor(ip=IPv4Address("192.168.64.1"), device="eth0", mac=MacAddress("52:54:00:00:01:01")),
        Link(
            name="docker0",
            kind=OtherKind(),
            mtu=1500,
            up=True,
            master="",
            alias="",
            mac=MacAddress("02:42:00:00:00:01"),
        ),
    ]


async def _at_once(work: Callable[[], None]) -> None:
    work()


class _Desk(Desk):
    """A desk that says when the node has its lease."""

    on_open: Callable[[Node], None]

    def open(self, node: Node) -> None:
        super().open(node)
        self.on_open(node)


@dataclass(kw_only=True)
class SimNode:
    """One machine that runs tulle.  Disk and kernel outlive the agent; a reboot takes the kernel and /run."""

    number: int
    cluster: MemoryEtcd
    random: Random
    ttl_s: float
    watcher: Watcher
    address: IPv4Address
    skew_s: float = 0.0
    files: MemoryFiles = field(default_factory=MemoryFiles)
    wire: SimWire = field(init=False)
    kernel: FakeKernel = field(init=False)
    life: Life = field(default_factory=Life)
    node: Node | None = None
    client: MemoryClient | None = None
    upset_s: float = 0.0
    """When it was last disturbed."""
    troubles: int = 0
    """How many faults befall it now."""
    was_troubled: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    """From when to when it was."""
    _calls_before: int = 0
    _reached_at: tuple[int, int] = (0, 0)
    _reached: set[Peer] = field(default_factory=set[Peer])
    down: bool = True
    _task: "asyncio.Task[None] | None" = None

    def __post_init__(self) -> None:
        self.wire = SimWire(self.random)
        self.kernel = FakeKernel(machine_objects(self.number))

    def __str__(self) -> str:
        return f"n{self.number}"

    # -- what befalls it ----------------------------------------------------------------

    def start(self) -> None:
        """Power on: the agent runs, and is started again whenever it ends by itself."""
        self.down = False
        self.life = Life()
        self._task = asyncio.create_task(self._live(self.life), name=f"{self}")

    def kill(self) -> None:
        """End the agent in the midst of whatever it does."""
        self.life.kill()
        self.kernel.close()
        if self._task is not None:
            self._task.cancel()
        self._task, self.node, self.down = None, None, True

    def reboot(self) -> None:
        """Lose the kernel's state and /run; the agent is not running afterwards."""
        self.kill()
        self.kernel = FakeKernel(machine_objects(self.number))
        self.files.remove(Path("/run/flannel/subnet.env"))

    def remake(self, mac: MacAddress) -> None:
        """As ``reboot``, and somebody else makes the tunnel before the agent runs, with a MAC of its own."""
        self.reboot()
        kind = VxlanKind(vni=Vni(1), port=8472, local=self.address, underlay="eth0")
        tunnel = Link(name="flannel.1", kind=kind, mtu=1450, mac=mac, up=True, master="", alias="")
        self.kernel = FakeKernel([*machine_objects(self.number), tunnel])

    # -- what can be seen of it -----------------------------------------------------------

    @property
    def grant(self) -> Grant | None:
        """The lease that its agent believes in."""
        return None if self.node is None else self.node.keeper.grant

    @property
    def trusts_its_lease(self) -> bool:
        """Would it give an address of its subnet to a new pod now?"""
        return self.node is not None and not self.node.keeper.past_deadline

    @property
    def calls(self) -> int:
        """How often its agents asked the store."""
        return self._calls_before + (self.client.calls if self.client is not None else 0)

    @property
    def objects(self) -> Mapping[ObjectKey, KernelObject]:
        """All that its kernel holds."""
        return self.kernel.objects

    @property
    def reached(self) -> set[Peer]:
        """The peers that its kernel would send packets to; worked out anew only when the kernel has changed."""
        version = (id(self.kernel), self.kernel.changed)
        if self._reached_at != version:
            self._reached_at, self._reached = version, reached(self.objects)
        return self._reached

    # -- inside -----------------------------------------------------------------------------

    async def _live(self, life: Life) -> None:
        while not life.killed:
            self.upset_s = asyncio.get_running_loop().time()
            try:
                await self._agent(life)
            except* TulleError as errors:
                self.watcher.said(f"{self} ended: {errors.exceptions[0]}")
            except* Exception as errors:  # noqa: BLE001 - whatever it is, it is a crash
                self.watcher.breaks("L0", f"{self} crashed: {errors.exceptions[0]!r}")
            self.node = None
            await asyncio.sleep(RESTART_S)

    async def _agent(self, life: Life) -> None:
        clock, random = LifeClock(life, self.skew_s), LifeRandom(self.random)
        self._calls_before = self.calls
        self.client = MemoryClient(self.cluster, NodeWire(self.wire, life))
        kernel = LifeKernel(self.kernel, life, self.random, self._plans)
        rim = Rim(
            kernel=kernel,
            store=EtcdStore(self.client, PREFIX, clock, random),
            clock=clock,
            random=random,
            files=self.files,
            settle=lambda: None,
            aside=_at_once,
        )
        options = AgentOptions(
            store=f"etcd://memory{PREFIX}",
            iface=("eth0",),
            public_ip=None if self.address == underlay_ip(self.number) else self.address,
            lease_ttl_s=self.ttl_s,
            renew_margin_s=self.ttl_s / 4,
            audit_period_s=AUDIT_S,
        )
        desk = _Desk(options.store_url, clock.wall_ns(), self.number)
        desk.on_open = self._opened
        await be_a_node(options, rim, desk, lambda: None)

    def _opened(self, node: Node) -> None:
        self.node = node
        self.watcher.placed(self)

    def _plans(self, plan: Plan) -> None:
        self.watcher.plans(self, plan)
