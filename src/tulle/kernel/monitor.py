"""What others change in a namespace, as dirty scopes.

An announcement never carries work, only the name of what to look at again.  What the kernel
does not announce is covered by naming more: a link's, address's or nexthop's change names its
whole device.  Source: rtnetlink(7); design.md, "The kernel does not announce everything".
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from tulle.errors import DecodeError, KernelError
from tulle.kernel import decode
from tulle.kernel.echoes import Echoes
from tulle.kernel.netlink_socket import NETLINK_NETFILTER, RECEIVE_BUFFER, NetlinkSocket, Overflow
from tulle.kernel.turn import Precedence, Turn
from tulle.model.change import Step
from tulle.model.objects import AddressKey, FdbEntry, LinkKey, NftTableKey, ObjectKey, SysctlKey
from tulle.model.state import Scope
from tulle.wire.netlink import Message, parse_attributes
from tulle.wire.nft_elements import changes_rules
from tulle.wire.rtnetlink import links
from tulle.wire.rtnetlink.addresses import decode_address
from tulle.wire.rtnetlink.neighbors import decode_neighbor
from tulle.wire.rtnetlink.netconf import (
    RTM_NEWNETCONF,
    RTNLGRP_IPV4_NETCONF,
    RTNLGRP_IPV6_NETCONF,
    decode_forwarding,
)
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
    RTM_NEWNEXTHOP,
    RTM_NEWROUTE,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
    RTNLGRP_NEXTHOP,
    IfIndex,
    read_u32,
)
from tulle.wire.rtnetlink.routes import RT_TABLE_LOCAL, decode_route, is_kernels_own

GROUPS: Final = (
    RTNLGRP_LINK,
    RTNLGRP_NEIGH,
    RTNLGRP_IPV4_IFADDR,
    RTNLGRP_IPV4_ROUTE,
    RTNLGRP_IPV6_IFADDR,
    RTNLGRP_IPV6_ROUTE,
    RTNLGRP_NEXTHOP,
    RTNLGRP_IPV4_NETCONF,
    RTNLGRP_IPV6_NETCONF,
)
NFNLGRP_NFTABLES: Final = 7
NHMSG_SIZE: Final = 8
NHA_OIF: Final = 5
"""Source: include/uapi/linux/nexthop.h (struct nhmsg, NHA_OIF)."""
OWN_TABLE: Final = NftTableKey("inet", "tulle")
FORWARDING: Final = {4: SysctlKey("net/ipv4/ip_forward"), 6: SysctlKey("net/ipv6/conf/all/forwarding")}
"""The one sysctl of each IP version whose change is announced."""
GATHER_S: Final = 0.004
SERVING_S: Final = 0.1
"""So long pods go before the repair of what somebody changed."""
PAGE, PAGES = 64, 64
"""So many announcements are read and decoded before others run, about 1 ms; so many pages are one scope."""
_ENTRIES: Final = frozenset({RTM_NEWROUTE, RTM_DELROUTE, RTM_NEWNEIGH, RTM_DELNEIGH})


class Monitor(AsyncIterator[Scope]):
    """Dirty scopes, from the moment it was opened; several announcements come as one.  Ends when closed.

    Of what its own node's socket (port id ``own``) did, routes, neighbours and FDB entries are left out:
    their ten thousand echoes say nothing that the answers have not said.  ``wrote`` tells of the last.
    """

    def __init__(
        self,
        netns: Path | int | None,
        own: int = 0,
        receive_buffer: int = RECEIVE_BUFFER,
        precedence: Precedence | None = None,
    ) -> None:
        self._events = NetlinkSocket.open(netns, receive_buffer=receive_buffer)
        self._events.hear_nothing_of_table(RT_TABLE_LOCAL)  # the kernel's own: every address comes with some of them
        self._events.subscribe(GROUPS)
        self._rules = NetlinkSocket.open(netns, protocol=NETLINK_NETFILTER, groups=(NFNLGRP_NFTABLES,))
        self._questions = NetlinkSocket.open(netns)
        self._own, self._precedence = own, precedence or Precedence()
        self._echoes = Echoes()
        self._names: dict[IfIndex, str] = {}
        self._ready = asyncio.Event()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._rest_until = 0.0
        self._listen()
        self._learn_names()

    def close(self) -> None:
        """Unsubscribe."""
        if self._closed:
            return
        self._closed = True
        if not self._loop.is_closed():
            self._deafen()
        for sock in (self._events, self._rules, self._questions):
            sock.close()
        self._ready.set()

    def wrote(self, step: Step) -> None:
        """The node itself has carried out ``step``, and nobody has read its announcement yet."""
        self._echoes.wrote(step)

    async def __anext__(self) -> Scope:
        while not self._closed:
            await self._ready.wait()
            await self._gather()
            self._ready.clear()
            scope = Scope() if self._closed else await self._read()
            if scope:
                return scope
        raise StopAsyncIteration

    async def _gather(self) -> None:
        """What follows a moment after something else waits for the rest: a pod comes with twenty announcements.

        So does what comes while pods are served: it is theirs, mostly.
        """
        pause_s = self._rest_until - self._loop.time()
        if pause_s > 0 or not self._precedence.is_calm:
            self._deafen()
            try:
                await asyncio.sleep(pause_s)
                await self._precedence.calm(SERVING_S)
            finally:
                self._listen()
        self._rest_until = self._loop.time() + GATHER_S

    def _listen(self) -> None:
        for sock in () if self._closed else (self._events, self._rules):
            self._loop.add_reader(sock.fileno(), self._ready.set)

    def _deafen(self) -> None:
        for sock in (self._events, self._rules):
            self._loop.remove_reader(sock.fileno())

    async def _read(self) -> Scope:
        """What waits, page by page, as one scope; who is served meanwhile goes first."""
        dirty, turn = _Dirty(), Turn(self._precedence)
        if self._rules_changed():
            dirty.keys.add(OWN_TABLE)
        for _ in range(PAGES):
            try:
                messages = self._events.receive(PAGE)
            except (Overflow, DecodeError):
                await self._drain()
                self._learn_names()
                return Scope.all([OWN_TABLE])
            self._note(messages, dirty)
            if len(messages) < PAGE:
                break
            await turn.rest()
            if self._closed:
                break
        else:
            self._ready.set()
        return dirty.scope()

    async def _drain(self) -> None:
        """Read to the end what waits behind a loss; only what comes after that is announced again."""
        while not self._closed and not self._events.drain():  # noqa: ASYNC110  others run; nothing is waited for
            await asyncio.sleep(0)

    def _rules_changed(self) -> bool:
        """Did the packet filter's rules change?  What exactly is not worth decoding: a lost message says as much.

        Elements of sets come and go with every pod and every Service, and are no rules.
        """
        try:
            return changes_rules(self._rules.receive())
        except (Overflow, DecodeError):
            self._ready.set()
            return True

    def _note(self, messages: Sequence[Message], dirty: "_Dirty") -> None:
        for message in messages:
            if message.kind in _ENTRIES and self._own and message.pid == self._own:
                continue
            note = self._notes.get(message.kind)
            try:
                if note is not None:
                    note(self, message, dirty)
            except DecodeError:
                dirty.everything = True

    def _link(self, message: Message, dirty: "_Dirty") -> None:
        index, now = links.decode_identity(message)
        before = self._names.get(index)
        if now == before and now in dirty.links and message.kind == RTM_NEWLINK:
            return  # a new device is announced ten times
        if message.kind == RTM_NEWLINK:
            self._names[index] = now
        elif message.payload[0] != AF_BRIDGE:  # a bridge's port that leaves is announced as a DELLINK too
            self._names.pop(index, None)
        for name in {now, before} - {None, ""}:
            dirty.links.add(str(name))
            dirty.devices.add(str(name))
            dirty.keys.add(LinkKey(str(name)))

    def _address(self, message: Message, dirty: "_Dirty") -> None:
        found = decode_address(message)
        device = self._names.get(found.index)
        if device is not None:
            dirty.devices.add(device)
            dirty.keys.add(AddressKey(device, found.interface))

    def _route(self, message: Message, dirty: "_Dirty") -> None:
        if is_kernels_own(message):
            return  # a kernel without the filter announces them, too
        route = decode.route(decode_route(message), self._names.get)
        if route is None:
            return
        dirty.keys.add(route.key)
        if route.dst.prefixlen == 0 and route.device is not None:
            dirty.devices.add(route.device)  # the underlay may be another one now

    def _neighbor(self, message: Message, dirty: "_Dirty") -> None:
        found = decode.neighbor(decode_neighbor(message), self._names.get)
        if isinstance(found, FdbEntry) and self._echoes.is_one(found, made=message.kind == RTM_NEWNEIGH):
            return
        if found is not None:
            dirty.keys.add(found.key)

    def _nexthop(self, message: Message, dirty: "_Dirty") -> None:
        """The routes that use it change or go with it, unannounced."""
        index = IfIndex(read_u32(parse_attributes(message.payload, NHMSG_SIZE).get(NHA_OIF)))
        device = self._names.get(index)
        if device is None:
            dirty.everything = True
        else:
            dirty.devices.add(device)

    def _netconf(self, message: Message, dirty: "_Dirty") -> None:
        version = decode_forwarding(message)
        if version is not None:
            dirty.keys.add(FORWARDING[version])

    def _learn_names(self) -> None:
        with suppress(KernelError, DecodeError):  # then a device is not known until it is announced
            found = (links.decode_link(message) for message in self._questions.dump(links.dump_links()))
            self._names = {link.index: link.name for link in found}

    _notes: Final[dict[int, Callable[["Monitor", Message, "_Dirty"], None]]] = {
        RTM_NEWLINK: _link,
        RTM_DELLINK: _link,
        RTM_NEWADDR: _address,
        RTM_DELADDR: _address,
        RTM_NEWROUTE: _route,
        RTM_DELROUTE: _route,
        RTM_NEWNEIGH: _neighbor,
        RTM_DELNEIGH: _neighbor,
        RTM_NEWNEXTHOP: _nexthop,
        RTM_DELNEXTHOP: _nexthop,
        RTM_NEWNETCONF: _netconf,
    }


class _Dirty:
    """What announcements name."""

    def __init__(self) -> None:
        self.keys: set[ObjectKey] = set()
        self.devices: set[str] = set()
        self.links: set[str] = set()
        """Those devices that are dirty as links."""
        self.everything = False

    def scope(self) -> Scope:
        return Scope(frozenset(self.keys), frozenset(self.devices), self.everything)
