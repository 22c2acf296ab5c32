"""Laws of keeping a lease among nodes that are cut off, restarted and lied to by the network, in virtual time.

Safety at every moment: of the nodes that still trust their lease no two have one subnet, and what
a node trusts the store shows as that node's.  Liveness: once the trouble is over, everybody has one.
"""

import asyncio
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network

from hypothesis import given
from hypothesis import strategies as st

from tests.kit import virtual_time
from tests.kit.cluster import CONFIG, mac
from tests.kit.memory_store import MemoryStore, Shelf
from tests.kit.virtual_time import SeededRandom, VirtualClock
from tulle.agent.identity import Identity
from tulle.agent.keeper import LeaseKeeper, Offer
from tulle.errors import ConfigError, LeaseConflict, StoreUnavailable
from tulle.model.lease import Lease, LeaseEvent, NodeId
from tulle.model.network import NetworkConfig, SubnetPool

TTL_S, MARGIN_S = 60.0, 20.0
NODES = 4
POOL = SubnetPool(
    network=IPv4Network("10.244.0.0/16"),
    subnet_len=24,
    first=IPv4Network("10.244.1.0/24"),
    last=IPv4Network("10.244.4.0/24"),
)
"""As many subnets as nodes: what expires is taken by whoever needs one."""
SMALL = NetworkConfig(pool4=POOL, pool6=None, backend=CONFIG.backend)


class Line(MemoryStore):
    """One node's line to the store: ``cut`` in both directions, or ``deaf`` to answers only."""

    def __init__(self, shelf: Shelf) -> None:
        super().__init__(shelf)
        self.cut = False
        self.deaf = False

    async def _ask(self) -> int:
        if self.cut:
            raise StoreUnavailable("cut off")
        return await super()._ask()

    def _answer(self) -> None:
        if self.deaf:
            raise StoreUnavailable("the answer was lost")
        super()._answer()


@dataclass
class Node:
    """A node's keeper and its tasks."""

    number: int
    life: int
    line: Line
    keeper: LeaseKeeper
    lease: Lease | None = None
    tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    @property
    def node_id(self) -> NodeId:
        return NodeId(f"node{self.number}.{self.life}")

    @classmethod
    def start(cls, number: int, life: int, shelf: Shelf, seed: int) -> "Node":
        """A node without memory but for its key; another ``life`` has another key, and another address."""
        line = Line(shelf)
        identity = Identity(NodeId(f"node{number}.{life}"))
        keeper = LeaseKeeper(
            line, line, identity, VirtualClock(), SeededRandom(seed), ttl_s=TTL_S, renew_margin_s=MARGIN_S
        )
        node = cls(number, life, line, keeper)
        keeper.on_change = node.take
        node.tasks = [asyncio.ensure_future(node.live()), asyncio.ensure_future(node.listen())]
        return node

    def take(self, lease: Lease) -> None:
        self.lease = lease

    async def live(self) -> None:
        offer = Offer(
            config=SMALL,
            public_ip=IPv4Address("192.168.64.10") + NODES * self.life + self.number,
            public_ip6=None,
            vtep_mac=mac(NODES * self.life + self.number),
            vtep_mac6=None,
        )
        while True:
            try:
                self.take(await self.keeper.acquire(offer))
                break
            except (StoreUnavailable, LeaseConflict, ConfigError):
                await asyncio.sleep(2.0)
        await self.keeper.run()

    async def listen(self) -> None:
        while True:
            try:
                async for event in self.line.watch():
                    self.hear(event)
            except StoreUnavailable:
                await asyncio.sleep(1.0)

    def hear(self, event: LeaseEvent) -> None:
        if not self.line.cut:
            self.keeper.noticed(event)

    async def die(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


@dataclass(frozen=True)
class Trouble:
    """After ``pause_s``, something happens to one node, or to the store."""

    pause_s: float
    what: str
    node: int


troubles = st.lists(
    st.builds(
        Trouble,
        st.sampled_from([0.0, 0.5, 5.0, 30.0, 61.0, 130.0]),
        st.sampled_from(["cut", "cut", "heal", "heal", "deaf", "restart", "reborn", "reborn", "away", "back"]),
        st.integers(0, NODES - 1),
    ),
    max_size=12,
)


def befall(trouble: Trouble, nodes: list[Node], shelf: Shelf) -> None:
    line = nodes[trouble.node].line
    match trouble.what:
        case "cut":
            line.cut = True
        case "deaf":
            line.deaf = True
        case "heal":
            line.cut = line.deaf = False
        case "away" | "back":
            shelf.away = trouble.what == "away"
            shelf.restart()
        case _:
            pass


def check(nodes: list[Node], shelf: Shelf) -> None:
    """No two nodes that trust their lease have one subnet, and the store agrees with each."""
    trusting = [node for node in nodes if not node.keeper.past_deadline]
    held = {node.lease.key: node for node in trusting if node.lease is not None}
    assert len(held) == len(trusting)
    for key, node in held.items():
        assert shelf.leases[key][0].owner == node.node_id


@given(troubles, st.integers(0, 1_000))
def test_no_two_nodes_trust_one_subnet_and_in_the_end_everybody_has_one(found: list[Trouble], seed: int) -> None:
    async def story() -> None:
        shelf = Shelf(VirtualClock())
        nodes = [Node.start(number, 0, shelf, seed + number) for number in range(NODES)]

        async def passing(seconds: float) -> None:
            for _ in range(max(1, int(seconds))):
                await asyncio.sleep(seconds / max(1, int(seconds)))
                check(nodes, shelf)

        for number, trouble in enumerate(found):
            await passing(trouble.pause_s)
            if trouble.what in {"restart", "reborn"}:
                before = nodes[trouble.node]
                await before.die()
                life = before.life + (trouble.what == "reborn")
                nodes[trouble.node] = Node.start(trouble.node, life, shelf, seed + 100 * number)
            befall(trouble, nodes, shelf)
        shelf.away = False
        for node in nodes:
            node.line.cut = node.line.deaf = False
        await passing(3 * TTL_S)
        assert not any(node.keeper.past_deadline for node in nodes)
        for node in nodes:
            await node.die()

    virtual_time.run(story())
