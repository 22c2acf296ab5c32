"""DEL: the pod's devices first, then its addresses, then what was written down.

It succeeds in any state.  In this order an address is never free while the kernel still has it,
and what a crash leaves is found by the next DEL, or by the agent's own collection.
"""

from tulle.cni.attach import alias_of, host_device, host_mac
from tulle.cni.host_local import Owner
from tulle.cni.other_ipam import give_back
from tulle.cni.records import Record
from tulle.cni.site import Site
from tulle.errors import KernelError
from tulle.model.change import Delete, Plan
from tulle.model.network import IPAddress
from tulle.model.objects import Address, VethKind
from tulle.model.state import Scope
from tulle.wire.cni import Invocation
from tulle.wire.cni_error import CniError


async def delete(site: Site, call: Invocation) -> bytes:
    """Detach a pod.  Raises KernelError; OSError: the disk keeps what should go."""
    record = site.records(call.conf.name).get(call.owner)
    was_ours = await _remove_pair(site, call.owner, record)
    if record is None:
        if not was_ours:
            await _remove_inner_end(site, call, site.addresses(call.conf.name).of(call.owner))
        if call.delegate is not None:
            await site.ask(call.delegate, "DEL")
    await _give_up(site, call.conf.name, call.owner, record)
    return b""


async def take_away(site: Site, network: str, owner: Owner) -> None:
    """Remove the pair of ``owner`` and give its addresses back, whoever gave them.

    Raises KernelError, CniError (another plugin's), OSError.
    """
    record = site.records(network).get(owner)
    await _remove_pair(site, owner, record)
    await _give_up(site, network, owner, record)


async def withdraw(site: Site, network: str, owner: Owner) -> None:
    """As ``take_away``, but leave a pair alone: it was there before.  Raises KernelError, CniError, OSError."""
    record = site.records(network).get(owner)
    if record is not None and record.has_rules:
        await site.rules.forget(record)
    await _give_up(site, network, owner, record)


def release(site: Site, network: str, owner: Owner) -> None:
    """Give back the addresses of ``owner``, whose devices are gone.  Raises OSError."""
    _forget(site, network, owner, site.records(network).get(owner))


def _forget(site: Site, network: str, owner: Owner, record: Record | None) -> None:
    recorded = () if record is None or record.ipam is not None else record.ips
    site.addresses(network).release(owner, recorded)
    site.records(network).remove(owner)


async def _give_up(site: Site, network: str, owner: Owner, record: Record | None) -> None:
    if record is not None and record.ipam is not None:
        await give_back(site, record)
    _forget(site, network, owner, record)
    if record is not None and not record.bridge:
        site.pods_changed()


async def _remove_pair(site: Site, owner: Owner, record: Record | None) -> bool:
    """Was there a pair of ours?  Its guard goes after it, so that nothing of it is let pass meanwhile."""
    was_ours = await site.removal.remove(host_device(*owner), alias_of(owner[0]), host_mac(*owner))
    if record is not None and record.has_rules:
        await site.rules.forget(record)
    return was_ours


async def _remove_inner_end(site: Site, call: Invocation, addresses: tuple[IPAddress, ...]) -> None:
    """A pod that flannel's chain attached: its pair has a name that only its own end tells us.

    The path may be another pod's by now: what is removed has an address of this one.
    """
    if not addresses or not call.netns:
        return
    try:
        with site.pod(call) as pod:
            state = await pod.observe(Scope.of(devices=[call.ifname]))
            found = state.link(call.ifname)
            is_its = any(address.interface.ip in addresses for address in state.each(Address))
            if found is not None and isinstance(found.kind, VethKind) and is_its:
                await pod.apply(Plan((Delete(found),)))
    except (CniError, KernelError):
        return  # the namespace is gone, and the pair with it
