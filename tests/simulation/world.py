"""The stage: the cluster, the nodes, what is told of them; a story is played on it by ``play``."""

import asyncio
import hashlib
import logging
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from random import Random
from typing import Final, Protocol

from tests.kit.etcd_memory import MemoryEtcd
from tests.simulation.flanneld import Flanneld
from tests.simulation.nodes import FLANNELD, PREFIX, SimNode, underlay_ip
from tests.simulation.story import Story
from tests.simulation.truth import Truth
from tulle.model.change import Plan
from tulle.wire.etcd import PUT, Event, put_request

NETWORK: Final = IPv4Network("10.244.0.0/16")


class Judge(Protocol):
    """Who hears of a step before it is made."""

    def before_plan(self, node: SimNode, plan: Plan) -> None: ...

    def placed(self, node: SimNode) -> None: ...


class LawBroken(AssertionError):
    """A law does not hold; its name comes first."""


@dataclass
class World:
    """One run of one story."""

    story: Story
    random: Random = field(init=False)
    cluster: MemoryEtcd = field(init=False)
    backup: MemoryEtcd = field(init=False)
    truth: Truth = field(default_factory=Truth)
    nodes: list[SimNode] = field(default_factory=list[SimNode])
    flannelds: list[Flanneld] = field(default_factory=list[Flanneld])
    log: list[str] = field(default_factory=list[str])
    broken: LawBroken | None = None
    judge: "Judge | None" = None
    frozen_at_s: float | None = None
    upset_s: float = 0.0
    """When the last thing happened that an agent has to recover from."""

    def __post_init__(self) -> None:
        self.random = Random(self.story.seed)
        self.cluster = MemoryEtcd(self._cluster_time)
        self.cluster.on_change = self._changed
        self.cluster.handle(PUT, put_request(f"{PREFIX}/config".encode(), self.config))
        self.backup = self.cluster.copied()
        for number in range(1, self.story.tulle_nodes + 1):
            self.add_node(number)
        for number in range(FLANNELD, FLANNELD + self.story.flanneld_nodes):
            self.add_flanneld(number)

    # -- what there is --------------------------------------------------------------------

    @property
    def now_s(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def subnets(self) -> int:
        """How many subnets the network has to give."""
        joining = (
            sum(fault.kind in {"join", "gap", "compact", "clone", "hostile", "poison"} for fault in self.story.faults)
            if self.story.spare_subnets
            else 0
        )
        return self.story.tulle_nodes + self.story.flanneld_nodes + joining + self.story.spare_subnets

    @property
    def pool(self) -> tuple[IPv4Network, ...]:
        """The subnets that the network has to give."""
        return tuple(NETWORK.subnets(new_prefix=24))[1 : 1 + self.subnets]

    @property
    def config(self) -> bytes:
        last = f"10.244.{self.subnets}.0"
        text = f'{{"Network":"{NETWORK}","SubnetMin":"10.244.1.0","SubnetMax":"{last}","Backend":{{"Type":"vxlan"}}}}'
        return text.encode()

    def add_node(self, number: int, address: IPv4Address | None = None) -> SimNode:
        node = SimNode(
            number=number,
            cluster=self.cluster,
            random=self.random,
            ttl_s=self.story.ttl_s,
            watcher=self,
            address=address or underlay_ip(number),
        )
        self.nodes.append(node)
        return node

    def add_flanneld(self, number: int) -> None:
        flanneld = Flanneld(
            number=number,
            cluster=self.cluster,
            random=self.random,
            ttl_s=self.story.ttl_s,
            pool=self.pool,
            watcher=self,
        )
        self.flannelds.append(flanneld)

    @property
    def living(self) -> list[SimNode]:
        return [node for node in self.nodes if not node.down]

    # -- what is told -----------------------------------------------------------------------

    def said(self, what: str) -> None:
        self.log.append(f"{self.now_s - START_S:10.3f} {what}")

    def plans(self, node: SimNode, plan: Plan) -> None:
        for step in plan.steps:
            self.said(f"{node} {type(step).__name__} {step.key}")
        if self.judge is not None:
            self.judge.before_plan(node, plan)

    def placed(self, node: SimNode) -> None:
        self.said(f"{node} holds {node.grant and node.grant.lease}")
        if self.judge is not None:
            self.judge.placed(node)

    def breaks(self, law: str, what: str) -> None:
        """A law is broken; the first one counts."""
        self.said(f"BROKEN {law}: {what}")
        self.broken = self.broken or LawBroken(f"{law}: {what} (seed {self.story.seed})")

    @property
    def digest(self) -> str:
        """A hash of all that was told: the same story must be told the same way."""
        return hashlib.sha256("\n".join(self.log).encode()).hexdigest()

    # -- the store's side -------------------------------------------------------------------

    def _cluster_time(self) -> float:
        """The cluster's clock, which goes at its own rate, and ends no lease while it is frozen."""
        now_s = self.now_s if self.frozen_at_s is None else self.frozen_at_s
        return now_s * self.story.clock_rate

    def _changed(self, events: tuple[Event, ...]) -> None:
        for event in events:
            self.said(f"etcd {'-' if event.deleted else '+'} {event.kv.key.decode('utf-8', 'backslashreplace')}")
        self.truth.hears(events, self.now_s)


START_S: Final = 1000.0


@contextmanager
def telling(world: World) -> Generator[None]:
    """What the agents log belongs to the story, and to nothing else."""
    handler = _Teller(world)
    logger = logging.getLogger("tulle")
    before, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before


class _Teller(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__(logging.WARNING)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.said(f"log {record.getMessage()}")
