"""The agent's memory on disk, and a whole agent that goes by it while its store is away: in virtual time."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import replace
from errno import ENOSPC
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest

from tests.kit import virtual_time
from tests.kit.cluster import CONFIG, OWN, bare_host, intent, lease, mac, snapshot
from tests.kit.memory_store import MemoryStore, Shelf
from tests.kit.virtual_time import MemoryFiles, SeededRandom, VirtualClock, eventually
from tulle.agent.daemon import be_a_node
from tulle.agent.desk import Desk
from tulle.agent.identity import Identity
from tulle.agent.memory import BYTES_A_SECOND, PAUSE_S, Memory, grant_of, recollect
from tulle.agent.options import AgentOptions
from tulle.agent.start import Rim
from tulle.agent.status import NodeStatus, status_json
from tulle.kernel.fake import FakeKernel
from tulle.model.change import Delete
from tulle.model.lease import Lease, NodeId
from tulle.model.objects import FdbEntry, Link, Neighbor, Route
from tulle.model.recollection import NS
from tulle.store.ports import Grant
from tulle.wire.network_config import encode_network_config
from tulle.wire.recollection import decode_recollection
from tulle.wire.subnet_env import SubnetEnv

STATE = Path("/var/lib/tulle")
FILE = STATE / "memory.jsonl"
ME = Identity(NodeId("0123456789abcdef0123456789abcdef"))
STORE = "sqlite:///x"


async def at_once(work: Callable[[], None]) -> None:
    work()


class Writer:
    """A memory that is written to a disk in memory, and how often."""

    def __init__(self) -> None:
        self.clock, self.files = VirtualClock(), MemoryFiles()
        self.times = list[float]()
        self.memory = Memory(
            files=self.files, path=FILE, store=STORE, identity=ME, clock=self.clock, aside=self._counted
        )
        self.grant = Grant(lease=OWN, revision=1, sent_at_ns=0, ttl_s=86_400.0)

    async def _counted(self, work: Callable[[], None]) -> None:
        self.times.append(self.clock.now_s)
        work()

    def note(self, *leases: Lease) -> None:
        self.memory.note(intent(snapshot(OWN, *leases)), self.grant)

    async def settle(self) -> None:
        await asyncio.sleep(0.001)


def told(story: Callable[[Writer], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        writer = Writer()
        task = asyncio.ensure_future(writer.memory.run())
        try:
            await story(writer)
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    virtual_time.run(whole())


def test_what_is_noted_first_is_written_at_once_and_later_changes_after_a_pause() -> None:
    async def story(writer: Writer) -> None:
        writer.note(lease(2))
        await writer.settle()
        assert set(decode_recollection(writer.files.contents[FILE]).leases) == {lease(2).key}
        assert writer.files.modes[FILE] == 0o600
        for number in range(3, 40):
            writer.note(lease(2), lease(number))
            await asyncio.sleep(0.1)
        await asyncio.sleep(PAUSE_S)
        assert set(decode_recollection(writer.files.contents[FILE]).leases) == {lease(2).key, lease(39).key}
        assert len(writer.times) == 2

    told(story)


def test_a_change_that_says_nothing_new_is_not_written() -> None:
    async def story(writer: Writer) -> None:
        writer.note(lease(2))
        await asyncio.sleep(PAUSE_S + 1)
        writer.note(lease(2, expires_at_ns=1))
        await asyncio.sleep(PAUSE_S + 1)
        assert len(writer.times) == 1

    told(story)


def test_the_larger_the_memory_the_longer_the_pause() -> None:
    async def story(writer: Writer) -> None:
        many = [lease(number, owner=NodeId("x" * 60_000)) for number in range(2, 52)]
        writer.note(*many)
        await writer.settle()
        size = len(writer.files.contents[FILE])
        assert size / BYTES_A_SECOND > 2 * PAUSE_S
        writer.note(lease(2))
        await asyncio.sleep(size / BYTES_A_SECOND - 1)
        assert len(writer.times) == 1
        await asyncio.sleep(2)
        assert len(writer.times) == 2

    told(story)


def test_f41_a_full_disk_is_said_once_and_asked_again_after_the_next_pass() -> None:
    async def story(writer: Writer) -> None:
        writer.files.fail = ENOSPC
        writer.note(lease(2))
        await writer.settle()
        assert writer.memory.trouble is not None
        assert FILE not in writer.files.contents
        await asyncio.sleep(PAUSE_S + 1)
        writer.note(lease(2))
        await writer.settle()
        assert writer.memory.trouble is None
        assert FILE in writer.files.contents

    told(story)


def recalled(files: MemoryFiles, identity: Identity = ME, store: str = STORE) -> Any:
    past = recollect(files, STATE, store, identity)
    return virtual_time.run(past.whole()) if past is not None else None


def written() -> MemoryFiles:
    files = MemoryFiles()

    async def story(writer: Writer) -> None:
        writer.note(lease(2))
        await writer.settle()
        files.contents.update(writer.files.contents)

    told(story)
    return files


def test_the_memory_of_another_node_or_of_another_store_is_none() -> None:
    files = written()
    assert recalled(files).own == replace(OWN, expires_at_ns=None)
    assert recalled(files, Identity(NodeId("f" * 32))) is None
    assert recalled(files, store="etcd://elsewhere") is None
    assert recalled(MemoryFiles()) is None


def test_a_memory_from_before_another_daemon_ran_is_none() -> None:
    """flannel's daemon took another subnet meanwhile, and said so where both do."""
    files, theirs = written(), IPv4Network("10.244.77.0/24")
    same = SubnetEnv.of(None, OWN.subnet, None, OWN.subnet6, mtu=1450, ip_masq=False)
    assert recollect(files, STATE, STORE, ME, same) is not None
    assert recollect(files, STATE, STORE, ME, replace(same, subnet=theirs)) is None


