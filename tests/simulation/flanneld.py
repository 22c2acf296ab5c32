"""A node that runs flanneld, as far as the store sees it: it overwrites where tulle compares.

At the start it takes the lease that carries its public address, whoever wrote it, else the subnet
of its last run, else a free one; a lost race ends it.  It renews by an unconditional put.  When
its key goes, it exits, and its supervisor starts it again.
"""

import asyncio
import json
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from random import Random

from tests.kit.etcd_memory import MemoryClient, MemoryEtcd
from tests.simulation.life import Life
from tests.simulation.nodes import PREFIX, RESTART_S, Peer, Watcher, underlay_ip
from tests.simulation.wire import NodeWire, SimWire
from tulle.errors import StoreUnavailable
from tulle.model.network import MacAddress
from tulle.wire import etcd
from tulle.wire.etcd import decode_found, decode_granted, decode_settled, decode_told

SUBNETS = f"{PREFIX}/subnets/".encode()
END = SUBNETS[:-1] + b"0"


class Exits(Exception):
    """flanneld ends."""


@dataclass(kw_only=True)
class Flanneld:
    """One such node."""

    number: int
    cluster: MemoryEtcd
    random: Random
    ttl_s: float
    pool: tuple[IPv4Network, ...]
    watcher: Watcher
    wire: SimWire = field(init=False)
    subnet: IPv4Network | None = None
    life: Life = field(default_factory=Life)
    down: bool = True
    _task: "asyncio.Task[None] | None" = None

    def __post_init__(self) -> None:
        self.wire = SimWire(self.random)

    def __str__(self) -> str:
        return f"f{self.number}"

    @property
    def address(self) -> IPv4Address:
        return underlay_ip(self.number)

    @property
    def mac(self) -> MacAddress:
        return MacAddress(f"0a:00:00:00:00:{self.number:02x}")

    @property
    def peer(self) -> Peer | None:
        """How others reach it; None while it holds nothing."""
        return None if self.subnet is None else Peer(self.subnet, self.address, self.mac)

    def start(self) -> None:
        self.down, self.life = False, Life()
        self._task = asyncio.create_task(self._live(self.life), name=f"{self}")

    def kill(self) -> None:
        self.life.kill()
        if self._task is not None:
            self._task.cancel()
        self._task, self.down = None, True

    async def _live(self, life: Life) -> None:
        while not life.killed:
            client = MemoryClient(self.cluster, NodeWire(self.wire, life))
            try:
                self.subnet = await self._acquire(client)
                self.watcher.said(f"{self} holds {self.subnet}")
                await self._serve(client)
            except (StoreUnavailable, Exits) as reason:
                self.watcher.said(f"{self} ended: {reason}")
            await asyncio.sleep(RESTART_S)

    async def _acquire(self, client: MemoryClient) -> IPv4Network:
        found = decode_found(await client.call(etcd.RANGE, etcd.range_request(SUBNETS, END)))
        taken = {network: kv for kv in found.kvs if (network := _network(kv.key)) is not None}
        for network, kv in taken.items():
            if _public_ip(kv.value) == str(self.address):
                await self._put(client, network)
                return network
        free = [network for network in self.pool if network not in taken]
        if not free:
            raise Exits("out of subnets")
        network = self.subnet if self.subnet in free and self.subnet is not None else self.random.choice(free)
        key = self._key(network)
        lease = await self._grant(client)
        request = etcd.txn_request([etcd.absent(key)], [etcd.put(key, self._value(), lease=lease)])
        if not decode_settled(await client.call(etcd.TXN, request)).succeeded:
            raise Exits("failed to acquire lease: subnet already exists")
        return network

    async def _serve(self, client: MemoryClient) -> None:
        """Renew in time; end when the key goes."""
        assert self.subnet is not None
        loop = asyncio.get_running_loop()
        due_s = loop.time() + self.ttl_s * 0.75
        async with client.stream(etcd.WATCH) as stream:
            await stream.send_message(etcd.watch_request(self._key(self.subnet), b"", 0))
            receiving = asyncio.ensure_future(stream.recv_message())
            try:
                while True:
                    await asyncio.wait({receiving}, timeout=max(0.0, due_s - loop.time()))
                    if receiving.done():
                        message = receiving.result()
                        if message is None:
                            raise Exits("the watch ended")
                        if any(event.deleted for event in decode_told(message).events):
                            raise Exits("lease has been revoked")
                        receiving = asyncio.ensure_future(stream.recv_message())
                    if loop.time() >= due_s:
                        due_s = loop.time() + await self._renewed(client)
            finally:
                receiving.cancel()

    async def _renewed(self, client: MemoryClient) -> float:
        """Renew; how long until the next time."""
        assert self.subnet is not None
        try:
            await self._put(client, self.subnet)
        except StoreUnavailable:
            return 60.0
        return self.ttl_s * 0.75

    async def _put(self, client: MemoryClient, network: IPv4Network) -> None:
        lease = await self._grant(client)
        await client.call(etcd.PUT, etcd.put_request(self._key(network), self._value(), lease=lease))

    async def _grant(self, client: MemoryClient) -> int:
        number, _ = decode_granted(await client.call(etcd.GRANT, etcd.grant_request(int(self.ttl_s))))
        return number

    def _key(self, network: IPv4Network) -> bytes:
        return SUBNETS + f"{network.network_address}-{network.prefixlen}".encode()

    def _value(self) -> bytes:
        fields = {
            "PublicIP": str(self.address),
            "PublicIPv6": None,
            "BackendType": "vxlan",
            "BackendData": {"VNI": 1, "VtepMAC": self.mac},
        }
        return json.dumps(fields, separators=(",", ":")).encode()


def _network(key: bytes) -> IPv4Network | None:
    try:
        return IPv4Network(key[len(SUBNETS) :].decode().replace("-", "/"))
    except ValueError:
        return None


def _public_ip(value: bytes) -> str | None:
    try:
        found: object = json.loads(value)
    except ValueError:
        return None
    return str(found.get("PublicIP")) if isinstance(found, dict) else None  # pyright: ignore[reportUnknownMemberType,reportUnknownArgumentType]
