"""From a command line to a node with a lease: configuration → underlay → VTEP MAC → lease.

A store that is away, or has no configuration yet, is waited for; whatever a person has to put
right ends the start with one line.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from tulle.agent.desk import Desk
from tulle.agent.host import observe_host
from tulle.agent.identity import Identity, node_identity
from tulle.agent.keeper import LeaseKeeper, Offer
from tulle.agent.ledger import Bookkeeper
from tulle.agent.memory import FILE, Aside, Memory, Past, grant_of, recollect
from tulle.agent.node import Node
from tulle.agent.options import AgentOptions
from tulle.agent.reconciler import Reconciler
from tulle.cni.fill import AddressUse
from tulle.errors import DecodeError, StoreUnavailable
from tulle.kernel.port import Kernel
from tulle.kernel.system import settle_memory
from tulle.kernel.turn import Precedence
from tulle.model.lease import Lease
from tulle.model.network import Host, NetworkConfig, Vxlan
from tulle.model.objects import Link
from tulle.model.recollection import Recollection, has_been_forgotten, recalled_book
from tulle.model.state import KernelState, Scope
from tulle.plan.desired import check_public, check_room, tunnels
from tulle.plan.intent import Intent
from tulle.plan.underlay import UnderlayWish, connected_prefixes
from tulle.plan.vxlan import choose_mac
from tulle.seams import Clock, Files, Random
from tulle.store.ports import Directory, Store
from tulle.wire.subnet_env import SubnetEnv, parse_subnet_env

log = logging.getLogger(__name__)

T = TypeVar("T")

STORE_RETRY_LIMIT_S: Final = 5.0
FIRST_ANSWER_S: Final = 0.5
LEASE_ANSWER_S: Final = 5.0
"""A node that remembers does not wait longer for a store that is silent, or does not come to an end with a
lease, before it goes by its memory.  A lease is taken from a look at all others, which takes a second at ten thousand.
"""


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
    boot_id: str = ""
    """Which boot of the machine this is."""
    aside: Aside = asyncio.to_thread
    """Where the disk is waited for."""
    address_uses: Callable[[], tuple[AddressUse, ...]] = tuple
    """How full the node's subnets are."""


async def take_place(options: AgentOptions, rim: Rim, desk: Desk) -> Node:
    """Everything up to the first pass, by memory where the store is away and there is one.

    Raises ConfigError, LeaseConflict (another node has our public address).
    """
    kernel, store, clock, random, files = rim.kernel, rim.store, rim.clock, rim.random, rim.files
    identity = node_identity(files, options.paths.state, random)
    previous = _previous(files, options)
    past = recollect(files, options.paths.state, options.store_url, identity, previous)
    patience = Patience(clock, random, desk, past)
    config = await _network_config(store, patience)
    wish = _wish(options, config)
    host, observed = await observe_host(kernel, wish, config)
    check_room(config, host)
    check_public(config, host, options.public_ip, options.public_ip6)
    keeper = LeaseKeeper(
        store, store, identity, clock, random, ttl_s=options.lease_ttl_s, renew_margin_s=options.renew_margin_s
    )
    offer = _offer(config, host, observed, options, previous, random)
    own = await _acquire(keeper, offer, patience)
    log.info("lease %s; underlay %s", own.key, host.underlay)
    host = replace(host, connected=connected_prefixes(observed, frozenset(tunnels(config)), own.subnets))
    memory = await _needed(past, patience, keeper, own)
    intent = _first_intent(config, host, own, options, memory, clock)
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
        memory=_memory(options, rim, identity),
        started_ns=clock.wall_ns(),
        pid=os.getpid(),
        address_uses=rim.address_uses,
    )

    def after_pass(intent: Intent) -> None:
        node.after_pass(intent)
        report = reconciler.report
        if report.last_pass_at_ns == report.last_audit_at_ns:  # it made many objects; after others it would cost more
            rim.settle()

    reconciler.on_plan = Bookkeeper(files, options.paths.state, rim.boot_id).before
    reconciler.on_pass = after_pass
    await _go_by(node, patience.away)
    return node


