"""Keeping the rules of single pods, guard and masquerading, in step with the attachments.

ADD and DEL change what one pod has in one netlink transaction; ``repair`` makes the whole true again from the
records: when the agent starts, when somebody changed the ruleset, and now and then.  A kernel that has no such
tables is said once; what was asked for then is for ADD to decide.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from errno import EINVAL
from ipaddress import ip_network

from tulle.cni.records import Record
from tulle.kernel.port import Kernel
from tulle.model.change import Create, Delete, Outcome, Plan
from tulle.model.network import IPAddress, MacAddress
from tulle.model.objects import Link, LinkKey, NftElement, NftTable, NftTableKey, ObjectKey
from tulle.model.state import KernelState, Scope
from tulle.ownership import Standing
from tulle.plan import guard, pod_masquerade, routed_guard
from tulle.plan.diff import diff

log = logging.getLogger(__name__)

WHAT: Mapping[NftTableKey, str] = {
    guard.KEY: "guard of pods' ports",
    routed_guard.KEY: "guard of routed pods",
    pod_masquerade.KEY: "masquerading of pods",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What the kernel holds about one pod: is it guarded, with which MAC (None: it says none), and hidden?"""

    guard: bool
    mac: MacAddress | None
    masquerade: bool


@dataclass(slots=True)
class PodRules:
    """The rules of one node's pods.  ``records`` gives all attachments of this boot."""

    kernel: Kernel
    records: Callable[[], Iterable[Record]]
    troubles: dict[NftTableKey, str] = field(default_factory=dict[NftTableKey, str])
    """Why a table is not in place; without an entry it is."""
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the ruleset may have lost something of ours."""
    _alone: asyncio.Lock = field(default_factory=asyncio.Lock)
    _known: dict[str, dict[str, Record]] = field(default_factory=dict[str, dict[str, Record]])
    """By container and interface."""
    _bridges: set[MacAddress] = field(default_factory=set[MacAddress])
    """The MACs of bridges that were put in since the last repair, whatever was taken out before."""
    _advertisements: bool = True

    def kernel_changed(self, scope: Scope) -> None:
        """Somebody changed something: if it may be about our tables, they are looked at."""
        if scope.everything or any(isinstance(key, NftTableKey) for key in scope.keys):
            self.wake.set()

    async def admit(self, record: Record, bridge: MacAddress | None) -> None:
        """What this pod asks for holds from now on; where it cannot, ``troubles`` says why."""
        async with self._alone:
            self._remember(record)
            news = [bridge] if bridge is not None and self._may_lack(bridge, record) else []
            wanted = self._elements(self._of_container(record.container_id), news)
            possible = [each for each in wanted if _table_of(each) not in self.troubles] if self.troubles else wanted
            outcomes = await self.kernel.apply(Plan(tuple(map(Create, possible))))
            if [outcome for outcome in outcomes if outcome.error is not None]:
                await self._repair()
            else:
                self._bridges.update(news)

    def _may_lack(self, bridge: MacAddress, record: Record) -> bool:
        """Is the MAC of this pod's bridge to be put in beside what is the pod's own?"""
        return record.guard and bridge not in self._bridges and guard.KEY not in self.troubles

    async def forget(self, record: Record) -> None:
        """This pod is gone.  What cannot be removed now, ``repair`` removes."""
        async with self._alone:
            gone = self._elements([record], [])
            self._forget(record)
            shared = self._shared_with(record)
            await self.kernel.apply(Plan(tuple(Delete(each) for each in reversed(gone) if each not in shared)))

    def _shared_with(self, gone: Record) -> frozenset[NftElement]:
        """The elements of ``gone`` that others need too: a MAC, a bridge."""
        others = self._all()
        macs = [guard.mac_element(MacAddress(gone.mac))] if any(other.mac == gone.mac for other in others) else []
        bridges = [gone.bridge] if any(other.bridge == gone.bridge for other in others) else []
        return frozenset((*macs, *pod_masquerade.masquerade_elements((), bridges)))

    async def held(self, device: str, ips: Iterable[IPAddress]) -> Held:
        """What holds for the pod with this end on the node and these addresses, whatever the records say.

        Raises KernelError: it cannot be read.
        """
        elements = set((await self.kernel.observe(Scope.of(WHAT))).each(NftElement))
        ports = {each.value[0] for each in elements if _table_of(each) != pod_masquerade.KEY and each.set == "ports"}
        macs = [each.value[1] for each in elements if each.set == "pairs" and each.value[0] == device]
        return Held(
            guard=device in ports,
            mac=MacAddress(macs[0]) if macs else None,
            masquerade=not elements.isdisjoint(pod_masquerade.masquerade_elements(ips, ())),
        )

    async def repair(self) -> None:
        """Make the kernel hold what the records say.  Raises KernelError: it cannot be read."""
        async with self._alone:
            await self._repair()

    async def _repair(self) -> None:
        bridges = {LinkKey(record.bridge) for record in self.records() if record.guard and record.bridge}
        observed = await self.kernel.observe(Scope.of([*WHAT, *bridges]))
        self._known = {}
        self._bridges.clear()
        for record in self.records():
            if record.has_rules:
                self._remember(record)
        outcomes = await self._converge(observed)
        if self._advertisements and any(_is_refused_guard(outcome) for outcome in outcomes):
            self._advertisements = False  # an nft that cannot spell the check of advertisements
            outcomes = await self._converge(observed)
        for table in WHAT:
            failed = [outcome.error for outcome in outcomes if outcome.error and _table_of(outcome.step.key) == table]
            self._say(table, str(failed[0]) if failed else "")

    async def _converge(self, observed: KernelState) -> tuple[Outcome, ...]:
        bridges = [link.mac for link in observed.each(Link) if link.mac is not None]
        elements = self._elements(self._all(), bridges)
        tables = [table for table in self._tables() if table.key in observed or table.key in map(_table_of, elements)]
        ours = KernelState.of(obj for obj in observed if isinstance(obj, NftTable | NftElement))
        wanted = KernelState.of([*tables, *(each for each in elements if _table_of(each) in {t.key for t in tables})])
        return await self.kernel.apply(diff(wanted, ours, lambda _: Standing.OURS))

    def _tables(self) -> tuple[NftTable, ...]:
        networks = {ip_network(text) for record in self._all() for text in record.masquerade or ()}
        return (
            guard.guard_table(advertisements=self._advertisements),
            routed_guard.routed_guard_table(),
            pod_masquerade.masquerade_table(networks),
        )

    def _say(self, table: NftTableKey, trouble: str) -> None:
        if trouble != self.troubles.pop(table, ""):
            log.warning("%s: %s", WHAT[table], f"absent: {trouble}" if trouble else "in place")
        if trouble:
            self.troubles[table] = trouble

    def _elements(self, records: Iterable[Record], bridges: Iterable[MacAddress]) -> list[NftElement]:
        """What the sets hold of these pods, and that these MACs are bridges'."""
        of_records = [element for record in records for element in self._elements_of(record)]
        return [*map(guard.mac_element, bridges), *of_records]

    def _elements_of(self, record: Record) -> tuple[NftElement, ...]:
        masked = () if record.masquerade is None else pod_masquerade.masquerade_elements(record.ips, [record.bridge])
        if not record.guard:
            return masked
        ports = (self._port(record),)
        if not record.bridge:
            return (*routed_guard.routed_guard_elements(ports), *masked)
        return (*guard.guard_elements(ports, (), advertisements=self._advertisements), *masked)

    def _port(self, record: Record) -> guard.Port:
        others = [other.ips for other in self._of_container(record.container_id) if other is not record]
        addresses = frozenset(record.ips).union(*others)
        return guard.Port(device=record.device, mac=MacAddress(record.mac), addresses=addresses)

    def _of_container(self, container_id: str) -> Collection[Record]:
        return self._known.get(container_id, {}).values()

    def _all(self) -> tuple[Record, ...]:
        return tuple(record for records in self._known.values() for record in records.values())

    def _remember(self, record: Record) -> None:
        self._known.setdefault(record.container_id, {})[record.ifname] = record

    def _forget(self, record: Record) -> None:
        records = self._known.get(record.container_id, {})
        records.pop(record.ifname, None)
        if not records:
            self._known.pop(record.container_id, None)


def _table_of(key: ObjectKey) -> NftTableKey | None:
    match key:
        case NftElement():
            return NftTableKey(key.family, key.table)
        case NftTableKey():
            return key
        case _:
            return None


def _is_refused_guard(outcome: Outcome) -> bool:
    refused = outcome.error is not None and outcome.error.errno == EINVAL
    return refused and outcome.step.key == guard.KEY
