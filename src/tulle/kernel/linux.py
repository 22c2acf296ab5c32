"""The real kernel of one network namespace: dumps in, batches out.

Links come first in every observation, since names and indexes are only good together.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final, TypeVar

from tulle.errors import KernelError, Unsupported
from tulle.kernel import decode, sysctl
from tulle.kernel.encode import after_creation, requests
from tulle.kernel.monitor import Monitor
from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.kernel.netns import open_path
from tulle.kernel.nft import NftEngine
from tulle.model.change import Create, Delete, Outcome, Plan, Step
from tulle.model.network import DroppingChain
from tulle.model.objects import (
    AddressKey,
    ChainAccept,
    ChainAcceptKey,
    FdbKey,
    KernelObject,
    Link,
    NeighborKey,
    NftTable,
    NftTableKey,
    RouteKey,
    Sysctl,
    SysctlKey,
    VethKind,
    VxlanKind,
)
from tulle.model.state import KernelState, Scope
from tulle.wire.netlink import Message, Request
from tulle.wire.rtnetlink import addresses, links, neighbors, routes
from tulle.wire.rtnetlink.parts import IfIndex

T = TypeVar("T")

BATCH: Final = 128
EOPNOTSUPP: Final = 95


class LinuxKernel:
    """``kernel.port.Kernel`` on the running system."""

    def __init__(self, netns: int | None, sock: NetlinkSocket, nft: NftEngine | None) -> None:
        """``netns`` is a descriptor that the instance owns; None: the namespace of this process."""
        self._netns, self._socket, self._nft = netns, sock, nft
        self._monitors: list[Monitor] = []

    @classmethod
    def open(cls, netns: Path | int | None = None) -> "LinuxKernel":
        """The kernel of ``netns`` (None: this thread's namespace).  Raises KernelError, ConfigError."""
        if isinstance(netns, Path):
            descriptor: int | None = open_path(netns)
        else:
            descriptor = None if netns is None else os.dup(netns)
        try:
            return cls(descriptor, NetlinkSocket.open(descriptor), _open_nft(descriptor))
        except BaseException:
            if descriptor is not None:
                os.close(descriptor)
            raise

    def close(self) -> None:
        for monitor in self._monitors:
            monitor.close()
        self._monitors.clear()
        self._socket.close()
        if self._nft is not None:
            self._nft.close()
        if self._netns is not None:
            os.close(self._netns)

    def changes(self) -> AsyncIterator[Scope]:
        monitor = Monitor(self._netns)
        self._monitors.append(monitor)
        return monitor

    async def dropping_chains(self) -> tuple[DroppingChain, ...]:
        return await self._nft.dropping_chains() if self._nft is not None else ()

    # -- observe ----------------------------------------------------------------------

    async def observe(self, scope: Scope) -> KernelState:
        devices = self._links()
        names = {found.index: found.name for found in devices}
        objects: list[KernelObject] = [decode.link(found, names) for found in devices]
        objects += await self._on_devices(scope, names)
        objects += [sysctl.read(self._netns, key) for key in scope.keys if isinstance(key, SysctlKey)]
        filters = [key for key in scope.keys if isinstance(key, NftTableKey | ChainAcceptKey)]
        if filters:
            objects += await self._filter().observe(filters)
        return KernelState.of(objects)

    def _links(self) -> list[links.LinkMessage]:
        return [links.decode_link(message) for message in self._socket.dump(links.dump_links())]

    async def _on_devices(self, scope: Scope, names: dict[IfIndex, str]) -> list[KernelObject]:
        """Addresses, routes, neighbours and FDB entries, as few dumps as the scope allows."""
        found: list[KernelObject] = []
        for request in _dumps(scope, names):
            messages = self._dump(request)
            for start in range(0, len(messages), 2048):
                found += _decoded(messages[start : start + 2048], names)
                await asyncio.sleep(0)  # ten thousand entries take longer than the loop may be held
        return found

    def _dump(self, request: Request) -> list[Message]:
        """The answer; nothing when the device or the table that it is about is not there (any more)."""
        try:
            return self._socket.dump(request)
        except KernelError as error:
            if error.target_missing:
                return []
            raise

    # -- apply ------------------------------------------------------------------------

    async def apply(self, plan: Plan) -> tuple[Outcome, ...]:
        outcomes: list[Outcome] = []
        waiting: list[Step] = []
        for step in plan.steps:
            if _travels_in_a_batch(step):
                waiting.append(step)
                continue
            outcomes += await self._send(waiting)
            waiting = []
            outcomes.append(Outcome(step, await self._alone(step)))
        return (*outcomes, *await self._send(waiting))

    async def _send(self, steps: list[Step]) -> list[Outcome]:
        outcomes: list[Outcome] = []
        indexes = self._indexes() if steps else {}
        for start in range(0, len(steps), BATCH):
            outcomes += self._send_batch(steps[start : start + BATCH], indexes)
            await asyncio.sleep(0)
        return outcomes

    def _send_batch(self, steps: list[Step], indexes: dict[str, IfIndex]) -> list[Outcome]:
        errors: dict[int, KernelError] = {}
        sent: list[tuple[int, Request]] = []
        for number, step in enumerate(steps):
            try:
                sent += [(number, request) for request in requests(step, indexes)]
            except KernelError as error:
                errors[number] = error
        acks = self._socket.execute([request for _, request in sent])
        for (number, request), ack in zip(sent, acks, strict=True):
            if ack.errno and number not in errors:
                errors[number] = KernelError(ack.errno, _subject(request, steps[number]), ack.reason)
        return [Outcome(step, _forgiven(step, errors.get(number))) for number, step in enumerate(steps)]

    async def _alone(self, step: Step) -> KernelError | None:
        """A step that others depend on, or that does not travel by rtnetlink."""
        obj = step.after if not isinstance(step, Create | Delete) else step.obj
        match obj:
            case Link():
                return _forgiven(step, self._link_step(step, obj))
            case Sysctl():
                return None if isinstance(step, Delete) else sysctl.write(self._netns, obj)
            case NftTable() | ChainAccept():
                try:
                    return await self._filter().apply(step)
                except Unsupported as error:
                    return KernelError(EOPNOTSUPP, step, str(error))
            case _:
                raise AssertionError(f"{obj} travels in a batch")

    def _link_step(self, step: Step, link: Link) -> KernelError | None:
        peer: int | None = None
        try:
            if isinstance(step, Create) and isinstance(link.kind, VethKind) and link.kind.peer_netns is not None:
                peer = open_path(Path(link.kind.peer_netns))
            for request in requests(step, self._indexes(), peer):
                self._socket.run(request)
            if isinstance(step, Create) and (link.hairpin or link.alias):
                for request in after_creation(link, self._indexes()[link.name], step):
                    self._socket.run(request)
        except KernelError as error:
            if error.errno == EOPNOTSUPP and isinstance(link.kind, VxlanKind):
                return KernelError(EOPNOTSUPP, f"link {link.name}", "the kernel has no VXLAN: load or enable CONFIG_VXLAN")
            return error
        finally:
            if peer is not None:
                os.close(peer)
        return None

    def _indexes(self) -> dict[str, IfIndex]:
        return {found.name: found.index for found in self._links()}

    def _filter(self) -> NftEngine:
        if self._nft is None:
            raise Unsupported("nftables", "this kernel needs CONFIG_NF_TABLES")
        return self._nft


def _open_nft(netns: int | None) -> NftEngine | None:
    try:
        return NftEngine.open(netns)
    except KernelError:
        return None  # a kernel without nfnetlink still has everything else


def _dumps(scope: Scope, names: dict[IfIndex, str]) -> list[Request]:
    if scope.everything:
        return [
            addresses.dump_addresses(),
            routes.dump_routes(4),
            routes.dump_routes(6),
            neighbors.dump_neighbors(),
            neighbors.dump_fdb(),
        ]
    indexes = {name: index for index, name in names.items()}

    def wanted(kind: type[AddressKey | NeighborKey | FdbKey]) -> list[IfIndex]:
        named = {key.device for key in scope.keys if isinstance(key, kind)} | scope.devices
        return sorted(indexes[name] for name in named if name in indexes)

    tables = {(key.dst.version, key.table) for key in scope.keys if isinstance(key, RouteKey)}
    devices = sorted(indexes[name] for name in scope.devices if name in indexes)
    return [
        *(addresses.dump_addresses(index) for index in wanted(AddressKey)),
        *(routes.dump_routes(version, table=table) for version, table in sorted(tables)),
        *(routes.dump_routes(version, oif=index) for index in devices for version in (4, 6)),
        *(neighbors.dump_neighbors(index=index) for index in wanted(NeighborKey)),
        *(neighbors.dump_fdb(index) for index in wanted(FdbKey)),
    ]


def _decoded(messages: Iterable[Message], names: dict[IfIndex, str]) -> list[KernelObject]:
    found: list[KernelObject | None] = []
    for message in messages:
        match message.kind:
            case addresses.RTM_NEWADDR:
                found.append(decode.address(addresses.decode_address(message), names))
            case routes.RTM_NEWROUTE:
                found.append(decode.route(routes.decode_route(message), names))
            case neighbors.RTM_NEWNEIGH:
                found.append(decode.neighbor(neighbors.decode_neighbor(message), names))
            case _:
                pass
    return [obj for obj in found if obj is not None]


def _travels_in_a_batch(step: Step) -> bool:
    obj = step.obj if isinstance(step, Create | Delete) else step.after
    return not isinstance(obj, Link | Sysctl | NftTable | ChainAccept)


def _forgiven(step: Step, error: KernelError | None) -> KernelError | None:
    """To delete what is already gone is done."""
    return None if error is not None and isinstance(step, Delete) and error.target_missing else error


def _subject(request: Request, step: Step) -> object:
    from tulle.plan.text import format_step  # only a failure is worth its words

    return "; ".join(format_step(step)) or request.subject