async def _go_by(node: Node, away: str | None) -> None:
    """By memory, where the store is away."""
    if away is not None:
        node.store_answers(False, away)
        await node.reconciler.go_by_memory()


def _memory(options: AgentOptions, rim: Rim, identity: Identity) -> Memory:
    return Memory(
        files=rim.files,
        path=options.paths.state / FILE,
        store=options.store_url,
        identity=identity,
        clock=rim.clock,
        aside=rim.aside,
        precedence=rim.precedence,
    )


async def _needed(past: Past | None, patience: "Patience", keeper: LeaseKeeper, own: Lease) -> Recollection | None:
    """What has to be remembered: the peers only where the store cannot tell, has forgotten them, or some are held."""
    if past is None:
        return None
    seen = keeper.seen
    knows = seen is not None and not has_been_forgotten(past.head, *seen, own)
    return past.head if knows and not past.head.holds and patience.away is None else await past.whole()


def _first_intent(
    config: NetworkConfig, host: Host, own: Lease, options: AgentOptions, memory: Recollection | None, clock: Clock
) -> Intent:
    """What the node means to hold before the store's first snapshot; what it remembers is part of it."""
    if memory is None:
        return Intent.initial(config, host, own, options.settings)
    book = recalled_book(memory, own.key, clock.wall_ns(), clock.boottime_ns())
    return Intent.initial(config, host, own, options.settings, book, memory.macs)


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
    past: Past | None = None
    """What to go by instead."""
    away: str | None = None
    """Why the store is not asked any more; None: it answers, or has to be waited for."""
    said: str = ""

    async def wait(self, what: str) -> None:
        log.log(logging.DEBUG if what == self.said else logging.WARNING, "%s", what)
        self.said = what
        self.desk.waits_for(what)
        await self.clock.sleep(jittered(self.random))

    async def ask(self, question: Awaitable[T], within_s: float) -> T:
        """The store's answer.  Raises StoreUnavailable; ``within_s``, where there is something else to go by."""
        try:
            async with asyncio.timeout(None if self.past is None else within_s):
                return await question
        except TimeoutError:
            raise StoreUnavailable(f"no answer within {within_s:g} s") from None

    def goes_by(self, error: StoreUnavailable) -> Recollection | None:
        """What to go by while the store is away; None: it has to be waited for."""
        if self.past is not None:
            self.away = str(error)
        return self.past and self.past.head


async def _network_config(directory: Directory, patience: Patience) -> NetworkConfig:
    """The shared configuration, as soon as the store has one that passes; the last one, when the store is away."""
    while True:
        try:
            config = await patience.ask(directory.network_config(), FIRST_ANSWER_S)
        except StoreUnavailable as error:
            if (past := patience.goes_by(error)) is not None:
                return past.config
            await patience.wait(f"waiting for the store: {error}")
            continue
        if config is not None:
            return config
        await patience.wait(
            "waiting for the network configuration: the store has none: 'tulle network set FILE' writes it"
        )


async def _acquire(keeper: LeaseKeeper, offer: Offer, patience: Patience) -> Lease:
    past = patience.past
    while True:
        if past is not None and patience.away is not None:
            return keeper.presume(offer, grant_of(past.head, patience.clock))
        try:
            return await patience.ask(keeper.acquire(offer), LEASE_ANSWER_S)
        except StoreUnavailable as error:
            if patience.goes_by(error) is None:
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
    mac = choose_mac(observed.link(backend.device), random.token(6)) if tunnelled and config.pool4 else None
    mac6 = choose_mac(observed.link(backend.device6), random.token(6)) if tunnelled and config.pool6 else None
    there = {link.mac for link in observed.each(Link)}
    return Offer(
        config=config,
        public_ip=options.public_ip or host.underlay.address,
        public_ip6=options.public_ip6 or host.underlay.address6,
        vtep_mac=mac,
        vtep_mac6=mac6,
        previous=previous,
        drawn=frozenset(drawn for drawn in (mac, mac6) if drawn is not None and drawn not in there),
    )


def jittered(random: Random) -> float:
    """A pause below the limit for a store that is away, so that nodes do not come back in step."""
    return STORE_RETRY_LIMIT_S * (0.1 + random.below(900) / 1000)
