"""Records that are gone while their pods live: written again before anything is done by what the records say.

An agent that runs remembers them.  One that was started since goes by what is left: whose the addresses are (their
files), the device that follows from it and carries our mark, and what the packet filter holds for that device.
"""

import logging

from tulle.cni.attach import PodNetwork, alias_of, host_device, host_mac, mac_of
from tulle.cni.host_local import NOBODY, Owner
from tulle.cni.pod_rules import Held
from tulle.cni.records import Record
from tulle.cni.site import Site
from tulle.model.network import IPAddress
from tulle.model.objects import Address, Link, LinkKey, VethKind
from tulle.model.state import Scope

log = logging.getLogger(__name__)


async def recover(site: Site, network: str) -> None:
    """Write again what is missing.  Raises KernelError: the kernel does not say who lives; OSError: the disk fails."""
    records = site.records(network)
    for record in records.take_lost():
        if await _put_if_it_lives(site, record):
            log.warning("the record of %s %s was removed while it lives: written again", *record.owner)
    owners = site.addresses(network).owners().keys() - {NOBODY}
    records.strangers.intersection_update(owners)
    for owner in sorted(owner for owner in owners - records.strangers if not records.knows(owner)):
        record = await _rebuilt(site, network, owner)
        if record is None:
            records.strangers.add(owner)  # what we make has a record before it has a device
        elif await _put_if_it_lives(site, record):
            log.warning(
                "the record of %s %s is gone while it lives: written again from its files and the kernel, %s",
                *owner,
                "guarded" if record.guard else "without a guard, since the kernel has none",
            )


async def _put_if_it_lives(site: Site, record: Record) -> bool:
    """False: it is gone, or somebody was faster.

    A DEL in a process of its own takes the device away before the record: it may not have seen what was just written.
    """
    records = site.records(record.network)
    async with site.alone(record.owner):
        if records.exists(record.owner) or await _pair_of(site, record.owner) is None:
            return False
        records.put(record)
        if await _pair_of(site, record.owner) is None:
            records.remove(record.owner)
            return False
    if not record.bridge:
        site.pods_changed()
    return True


async def _rebuilt(site: Site, network: str, owner: Owner) -> Record | None:
    """What is known of a living pod without its record; None: the device is not there, not ours, or on no bridge."""
    pair = await _pair_of(site, owner)
    if pair is None or site.records(network).exists(owner):
        return None
    if not pair.master and not await _is_routed(site, pair):
        return None
    ips = site.addresses(network).of(owner)
    known = site.network() or site.last_network()
    return _record_of(site.boot_id, network, owner, pair, ips, await site.rules.held(pair.name, ips), known)


async def _is_routed(site: Site, pair: Link) -> bool:
    """The node's end of a routed pod's pair has the gateway's address."""
    found = (await site.kernel.observe(Scope.of(devices=[pair.name]))).each(Address)
    return any(not address.interface.is_link_local for address in found if address.device == pair.name)


def _record_of(
    boot_id: str,
    network: str,
    owner: Owner,
    pair: Link,
    ips: tuple[IPAddress, ...],
    held: Held,
    known: PodNetwork | None,
) -> Record:
    subnets = () if known is None else known.subnets
    lengths = {subnet.version: subnet.prefixlen for subnet in subnets}
    networks = () if known is None else known.networks
    return Record(
        network=network,
        container_id=owner[0],
        ifname=owner[1],
        netns="",
        boot_id=boot_id,
        device=pair.name,
        bridge=pair.master or "",
        addresses=tuple(f"{ip}/{lengths.get(ip.version, ip.max_prefixlen)}" for ip in ips),
        mac=held.mac or mac_of(ips[0]),
        guard=held.guard,
        masquerade=tuple(map(str, networks)) if held.masquerade else None,
    )


async def _pair_of(site: Site, owner: Owner) -> Link | None:
    """The node's end of a pair that we made for it."""
    device = host_device(*owner)
    found = (await site.kernel.observe(Scope.of([LinkKey(device)]))).link(device)
    if found is None or not isinstance(found.kind, VethKind):
        return None
    return found if found.alias == alias_of(owner[0]) or found.mac == host_mac(*owner) else None
