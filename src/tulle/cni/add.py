"""ADD: choose addresses, write them down, make the pair and what is on it, answer.

Written down before made, undone when it fails: after a crash at any point a DEL finishes the job.
"""

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace

from tulle.cni.attach import Attachment, PodNetwork, attachment, pod_mac, without_linklocal_learning
from tulle.cni.collect import reclaim
from tulle.cni.delete import release, take_away, withdraw
from tulle.cni.ipam import Interfaces
from tulle.cni.lookout import Look
from tulle.cni.other_ipam import Obtained, obtain
from tulle.cni.records import Record
from tulle.cni.site import Site, carry_out, steps_towards
from tulle.model.change import Create, Delete, Plan
from tulle.model.objects import Address, Link, VethKind
from tulle.model.state import Scope
from tulle.plan import guard, pod_masquerade, routed_guard
from tulle.wire.cni import Invocation
from tulle.wire.cni_error import ALREADY_ATTACHED, KERNEL_REFUSED, TRY_AGAIN, CniError
from tulle.wire.cni_result import encode_result


async def add(site: Site, call: Invocation) -> bytes:
    """Attach a pod.  Raises CniError, KernelError: nothing is left of it, and nothing else was changed."""
    network = site.network()
    if network is None:
        raise CniError(TRY_AGAIN, "no lease yet", "the agent waits for its store")
    if network.lapsed:
        raise CniError(TRY_AGAIN, "the lease has run out", "the store is away: pods that run stay connected")
    with site.netns(call) as netns:
        if call.delegate is None:
            return await _attach(site, call, network, netns, None)
        obtained = await obtain(site, call, call.delegate)
        async with _undone_if_it_fails(site, call):
            return await _attach(site, call, network, netns, obtained)


async def _attach(site: Site, call: Invocation, network: PodNetwork, netns: int, obtained: Obtained | None) -> bytes:
    """``obtained``: the addresses of another plugin; None: our own."""
    async with site.planning:
        await reclaim(site, call.conf.name)
        look = await site.lookout.glance(call, network)
        if call.conf.guard and look.bridge is not None:
            look = replace(look, bridge=without_linklocal_learning(look.bridge))
        if look.device is not None:
            raise CniError(ALREADY_ATTACHED, f"{call.container_id} {call.ifname}", "is attached already")
        if obtained is None:
            addresses, record = _allocate(site, call, network, look.bridge)
            wanted = attachment(call, network, addresses, look.bridge)
        else:
            record = _completed(site, call, network, look.bridge)
            wanted = attachment(obtained.call, network, obtained.addresses, look.bridge, obtained.gateways)
            look = replace(look, observed=await site.kernel.observe(Scope.of(wanted.host.objects)))
        async with _undone_if_it_fails(site, call):
            if call.conf.force_address and look.bridge is not None:
                await _remove_other_addresses(site, wanted, look, look.bridge)
            plan = steps_towards(wanted.host, look.observed)
            await _rules(site, call, record, look.bridge)
            if not _is_one_pair(plan):
                await carry_out(site.kernel, plan)
                plan = Plan(())
    async with _undone_if_it_fails(site, call), _under_way(carry_out(site.kernel, plan)) as making:
        with closing(site.open_pod(netns)) as pod:
            rest = steps_towards(wanted.pod, wanted.newborn)
            answer = encode_result(call.conf.cni_version, wanted.attached, call.previous)
            await making
            await carry_out(pod, rest)
    if look.bridge is None:
        site.pods_changed()
    return answer


def _is_one_pair(plan: Plan) -> bool:
    """Does the node lack nothing but the pod's own pair?  Then it is made while others look at the bridge.

    A routed pod's is never alone, and what else there is, its keeper could make as well.
    """
    match plan.steps:
        case (Create(obj=Link(kind=VethKind())),):
            return True
        case _:
            return False


