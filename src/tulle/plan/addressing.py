"""Which subnets a node asks for: pure choices over what the store shows.

In this order: the lease that carries our key; the subnets of the last run; only a node that has
neither takes a lease or reservation for its public address, which anybody may have written; else
a free one at random.  Subnets whose lease expired lately come last, so that a node that was cut
off does not find its pods' addresses elsewhere when it returns.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from tulle.errors import ConfigError, LeaseConflict
from tulle.model.lease import Lease, NodeId
from tulle.model.network import IPNetwork, NetworkConfig, SubnetPool

ADVICE: Final = "delete leases that nobody uses, or take a larger network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """The node that asks: its key and the addresses that it is reached at."""

    node_id: NodeId
    public_ip: IPv4Address | None
    public_ip6: IPv6Address | None

    def is_reached_like(self, lease: Lease) -> bool:
        """Does ``lease`` carry our public address?  IPv4 decides where there is one, as for flannel."""
        if self.public_ip is not None:
            return lease.public_ip == self.public_ip
        return self.public_ip6 is not None and lease.public_ip6 == self.public_ip6


@dataclass(frozen=True, slots=True)
class Subnets:
    """One subnet for each family of the network."""

    four: IPv4Network | None
    six: IPv6Network | None


def leases_of(claimant: Claimant, leases: Iterable[Lease]) -> list[Lease]:
    """The leases that are ours: by node key first, by public address next (reservations, and flanneld's).

    Raises LeaseConflict: another live node is reached at our public address, and no lease is ours by key.
    """
    ours = [lease for lease in leases if lease.owner == claimant.node_id or claimant.is_reached_like(lease)]
    strange = [lease for lease in ours if lease.owner not in {None, claimant.node_id}]
    if strange and not any(lease.owner == claimant.node_id for lease in ours):
        where = claimant.public_ip or claimant.public_ip6
        advice = "give one of them another, or delete that lease if its node is gone"
        raise LeaseConflict(strange[0].key, f"another node is reached at our public address {where}: {advice}")
    mine = [lease for lease in ours if lease not in strange]
    return sorted(mine, key=lambda lease: (lease.owner != claimant.node_id, lease.created))


def choose_own(
    claimant: Claimant, ours: Iterable[Lease], config: NetworkConfig, previous: Subnets, taken: Sequence[IPNetwork]
) -> Lease | None:
    """Which of our leases to take over; None: create one, at ``previous`` where that is free."""
    fitting = [lease for lease in ours if fits(lease, config)]
    by_key = [lease for lease in fitting if lease.owner == claimant.node_id]
    as_before = [lease for lease in fitting if Subnets(lease.subnet, lease.subnet6) == previous]
    if by_key or as_before:
        return (by_key or as_before)[0]
    if _is_free(previous, config, taken):
        return None
    return fitting[0] if fitting else None


def fits(lease: Lease, config: NetworkConfig) -> bool:
    """Can a node use this lease's subnets under ``config``?  Both families as configured, none besides."""
    return _in_pool(lease.subnet, config.pool4) and _in_pool(lease.subnet6, config.pool6)


def choose_subnets(
    config: NetworkConfig,
    taken: Sequence[IPNetwork],
    expired: Sequence[IPNetwork],
    previous: Subnets,
    below: Callable[[int], int],
) -> Subnets:
    """Free subnets, one per family: those of the last run if they are free, else uniformly at random.

    ``below(n)`` gives a uniform number in [0, n).  ``expired`` subnets are chosen at random only
    when nothing else is free.  The families are chosen independently.
    Raises ConfigError: no subnet is free.
    """
    four = _choose(config.pool4, taken, expired, previous.four, below)
    six = _choose(config.pool6, taken, expired, previous.six, below)
    assert four is None or isinstance(four, IPv4Network)
    assert six is None or isinstance(six, IPv6Network)
    return Subnets(four, six)


def _choose(
    pool: SubnetPool | None,
    taken: Sequence[IPNetwork],
    expired: Sequence[IPNetwork],
    previous: IPNetwork | None,
    below: Callable[[int], int],
) -> IPNetwork | None:
    if pool is None:
        return None
    if previous is not None and _in_pool(previous, pool) and not _covers(taken, previous, pool):
        return previous
    for avoided in ((*taken, *expired), taken):
        gaps = _gaps(pool, avoided)
        free = sum(stop - start for start, stop in gaps)
        if free:
            return _subnet(pool, _nth(gaps, below(free)))
    raise ConfigError(
        f"network {pool.network}",
        f"out of subnets: every /{pool.subnet_len} from {pool.first} to {pool.last} is taken",
        ADVICE,
    )


def _in_pool(subnet: IPNetwork | None, pool: SubnetPool | None) -> bool:
    if subnet is None or pool is None:
        return subnet is None and pool is None
    inside = int(pool.first.network_address) <= int(subnet.network_address) <= int(pool.last.network_address)
    return inside and subnet.version == pool.network.version and subnet.prefixlen == pool.subnet_len


def _is_free(subnets: Subnets, config: NetworkConfig, taken: Sequence[IPNetwork]) -> bool:
    families = ((subnets.four, config.pool4), (subnets.six, config.pool6))
    return all(
        _in_pool(subnet, pool) and (subnet is None or pool is None or not _covers(taken, subnet, pool))
        for subnet, pool in families
    )


def _covers(taken: Iterable[IPNetwork], subnet: IPNetwork, pool: SubnetPool) -> bool:
    return any(_within(net, pool.network) and net.overlaps(subnet) for net in taken)


def _gaps(pool: SubnetPool, taken: Iterable[IPNetwork]) -> list[tuple[int, int]]:
    """The free stretches of the pool, as half-open ranges of subnet numbers.

    A pool may have 2⁶² subnets: only what is taken is ever listed.  A claim on more than the
    network itself takes nothing: nobody admits it, and it must not lock everyone out.
    """
    gaps: list[tuple[int, int]] = []
    free_from = 0
    for start, stop in sorted(_range(pool, net) for net in taken if _within(net, pool.network)):
        if start > free_from:
            gaps.append((free_from, min(start, _size(pool))))
        free_from = max(free_from, stop)
    if free_from < _size(pool):
        gaps.append((free_from, _size(pool)))
    return [(start, stop) for start, stop in gaps if start < stop]


def _within(net: IPNetwork, network: IPNetwork) -> bool:
    return net.version == network.version and net.prefixlen > network.prefixlen and network.overlaps(net)


def _range(pool: SubnetPool, net: IPNetwork) -> tuple[int, int]:
    """The numbers of the pool's subnets that ``net`` touches; below zero, or past the end, outside the pool."""
    shift = pool.network.max_prefixlen - pool.subnet_len
    first = int(pool.first.network_address)
    return (int(net.network_address) - first) >> shift, ((int(net.broadcast_address) - first) >> shift) + 1


def _size(pool: SubnetPool) -> int:
    shift = pool.network.max_prefixlen - pool.subnet_len
    return ((int(pool.last.network_address) - int(pool.first.network_address)) >> shift) + 1


def _nth(gaps: Sequence[tuple[int, int]], n: int) -> int:
    """The ``n``-th free number."""
    for start, stop in gaps:
        if n < stop - start:
            return start + n
        n -= stop - start
    raise AssertionError("n is below the number of free subnets")


def _subnet(pool: SubnetPool, number: int) -> IPNetwork:
    shift = pool.network.max_prefixlen - pool.subnet_len
    return type(pool.network)((int(pool.first.network_address) + (number << shift), pool.subnet_len))
