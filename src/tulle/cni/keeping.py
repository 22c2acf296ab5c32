"""What routed pods need on the node stays true: routes, addresses and settings that others changed are set again.

Level-triggered as the agent's own loop: an announcement says where to look, a look compares what the
records want with what the kernel holds, and now and then everything is looked at.  A pair that is gone
is not made again: the pod would not be the same.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_interface
from types import MappingProxyType
from typing import Final

from tulle.cni import routed
from tulle.cni.attach import PodNetwork, gateway_of, judge
from tulle.cni.lookout import USUAL_BRIDGES
from tulle.cni.records import Record
from tulle.cni.site import Site
from tulle.errors import KernelError
from tulle.model.change import Outcome
from tulle.model.objects import BridgeKind, KernelObject, Link, LinkKey, ObjectKey
from tulle.model.state import KernelState, Scope, object_device
from tulle.ownership import Standing
from tulle.plan.diff import diff
from tulle.plan.text import format_step_briefly
from tulle.wire.cni_result import ResultAddress

log = logging.getLogger(__name__)

AUDIT_PERIOD_S: Final = 60.0
GATHER_S: Final = 0.02
"""Pods come in crowds; what they share is looked at once."""


@dataclass(slots=True)
class Keeper:
    """Keeps what the records of routed pods want.  One task: ``run``."""

    site: Site
    _wanted: Mapping[ObjectKey, KernelObject] | None = None
    """None before the first look, which also finds what an agent before this one left."""
    _dirty: Scope = field(default_factory=Scope)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _in_use: asyncio.Event = field(default_factory=asyncio.Event)
    _gathering: asyncio.TimerHandle | None = None

    async def run(self) -> None:
        """Look, wait, look again; until cancelled."""
        self.site.pods_changed = self.pods_changed
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="follow routed pods' devices")
            self.pods_changed()
            while True:
                await self._sleep()
                await self.look()

    def pods_changed(self) -> None:
        """A routed pod came or went: what all of them want is another thing now."""
        if self._gathering is None:
            self._gathering = asyncio.get_running_loop().call_later(GATHER_S, self._gathered)

    async def look(self) -> tuple[Outcome, ...]:
        """Set right what is dirty; what was done.  What fails is said, and tried again at the next audit."""
        dirty, self._dirty = self._dirty, Scope()
        network = self.site.network()
        if network is None or not dirty:
            return ()
        try:
            async with self.site.planning:
                if dirty.everything:
                    dirty = await self._renew(network)
                outcomes = await self._repair(dirty, network)
        except KernelError as error:
            log.warning("routed pods: %s", error)
            return ()
        for outcome in outcomes:
            if outcome.error is None:
                log.info("routed pods: %s", format_step_briefly(outcome.step))
            else:
                log.warning("routed pods: %s", outcome.error)
        return outcomes

    async def _repair(self, dirty: Scope, network: PodNetwork) -> tuple[Outcome, ...]:
        observed = await self.site.kernel.observe(_with_devices(dirty, self._wanted or {}))
        living = (obj for obj in (self._wanted or {}).values() if dirty.covers(obj) and _stands(obj, observed))
        plan = diff(KernelState.of(living), observed, partial(_judge, network), dirty)
        return await self.site.kernel.apply(plan)

    async def _renew(self, network: PodNetwork) -> Scope:
        """Read the records again; everything that they want, or wanted, is dirty."""
        before = self._wanted
        records = set(self.site.all_records())
        pods = [record for record in records if not record.bridge and record.boot_id == self.site.boot_id]
        if not pods and not before and before is not None:
            return Scope()
        bridges = await self._bridges(record.bridge for record in records if record.bridge)
        self._wanted = wanted_on_node(pods, network, bridges)
        if self._wanted:
            self._in_use.set()
        shared = {routed.catch_all(subnet).key for subnet in network.subnets}
        return Scope.of(shared | (before or {}).keys() | self._wanted.keys(), bridges)

    async def _bridges(self, known: Iterable[str]) -> frozenset[str]:
        """The bridges that are there of those that pods may be on."""
        names = frozenset(known) | frozenset(USUAL_BRIDGES)
        found = await self.site.kernel.observe(Scope.of(LinkKey(name) for name in names))
        return frozenset(link.name for link in found.each(Link) if isinstance(link.kind, BridgeKind))

    async def _follow(self) -> None:
        await self._in_use.wait()
        async for scope in self.site.kernel.changes():
            if scope.everything:
                self._mark(scope)
                continue
            wanted = self._wanted or {}
            self._mark(Scope.of(key for key, obj in wanted.items() if scope.covers(obj)))

    async def _sleep(self) -> None:
        try:
            async with asyncio.timeout(AUDIT_PERIOD_S):
                await self._wake.wait()
        except TimeoutError:
            self._dirty = Scope.all()
        self._wake.clear()

    def _gathered(self) -> None:
        self._gathering = None
        self._mark(Scope.all())

    def _mark(self, scope: Scope) -> None:
        if scope:
            self._dirty |= scope
            self._wake.set()


def wanted_on_node(
    pods: Iterable[Record], network: PodNetwork, bridges: Iterable[str]
) -> Mapping[ObjectKey, KernelObject]:
    """What routed pods want on the node beside their pairs."""
    found = [(record, _results(record, network)) for record in pods]
    if not found:
        return MappingProxyType({})
    objects = [obj for record, results in found for obj in routed.host_objects(record.device, results)]
    addresses = [each.address.ip for _, results in found for each in results]
    shared = routed.shared(network.subnets, bridges, addresses)
    return MappingProxyType({obj.key: obj for obj in (*shared, *objects)})


def _results(record: Record, network: PodNetwork) -> list[ResultAddress]:
    """An address of a subnet that the node no longer has is left alone."""
    whole = [ip_interface(text) for text in record.addresses]
    return [
        ResultAddress(address=routed.alone(each), gateway=gateway_of(each.network))
        for each in whole
        if each.network in network.subnets
    ]


def _judge(network: PodNetwork, obj: KernelObject) -> Standing:
    return Standing.OURS if routed.is_shared(obj, network.subnets) else judge(obj)


def _with_devices(dirty: Scope, wanted: Mapping[ObjectKey, KernelObject]) -> Scope:
    """With the links that what is wanted there lives on."""
    found = (object_device(wanted[key]) for key in dirty.keys if key in wanted)
    return dirty | Scope.of(LinkKey(device) for device in found if device is not None)


def _stands(obj: KernelObject, observed: KernelState) -> bool:
    """Is the device there that it lives on?"""
    device = object_device(obj)
    return device is None or observed.link(device) is not None
