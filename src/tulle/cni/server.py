"""The plugin's verbs, answered by the warm agent: validate, allocate, plan, apply, answer.

Planning and applying are ``diff`` and ``Kernel.apply``, as everywhere.  Whatever ADD made is undone
when it fails; DEL succeeds in any state.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_interface
from pathlib import Path

from tulle.cni.attach import Attachment, PodNetwork, attachment, host_device, judge
from tulle.cni.ipam import Addresses
from tulle.errors import ConfigError, TulleError
from tulle.kernel.netns import identify, open_path
from tulle.kernel.port import Kernel
from tulle.model.change import Delete, Plan
from tulle.model.objects import BridgeKind, Link, LinkKey
from tulle.model.state import KernelState, Scope
from tulle.ownership import Judge
from tulle.plan.diff import diff
from tulle.plan.text import format_object
from tulle.wire.cni import (
    ALREADY_ATTACHED,
    BAD_NETNS,
    INTERNAL,
    KERNEL_REFUSED,
    NOT_AS_ATTACHED,
    NOT_AVAILABLE,
    TRY_AGAIN,
    CniError,
    Invocation,
    ResultInterface,
    decode_invocation,
    encode_error,
    encode_result,
    encode_versions,
    requested_version,
)

log = logging.getLogger(__name__)


class CniServer:
    """The plugin of one node.

    ``network`` answers what pods need to know, None while there is no lease; ``open_pod`` opens
    the kernel of a namespace by descriptor; ``folder`` holds a folder of addresses for each network.
    """

    def __init__(
        self,
        kernel: Kernel,
        open_pod: Callable[[int], Kernel],
        folder: Path,
        network: Callable[[], PodNetwork | None],
    ) -> None:
        self._kernel, self._open_pod, self._folder, self._network = kernel, open_pod, folder, network
        self._planning = asyncio.Lock()  # the bridge is shared: look at it and change it in one piece

    async def handle(self, environment: Mapping[str, str], stdin: bytes) -> tuple[int, bytes]:
        """One execution: (exit code, stdout).  Never raises but to be cancelled."""
        version = requested_version(stdin)
        try:
            return 0, await self._verb(decode_invocation(environment, stdin))
        except CniError as error:
            return 1, encode_error(error, version)
        except TulleError as error:
            return 1, encode_error(CniError(KERNEL_REFUSED, "the kernel refused", str(error)), version)
        except Exception as error:  # the runtime has to get an answer
            log.exception("CNI %s failed", environment.get("CNI_COMMAND"))
            return 1, encode_error(CniError(INTERNAL, "failed", f"{error!r}: see the agent's log"), version)

    async def _verb(self, call: Invocation) -> bytes:
        verbs: Mapping[str, Callable[[Invocation], Awaitable[bytes]]] = {
            "ADD": self._add,
            "DEL": self._delete,
            "CHECK": self._check,
            "GC": self._collect,
            "STATUS": self._status,
            "VERSION": self._version,
        }
        return await verbs[call.command](call)

    async def _add(self, call: Invocation) -> bytes:
        network = self._network()
        if network is None:
            raise CniError(TRY_AGAIN, "no lease yet", "the agent waits for its store")
        pod = self._open(call.netns)
        addresses, owner = self._addresses(call), (call.container_id, call.ifname)
        try:
            if (await pod.observe(Scope.of([LinkKey(call.ifname)]))).link(call.ifname) is not None:
                raise CniError(ALREADY_ATTACHED, f"interface {call.ifname}", f"exists in {call.netns}")
            given = addresses.allocate(owner, network.subnets)
            try:
                async with self._planning:
                    wanted = attachment(call, network, given, await self._bridge(call.conf.bridge))
                    await _converge(self._kernel, wanted.host)
                await _converge(pod, wanted.pod)
                return await self._result(call, wanted, pod)
            except BaseException:
                await self._undo(call)
                raise
        finally:
            pod.close()

    async def _delete(self, call: Invocation) -> bytes:
        await self._undo(call)
        return b""

    async def _undo(self, call: Invocation) -> None:
        """Remove the pair, and with it everything on it; then give the addresses back."""
        device = host_device(call.container_id, call.ifname)
        found = (await self._kernel.observe(Scope.of([LinkKey(device)]))).link(device)
        if found is not None and found.alias == f"tulle:{call.container_id}":
            for outcome in await self._kernel.apply(Plan((Delete(found),))):
                if outcome.error is not None:
                    raise outcome.error
        self._addresses(call).release((call.container_id, call.ifname))

    async def _check(self, call: Invocation) -> bytes:
        network = self._network()
        held = self._addresses(call).of((call.container_id, call.ifname))
        if network is None or len(held) != len(network.subnets):
            raise CniError(NOT_AS_ATTACHED, f"{call.container_id} {call.ifname}", "has no addresses here")
        pod = self._open(call.netns)
        try:
            given = tuple(ip_interface((ip, net.prefixlen)) for ip, net in zip(held, network.subnets, strict=True))
            wanted = attachment(call, network, given, await self._bridge(call.conf.bridge))
            for kernel, state in ((self._kernel, wanted.host), (pod, wanted.pod)):
                plan = await _planned(kernel, state)
                if plan.steps or plan.conflicts:
                    first = plan.conflicts[0].wanted if plan.conflicts else None
                    what = format_object(first) if first else str(plan.steps[0].key)
                    raise CniError(NOT_AS_ATTACHED, f"{call.container_id} {call.ifname}", f"not as attached: {what}")
        finally:
            pod.close()
        return b""

    async def _collect(self, call: Invocation) -> bytes:
        """Remove what is no longer valid; without a list nothing is provably dead here."""
        valid = call.conf.valid_attachments
        if valid is not None:
            for container_id, ifname in self._addresses(call).owners() - valid:
                gone = Invocation(command="DEL", container_id=container_id, netns="", ifname=ifname, conf=call.conf)
                await self._undo(gone)
        return b""

    async def _status(self, _: Invocation) -> bytes:
        if self._network() is None:
            raise CniError(NOT_AVAILABLE, "no lease yet", "the agent waits for its store")
        return b""

    async def _version(self, call: Invocation) -> bytes:
        return encode_versions(call.conf.cni_version)

    async def _result(self, call: Invocation, wanted: Attachment, pod: Kernel) -> bytes:
        host = await self._kernel.observe(Scope.of(wanted.host.objects))
        inside = await pod.observe(Scope.of([LinkKey(call.ifname)]))
        names = ((host, call.conf.bridge, ""), (host, wanted.host_device, ""), (inside, call.ifname, call.netns))
        interfaces = [
            ResultInterface(name=name, mac=_mac(state, name), sandbox=sandbox) for state, name, sandbox in names
        ]
        return encode_result(call.conf.cni_version, interfaces, wanted.addresses)

    def _open(self, netns: str) -> Kernel:
        try:
            descriptor = open_path(Path(netns))
        except ConfigError as error:
            raise CniError(BAD_NETNS, f"CNI_NETNS {netns}", error.rule) from None
        try:
            if identify(Path(f"/proc/self/fd/{descriptor}")) == identify():
                raise CniError(BAD_NETNS, f"CNI_NETNS {netns}", "is the node's own namespace")
            return self._open_pod(descriptor)
        finally:
            os.close(descriptor)

    async def _bridge(self, name: str) -> Link | None:
        found = (await self._kernel.observe(Scope.of([LinkKey(name)]))).link(name)
        if found is not None and not isinstance(found.kind, BridgeKind):
            raise CniError(KERNEL_REFUSED, f"bridge {name}", "a device of another kind has this name")
        return found

    def _addresses(self, call: Invocation) -> Addresses:
        return Addresses(self._folder / call.conf.name)


async def _planned(kernel: Kernel, wanted: KernelState, judged: Judge = judge) -> Plan:
    scope = Scope.of(wanted.objects)
    return diff(wanted, await kernel.observe(scope), judged, scope)


async def _converge(kernel: Kernel, wanted: KernelState) -> None:
    """Make ``kernel`` hold ``wanted``.  Raises CniError or KernelError with the first thing in the way."""
    plan = await _planned(kernel, wanted)
    if plan.conflicts:
        conflict = plan.conflicts[0]
        raise CniError(KERNEL_REFUSED, format_object(conflict.wanted), f"held by {format_object(conflict.holder)}")
    for outcome in await kernel.apply(plan):
        if outcome.error is not None:
            raise outcome.error


def _mac(state: KernelState, name: str) -> str:
    link = state.link(name)
    return (link.mac or "") if link is not None else ""
