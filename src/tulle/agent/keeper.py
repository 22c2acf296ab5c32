"""Our own lease: taken at the start, renewed in time, and taken again when somebody took it away.

Every change is a compare-and-swap, and the local deadline runs from the moment at which the last
good renewal was *sent*, so that this node stops trusting its lease before the store can give it
to another.  Which subnet to ask for is ``plan.addressing``'s decision; this module keeps the
time and the retries.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address
from typing import Final, assert_never

from tulle.agent.identity import Identity
from tulle.errors import ConfigError, DecodeError, LeaseConflict, LeaseLost, StoreUnavailable
from tulle.model.lease import Garbled, Gone, Lease, LeaseEvent, Put, Snapshot
from tulle.model.network import IPNetwork, MacAddress, NetworkConfig, Vxlan
from tulle.plan.addressing import Claimant, Subnets, choose_own, choose_subnets, fits, leases_of
from tulle.plan.admission import is_station
from tulle.seams import Clock, Random
from tulle.store.ports import Claims, Directory, Grant
from tulle.wire.leases import lease_key, parse_lease_key
from tulle.wire.subnet_env import SubnetEnv

log = logging.getLogger(__name__)

ATTEMPTS: Final = 32
"""Each lost race means that another node got its lease, so this is how many may start at once beside us."""
CONFLICT_PAUSE_S: Final = 0.05
RETRY_FIRST_S: Final = 0.5
RETRY_LIMIT_S: Final = 5.0
LONGEST_SLEEP_S: Final = 60.0
NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What this node brings to a lease, and what it had before."""

    config: NetworkConfig
    public_ip: IPv4Address | None
    public_ip6: IPv6Address | None
    vtep_mac: MacAddress | None
    vtep_mac6: MacAddress | None
    previous: SubnetEnv | None = None
    drawn: frozenset[MacAddress] = frozenset()
    """Those MACs that no device has yet: our own lease's, which peers know, is as good."""

    @property
    def previous_subnets(self) -> Subnets:
        """The subnets of the last run."""
        return Subnets(None, None) if self.previous is None else Subnets(self.previous.subnet, self.previous.subnet6)