def test_f43_a_broken_memory_is_set_aside_and_none() -> None:
    files = written()
    files.contents[FILE] = broken = files.contents[FILE][:-3]
    assert recalled(files).leases == {}
    assert FILE not in files.contents
    assert files.contents[STATE / "memory.jsonl.broken"] == broken


@pytest.mark.parametrize(
    ("passed_s", "trusted"),
    [
        pytest.param(3_600, True, id="an hour later"),
        pytest.param(90_000, False, id="after its end"),
        pytest.param(-3_600, False, id="on a clock that was set back"),
    ],
)
def test_our_own_lease_is_trusted_for_what_is_left_of_its_time(passed_s: int, trusted: bool) -> None:
    memory = recalled(written())

    class Later(VirtualClock):
        def wall_ns(self) -> int:
            return int(memory.own_sent_ns + passed_s * NS)

    async def story() -> None:
        clock = Later()
        grant = grant_of(memory, clock)
        assert (clock.boottime_ns() < grant.sent_at_ns + int(grant.ttl_s * NS)) is trusted

    virtual_time.run(story())


# -- a whole agent ----------------------------------------------------------------------------


class Machine:
    """One node: its disk outlives its kernel, and both its agent."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.shelf = Shelf(self.clock, config=encode_network_config(CONFIG))
        self.files = MemoryFiles({STATE / "node-id": ME.node_id.encode()})
        self.kernel = FakeKernel(bare_host())
        self.desk = Desk(STORE, 0, 1)
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self.desk = Desk(STORE, 0, 1)
        rim = Rim(
            kernel=self.kernel,
            store=MemoryStore(self.shelf),
            clock=self.clock,
            random=SeededRandom(len(self.kernel.calls)),
            files=self.files,
            settle=lambda: None,
            aside=at_once,
        )
        options = AgentOptions(root=Path("/"), store=STORE, iface=("eth0",))
        placed = asyncio.Event()
        self._task = asyncio.ensure_future(be_a_node(options, rim, self.desk, placed.set))
        await placed.wait()

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def reboot(self) -> None:
        await self.stop()
        self.kernel = FakeKernel(bare_host())

    @property
    def status(self) -> NodeStatus:
        status = self.desk.node_status()
        assert status is not None
        return status

    @property
    def takes_pods(self) -> bool:
        """May a new pod be given an address?"""
        network = self.desk.pod_network()
        return network is not None and not network.lapsed

    def reaches(self, number: int) -> bool:
        """Are all three entries there?"""
        peer = lease(number)
        found = self.kernel.objects.values()
        route = any(isinstance(obj, Route) and obj.dst == peer.subnet for obj in found)
        neighbour = any(isinstance(obj, Neighbor) and obj.mac == peer.vtep_mac for obj in found)
        return route and neighbour and any(isinstance(obj, FdbEntry) and obj.dst == peer.public_ip for obj in found)

    @property
    def vtep_mac(self) -> str:
        link = next(obj for obj in self.kernel.objects.values() if isinstance(obj, Link) and obj.name == "flannel.1")
        return str(link.mac)

    async def knows(self, *numbers: int) -> None:
        await eventually(lambda: all(map(self.reaches, numbers)) and self.status.converged)
        await asyncio.sleep(60.0)  # written down


def lived(story: Callable[[Machine], Coroutine[Any, Any, None]]) -> None:
    async def whole() -> None:
        machine = Machine()
        for number in (2, 3):
            machine.shelf.put(lease(number), None, 86_400.0)
        await machine.start()
        try:
            await machine.knows(2, 3)
            await story(machine)
        finally:
            await machine.stop()

    virtual_time.run(whole())


def test_f01_a_node_that_boots_without_its_store_goes_by_its_memory() -> None:
    async def story(machine: Machine) -> None:
        mac_before, subnet = machine.vtep_mac, machine.status.intent.desired.inputs.own.subnet
        machine.shelf.away = True
        await machine.reboot()
        await machine.start()
        assert machine.reaches(2)
        assert machine.reaches(3)
        assert (machine.vtep_mac, machine.status.intent.desired.inputs.own.subnet) == (mac_before, subnet)
        assert machine.takes_pods
        assert not machine.status.store_reachable
        answer = status_json(machine.status)
        assert (answer["state"], answer["store"]["synced"]) == ("degraded: store", False)
        assert answer["store"]["recalled_ns"] < machine.clock.wall_ns()

        machine.shelf.away = False
        revision = machine.shelf.revision
        await eventually(lambda: machine.status.converged and machine.shelf.revision > revision)
        assert machine.status.store_reachable
        assert status_json(machine.status)["store"]["recalled_ns"] is None
        assert machine.vtep_mac == mac_before

    lived(story)


def test_after_the_first_snapshot_only_the_store_counts() -> None:
    async def story(machine: Machine) -> None:
        machine.shelf.away = True
        await machine.reboot()
        del machine.shelf.leases[lease(3).key]
        machine.shelf.revision += 1
        machine.shelf.put(lease(4), None, 86_400.0)
        await machine.start()
        assert machine.reaches(3)
        assert not machine.reaches(4)
        machine.shelf.away = False
        await eventually(lambda: machine.status.converged)
        assert machine.reaches(2)
        assert machine.reaches(4)
        assert not machine.reaches(3)

    lived(story)


def test_past_the_end_of_its_lease_a_node_by_memory_takes_no_new_pods() -> None:
    async def story(machine: Machine) -> None:
        machine.shelf.away = True
        await machine.reboot()
        await asyncio.sleep(100_000.0)
        await machine.start()
        assert machine.reaches(2)
        assert not machine.takes_pods

    lived(story)


def test_an_fdb_entry_whose_neighbour_somebody_removed_is_known_over_a_restart() -> None:
    async def story(machine: Machine) -> None:
        await machine.stop()
        neighbour = next(
            obj for obj in machine.kernel.objects.values() if isinstance(obj, Neighbor) and obj.mac == mac(3)
        )
        machine.kernel.meddle(Delete(neighbour))
        await asyncio.sleep(1.0)
        del machine.shelf.leases[lease(3).key]
        await machine.start()
        await eventually(lambda: machine.status.converged)
        entries = [obj for obj in machine.kernel.objects.values() if isinstance(obj, FdbEntry)]
        assert [entry.mac for entry in entries] == [mac(2)]
        assert machine.status.report.strangers == ()

    lived(story)


def test_without_its_device_a_node_comes_back_with_the_mac_of_its_lease_also_without_memory() -> None:
    async def story(machine: Machine) -> None:
        before = machine.vtep_mac
        await machine.reboot()
        machine.files.remove(FILE)
        await machine.start()
        await eventually(lambda: machine.status.converged)
        assert machine.vtep_mac == before

    lived(story)
