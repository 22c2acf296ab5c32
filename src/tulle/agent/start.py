"""From a command line to a node with a lease: configuration → underlay → VTEP MAC → lease.

A store that is away, or has no configuration yet, is waited for; whatever a person has to put
right ends the start with one line.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from tulle.agent.desk import Desk
from tulle.agent.identity import node_identity
from tulle.agent.keeper import LeaseKeeper, Offer
from tulle.agent.node import Node
from tulle.agent.options import AgentOptions
from tulle.agent.reconciler import Reconciler, observe_host
from tulle.errors import DecodeError, StoreUnavailable
from tulle.kernel.port import Kernel
from tulle.kernel.system import settle_memory
from tulle.kernel.turn import Precedence
from tulle.model.lease import Lease
from tulle.model.network import Host, NetworkConfig, Vxlan
from tulle.model.state import KernelState, Scope
from tulle.plan.desired import check_public, check_room, tunnels
from tulle.plan.intent import Intent
from tulle.plan.underlay import UnderlayWish, connected_prefixes
from tulle.plan.vxlan import choose_mac
from tulle.seams import Clock, Files, Random
from tulle.store.ports import Directory, Store
from tulle.wire.subnet_env import SubnetEnv, parse_subnet_env

log = logging.getLogger(__name__)

STORE_RETRY_LIMIT_S: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rim:
    """All that an agent touches of the world: the real things, or a simulation's."""

    kernel: Kernel
    store: Store
    clock: Clock
    random: Random
    files: Files
    precedence: Precedence | None = None
    """Who is served while there is long work goes first."""
    settle: Callable[[], None] = settle_memory
    """Called after each pass: the moment for what nobody should have to wait for."""
    kernel_changed: Callable[[Scope], None] = lambda _: None
    """Who else wants to know what others change in the kernel."""


async def take_place(options: AgentOptions, rim: Rim, desk: Desk) -> Node:
    """Everything up to the first pass.  Raises ConfigError, LeaseConflict (another node has our public address)."""
    kernel, store, clock, random, files = rim.kernel, rim.store, rim.clock, rim.random, rim.files
    patience = Patience(clock, random, desk)
    config = await _network_config(store, patience)
    wish = _wish(options, config)
    host, observed = await observe_host(kernel, wish, config)
    check_room(config, host)
    check_public(config, host, options.public_ip, options.public_ip6)
    identity = node_identity(files, options.paths.state, random)
    keeper = LeaseKeeper(
        store, store, identity, clock, random, ttl_s=options.lease_ttl_s, renew_margin_s=options.renew_margin_s
    )
    offer = _offer(config, host, observed, options, _previous(files, options), random)
    own = await _acquire(keeper, offer, patience)
    log.info("lease %s; underlay %s", own.key, host.underlay)
    host = replace(host, connected=connected_prefixes(observed, frozenset(tunnels(config)), own.subnets))
    intent = Intent.initial(config, host, own, options.settings)
    reconciler = Reconciler(
        kernel, clock, random, wish, intent, options.audit_period_s, rim.precedence, options.rules_period_s
    )
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

    def after_pass(intent: Intent) -> None:
        node.after_pass(intent)
        rim.settle()

    reconciler.on_pass = after_pass
    return node


def _wish(options: AgentOptions, config: NetworkConfig) -> UnderlayWish:
    """What a person and the network ask of the underlay."""
    return UnderlayWish(
        iface=options.iface,
        iface_regex=options.iface_regex,
        can_reach=options.iface_can_reach,
        public_ip=options.public_ip,
        public_ip6=options.public_ip6,
        need4=config.pool4 is not None,
        need6=config.pool6 is not None,
        overlay=config.networks,
        direct=config.direct_routing,
    )


@dataclass(slots=True)
class Patience:
    """Waiting for a store that is away, or empty: said once in the log, and to whoever asks the desk."""

    clock: Clock
    random: Random
    desk: Desk
    said: str = ""

    async def wait(self, what: str) -> None:
        log.log(logging.DEBUG if what == self.said else logging.WARNING, "%s", what)
        self.said = what
        self.desk.waits_for(what)
        await self.clock.sleep(jittered(self.random))


async def _network_config(directory: Directory, patience: Patience) -> NetworkConfig:
    """The shared configuration, as soon as the store has one that passes."""
    while True:
        try:
            config = await directory.network_config()
        except StoreUnavailable as error:
            await patience.wait(f"waiting for the store: {error}")
            continue
        if config is not None:
            return config
        await patience.wait(
            "waiting for the network configuration: the store has none: 'tulle network set FILE' writes it"
        )


async def _acquire(keeper: LeaseKeeper, offer: Offer, patience: Patience) -> Lease:
    while True:
        try:
            return await keeper.acquire(offer)
        except StoreUnavailable as error:
            await patience.wait(f"waiting for the store: {error}")


def _previous(files: Files, options: AgentOptions) -> SubnetEnv | None:
    """What the last run wrote for others to read; a file that says nothing is as good as none."""
    path = options.subnet_env
    try:
        content = files.read(path)
        return parse_subnet_env(content) if content else None
    except (DecodeError, OSError) as error:
        log.warning("%s: not used: %s", path, error)
        return None


def _offer(
    config: NetworkConfig,
    host: Host,
    observed: KernelState,
    options: AgentOptions,
    previous: SubnetEnv | None,
    random: Random,
) -> Offer:
    """What this node asks for; a VTEP that already exists keeps its MAC, so that peers need not learn another."""
    backend = config.backend
    tunnelled = isinstance(backend, Vxlan)
    return Offer(
        config=config,
        public_ip=options.public_ip or host.underlay.address,
        public_ip6=options.public_ip6 or host.underlay.address6,
        vtep_mac=choose_mac(observed.link(backend.device), random.token(6)) if tunnelled and config.pool4 else None,
        vtep_mac6=choose_mac(observed.link(backend.device6), random.token(6)) if tunnelled and config.pool6 else None,
        previous=previous,
    )


def jittered(random: Random) -> float:
    """A pause below the limit for a store that is away, so that nodes do not come back in step."""
    return STORE_RETRY_LIMIT_S * (0.1 + random.below(900) / 1000)