class LeaseKeeper:
    """One node's lease.  ``acquire`` first, then ``run`` for as long as the node lives.

    ``on_change`` is called with the new lease when subnets or addresses of it have changed after
    ``acquire``; a mere renewal does not call it.
    """

    def __init__(
        self,
        claims: Claims,
        directory: Directory,
        identity: Identity,
        clock: Clock,
        random: Random,
        *,
        ttl_s: float,
        renew_margin_s: float,
    ) -> None:
        self._claims, self._directory, self._identity = claims, directory, identity
        self._clock, self._random = clock, random
        self._ttl_s = ttl_s
        self._renew_after_s = ttl_s - renew_margin_s if renew_margin_s < ttl_s else ttl_s / 2
        self._offer: Offer | None = None
        self._grant: Grant | None = None
        self._lost = False
        self._presumed = False
        self.seen: tuple[str, int] | None = None
        """The store when a lease was last taken: its cluster id and revision.  A snapshot weighs a kilobyte a lease."""
        self._wake = asyncio.Event()
        self.on_change: Callable[[Lease], None] = lambda _: None

    @property
    def grant(self) -> Grant | None:
        """Our lease as the store last gave it to us; None before ``acquire``."""
        return self._grant

    @property
    def deadline_ns(self) -> int | None:
        """When we must stop trusting our lease unless it is renewed (CLOCK_BOOTTIME); None before ``acquire``."""
        if self._grant is None:
            return None
        margin_s = max(1.0, self._grant.ttl_s / 50)
        return self._grant.sent_at_ns + int((self._grant.ttl_s - margin_s) * NS)

    @property
    def past_deadline(self) -> bool:
        """No new pods now: the store has given our subnet to another node, or may have."""
        deadline_ns = self.deadline_ns
        return self._lost or deadline_ns is None or self._clock.boottime_ns() >= deadline_ns

    async def acquire(self, offer: Offer) -> Lease:
        """Take a lease: our own again, the subnets of the last run, a reservation for us, or free ones.

        A lost race is run again on a fresh snapshot, a bounded number of times.  Raises
        LeaseConflict (another live node has our public address, or every race was lost),
        ConfigError (no subnet is free), StoreUnavailable.
        """
        self._offer = offer
        self._grant = await self._take(offer, offer.previous_subnets)
        self._settle_macs()
        return self._grant.lease

    def presume(self, offer: Offer, grant: Grant) -> Lease:
        """Go on under the lease of the last run, since the store cannot be asked; ``run`` asks until it answers."""
        asked = self._lease(offer, Subnets(grant.lease.subnet, grant.lease.subnet6), grant.lease)
        lease = replace(asked, created=grant.lease.created)
        self._offer, self._grant, self._presumed = offer, replace(grant, lease=lease), True
        self._settle_macs()
        return lease

    async def update(self, lease: Lease) -> None:
        """Publish other addresses or MACs under the lease that we hold, at once.

        Raises LeaseLost (it is taken again by ``run``), StoreUnavailable.
        """
        assert self._grant is not None, "acquire comes first"
        assert self._offer is not None
        self._offer = replace(
            self._offer,
            public_ip=lease.public_ip,
            public_ip6=lease.public_ip6,
            vtep_mac=lease.vtep_mac,
            vtep_mac6=lease.vtep_mac6,
        )
        await self._renew(replace(lease, key=self._grant.lease.key, owner=self._identity.node_id))

    def configure(self, config: NetworkConfig) -> None:
        """Ask by ``config`` when a lease has to be taken again.  The lease that we hold fits it."""
        if self._offer is not None:
            self._offer = replace(self._offer, config=config)

    def noticed(self, event: LeaseEvent) -> None:
        """Tell the keeper what the store says, so that it need not wait for its next renewal to find out."""
        if self._grant is not None and _shows_loss(event, self._grant):
            self._lost = True
            self._wake.set()

    async def run(self) -> None:
        """Keep the lease until cancelled.  A store that is away, or a conflict, is waited out."""
        attempt = 0
        while True:
            if attempt == 0:
                await self._until_due()
            try:
                await self._keep()
            except (StoreUnavailable, LeaseConflict, ConfigError) as error:
                log.log(logging.DEBUG if attempt else logging.WARNING, "own lease: %s", error)
                await self._clock.sleep(self._jittered(min(RETRY_LIMIT_S, RETRY_FIRST_S * 2 ** min(attempt, 8))))
                attempt += 1
            else:
                attempt = 0

    async def _keep(self) -> None:
        """Renew, or take again what was lost or only presumed."""
        grant, offer = self._grant, self._offer
        assert grant is not None, "acquire comes first"
        assert offer is not None
        if not self._lost and not self._presumed:
            with suppress(LeaseLost):
                await self._renew(grant.lease)
                return
            self._lost = True
        held = Subnets(grant.lease.subnet, grant.lease.subnet6)
        taken = await self._take(offer, held)
        self._adopt(taken)
        lost, self._lost, self._presumed = self._lost, False, False
        if lost or taken.lease.key != grant.lease.key:
            log.warning("own lease: %s was lost, now %s", grant.lease, taken.lease)

    async def _renew(self, lease: Lease) -> None:
        assert self._grant is not None
        try:
            self._adopt(await self._claims.renew(self._grant, lease, self._ttl_s))
        except LeaseLost:
            self._lost = True
            self._wake.set()
            raise

    def _adopt(self, grant: Grant) -> None:
        before, self._grant = self._grant, grant
        if before is None or not _same_but_for_time(before.lease, grant.lease):
            self.on_change(grant.lease)

    async def _until_due(self) -> None:
        """Sleep until the renewal is due or the lease is lost; in pieces, since no timer runs while suspended."""
        assert self._grant is not None, "acquire comes first"
        due_ns = self._grant.sent_at_ns + int(self._renew_after_s * NS)
        while not self._lost and not self._presumed and (pause_ns := due_ns - self._clock.boottime_ns()) > 0:
            sleep = asyncio.ensure_future(self._clock.sleep(min(LONGEST_SLEEP_S, pause_ns / NS)))
            wake = asyncio.ensure_future(self._wake.wait())
            try:
                await asyncio.wait({sleep, wake}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                sleep.cancel()
                wake.cancel()
            self._wake.clear()

    async def _take(self, offer: Offer, preferred: Subnets) -> Grant:
        claimant = Claimant(node_id=self._identity.node_id, public_ip=offer.public_ip, public_ip6=offer.public_ip6)
        lost_race: LeaseConflict | None = None
        for attempt in range(ATTEMPTS):
            if attempt:
                await self._clock.sleep(self._jittered(CONFLICT_PAUSE_S))
            snapshot = await self._directory.snapshot()
            self.seen = snapshot.cluster_id, snapshot.revision
            ours = [lease for lease in leases_of(claimant, snapshot.leases) if not self._is_an_intruders(lease)]
            try:
                return await self._claim(claimant, offer, preferred, snapshot, ours)
            except LeaseConflict as error:
                lost_race = error
        assert lost_race is not None
        raise lost_race

    async def _claim(
        self, claimant: Claimant, offer: Offer, preferred: Subnets, snapshot: Snapshot, ours: list[Lease]
    ) -> Grant:
        """One attempt.  Raises LeaseConflict: the store has changed since ``snapshot``.

        Leases of ours that do not fit the configuration any more are given back first, so that
        their subnets are free for us; reservations and a flanneld's stay.
        """
        mine = [lease for lease in ours if lease.owner == claimant.node_id]
        kept = next((lease for lease in mine if fits(lease, offer.config)), None)
        stale = [lease for lease in mine if lease is not kept]
        for lease in stale:
            await self._claims.release(Grant(lease=lease, revision=snapshot.revision, sent_at_ns=0, ttl_s=0.0))
        taken = [net for lease in snapshot.leases if lease not in stale for net in lease.subnets]
        taken += [net for entry in snapshot.undecodable for net in _subnets(entry.key)]
        own = choose_own(claimant, ours, offer.config, preferred, taken)
        if own is not None:
            known = own if own.owner == claimant.node_id else None
            wanted = self._lease(offer, Subnets(own.subnet, own.subnet6), known)
            return await self._claims.take_over(wanted, snapshot.revision, self._ttl_s)
        expired = [net for key in snapshot.expired for net in _subnets(key)]
        subnets = choose_subnets(offer.config, taken, expired, preferred, self._random.below)
        grant = await self._claims.create(self._lease(offer, subnets), self._ttl_s)
        await self._check_alone(claimant, grant)
        return grant

    async def _check_alone(self, claimant: Claimant, grant: Grant) -> None:
        """Of two nodes at one address that started at once, the younger gives back.  Raises LeaseConflict."""
        snapshot = await self._directory.snapshot()
        older = [lease for lease in snapshot.leases if lease.created < grant.lease.created]
        try:
            leases_of(claimant, older)
        except LeaseConflict:
            await self._claims.release(grant)
            raise

    def _is_an_intruders(self, lease: Lease) -> bool:
        """Did a node without a key (a flanneld) write itself in at our address while we were running?

        It has another VTEP.  Its subnet is its own from now on, and ours is another one.
        """
        if self._grant is None or lease.owner is not None:
            return False
        mine = self._grant.lease
        return lease.vtep_mac not in {None, mine.vtep_mac} or lease.vtep_mac6 not in {None, mine.vtep_mac6}

    def _settle_macs(self) -> None:
        """From now on our devices have the MACs of the lease."""
        assert self._offer is not None
        assert self._grant is not None
        lease = self._grant.lease
        self._offer = replace(self._offer, vtep_mac=lease.vtep_mac, vtep_mac6=lease.vtep_mac6, drawn=frozenset())

    def _lease(self, offer: Offer, subnets: Subnets, known: Lease | None = None) -> Lease:
        """What we ask for.  ``known``: as peers know us by our own lease, whose MACs go before drawn ones."""
        backend = offer.config.backend
        macs = (offer.vtep_mac, offer.vtep_mac6)
        if known is not None:
            macs = (_kept(offer, offer.vtep_mac, known.vtep_mac), _kept(offer, offer.vtep_mac6, known.vtep_mac6))
        return Lease(
            key=lease_key(subnets.four, subnets.six),
            subnet=subnets.four,
            subnet6=subnets.six,
            public_ip=offer.public_ip,
            public_ip6=offer.public_ip6,
            backend_type=backend.type,
            vni=backend.vni if isinstance(backend, Vxlan) else None,
            vtep_mac=macs[0],
            vtep_mac6=macs[1],
            owner=self._identity.node_id,
        )

    def _jittered(self, pause_s: float) -> float:
        return pause_s * (0.5 + self._random.below(500) / 1000)


def _shows_loss(event: LeaseEvent, grant: Grant) -> bool:
    """Does ``event`` say that our key is gone, or somebody else's writing, after our last word?

    A snapshot counts whatever its revision, which begins anew in another store.
    """
    key = grant.lease.key
    match event:
        case Snapshot(leases=leases):
            return not any(lease.key == key and _same_but_for_time(lease, grant.lease) for lease in leases)
        case Put(lease, revision):
            return revision > grant.revision and lease.key == key and not _same_but_for_time(lease, grant.lease)
        case Gone(gone, revision):
            return revision > grant.revision and gone == key
        case Garbled(entry, revision):
            return revision > grant.revision and entry.key == key
        case _:
            assert_never(event)


def _kept(offer: Offer, mac: MacAddress | None, leased: MacAddress | None) -> MacAddress | None:
    """``leased`` in the place of a MAC that no device has."""
    return leased if mac in offer.drawn and is_station(leased) else mac


def _same_but_for_time(one: Lease, other: Lease) -> bool:
    return replace(one, created=0, expires_at_ns=None) == replace(other, created=0, expires_at_ns=None)


def _subnets(key: str) -> tuple[IPNetwork, ...]:
    """What a key claims; nothing when it is no lease's key."""
    try:
        return tuple(net for net in parse_lease_key(key) if net is not None)
    except DecodeError:
        return ()
