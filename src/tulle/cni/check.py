"""CHECK: is the pod still as ADD made it?

Plugins later in the chain may have changed what they are for: ``tuning`` the MAC (their result says so),
``sbr`` the table that a route is in.
"""

from dataclasses import replace
from ipaddress import ip_interface

from tulle.cni.attach import LOOPBACK, Attachment, PodNetwork, attachment, routed_scope
from tulle.cni.other_ipam import recorded
from tulle.cni.site import Site, is_without_ipv6, plan_towards
from tulle.errors import TulleError
from tulle.kernel.port import Kernel
from tulle.model.change import Create, Plan, Step
from tulle.model.objects import KernelObject, Link, Route, Sysctl, VethKind
from tulle.model.state import KernelState, Scope
from tulle.plan.text import format_object
from tulle.wire.cni import Invocation
from tulle.wire.cni_conf import parse_mac
from tulle.wire.cni_error import NOT_AS_ATTACHED, TRY_AGAIN, CniError, encode_answer


async def check(site: Site, call: Invocation) -> bytes:
    """Say nothing when all is well.  Raises CniError naming the first object that is not as it was made."""
    network = site.network()
    if network is None:
        raise CniError(TRY_AGAIN, "no lease yet", "the agent waits for its store")
    with site.pod(call) as pod:
        look = await site.lookout.look(_as_recorded(site, call), network)
        observed = look.observed
        if call.delegate is None:
            wanted = _wanted(site, call, network, look.bridge)
            if look.device is None and site.records(call.conf.name).get(call.owner) is None:
                wanted = _as_another_made_it(wanted)
        else:
            await site.ask(call.delegate, "CHECK")
            wanted = _wanted_of_others(call, call.delegate.type, network, look.bridge)
            observed = await site.kernel.observe(Scope.of(wanted.host.objects))
        if look.bridge is None:
            observed = await site.kernel.observe(routed_scope(wanted.host))
        await _compare(call, site.kernel, plan_towards(wanted.host, observed))
        inside = await pod.observe(Scope.of(wanted.pod.objects))
        await _compare(call, pod, plan_towards(wanted.pod, inside))
    return b""


def _wanted(site: Site, call: Invocation, network: PodNetwork, bridge: Link | None) -> Attachment:
    """What ADD made, from the addresses that the pod has."""
    held = site.addresses(call.conf.name).of(call.owner)
    lengths = {subnet.version: subnet.prefixlen for subnet in network.subnets}
    if len(held) != len(lengths) or not all(any(ip in subnet for subnet in network.subnets) for ip in held):
        raise _differs(call, f"it has the addresses {', '.join(map(str, held)) or 'none'}")
    addresses = tuple(ip_interface((ip, lengths[ip.version])) for ip in held)
    wanted = attachment(_as_tuned(call), network, addresses, bridge)
    assert call.previous is not None, "the decoder asks for it"
    if not {each.address for each in wanted.attached.addresses} <= call.previous.addresses():
        raise _differs(call, f"its result names other addresses than {', '.join(map(str, held))}")
    return wanted


def _wanted_of_others(call: Invocation, kind: str, network: PodNetwork, bridge: Link | None) -> Attachment:
    """What ADD made, from the result of the chain: the addresses are another plugin's."""
    assert call.previous is not None, "the decoder asks for it"
    made = recorded(_as_tuned(call), kind, encode_answer(call.previous.body))
    return attachment(made.call, network, made.addresses, bridge, made.gateways)


def _as_another_made_it(wanted: Attachment) -> Attachment:
    """A pod of flannel's chain: its pair has a name, its interface a MAC that only its own plugin knows."""
    host = (obj for obj in wanted.host if not isinstance(obj, Sysctl) and not _is_pair(obj))
    pod = (obj for obj in wanted.pod if not isinstance(obj, Sysctl) and obj.key != LOOPBACK.key)
    loose = (replace(obj, mac=None, mtu=None) if isinstance(obj, Link) else obj for obj in pod)
    return replace(wanted, host=KernelState.of(host), pod=KernelState.of(loose))


def _is_pair(obj: KernelObject) -> bool:
    return isinstance(obj, Link) and isinstance(obj.kind, VethKind)


def _as_recorded(site: Site, call: Invocation) -> Invocation:
    """As ADD connected it: to which bridge, where the configuration does not say, or to none."""
    record = site.records(call.conf.name).get(call.owner)
    if record is None:
        return call
    bridge = call.conf.bridge or record.bridge or None
    return replace(call, conf=replace(call.conf, routed=not record.bridge, bridge=bridge))


def _as_tuned(call: Invocation) -> Invocation:
    """With the MAC that the chain's result says."""
    tuned = call.previous.mac(call.ifname, call.netns) if call.previous is not None else None
    if tuned is None:
        return call
    return replace(call, conf=replace(call.conf, wishes=replace(call.conf.wishes, mac=parse_mac("prevResult", tuned))))


async def _compare(call: Invocation, kernel: Kernel, plan: Plan) -> None:
    for conflict in plan.conflicts:
        raise _differs(call, f"{format_object(conflict.wanted)} is {format_object(conflict.holder)}")
    for step in plan.steps:
        if not is_without_ipv6(step, None) and not await _is_moved_route(kernel, step):
            raise _differs(call, _described(step))


async def _is_moved_route(kernel: Kernel, step: Step) -> bool:
    """The same route in another table."""
    match step:
        case Create(obj=Route() as route):
            everything = await kernel.observe(Scope.all())
            wanted = (route.dst, route.device, route.via)
            return any((found.dst, found.device, found.via) == wanted for found in everything.each(Route))
        case _:
            return False


def _described(step: Step) -> str:
    match step:
        case Create(obj=obj):
            return f"{format_object(obj)} is missing"
        case _:
            return f"{step.key} has changed"


def _differs(call: Invocation, how: str) -> TulleError:
    return CniError(NOT_AS_ATTACHED, f"{call.container_id} {call.ifname}", how)
