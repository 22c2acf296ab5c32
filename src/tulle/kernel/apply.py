"""Carrying out a plan: batches of rtnetlink requests, new links and sysctls one by one, nft in transactions.

Steps keep their order.  Between two batches others may run; a step that the kernel refuses
stops nobody else, except those on a device that could not be made.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from errno import EIO, ENOBUFS, EOPNOTSUPP
from typing import Final

from tulle.errors import ConfigError, DecodeError, KernelError, Unsupported
from tulle.kernel import encode, sysctl
from tulle.kernel.apart import Apart
from tulle.kernel.devices import Devices
from tulle.kernel.netlink_socket import NetlinkSocket, Overflow
from tulle.kernel.netns import open_path
from tulle.kernel.packet_filter import PacketFilter
from tulle.kernel.sender import CARRIED
from tulle.kernel.turn import Precedence, Turn
from tulle.model.change import Change, Create, Delete, Outcome, Plan, Step, subject_of
from tulle.model.objects import (
    Address,
    ChainAccept,
    FdbEntry,
    FilterObject,
    IptablesRules,
    Link,
    Neighbor,
    NftElement,
    NftTable,
    Route,
    Sysctl,
    VethKind,
    VxlanKind,
)
from tulle.model.state import object_device
from tulle.plan.text import format_step
from tulle.wire.netlink import Ack, Request

BATCH: Final = 128
"""So many answers fit the smallest receive buffer."""
LEAST_BATCH: Final = 8
ELEMENTS: Final = 64
"""So many elements of nft's sets take effect together: all that one pod has, and about 10 ms."""
NO_NFTABLES: Final = "this kernel has no nftables: enable CONFIG_NF_TABLES"
_ENTRIES: Final = (Route, Neighbor, FdbEntry, Address)
PAGE: Final = 1024
BATCH_S: Final = 0.004
"""A route among ten thousand takes the kernel 200 µs: later batches are as large as fits into this."""


@dataclass
class Batch:
    """Requests that wait to be sent together, each with the number of its step."""

    requests: list[Request] = field(default_factory=list[Request])
    steps: list[int] = field(default_factory=list[int])

    def add(self, number: int, requests: Sequence[Request]) -> None:
        self.requests += requests
        self.steps += [number] * len(requests)


class Applier:
    """Carries out plans, one at a time."""

    def __init__(
        self,
        netns: int | None,
        sock: NetlinkSocket,
        rules: PacketFilter,
        wrote: Callable[[Step], None],
        precedence: Precedence | None = None,
        apart: Apart | None = None,
    ) -> None:
        """``wrote`` is told of what has travelled in a batch and is done, before anybody hears of it otherwise.

        ``apart`` carries what the loop would wait long for.
        """
        self._netns, self._socket, self._rules, self._precedence = netns, sock, rules, precedence
        self._apart = apart
        self.wrote = wrote

    async def apply(self, plan: Plan) -> tuple[Outcome, ...]:
        return await _Run(self, plan.steps).outcomes()

    async def alone(self, step: Step, devices: Devices) -> KernelError | None:
        """A step that others depend on, or that does not travel by rtnetlink."""
        obj = subject_of(step)
        match obj:
            case Link():
                return await self._link_step(step, obj, devices)
            case Sysctl():
                return None if isinstance(step, Delete) else await sysctl.write(self._netns, obj)
            case NftTable() | ChainAccept() | IptablesRules():
                return await self._filter_step(step)
            case _:
                raise AssertionError(f"{obj} travels in a batch")

    async def execute(self, requests: Sequence[Request]) -> list[Ack]:
        """One answer for each, also when none came back: what became of them is read next time."""
        is_apart = self._apart is not None and self._apart.would_wait and self._apart.is_ready()
        return await self._execute(requests, self._apart if is_apart else None)

    async def _execute(self, requests: Sequence[Request], apart: Apart | None, carried: int | None = None) -> list[Ack]:
        try:
            if apart is not None:
                return await apart.execute(requests, carried)
            return self._socket.execute(requests)
        except Overflow as error:
            return [Ack(ENOBUFS, 0, str(error))] * len(requests)
        except DecodeError as error:
            return [Ack(EIO, 0, str(error))] * len(requests)
        except KernelError as error:
            return [Ack(error.errno, 0, str(error))] * len(requests)

    def devices(self) -> Devices:
        return Devices(self._socket, are_there=True)

    def turn(self) -> Turn:
        return Turn(self._precedence)

    def elements(self, steps: Sequence[Step]) -> list[KernelError | None]:
        """Elements of nft's sets, together."""
        return self._rules.apply_elements(steps)

    async def _filter_step(self, step: Step) -> KernelError | None:
        try:
            return await self._rules.apply(step)
        except KernelError as error:
            return error
        except (Unsupported, DecodeError) as error:
            return KernelError(EOPNOTSUPP, _named(step), str(error))

    async def _link_step(self, step: Step, link: Link, devices: Devices) -> KernelError | None:
        try:
            match step:
                case Create():
                    return await self._make_link(step, link, devices)
                case _:
                    return _first_error(step, await self.execute((encode.del_link(link, devices.index),)))
        except (KernelError, DecodeError, Overflow) as error:
            return error if isinstance(error, KernelError) else KernelError(EIO, _named(step), str(error))
        finally:
            devices.forget(link.name)

    async def _make_link(self, step: Step, link: Link, devices: Devices) -> KernelError | None:
        """A pair, which takes the kernel half a millisecond, is made while others run."""
        is_apart = isinstance(link.kind, VethKind) and self._apart is not None and self._apart.is_ready()
        peer_netns: int | None = None
        try:
            if isinstance(link.kind, VethKind) and link.kind.peer_netns is not None:
                peer_netns = open_path(link.kind.peer_netns)
            named = CARRIED if is_apart and peer_netns is not None else peer_netns
            request, rest = encode.new_link(link, devices.index, named), encode.finishing(link)
            requests = (request,) if rest is None else (request, rest)
            acks = await self._execute(requests, self._apart if is_apart else None, peer_netns)
            error = _first_error(step, acks)
        except ConfigError as refusal:
            return KernelError(EIO, _named(step), str(refusal))
        finally:
            if peer_netns is not None:
                os.close(peer_netns)
        return None if error is None else _explained(error, link, step)


