"""What befalls a world: to its wires, its store, its machines, and by the hands of others."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Final

from tests.kit.etcd_memory import MemoryEtcd
from tests.simulation.flanneld import Flanneld
from tests.simulation.laws import Laws
from tests.simulation.nodes import CLONE, HOSTILE, JOINED, PREFIX, STRANGER, TUNNEL, SimNode, underlay_ip
from tests.simulation.story import Fault
from tests.simulation.truth import SUBNETS
from tests.simulation.wire import Cut
from tests.simulation.world import World
from tulle.model.change import Delete
from tulle.model.network import MacAddress
from tulle.model.objects import FdbEntry, Link, Neighbor, Route
from tulle.wire.etcd import PUT, TXN, delete, put_request, txn_request


class Faults:
    """The faults of one world: a method for each kind."""

    def __init__(self, world: World, laws: Laws) -> None:
        self._world, self._laws = world, laws
        self._table: Mapping[str, Callable[[Fault], Awaitable[None]]] = {
            "cut": self.cut,
            "slow": self.slow,
            "pulse": self.pulse,
            "gap": self.gap,
            "freeze": self.freeze,
            "restart": self.restart,
            "compact": self.compact,
            "wipe": self.wipe,
            "restore": self.restore,
            "rewind": self.rewind,
            "kill": self.kill,
            "reboot": self.reboot,
            "remake": self.remake,
            "leave": self.leave,
            "retire": self.retire,
            "suspend": self.suspend,
            "join": self.join,
            "clone": self.clone,
            "drift": self.drift,
            "deaf": self.deaf,
            "refuse": self.refuse,
            "overflow": self.overflow,
            "hostile": self.hostile,
            "poison": self.poison,
            "overwrite": self.overwrite,
            "delete": self.delete_lease,
        }

    async def befall(self, fault: Fault) -> None:
        """Let it happen, and be over."""
        await self._table[fault.kind](fault)

    def _node(self, fault: Fault) -> SimNode | None:
        living = self._world.living
        return living[fault.target % len(living)] if living else None

    async def cut(self, fault: Fault) -> None:
        nodes = [*self._world.nodes, *self._world.flannelds]
        node = nodes[fault.target % len(nodes)]
        with self._troubled(node):
            node.wire.sever(list(Cut)[fault.choice % 3])
            await asyncio.sleep(fault.lasts_s)
            node.wire.heal()

    async def slow(self, fault: Fault) -> None:
        if (node := self._node(fault)) is not None:
            with self._troubled(node):
                node.wire.slow = True
                await asyncio.sleep(fault.lasts_s)
                node.wire.heal()

    async def freeze(self, fault: Fault) -> None:
        """The store answers nobody, and no time passes for it."""
        world = self._world
        nodes, begin_s = (*world.nodes, *world.flannelds), world.now_s
        for node in nodes:
            node.wire.sever(Cut.SILENT)
        world.frozen_at_s = begin_s
        await asyncio.sleep(fault.lasts_s)
        world.frozen_at_s = None
        for node in nodes:
            node.wire.heal()
            if isinstance(node, SimNode):
                node.was_troubled.append((begin_s, world.now_s))
        world.cluster.restart()
        world.upset_s = world.now_s

    async def restart(self, _: Fault) -> None:
        self._world.cluster.restart()
        self._world.upset_s = self._world.now_s
        await asyncio.sleep(0)

    async def compact(self, fault: Fault) -> None:
        """The history goes, every other time while a node is cut off from what happens."""
        node = self._node(fault)
        if node is not None and fault.choice % 2:
            with self._missing(node):
                await self.join(fault)
                await asyncio.sleep(2.0)
                self._world.cluster.compact()
        self._world.cluster.compact()

    async def wipe(self, fault: Fault) -> None:
        empty = MemoryEtcd(lambda: 0.0)
        if fault.choice % 2:
            empty.handle(PUT, put_request(f"{PREFIX}/config".encode(), self._world.config))
        self._becomes(empty)
        if not fault.choice % 2:
            await asyncio.sleep(min(fault.lasts_s, 30.0))
            self._world.cluster.handle(PUT, put_request(f"{PREFIX}/config".encode(), self._world.config))

    async def restore(self, _: Fault) -> None:
        self._becomes(self._world.backup)
        await asyncio.sleep(0)

    async def rewind(self, fault: Fault) -> None:
        """A backup comes back under the store's old name, and is soon as far as the store had been."""
        backup, before = self._world.backup, self._world.cluster.revision
        self._becomes(backup, unseen=True)
        for number in range(before - self._world.cluster.revision + 1 + fault.choice % 50):
            key = f"{PREFIX}/tulle/subnets/again-{number}".encode()
            self._world.cluster.handle(PUT, put_request(key, b"{}"))
        await asyncio.sleep(0)

    def _becomes(self, other: MemoryEtcd, *, unseen: bool = False) -> None:
        world = self._world
        for node in world.nodes:
            self._laws.excuse(node)
        world.cluster.become(other, unseen=unseen)
        world.truth.becomes(world.cluster.keys, world.now_s)
        world.upset_s = world.now_s

    async def kill(self, fault: Fault) -> None:
        if (node := self._node(fault)) is not None:
            with self._troubled(node):
                node.kill()
                await self._start_after(node, fault.lasts_s)

    async def reboot(self, fault: Fault) -> None:
        if (node := self._node(fault)) is not None:
            with self._troubled(node):
                node.reboot()
                await self._start_after(node, fault.lasts_s)

    async def remake(self, fault: Fault) -> None:
        """Its peers have to learn another MAC."""
        if (node := self._node(fault)) is not None:
            with self._troubled(node):
                node.remake(MacAddress(f"06:00:00:00:{fault.choice >> 8:02x}:{fault.choice & 255:02x}"))
                await self._start_after(node, fault.lasts_s)

    async def leave(self, fault: Fault) -> None:
        if (node := self._node(fault)) is not None and len(self._world.living) > 1:
            node.kill()
            self._world.nodes.remove(node)
        await asyncio.sleep(0)

    async def retire(self, fault: Fault) -> None:
        """A node is taken out of service: it ends, and an operator deletes its lease."""
        node = self._node(fault)
        if node is not None and node.grant is not None and len(self._world.living) > 1:
            key = SUBNETS + node.grant.lease.key.encode()
            node.kill()
            self._world.nodes.remove(node)
            await asyncio.sleep(min(5.0, fault.lasts_s))
            self._delete(key)

    async def suspend(self, fault: Fault) -> None:
        if (node := self._node(fault)) is not None:
            life = node.life
            with self._troubled(node):
                life.suspend()
                await asyncio.sleep(fault.lasts_s)
                life.resume()

    async def drift(self, fault: Fault) -> None:
        """Somebody removes what the agent made."""
        if (node := self._node(fault)) is not None:
            self._meddle(node, fault.choice)
        await asyncio.sleep(0)

    async def deaf(self, fault: Fault) -> None:
        """The same, and nobody is told."""
        if (node := self._node(fault)) is not None:
            kernel = node.kernel
            with self._troubled(node):
                kernel.deaf = True
                self._meddle(node, fault.choice)
                await asyncio.sleep(fault.lasts_s)
                kernel.deaf = False

    def _meddle(self, node: SimNode, choice: int) -> None:
        self._upset(node)
        if choice % 5 == 0:
            found = [obj for obj in node.kernel.objects.values() if isinstance(obj, Link) and obj.name == TUNNEL]
        else:
            kind = (Route, Neighbor, FdbEntry)[choice % 3]
            entries = [obj for obj in node.kernel.objects.values() if isinstance(obj, kind)]
            found = [obj for obj in entries if obj.device == TUNNEL]
        for obj in found[: 1 + choice % 3]:
            node.kernel.meddle(Delete(obj))

    async def refuse(self, fault: Fault) -> None:
        """The kernel refuses some of the next steps."""
        if (node := self._node(fault)) is not None:
            for after in range(1 + fault.choice % 3):
                node.kernel.fail((12, 16, 105)[fault.choice % 3], after=after * 2)
            self._meddle(node, fault.choice)
        await asyncio.sleep(0)

    async def overflow(self, fault: Fault) -> None:
        if (node := self._node(fault)) is not None:
            node.kernel.overflow()
        await asyncio.sleep(0)

    async def hostile(self, fault: Fault) -> None:
        """Somebody writes what no node may believe."""
        written = _hostile_lease(self._world, fault.choice)
        if written is not None:
            self._attack(*written)
        await asyncio.sleep(0)

    async def poison(self, fault: Fault) -> None:
        """Somebody writes what is no lease at all."""
        key, value = POISON[fault.choice % len(POISON)]
        self._attack(key, value)
        await asyncio.sleep(0)

    def _attack(self, key: bytes, value: bytes) -> None:
        if SUBNETS + key in self._world.cluster.keys:
            return  # overwriting is another story
        self._world.truth.attacking = True
        self._world.cluster.handle(PUT, put_request(SUBNETS + key, value))
        self._world.truth.attacking = False

    async def overwrite(self, fault: Fault) -> None:
        """Somebody writes another node's lease over the lease of one of ours."""
        node = self._node(fault)
        if node is None or node.grant is None:
            return
        key = SUBNETS + node.grant.lease.key.encode()
        if key not in self._world.cluster.keys:
            return  # it has expired, and to take what is free is another story
        self._bereave(key)
        stranger = STRANGER + fault.choice % 50
        self._world.cluster.handle(
            PUT, put_request(key, _value(str(underlay_ip(stranger)), f"0e:00:00:00:00:{stranger:02x}"))
        )
        await asyncio.sleep(fault.lasts_s)
        self._delete(key)

    async def delete_lease(self, fault: Fault) -> None:
        """An operator deletes a node's lease, with or without tulle's record of it."""
        node = self._node(fault)
        if node is None or node.grant is None:
            return
        self._delete(SUBNETS + node.grant.lease.key.encode())
        await asyncio.sleep(0)

    def _bereave(self, key: bytes) -> None:
        """Whoever believes in this lease cannot be blamed for it: one that lost it, and one that was given it since."""
        for node in self._world.nodes:
            if node.grant is not None and SUBNETS + node.grant.lease.key.encode() == key:
                self._laws.excuse(node)
                self._upset(node)

    def _delete(self, key: bytes) -> None:
        self._bereave(key)
        self._world.truth.deleting = True
        self._world.cluster.handle(TXN, txn_request([], [delete(key)]))
        self._world.truth.deleting = False

    async def clone(self, fault: Fault) -> None:
        """A machine comes up at an address that another has."""
        node = self._node(fault)
        if node is None:
            return
        clone = self._world.add_node(CLONE + fault.target, address=node.address)
        clone.start()
        await asyncio.sleep(fault.lasts_s)
        clone.kill()
        if clone in self._world.nodes:
            self._world.nodes.remove(clone)

    async def join(self, fault: Fault) -> None:
        self._world.add_node(JOINED + fault.target).start()
        self._world.upset_s = self._world.now_s
        await asyncio.sleep(0)

    async def gap(self, fault: Fault) -> None:
        """A short interruption, in which something happens."""
        if (node := self._node(fault)) is not None:
            with self._missing(node):
                await self.join(fault)
                await asyncio.sleep(2.0)

    @contextmanager
    def _missing(self, node: SimNode) -> Generator[None]:
        """In the body ``node`` hears nothing, and knows it."""
        with self._troubled(node):
            node.wire.sever(Cut.REFUSED)
            self._world.cluster.break_streams()
            try:
                yield
            finally:
                node.wire.heal()

    async def pulse(self, fault: Fault) -> None:
        """The wire goes and comes again and again."""
        if (node := self._node(fault)) is not None:
            with self._troubled(node):
                for beat in range(6):
                    node.wire.sever(list(Cut)[(fault.choice + beat) % 3])
                    await asyncio.sleep(fault.lasts_s / 12)
                    node.wire.heal()
                    await asyncio.sleep(fault.lasts_s / 12)

    async def _start_after(self, node: SimNode, pause_s: float) -> None:
        await asyncio.sleep(pause_s)
        if node.down and node in self._world.nodes:
            node.start()

    @contextmanager
    def _troubled(self, node: SimNode | Flanneld) -> Generator[None]:
        """In the body something befalls ``node``, from which it has to recover afterwards."""
        begin_s = self._world.now_s
        if isinstance(node, SimNode):
            node.troubles += 1
        try:
            yield
        finally:
            if isinstance(node, SimNode):
                node.troubles -= 1
                node.was_troubled.append((begin_s, self._world.now_s))
            self._upset(node)

    def _upset(self, node: SimNode | Flanneld) -> None:
        if isinstance(node, SimNode):
            node.upset_s = self._world.now_s
        else:
            self._world.upset_s = self._world.now_s


