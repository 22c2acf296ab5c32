"""Giving back what nobody gave back: the runtime's GC, and the agent's own for runtimes that have none.

Read allocations first and owners second, look twice, and never free what the kernel still shows:
a record counts as dead when it is of an earlier boot, or when its device is gone in two looks
that are a minute apart.  Addresses without a record are somebody else's and left alone.
"""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from tulle.cni.attach import host_device
from tulle.cni.delete import release, take_away
from tulle.cni.host_local import NOBODY, Owner, is_cut
from tulle.cni.records import Record
from tulle.cni.site import Site
from tulle.errors import TulleError
from tulle.model.network import IPAddress
from tulle.model.objects import LinkKey
from tulle.model.state import Scope
from tulle.wire.cni import Invocation
from tulle.wire.cni_error import KERNEL_REFUSED, CniError

log = logging.getLogger(__name__)

LOOK_PERIOD_S = 60.0


async def collect(site: Site, call: Invocation) -> bytes:
    """GC: remove every attachment of this network that the runtime does not list.

    Without a list only what is provably dead: records of an earlier boot.  What cannot be removed does
    not stop the rest.  Raises CniError with all that failed.
    """
    valid, network = call.conf.valid_attachments, call.conf.name
    await restore(site, network)
    doomed = _of_earlier_boots(site, network)
    if valid is not None:
        attached = {record.owner for record in site.records(network).all()}
        doomed |= (site.addresses(network).owners().keys() | attached) - valid
        doomed -= {owner for owner in doomed if any(is_cut(owner, living) for living in valid)}
    failed = await _take_all_away(site, network, doomed)
    site.records(network).sweep(site.addresses(network).owners())
    if call.delegate is not None:
        try:
            await site.ask(call.delegate, "GC")
        except CniError as error:
            failed.append(str(error))
    if failed:
        raise CniError(KERNEL_REFUSED, "not everything could be removed", "; ".join(failed))
    return b""


async def forget_the_dead(site: Site, network: str) -> None:
    """Give back what earlier boots left: no pod outlives its kernel.  Raises OSError."""
    for failure in await _take_all_away(site, network, _of_earlier_boots(site, network)):
        log.warning("of an earlier boot: %s", failure)
    site.records(network).sweep(site.addresses(network).owners())


async def restore(site: Site, network: str) -> None:
    """Write again what living attachments have and their files no longer say."""
    held = site.addresses(network).owners()
    for record in list(site.records(network).all()):
        missing = set(record.ips) - set(held.get(record.owner, ())) if record.ipam is None else frozenset[IPAddress]()
        is_of_now = record.boot_id == site.boot_id
        if (is_of_now and not missing) or not await _has_device(site, record.owner):
            continue
        if not is_of_now:  # no device outlives its boot: what says so is damaged
            site.records(network).put(replace(record, boot_id=site.boot_id))
        for ip in await _claim_again(site, network, record.owner, missing):
            log.error("%s of %s %s was given to another pod: delete one of them", ip, *record.owner)


async def reclaim(site: Site, network: str) -> None:
    """What lives has its addresses again before another pod can get them, whoever removed their files."""
    for owner, ips in site.addresses(network).take_lost().items():
        if await _has_device(site, owner):
            log.warning("the files of %s %s were removed while it lives: written again", *owner)
            await _claim_again(site, network, owner, ips)


async def _claim_again(site: Site, network: str, owner: Owner, ips: Collection[IPAddress]) -> tuple[IPAddress, ...]:
    """What somebody else holds now.

    A DEL in a process of its own takes the device away before the files: when the device is gone by now,
    that DEL may not have seen what was just written.
    """
    if not ips:
        return ()
    taken = site.addresses(network).restore(owner, sorted(ips, key=str))
    if not await _has_device(site, owner):
        release(site, network, owner)
    return taken


@dataclass(slots=True)
class Collector:
    """The agent's own collection.  ``look`` once a minute."""

    site: Site
    _suspects: Mapping[str, frozenset[Owner]] = field(default_factory=dict[str, frozenset[Owner]])

    async def look(self) -> None:
        """Remove what was dead in the last look already, and remember what is dead now."""
        seen: dict[str, frozenset[Owner]] = {}
        for network in sorted(self.site.known_networks()):
            before = self._suspects.get(network, frozenset())
            dead = await self._dead(network)
            for owner in sorted(dead & before):
                error = await _try_to_take_away(self.site, network, owner)
                log.info("collected %s %s%s", *owner, f": {error}" if error else "")
            seen[network] = dead - before
        self._suspects = seen

    async def _dead(self, network: str) -> frozenset[Owner]:
        """Allocations first: whoever is attached from now on is not among them."""
        owners = self.site.addresses(network).owners().keys()
        records = self.site.records(network)
        dead = {record.owner for record in list(records.all()) if not await _is_alive(self.site, record)}
        damaged = [owner for owner in owners if records.is_damaged(owner)]
        dead |= {owner for owner in damaged if not await _has_device(self.site, owner)}
        records.sweep(owners)
        return frozenset(dead | (owners & {NOBODY})) - self.site.in_service()


async def _is_alive(site: Site, record: Record) -> bool:
    return record.boot_id == site.boot_id and await _has_device(site, record.owner)


async def _has_device(site: Site, owner: Owner) -> bool:
    device = host_device(*owner)
    return (await site.kernel.observe(Scope.of([LinkKey(device)]))).link(device) is not None


def _of_earlier_boots(site: Site, network: str) -> frozenset[Owner]:
    return frozenset(record.owner for record in site.records(network).all() if record.boot_id != site.boot_id)


async def _take_all_away(site: Site, network: str, doomed: frozenset[Owner]) -> list[str]:
    """What could not be removed, and why."""
    outcomes = [(owner, await _try_to_take_away(site, network, owner)) for owner in sorted(doomed - site.in_service())]
    return [f"{owner[0]} {owner[1]}: {error}" for owner, error in outcomes if error is not None]


async def _try_to_take_away(site: Site, network: str, owner: Owner) -> Exception | None:
    try:
        async with site.alone(owner):
            await take_away(site, network, owner)
    except (TulleError, OSError) as error:
        return error
    return None
