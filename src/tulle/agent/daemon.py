"""The daemon: composition by hand from top to bottom, and one TaskGroup.

Start: configuration → underlay → VTEP MAC → lease → reconcile.  Stop: the tasks end, the data
path stays up, the lease stays in the store until it expires or ``tulle leave`` gives it back.
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from tulle.agent.control import ControlServer
from tulle.agent.identity import node_identity
from tulle.agent.keeper import LeaseKeeper, Offer
from tulle.agent.node import Node
from tulle.agent.notify import READY, notify
from tulle.agent.options import AgentOptions
from tulle.agent.reconciler import Reconciler, observe_host
from tulle.agent.verbs import control_verbs
from tulle.errors import StoreUnavailable
from tulle.kernel.linux import LinuxKernel
from tulle.kernel.system import SystemClock, SystemFiles, SystemRandom
from tulle.model.lease import Lease
from tulle.model.network import Host, NetworkConfig, Vxlan
from tulle.model.state import KernelState
from tulle.plan.desired import check_room, tunnels
from tulle.plan.intent import Intent
from tulle.plan.underlay import UnderlayWish
from tulle.plan.vxlan import choose_mac
from tulle.seams import Clock, Random
from tulle.store.open import open_store
from tulle.store.ports import Directory
from tulle.wire.subnet_env import parse_subnet_env

log = logging.getLogger(__name__)

STORE_RETRY_LIMIT_S: Final = 5.0


async def run_agent(options: AgentOptions) -> None:
    """Be this node's agent until cancelled.

    Raises ConfigError (a flag, the configuration or the host breaks a rule), Unsupported (the
    kernel lacks something), LeaseConflict (another node has our public address).
    """
    async with AsyncExitStack() as stack:
        node = await _prepare(options, stack)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_follow_leases(node), name="follow leases")
            tasks.create_task(_follow_kernel(node), name="follow the kernel")
            tasks.create_task(node.keeper.run(), name="keep own lease")
            tasks.create_task(node.reconciler.run(), name="reconcile")
            tasks.create_task(_serve(node), name="serve the control socket")


async def _prepare(options: AgentOptions, stack: AsyncExitStack) -> Node:
    """Everything up to the first pass: configuration, underlay, identity, lease."""
    clock, random, files = SystemClock(), SystemRandom(), SystemFiles()
    kernel = LinuxKernel.open()
    stack.callback(kernel.close)
    store = open_store(options.store_url, clock)
    stack.push_async_callback(store.close)
    config = await _network_config(store, clock, random)
    wish = UnderlayWish(
        iface=options.iface,
        public_ip=options.public_ip,
        public_ip6=options.public_ip6,
        need4=config.pool4 is not None,
        need6=config.pool6 is not None,
    )
    host, observed = await observe_host(kernel, wish, frozenset(tunnels(config)))
    check_room(config, host)
    identity = node_identity(files, options.paths.state, random)
    keeper = LeaseKeeper(
        store, store, identity, clock, random, ttl_s=options.lease_ttl_s, renew_margin_s=options.renew_margin_s
    )
    previous = files.read(options.subnet_env)
    own = await _acquire(keeper, _offer(config, host, observed, options, previous, random), clock, random)
    log.info("lease %s, underlay %s", own.key, host.underlay)
    intent = Intent.initial(config, host, own, options.settings)
    reconciler = Reconciler(kernel, clock, random, wish, intent)
    keeper.on_change = reconciler.own_lease
    node = Node(
        options=options,
        clock=clock,
        random=random,
        files=files,
        kernel=kernel,
        directory=store,
        keeper=keeper,
        reconciler=reconciler,
        identity=identity,
        started_ns=clock.wall_ns(),
        pid=os.getpid(),
    )
    reconciler.on_converged = node.write_subnet_env
    return node


async def _network_config(directory: Directory, clock: Clock, random: Random) -> NetworkConfig:
    """The shared configuration, as soon as the store has one that passes."""
    waited = False
    while True:
        try:
            config = await directory.network_config()
        except StoreUnavailable as error:
            log.log(logging.DEBUG if waited else logging.WARNING, "waiting for the store: %s", error)
        else:
            if config is not None:
                return config
            log.log(logging.DEBUG if waited else logging.WARNING, "waiting for the network configuration in the store")
        waited = True
        await clock.sleep(_jittered(random))


async def _acquire(keeper: LeaseKeeper, offer: Offer, clock: Clock, random: Random) -> Lease:
    while True:
        try:
            return await keeper.acquire(offer)
        except StoreUnavailable as error:
            log.warning("waiting for the store: %s", error)
            await clock.sleep(_jittered(random))


def _offer(
    config: NetworkConfig,
    host: Host,
    observed: KernelState,
    options: AgentOptions,
    previous: bytes | None,
    random: Random,
) -> Offer:
    """What this node asks for; a VTEP that already exists keeps its MAC, so that peers need not learn another."""
    backend = config.backend
    assert isinstance(backend, Vxlan)
    mac6 = choose_mac(observed.link(backend.device6), random.token(6)) if config.pool6 else None
    return Offer(
        config=config,
        public_ip=options.public_ip or host.underlay.address,
        public_ip6=options.public_ip6 or host.underlay.address6,
        vtep_mac=choose_mac(observed.link(backend.device), random.token(6)) if config.pool4 else None,
        vtep_mac6=mac6,
        previous=parse_subnet_env(previous) if previous else None,
    )


async def _follow_leases(node: Node) -> None:
    """Feed the reconciler from the store; a store that is away changes nothing but our own state."""
    while True:
        try:
            async for event in node.directory.watch():
                node.store_answers(True)
                node.reconciler.lease_event(event)
        except StoreUnavailable as error:
            node.store_answers(False, str(error))
        await node.clock.sleep(_jittered(node.random))


async def _follow_kernel(node: Node) -> None:
    async for scope in node.kernel.changes():
        node.reconciler.kernel_changed(scope)


@asynccontextmanager
async def _control_server(node: Node) -> AsyncIterator[ControlServer]:
    server = ControlServer(node.options.paths.socket, node.cni_handler(), control_verbs(node))
    await server.start()
    notify(os.environ, READY)
    try:
        yield server
    finally:
        await server.close()


async def _serve(node: Node) -> None:
    async with _control_server(node):
        await asyncio.Event().wait()


def _jittered(random: Random) -> float:
    """A pause below the limit for a store that is away, so that nodes do not come back in step."""
    return STORE_RETRY_LIMIT_S * (0.1 + random.below(900) / 1000)
