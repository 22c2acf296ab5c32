"""What others change in a namespace, as dirty scopes.

An announcement never carries work, only the name of what to look at again.  What the kernel
does not announce is covered by naming more: a link's or address's change names its whole device.
Source: rtnetlink(7); see design.md, "The kernel does not announce everything".
"""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from tulle.errors import DecodeError
from tulle.kernel.netlink_socket import NETLINK_NETFILTER, NetlinkSocket, Overflow
from tulle.model.objects import FdbEntry, LinkKey, NeighborKey, NftTableKey, ObjectKey
from tulle.model.state import Scope
from tulle.wire.netlink import Message
from tulle.wire.rtnetlink import links
from tulle.wire.rtnetlink.addresses import decode_address
from tulle.wire.rtnetlink.neighbors import decode_neighbor
from tulle.wire.rtnetlink.parts import (
    AF_BRIDGE,
    RTM_DELADDR,
    RTM_DELLINK,
    RTM_DELNEIGH,
    RTM_DELNEXTHOP,
    RTM_DELROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWNEIGH,
    RTM_NEWROUTE,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
    RTNLGRP_NEXTHOP,
    IfIndex,
)
from tulle.wire.rtnetlink.routes import RT_TABLE_LOCAL, decode_route
from tulle.kernel.decode import route

GROUPS: Final = (
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_NEXTHOP,
)
NFNLGRP_NFTABLES: Final = 7
OWN_TABLE: Final = NftTableKey("inet", "tulle")


class Monitor(AsyncIterator[Scope]):
    """Dirty scopes, from the moment it was opened; several announcements come as one."""

    def __init__(self, netns: Path | int | None, receive_buffer: int = 4 << 20) -> None:
        self._events = NetlinkSocket.open(netns, groups=GROUPS, receive_buffer=receive_buffer)
        self._rules = NetlinkSocket.open(netns, protocol=NETLINK_NETFILTER, groups=(NFNLGRP_NFTABLES,))
        self._questions = NetlinkSocket.open(netns)
        self._names: dict[IfIndex, str] = {}
        self._ready = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        for sock in (self._events, self._rules):
            self._loop.add_reader(sock.fileno(), self._ready.set)
        self._learn_names()

    def close(self) -> None:
        """Unsubscribe."""
        for sock in (self._events, self._rules):
            self._loop.remove_reader(sock.fileno())
        for sock in (self._events, self._rules, self._questions):
            sock.close()

    async def __anext__(self) -> Scope:
        while True:
            await self._ready.wait()
            self._ready.clear()
            scope = self._read()
            if scope:
                return scope

    def _read(self) -> Scope:
        """Everything that waits, as one scope."""
        scope = Scope()
        try:
            messages = self._events.receive()
            rules = bool(self._rules.receive())
        except Overflow:
            self._ready.set()
            self._learn_names()
            return Scope.all()
        if messages or rules:
            self._ready.set()  # more may wait behind what one read takes
        keys: set[ObjectKey] = {OWN_TABLE} if rules else set()
        devices: set[str] = set()
        for message in messages:
            try:
                scope |= self._dirty(message, keys, devices)
            except DecodeError:
                return Scope.all()
        return scope | Scope.of(keys, devices)

    def _dirty(self, message: Message, keys: set[ObjectKey], devices: set[str]) -> Scope:
        """Note what ``message`` names; a scope of its own only when it names everything."""
        match message.kind:
            case links.RTM_NEWLINK | links.RTM_DELLINK:
                self._link(message, devices, keys)
            case _ if message.kind in {RTM_NEWADDR, RTM_DELADDR}:
                devices |= self._device(decode_address(message).index)
            case _ if message.kind in {RTM_NEWROUTE, RTM_DELROUTE}:
                found = decode_route(message)
                made = route(found, self._names)
                if made is not None and found.table != RT_TABLE_LOCAL:
                    keys.add(made.key)
            case _ if message.kind in {RTM_NEWNEIGH, RTM_DELNEIGH}:
                keys |= self._neighbor(message)
            case _ if message.kind == RTM_DELNEXTHOP:
                return Scope.all()
            case _:
                pass
        return Scope()

    def _link(self, message: Message, devices: set[str], keys: set[ObjectKey]) -> None:
        link = links.decode_link(message)
        before = self._names.get(link.index)
        if message.kind == RTM_NEWLINK:
            self._names[link.index] = link.name
        elif message.kind == RTM_DELLINK and message.payload[0] != AF_BRIDGE:
            self._names.pop(link.index, None)
        named = {link.name} | ({before} if before is not None else set[str]())
        devices |= named
        keys |= {LinkKey(name) for name in named}

    def _neighbor(self, message: Message) -> set[ObjectKey]:
        entry = decode_neighbor(message)
        device = self._names.get(entry.index)
        if device is None or entry.master:
            return set()
        if entry.family == AF_BRIDGE:
            if entry.lladdr is None:
                return set()
            return {FdbEntry(device=device, mac=entry.lladdr, dst=entry.dst).key}
        return {NeighborKey(device, entry.dst)} if entry.dst is not None else set()

    def _device(self, index: IfIndex) -> set[str]:
        name = self._names.get(index)
        return {name} if name is not None else set()

    def _learn_names(self) -> None:
        found = (links.decode_link(message) for message in self._questions.dump(links.dump_links()))
        self._names = {link.index: link.name for link in found}