@asynccontextmanager
async def _under_way(work: Coroutine[None, None, None]) -> AsyncGenerator["asyncio.Task[None]"]:
    """``work`` goes on while the body runs, and is done after it.  Raises what it raises."""
    task = asyncio.create_task(work, name="make a pair")
    try:
        await asyncio.sleep(0)  # now it is under way
        yield task
    finally:
        await task


@asynccontextmanager
async def _undone_if_it_fails(site: Site, call: Invocation) -> AsyncGenerator[None]:
    try:
        yield
    except BaseException as error:
        was_there = isinstance(error, CniError) and error.code == ALREADY_ATTACHED
        await (withdraw if was_there else take_away)(site, call.conf.name, call.owner)
        raise


async def _rules(site: Site, call: Invocation, record: Record, bridge: Link | None) -> None:
    """Before anything can come out of the pod.  Raises CniError: what the network insists on cannot be had."""
    if not record.has_rules:
        return
    await site.rules.admit(record, None if bridge is None else bridge.mac)
    for key, needed, table in (
        ("macspoofchk", call.conf.guard_needed, routed_guard.KEY if bridge is None else guard.KEY),
        ("ipMasq", record.masquerade is not None, pod_masquerade.KEY),
    ):
        if needed and table in site.rules.troubles:
            raise CniError(KERNEL_REFUSED, key, site.rules.troubles[table])


async def _remove_other_addresses(site: Site, wanted: Attachment, look: Look, bridge: Link) -> None:
    """The bridge shall have our gateways alone, as ``forceAddress`` asks; link-local ones are the kernel's."""
    doomed = [
        Delete(address)
        for address in look.observed.each(Address)
        if address.device == bridge.name and address.key not in wanted.host and not address.interface.is_link_local
    ]
    for outcome in await site.kernel.apply(Plan(tuple(doomed))):
        if outcome.error is not None:
            raise outcome.error


def _allocate(site: Site, call: Invocation, network: PodNetwork, bridge: Link | None) -> tuple[Interfaces, Record]:
    """Addresses of our own, and the record that was written before they were claimed.  Raises CniError."""
    written: list[Record] = []

    def journal(addresses: Interfaces) -> None:
        record = replace(
            site.new_record(call),
            bridge=_name_of(bridge),
            addresses=tuple(map(str, addresses)),
            mac=pod_mac(call, addresses),
            guard=call.conf.guard,
            masquerade=_masqueraded(call, network),
        )
        site.records(call.conf.name).put(record)
        written.append(record)

    try:
        addresses, wanted = site.addresses(call.conf.name), call.conf.wishes.addresses
        chosen = addresses.allocate(call.owner, network.subnets, wanted, journal, call.conf.ranges, looked=True)
        return chosen, written[-1]
    except OSError as error:
        with suppress(OSError):  # what it refuses now, DEL or the collection does later
            release(site, call.conf.name, call.owner)
        raise CniError(
            TRY_AGAIN, f"addresses in {site.networks}", f"the disk takes nothing: {error.strerror or error}"
        ) from error


def _completed(site: Site, call: Invocation, network: PodNetwork, bridge: Link | None) -> Record:
    """The record of another plugin's addresses, with what was not known when it was asked.

    Raises CniError: it was removed meanwhile; OSError.
    """
    records = site.records(call.conf.name)
    record = records.get(call.owner)
    if record is None:
        raise CniError(TRY_AGAIN, f"{call.container_id} {call.ifname}", "its record was removed meanwhile")
    whole = replace(record, bridge=_name_of(bridge), masquerade=_masqueraded(call, network))
    records.put(whole)
    return whole


def _masqueraded(call: Invocation, network: PodNetwork) -> tuple[str, ...] | None:
    """The networks from which the pod is not hidden, where hiding it is up to us."""
    return tuple(map(str, network.networks)) if call.conf.ip_masq and not network.masquerades else None


def _name_of(bridge: Link | None) -> str:
    return "" if bridge is None else bridge.name
