"""Keeping the guard of pods' ports (``plan/guard.py``) in step with the attachments.

ADD and DEL change what one pod has in one netlink transaction; ``repair`` makes the whole true again from the
records: when the agent starts, when somebody changed the ruleset, and now and then.  A kernel that has no such
tables is said once, and its pods are attached unguarded.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from errno import EINVAL

from tulle.cni.ipam import Owner
from tulle.cni.records import Record
from tulle.errors import KernelError
from tulle.kernel.port import Kernel
from tulle.model.change import Create, Delete, Outcome, Plan
from tulle.model.network import MacAddress
from tulle.model.objects import Link, LinkKey, NftElement, NftTable, NftTableKey
from tulle.model.state import KernelState, Scope
from tulle.ownership import Standing
from tulle.plan.diff import diff
from tulle.plan.guard import KEY, Port, guard_elements, guard_table

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Guard:
    """The guard of one node.  ``records`` gives all attachments of this boot."""

    kernel: Kernel
    records: Callable[[], Iterable[Record]]
    trouble: str = ""
    """Why pods are unguarded; "" when they are not."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the ruleset may have lost something of ours."""
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    _guarded: dict[Owner, Record] = field(default_factory=dict[Owner, Record])
    _advertisements: bool = True

    def kernel_changed(self, scope: Scope) -> None:
        """Somebody changed something: if it may be about our table, it is looked at."""
        if scope.everything or any(isinstance(key, NftTableKey) for key in scope.keys):
            self.wake.set()

    async def admit(self, record: Record, bridge: MacAddress | None) -> None:
        """What comes out of this pod is checked from now on; where it cannot be, ``trouble`` says why."""
        if self.trouble:
            return
        async with self._alone:
            self._guarded[record.owner] = record
            wanted = self._elements(self._of_container(record.container_id), [bridge] if bridge else [])
            outcomes = await self.kernel.apply(Plan(tuple(map(Create, wanted))))
            if any(outcome.error is not None for outcome in outcomes):
                await self._repair()

    async def forget(self, record: Record) -> None:
        """This pod is gone.  What cannot be removed now, ``repair`` removes."""
        async with self._alone:
            gone = self._elements([record], [])
            self._guarded.pop(record.owner, None)
            shared = {NftElement(KEY.family, KEY.name, "macs", (other.mac,)) for other in self._guarded.values()}
            await self.kernel.apply(Plan(tuple(Delete(each) for each in reversed(gone) if each not in shared)))

    async def repair(self) -> None:
        """Make the kernel hold what the records say.  Raises KernelError: it cannot be read."""
        async with self._alone:
            await self._repair()

    async def _repair(self) -> None:
        links = {LinkKey(record.bridge) for record in self.records() if record.guard}
        observed = await self.kernel.observe(Scope.of([KEY, *links]))
        self._guarded = {record.owner: record for record in self.records() if record.guard}
        if not self._guarded and KEY not in observed:
            return
        outcomes = await self._converge(observed)
        if self._advertisements and any(_is_refused_table(outcome) for outcome in outcomes):
            self._advertisements = False  # an nft that cannot spell the check of advertisements
            outcomes = await self._converge(observed)
        failed = [str(outcome.error) for outcome in outcomes if outcome.error is not None]
        self._say(failed[0].splitlines()[-1].rpartition("EOF: ")[2] if failed else "")

    async def _converge(self, observed: KernelState) -> tuple[Outcome, ...]:
        bridges = [link.mac for link in observed.each(Link) if link.mac is not None]
        wanted = KernelState.of(
            [
                guard_table(advertisements=self._advertisements),
                *self._elements(self._guarded.values(), bridges),
            ]
        )
        ours = KernelState.of(obj for obj in observed if isinstance(obj, NftTable | NftElement))
        return await self.kernel.apply(diff(wanted, ours, lambda _: Standing.OURS))

    def _say(self, trouble: str) -> None:
        if trouble != self.trouble:
            log.warning("guard of pods' ports: %s", f"absent: {trouble}" if trouble else "in place")
        self.trouble = trouble

    def _elements(self, records: Iterable[Record], bridges: Iterable[MacAddress]) -> tuple[NftElement, ...]:
        return guard_elements(map(self._port, records), bridges, advertisements=self._advertisements)

    def _port(self, record: Record) -> Port:
        addresses = {ip for other in (*self._of_container(record.container_id), record) for ip in other.ips}
        return Port(device=record.device, mac=MacAddress(record.mac), addresses=frozenset(addresses))

    def _of_container(self, container_id: str) -> list[Record]:
        return [record for owner, record in self._guarded.items() if owner[0] == container_id]


def _is_refused_table(outcome: Outcome) -> bool:
    error = outcome.error
    is_table = isinstance(outcome.step, Create) and isinstance(outcome.step.obj, NftTable)
    return is_table and isinstance(error, KernelError) and error.errno == EINVAL
