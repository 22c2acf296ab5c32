"""The first look at the host: the facts that decisions depend on before there is a lease."""

from dataclasses import replace

from tulle.kernel.port import Kernel
from tulle.model.network import Host, NetworkConfig
from tulle.model.state import KernelState, Scope
from tulle.plan.desired import tunnels
from tulle.plan.underlay import HOST_SYSCTLS, UnderlayWish, host_facts, sent_from


async def observe_host(kernel: Kernel, wish: UnderlayWish, config: NetworkConfig) -> tuple[Host, KernelState]:
    """The facts that decisions depend on, before there is a lease, and the state that they were read from.

    Raises ConfigError when no underlay fits, KernelError.
    """
    own_devices = frozenset(tunnels(config))
    observed = await kernel.observe(Scope.all(HOST_SYSCTLS))
    chains = await kernel.dropping_chains(config.networks, tuple(own_devices))
    filters = await kernel.packet_filters()
    wish = replace(wish, keep=sent_from(observed, own_devices))
    return host_facts(observed, wish, own_devices, (), chains, filters), observed
