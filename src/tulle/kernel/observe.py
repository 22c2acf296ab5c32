"""Reading one namespace: as few and as small dumps as a scope allows, in pages, so that others can run.

A scope that names few keys is answered by single questions; where a look-up does not tell whether
a route is there, its table is dumped and only what carries one of the wanted destinations is decoded.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing
from dataclasses import dataclass
from errno import EINTR, EINVAL, EIO, ENOBUFS, EOPNOTSUPP
from typing import Final, TypeAlias, TypeVar

from tulle.errors import DecodeError, KernelError
from tulle.kernel import decode
from tulle.kernel.devices import Devices
from tulle.kernel.netlink_socket import DUMP_TRIES, NetlinkSocket, Overflow
from tulle.kernel.route_question import ask_route
from tulle.kernel.turn import Precedence, Turn
from tulle.model.objects import AddressKey, FdbKey, KernelObject, LinkKey, NeighborKey, ObjectKey, RouteKey
from tulle.model.state import Scope
from tulle.wire.netlink import Message, Request
from tulle.wire.rtnetlink import addresses, links, neighbors, routes
from tulle.wire.rtnetlink.parts import IfIndex

Reader: TypeAlias = Callable[[Message], KernelObject | None]
K = TypeVar("K", AddressKey, NeighborKey, FdbKey, RouteKey)

FEW: Final = 32
"""So many single questions cost about as much as a dump of a thousand entries."""
PAGE: Final = 128
"""So many messages are decoded in about a millisecond."""
PATIENT_TRIES: Final = DUMP_TRIES // 2
"""After so many interrupted dumps the next ones are read without letting others run."""


@dataclass(frozen=True, slots=True)
class Dump:
    """One dump: the request, what each message becomes, and the bytes one of which it must carry (none: all)."""

    request: Request
    read: Reader
    needles: tuple[bytes, ...] = ()


class Observer:
    """Dumps through a socket of its own; observations wait for each other."""

    def __init__(self, dumps: NetlinkSocket, questions: NetlinkSocket, precedence: Precedence | None = None) -> None:
        self._dumps, self._questions, self._precedence = dumps, questions, precedence
        self._turn = asyncio.Lock()

    async def observe(self, scope: Scope) -> list[KernelObject]:
        """The links, addresses, routes, neighbours and FDB entries of ``scope``.  Raises KernelError."""
        async with self._turn:
            try:
                view = View(Devices(self._questions), self._questions)
                if scope.everything:
                    found = await self._links(view)
                    plan = view.all_dumps(found)
                    objects: list[KernelObject] = [decode.link(link, view.devices.name) for link in found]
                else:
                    objects = view.single(scope)
                    plan = view.dumps(scope)
                turn = Turn(self._precedence)
                for dump in plan:
                    objects += await self._read(dump, turn)
            except Overflow as error:
                raise KernelError(ENOBUFS, "observation", str(error)) from None
            except DecodeError as error:
                raise KernelError(EIO, "observation", str(error)) from None
            return objects

    async def _links(self, view: "View") -> list[links.LinkMessage]:
        found = [
            links.decode_link(message)
            for message in await self._messages(Dump(links.dump_links(), lambda _: None), Turn(self._precedence))
        ]
        for link in found:
            view.devices.learn(link)
        return found

    async def _read(self, dump: Dump, turn: Turn) -> list[KernelObject]:
        found: list[KernelObject] = []
        messages = await self._messages(dump, turn)
        for start in range(0, len(messages), PAGE):
            page = messages[start : start + PAGE]
            found += [obj for message in page if (obj := dump.read(message)) is not None]
            await turn.rest()
        return found

    async def _messages(self, dump: Dump, turn: Turn) -> list[Message]:
        for attempt in range(DUMP_TRIES):
            try:
                return await self._pages(dump, None if attempt >= PATIENT_TRIES else turn)
            except KernelError as error:
                if error.target_missing:
                    return []  # the device or the table has gone, or the table was never filled
                if error.errno != EINTR:
                    raise
        raise KernelError(EINTR, dump.request.subject, "changes faster than it can be read")

    async def _pages(self, dump: Dump, turn: Turn | None) -> list[Message]:
        """``turn`` None: in one go, without letting others run."""
        found: list[Message] = []
        with closing(self._dumps.pages(dump.request)) as pages:
            for page in pages:
                found += [message for message in page if _carries(message, dump.needles)]
                if turn is not None:
                    await turn.rest()
        return found


class View:
    """What to ask for a scope, and how to read the answers, with the devices' names of this moment."""

    def __init__(self, devices: Devices, questions: NetlinkSocket) -> None:
        self.devices = devices
        self._questions = questions
        self._unclear: list[RouteKey] = []

    def all_dumps(self, found: Iterable[links.LinkMessage]) -> Iterator[Dump]:
        """Everything beside the links."""
        yield Dump(addresses.dump_addresses(), self._address)
        yield Dump(routes.dump_routes(4), self._route)
        yield Dump(routes.dump_routes(6), self._route)
        yield Dump(neighbors.dump_neighbors(proxy=True), self._neighbor)
        yield Dump(neighbors.dump_neighbors(), self._neighbor)
        for link in found:
            if link.kind == "vxlan":
                yield Dump(neighbors.dump_fdb(link.index), self._neighbor)

    def dumps(self, scope: Scope) -> Iterator[Dump]:
        """What a part asks for beyond the single questions, which have to be asked before."""
        for index in self._indexes(scope.devices):
            yield Dump(routes.dump_routes(4, oif=index), self._route)
            yield Dump(routes.dump_routes(6, oif=index), self._route)
        for index in self._indexes(scope.devices | {key.device for key in _keys(scope, NeighborKey) if key.proxy}):
            yield Dump(neighbors.dump_neighbors(index=index, proxy=True), self._neighbor)
        for index in self._indexes(scope.devices | {key.device for key in _keys(scope, AddressKey)}):
            yield Dump(addresses.dump_addresses(index), self._address)
        for index in self._indexes(scope.devices | _crowded(scope, NeighborKey)):
            yield Dump(neighbors.dump_neighbors(index=index), self._neighbor)
        for index in self._tunnels(scope.devices | _crowded(scope, FdbKey)):
            yield Dump(neighbors.dump_fdb(index), self._neighbor)
        yield from self._route_tables()

    def single(self, scope: Scope) -> list[KernelObject]:
        """What single questions answer.  Raises KernelError."""
        found: list[KernelObject | None] = []
        for name in scope.devices | {key.name for key in scope.keys if isinstance(key, LinkKey)}:
            link = self.devices.link(name)
            found.append(None if link is None else decode.link(link, self.devices.name))
        dumped = scope.devices | _crowded(scope, NeighborKey)
        questions = (key for key in _keys(scope, NeighborKey) if not key.proxy and key.device not in dumped)
        found += [self._ask_neighbor(key) for key in questions]
        dumped = scope.devices | _crowded(scope, FdbKey)
        found += [self._ask_fdb_entry(key) for key in _keys(scope, FdbKey) if key.device not in dumped]
        found += self._routes(_keys(scope, RouteKey))
        return [obj for obj in found if obj is not None]

    def _routes(self, keys: Sequence[RouteKey]) -> Iterator[KernelObject | None]:
        """What single questions answer of ``keys``; the others are unclear."""
        if len(keys) > FEW:
            self._unclear += keys
            return
        for key in keys:
            found, certain = ask_route(self._questions, key)
            if not certain:
                self._unclear.append(key)
            elif found is not None:
                yield decode.route(found, self.devices.name)

    def _route_tables(self) -> Iterator[Dump]:
        """The tables in which there is something unclear."""
        tables: dict[tuple[int, int], set[bytes]] = {}
        for key in self._unclear:
            needle = b"" if key.dst.prefixlen == 0 else key.dst.network_address.packed
            tables.setdefault((key.dst.version, key.table), set()).add(needle)
        for (version, table), needles in tables.items():
            few = () if len(needles) > FEW or b"" in needles else tuple(needles)
            yield Dump(routes.dump_routes(version, table=table), self._route, few)

    def _ask_neighbor(self, key: NeighborKey) -> KernelObject | None:
        index = self.devices.index(key.device)
        return None if index is None else self._ask(neighbors.get_neighbor(index, key.ip))

    def _ask_fdb_entry(self, key: FdbKey) -> KernelObject | None:
        index = self.devices.index(key.device)
        return None if index is None else self._ask(neighbors.get_fdb_entry(index, key.mac))

    def _ask(self, request: Request) -> KernelObject | None:
        try:
            return self._neighbor(self._questions.ask(request))
        except KernelError as error:
            if error.target_missing or error.errno in {EINVAL, EOPNOTSUPP}:
                return None  # EOPNOTSUPP: the device has no FDB of its own
            raise

    def _indexes(self, names: AbstractSet[str]) -> list[IfIndex]:
        found = (self.devices.index(name) for name in sorted(names))
        return [index for index in found if index is not None]

    def _tunnels(self, names: AbstractSet[str]) -> list[IfIndex]:
        """The VXLAN devices among ``names``; a NIC's own unicast and multicast addresses are none of our business."""
        found = (self.devices.link(name) for name in sorted(names))
        return [link.index for link in found if link is not None and link.kind == "vxlan"]

    def _address(self, message: Message) -> KernelObject | None:
        return decode.address(addresses.decode_address(message), self.devices.name)

    def _route(self, message: Message) -> KernelObject | None:
        return decode.route(routes.decode_route(message), self.devices.name)

    def _neighbor(self, message: Message) -> KernelObject | None:
        return decode.neighbor(neighbors.decode_neighbor(message), self.devices.name)


def _carries(message: Message, needles: tuple[bytes, ...]) -> bool:
    return not needles or any(needle in message.payload for needle in needles)


def _keys(scope: Scope, kind: type[K]) -> list[K]:
    return [key for key in scope.keys if isinstance(key, kind)]


def _crowded(scope: Scope, kind: type[NeighborKey] | type[FdbKey]) -> frozenset[str]:
    """The devices that are better dumped: many keys on them, or one that no single question answers."""
    per_device: dict[str, list[ObjectKey]] = {}
    for key in scope.keys:
        if isinstance(key, kind):
            per_device.setdefault(key.device, []).append(key)
    return frozenset(device for device, keys in per_device.items() if len(keys) > FEW or any(map(_needs_a_dump, keys)))


def _needs_a_dump(key: ObjectKey) -> bool:
    return isinstance(key, FdbKey) and key.dst is not None