def _first_error(step: Step, acks: Sequence[Ack]) -> KernelError | None:
    refusals = (KernelError(ack.errno, _named(step), ack.reason) for ack in acks if ack.errno)
    return next(refusals, None)


class _Run:
    """One plan on its way."""

    def __init__(self, applier: Applier, steps: tuple[Step, ...]) -> None:
        self._applier, self._steps = applier, steps
        self._devices = applier.devices()
        self._errors: dict[int, KernelError] = {}
        self._not_made: dict[str, KernelError] = {}
        self._rules_error: KernelError | None = None
        self._batch = Batch()
        self._elements: list[int] = []
        self._turn = applier.turn()
        self._room = BATCH

    async def outcomes(self) -> tuple[Outcome, ...]:
        for number, step in enumerate(self._steps):
            if self._travels_alone(number, step):
                await self._flush()
                error = await self._applier.alone(step, self._devices)
                if error is not None:
                    self._fail(number, error)
                await self._turn.rest()
            elif len(self._batch.requests) >= self._room:
                await self._flush()
        await self._flush()
        outcomes: list[Outcome] = []
        for page in range(0, len(self._steps), PAGE):
            steps = enumerate(self._steps[page : page + PAGE], page)
            outcomes += [Outcome(step, self._errors.get(number)) for number, step in steps]
            await self._turn.rest()
        return tuple(outcomes)

    def _travels_alone(self, number: int, step: Step) -> bool:
        """Is it up to the caller to carry out ``step``?  Else it waits in a batch, or has failed already."""
        obj = subject_of(step)
        missing = self._not_made.get(object_device(obj) or "") if self._not_made else None
        if missing is not None:
            self._fail(number, KernelError(missing.errno, _named(step), "its device could not be made"))
        elif isinstance(obj, _ENTRIES) or (isinstance(step, Change) and isinstance(obj, Link)):
            self._enqueue(number, step)
        elif isinstance(obj, NftElement):
            self._elements.append(number)
        elif isinstance(step, Delete) and isinstance(obj, FilterObject) and self._rules_error is not None:
            self._fail(number, KernelError(self._rules_error.errno, _named(step), "what replaces it could not be made"))
        else:
            return True
        return False

    def _enqueue(self, number: int, step: Step) -> None:
        try:
            self._batch.add(number, encode.requests(step, self._devices.index))
        except KernelError as error:
            self._fail(number, error)

    async def _flush(self) -> None:
        await self._flush_elements()
        batch, self._batch = self._batch, Batch()
        if not batch.requests:
            return
        started = time.perf_counter()
        acks = await self._applier.execute(batch.requests)
        self._room = room_for(len(batch.requests), time.perf_counter() - started)
        for number, ack in zip(batch.steps, acks, strict=True):
            if not ack.errno:
                self._applier.wrote(self._steps[number])
            elif number not in self._errors:
                self._fail(number, KernelError(ack.errno, _named(self._steps[number]), ack.reason))
        await self._turn.rest()

    async def _flush_elements(self) -> None:
        waiting, self._elements = self._elements, []
        for start in range(0, len(waiting), ELEMENTS):
            numbers = waiting[start : start + ELEMENTS]
            errors = self._applier.elements([self._steps[number] for number in numbers])
            for number, error in zip(numbers, errors, strict=True):
                if error is not None:
                    self._fail(number, error)
            await self._turn.rest()

    def _fail(self, number: int, error: KernelError) -> None:
        step = self._steps[number]
        if isinstance(step, Delete) and error.target_missing:
            return  # to delete what is already gone is done
        if not isinstance(error.request, str):  # refused before it was asked: say it as an operator would
            error = KernelError(error.errno, _named(step), error.reason)
        self._errors[number] = error
        if isinstance(step, Create) and isinstance(step.obj, Link):
            self._not_made[step.obj.name] = error
        if isinstance(subject_of(step), FilterObject):
            self._rules_error = error


def room_for(count: int, elapsed_s: float) -> int:
    """How many requests the next batch may have, after ``count`` took ``elapsed_s``: the loop waits for them."""
    return max(LEAST_BATCH, min(BATCH, int(count * BATCH_S / max(elapsed_s, 1e-6))))


def _explained(error: KernelError, link: Link, step: Step) -> KernelError:
    if error.errno == EOPNOTSUPP and not error.reason and isinstance(link.kind, VxlanKind):
        return KernelError(EOPNOTSUPP, _named(step), "this kernel has no VXLAN: load it or enable CONFIG_VXLAN")
    return error


def _named(step: Step) -> str:
    """A step as an operator would type it."""
    return "; ".join(format_step(step))