POISON: Final = (
    (b"10.244.7.0-24", b"{"),
    (b"0.0.0.0-0", b'{"PublicIP":"192.168.64.77"}'),
    (b"../../config", b"{}"),
    (b"10.244.3.0-24\n\x1b[2J", b"{}"),
    (b"10.244.9.0-24", b'{"PublicIP":"192.168.64.77","PublicIP":"192.168.64.78"}'),
    (b"10.244.8.0-24", b"\xff\xfe"),
)


def _value(public_ip: str, mac: str) -> bytes:
    data = {"VNI": 1, "VtepMAC": mac}
    fields = {"PublicIP": public_ip, "PublicIPv6": None, "BackendType": "vxlan", "BackendData": data}
    return json.dumps(fields, separators=(",", ":")).encode()


def _hostile_lease(world: World, choice: int) -> tuple[bytes, bytes] | None:
    """A lease that would do harm: to the host, to a peer, to the network around; None: no subnet is free for it."""
    victim = world.nodes[choice % len(world.nodes)]
    lease = victim.grant.lease if victim.grant is not None else None
    mac = str(lease.vtep_mac) if lease is not None else "0e:00:00:00:00:01"
    own = str(lease.subnet).replace("/24", "/25").replace("/", "-") if lease is not None else "10.244.1.0-25"
    hostile = str(underlay_ip(HOSTILE))
    unused = [subnet for subnet in world.pool if world.truth.current(subnet) is None]
    if not unused:
        return None
    free = str(unused[choice % len(unused)]).replace("/", "-")
    return (
        (b"128.0.0.0-1", _value(hostile, "0e:00:00:00:00:66")),
        (b"192.168.64.0-24", _value(hostile, "0e:00:00:00:00:66")),
        (own.encode(), _value(hostile, "0e:00:00:00:00:66")),
        (free.encode(), _value("127.0.0.1", "0e:00:00:00:00:66")),
        (free.encode(), _value(hostile, mac)),
        (free.encode(), _value(hostile, "ff:ff:ff:ff:ff:ff")),
        (b"10.244.0.0-16", _value(hostile, "0e:00:00:00:00:66")),
        (free.encode(), _value(str(victim.address), "0e:00:00:00:00:66")),
    )[choice % 8]
