"""The real kernel of one network namespace: observing, applying and listening, put together.

``observe`` reads, ``apply`` writes, ``monitor`` listens, ``sysctl`` and
``packet_filter`` are the two things that are not rtnetlink; here is only what they share, the
namespace and its sockets.
"""

import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import MappingProxyType
from typing import Final

from tulle.kernel import sysctl
from tulle.kernel.apart import Apart
from tulle.kernel.apply import Applier
from tulle.kernel.monitor import Monitor
from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.kernel.netns import open_path
from tulle.kernel.observe import Observer
from tulle.kernel.packet_filter import PacketFilter
from tulle.kernel.sender import Sender
from tulle.kernel.turn import Precedence, Turn
from tulle.model.change import Outcome, Plan, Step
from tulle.model.network import DroppingChain, IPNetwork, PacketFilters
from tulle.model.objects import FilterKey, KernelObject, NftElement, NftTableKey, ObjectKey, SysctlKey
from tulle.model.state import KernelState, Scope

PAGE: Final = 1024
"""So many objects get their key in about 1.5 ms."""


class LinuxKernel:
    """``kernel.port.Kernel`` on the running system.

    Two rtnetlink sockets: one that dumps, page by page, and one for short questions and for
    changes, which are answered before another task can run.
    """

    def __init__(
        self,
        netns: int | None,
        dumps: NetlinkSocket,
        sock: NetlinkSocket,
        rules: PacketFilter,
        precedence: Precedence | None = None,
        apart: Apart | None = None,
    ) -> None:
        """``netns`` is a descriptor that the instance owns; None: the namespace of this process.

        With ``precedence`` long work on it waits for whoever is served; with ``apart``, which it owns, the loop
        does not wait for pairs of devices.
        """
        self._netns, self._dumps, self._socket, self._rules = netns, dumps, sock, rules
        self._precedence, self._apart = precedence, apart
        self._observer = Observer(dumps, sock, precedence)
        self._applier = Applier(netns, sock, rules, self._wrote, precedence, apart)
        self._monitors: list[Monitor] = []

    @classmethod
    def open(
        cls, netns: Path | int | None = None, precedence: Precedence | None = None, sender: Sender | None = None
    ) -> "LinuxKernel":
        """The kernel of ``netns`` (None: this thread's namespace).  Raises KernelError, ConfigError.

        ``sender`` sends what the loop would wait long for.
        """
        if isinstance(netns, Path):
            descriptor: int | None = open_path(netns)
        else:
            descriptor = None if netns is None else os.dup(netns)
        try:
            dumps, sock = NetlinkSocket.open(descriptor), NetlinkSocket.open(descriptor)
            apart = None if sender is None else Apart(sender, NetlinkSocket.open(descriptor))
            return cls(descriptor, dumps, sock, PacketFilter.open(descriptor), precedence, apart)
        except BaseException:
            if descriptor is not None:
                os.close(descriptor)
            raise

    async def observe(self, scope: Scope) -> KernelState:
        objects = await self._observer.observe(scope)
        objects += await sysctl.read(self._netns, [key for key in scope.keys if isinstance(key, SysctlKey)])
        rules = {key for key in scope.keys if isinstance(key, FilterKey)}
        rules |= {NftTableKey(key.family, key.table) for key in scope.keys if isinstance(key, NftElement)}
        objects += await self._rules.observe(rules)
        return await _state(objects, Turn(self._precedence))

    async def apply(self, plan: Plan) -> tuple[Outcome, ...]:
        return await self._applier.apply(plan)

    async def dropping_chains(
        self, networks: tuple[IPNetwork, ...] = (), tunnels: tuple[str, ...] = ()
    ) -> tuple[DroppingChain, ...]:
        return await self._rules.dropping_chains(networks, tunnels)

    async def packet_filters(self) -> PacketFilters:
        return await self._rules.facts()

    def changes(self) -> AsyncIterator[Scope]:
        monitor = Monitor(self._netns, own=self._socket.portid, precedence=self._precedence)
        self._monitors.append(monitor)
        return monitor

    def _wrote(self, step: Step) -> None:
        for monitor in self._monitors:
            monitor.wrote(step)

    def close(self) -> None:
        for monitor in self._monitors:
            monitor.close()
        self._monitors.clear()
        if self._apart is not None:
            self._apart.close()
        self._dumps.close()
        self._socket.close()
        self._rules.close()
        if self._netns is not None:
            os.close(self._netns)
            self._netns = None


async def _state(objects: list[KernelObject], turn: Turn) -> KernelState:
    """The state, built page by page; of two routes with one key the first, which is the one that the kernel takes."""
    found: dict[ObjectKey, KernelObject] = {}
    for start in range(len(objects), 0, -PAGE):
        found |= {obj.key: obj for obj in reversed(objects[max(0, start - PAGE) : start])}
        await turn.rest()
    return KernelState(MappingProxyType(found))
