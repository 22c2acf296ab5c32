"""What an attachment finds on the node: its bridge, and its own device when that is there already."""

import time
from dataclasses import dataclass
from typing import Final

from tulle.cni.attach import PodNetwork, adopted, gateway_of, host_device, host_scope, new_bridge
from tulle.kernel.port import Kernel
from tulle.kernel.vigil import Vigil
from tulle.model.objects import Address, BridgeKind, Link, LinkKey
from tulle.model.state import KernelState, Scope
from tulle.wire.cni import Invocation
from tulle.wire.cni_error import BRIDGE_TAKEN, CniError

USUAL_BRIDGES: Final = ("cni0", "cbr0")
"""The names that the bridge plugin and flannel's manifests use: the first is ours too."""
STANDING_S: Final = 1.0
"""So long a bridge is taken for what it was seen as: of its sysctls nobody announces a change."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was observed on the node, the bridge as it shall be, and the node's end of the pair when it is there."""

    observed: KernelState
    bridge: Link | None
    device: Link | None


@dataclass(frozen=True, slots=True)
class _Standing:
    """A look of the moment ``since`` that holds for other pods too, until the vigil is disturbed."""

    wish: str | None
    network: PodNetwork
    look: Look
    since: float


@dataclass(slots=True)
class Lookout:
    """Looks at the node's part of attachments.  Without ``vigil`` every look is a new one."""

    kernel: Kernel
    vigil: Vigil | None = None
    _standing: _Standing | None = None

    async def look(self, call: Invocation, network: PodNetwork) -> Look:
        """The node's part of an attachment as it is now, and the bridge as it shall be; None for a routed pod.

        The bridge is the configuration's, else a usual one, else the one that holds our gateway, else cni0.
        Raises CniError: its name is another device's; KernelError.
        """
        device = host_device(*call.owner)
        if call.conf.routed:
            observed = await self.kernel.observe(Scope.of([LinkKey(device)]))  # all else goes with it
            return Look(observed, None, observed.link(device))
        name = call.conf.bridge or await self._usual_bridge(network)
        observed = await self.kernel.observe(host_scope(name, device, network))
        found = observed.link(name)
        if found is None:
            return Look(observed, new_bridge(name, network), observed.link(device))
        if not isinstance(found.kind, BridgeKind):
            raise CniError(BRIDGE_TAKEN, f"bridge {name}", "a device of another kind has this name")
        return Look(observed, adopted(found), observed.link(device))

    async def glance(self, call: Invocation, network: PodNetwork) -> Look:
        """As ``look``, but a bridge that was seen a moment ago, and has not changed since, is not asked for again.

        Pods come in crowds, and share it.  A device that should not be there is then met when it is to be made.
        """
        if call.conf.routed or self.vigil is None:
            return await self.look(call, network)
        is_kept, standing = self.vigil.is_undisturbed(), self._standing
        if is_kept and standing is not None and _holds(standing, call, network):
            return standing.look
        look = await self.look(call, network)
        if look.bridge is not None and look.device is None and look.bridge.key in look.observed:
            if is_kept and self.vigil.device == look.bridge.name:  # since before the look
                self._standing = _Standing(call.conf.bridge, network, look, time.monotonic())
            else:
                self._standing = None
                self.vigil.begin(look.bridge.name)
        return look

    def close(self) -> None:
        """End the vigil."""
        if self.vigil is not None:
            self.vigil.close()

    async def _usual_bridge(self, network: PodNetwork) -> str:
        keys = [LinkKey(name) for name in USUAL_BRIDGES]
        usual = await self.kernel.observe(Scope.of(keys))
        there = [name for name in USUAL_BRIDGES if (link := usual.link(name)) and isinstance(link.kind, BridgeKind)]
        if there:
            return there[0]
        gateways = {gateway_of(subnet) for subnet in network.subnets}
        everything = await self.kernel.observe(Scope.all())
        for address in everything.each(Address):
            link = everything.link(address.device)
            if address.interface.ip in gateways and link is not None and isinstance(link.kind, BridgeKind):
                return link.name
        return USUAL_BRIDGES[0]


def _holds(standing: _Standing, call: Invocation, network: PodNetwork) -> bool:
    is_its = standing.wish == call.conf.bridge and standing.network == network
    return is_its and time.monotonic() - standing.since < STANDING_S
