"""The plugin's verbs, answered by the warm agent, or offline by the same code in a process of its own.

Planning and applying are ``diff`` and ``Kernel.apply``, as everywhere.  Whatever ADD made is undone
when it fails; DEL succeeds in any state.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from tulle.cni.add import add
from tulle.cni.attach import PodNetwork
from tulle.cni.check import check
from tulle.cni.collect import collect
from tulle.cni.delete import delete, take_away
from tulle.cni.fill import COUNTLESS, AddressUse, is_low, news
from tulle.cni.pools import Pool, Subnet, choose_pools, whole
from tulle.cni.recovery import recover
from tulle.cni.site import Site
from tulle.cni.tombstones import Tombstones
from tulle.errors import TulleError
from tulle.model.state import Scope
from tulle.wire.cni import Invocation, decode_invocation, requested_version
from tulle.wire.cni_error import (
    INTERNAL,
    IO_FAILURE,
    KERNEL_REFUSED,
    NOT_AVAILABLE,
    TRY_AGAIN,
    CniError,
    encode_error,
    encode_versions,
)

log = logging.getLogger(__name__)

Verb = Callable[[Site, Invocation], Awaitable[bytes]]


async def status(site: Site, call: Invocation) -> bytes:
    """STATUS: can an ADD be served now?  Raises CniError (50)."""
    network = site.network()
    if network is None:
        raise CniError(NOT_AVAILABLE, "no lease yet", "the agent waits for its store")
    if network.lapsed:
        raise CniError(NOT_AVAILABLE, "the lease has run out", "the store is away: pods that run stay connected")
    if call.delegate is not None:
        await site.ask(call.delegate, "STATUS")
    for pool in _pools(call, network) if call.delegate is None else ():
        if site.free(pool) <= 0:
            more = "delete pods" if pool == whole(pool.subnet) else "delete pods, or widen the ranges"
            raise CniError(NOT_AVAILABLE, str(pool), f"no address is left: {more}")
    if trouble := site.trouble():
        raise CniError(NOT_AVAILABLE, f"addresses in {site.networks}", trouble)
    for folder in (site.networks, site.state):
        if trouble := disk_trouble(folder):
            raise CniError(NOT_AVAILABLE, f"folder {folder}", trouble)
    return b""


def _pools(call: Invocation, network: PodNetwork) -> tuple[Pool, ...]:
    """Where an ADD of this configuration would take addresses from.  Raises CniError (50): from nowhere."""
    try:
        return choose_pools(network.subnets, call.conf.ranges)
    except CniError as error:
        raise CniError(NOT_AVAILABLE, error.msg, error.details) from None


async def version(_: Site, call: Invocation) -> bytes:
    """VERSION."""
    return encode_versions(call.conf.cni_version)


VERBS: Mapping[str, Verb] = {  # and ADD, which is nobody's when nobody waits for it
    "DEL": delete,
    "CHECK": check,
    "GC": collect,
    "STATUS": status,
    "VERSION": version,
}
OF_A_POD = frozenset({"ADD", "DEL", "CHECK"})


class CniServer:
    """The plugin of one node."""

    def __init__(self, site: Site, tombstones: Tombstones) -> None:
        self.site, self.tombstones = site, tombstones
        self.asked = asyncio.Event()
        """Set when a pod came or went: how full its subnets are may be worth a word."""
        self._low: frozenset[str] = frozenset()

    async def handle(
        self, environment: Mapping[str, str], stdin: bytes, is_awaited: Callable[[], bool] = lambda: True
    ) -> tuple[int, bytes]:
        """One execution: (exit code, stdout).  Never raises but to be cancelled.

        A DEL that the disk refuses is kept for later, which is success.  An ADD whose result nobody waits for any
        more is undone: to the runtime it has failed.
        """
        try:
            return 0, await self._verb(environment, stdin, is_awaited)
        except OSError as error:
            if environment.get("CNI_COMMAND") == "DEL" and self._kept(environment, stdin):
                log.warning("DEL kept for later: %s", error)
                return 0, b""
            return _refusal(environment, stdin, error)
        except Exception as error:  # noqa: BLE001  the runtime has to get an answer
            return _refusal(environment, stdin, error)

    def address_uses(self) -> tuple[AddressUse, ...]:
        """How full the node's subnets are; none before there is a lease, or when the disk does not say."""
        network = self.site.network()
        try:
            return tuple(self._use_of(subnet) for subnet in network.subnets) if network is not None else ()
        except OSError:
            return ()

    def tell_low(self) -> None:
        """Say it when a subnet has few addresses left, once, and once when it has enough again."""
        uses = self.address_uses()
        for is_warning, text in news(self._low, uses):
            log.log(logging.WARNING if is_warning else logging.INFO, text)
        self._low = frozenset(use.subnet for use in uses if use.low)

    def _use_of(self, subnet: Subnet) -> AddressUse:
        free = self.site.free(whole(subnet))
        use = AddressUse(
            subnet=str(subnet),
            used=whole(subnet).capacity - free,
            free=min(free, COUNTLESS),
            resting=self.site.resting(subnet),
        )
        return replace(use, low=is_low(use, use.subnet in self._low))

    def kernel_changed(self, scope: Scope) -> None:
        """Somebody changed something in the node's namespace."""
        self.site.rules.kernel_changed(scope)

    async def repair_rules(self) -> None:
        """Make the rules of single pods whole; a kernel that cannot be read is asked again later."""
        try:
            for network in sorted(self.site.known_networks()):
                await recover(self.site, network)
            await self.site.rules.repair()
        except (TulleError, OSError) as error:
            log.warning("pods' rules: not looked at: %s", error)

    async def bury(self) -> None:
        """Do the DELs that were left; those that fail again stay."""
        await self.tombstones.bury(self._handle_left)

    async def _handle_left(self, environment: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        try:
            return 0, await self._verb(environment, stdin, lambda: True)
        except Exception as error:  # noqa: BLE001  one that cannot be done must not keep the others
            return _refusal(environment, stdin, error)

    async def _verb(self, environment: Mapping[str, str], stdin: bytes, is_awaited: Callable[[], bool]) -> bytes:
        call = decode_invocation(environment, stdin)
        if call.command not in OF_A_POD:
            return await VERBS[call.command](self.site, call)
        if call.command == "ADD" and self.tombstones.any():
            await self.bury()
        async with self.site.alone(call.owner):
            if call.command == "ADD":
                answer = await self._add(call, is_awaited)
            else:
                answer = await VERBS[call.command](self.site, call)
        if call.command != "CHECK":
            self.asked.set()
        return answer

    async def _add(self, call: Invocation, is_awaited: Callable[[], bool]) -> bytes:
        if is_awaited():
            answer = await add(self.site, call)
            if is_awaited():
                return answer
            log.warning("ADD of %s %s: undone, since nobody waits for it any more", *call.owner)
            await take_away(self.site, call.conf.name, call.owner)
        raise CniError(TRY_AGAIN, "given up", "nobody waits for the result any more")

    def _kept(self, environment: Mapping[str, str], stdin: bytes) -> bool:
        try:
            self.tombstones.leave(environment, stdin)
        except OSError:
            return False
        return True


def disk_trouble(folder: Path) -> str:
    """Why nothing can be written at ``folder``; "" when something can."""
    place = folder
    while not place.exists():
        place = place.parent
    found = os.statvfs(place)
    if found.f_flag & os.ST_RDONLY:
        return "the file system is read-only"
    return "the disk is full" if not found.f_bavail or (found.f_files and not found.f_favail) else ""


def _refusal(environment: Mapping[str, str], stdin: bytes, error: Exception) -> tuple[int, bytes]:
    match error:
        case CniError():
            answer = error
        case TulleError():
            answer = CniError(KERNEL_REFUSED, "the kernel refused", str(error))
        case OSError():
            code = TRY_AGAIN if environment.get("CNI_COMMAND") == "ADD" else IO_FAILURE
            answer = CniError(code, "the disk refused", str(error))
        case _:
            log.error("CNI %s failed", environment.get("CNI_COMMAND"), exc_info=error)
            answer = CniError(INTERNAL, "failed", repr(error))
    return 1, encode_error(answer, requested_version(stdin))
