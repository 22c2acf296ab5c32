"""Which leases to believe.  Whatever comes from the store is a stranger's claim until it passes here.

Two kinds of rule.  *Alone*: a lease against the configuration, the host and our own lease.
*Among each other*: two leases that claim one subnet, or one VTEP MAC; the older one stays.  The
second kind makes a lease's fate depend on others, but only on those that it shares a claim with:
an event re-judges that small circle and nothing else.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from types import MappingProxyType
from typing import Final, NamedTuple, TypeAlias

from tulle.model.book import in_force
from tulle.model.layered import updated
from tulle.model.lease import Lease, LeaseBook, LeaseKey
from tulle.model.network import Backend, Host, IPAddress, IPNetwork, MacAddress, NetworkConfig, SubnetPool, Vxlan

Claim: TypeAlias = IPNetwork | tuple[int, MacAddress]
"""What only one peer may have: a subnet, or a MAC among the VTEPs of one IP version."""

NO_MAC: Final = MacAddress("00:00:00:00:00:00")
BROADCAST: Final = IPv4Address("255.255.255.255")
THIS_NETWORK: Final = IPv4Network("0.0.0.0/8")


@dataclass(frozen=True, slots=True)
class Refusal:
    """A lease that is not believed, and the rule that it breaks, in one line."""

    key: LeaseKey
    rule: str


class Refused(NamedTuple):
    """Why a lease is not believed, and what it would claim: nothing where it is at fault by itself."""

    rule: str
    claims: tuple[Claim, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """The leases to program, and the refused ones.

    ``holders`` says which peer has each claim, ``waiting`` who would have it but for others; they are what makes the
    next admission cheap.  ``judged`` are the keys that this one looked at: all others are as they were.
    """

    peers: Mapping[LeaseKey, Lease] = field(default_factory=lambda: MappingProxyType({}))
    refused: Mapping[LeaseKey, Refused] = field(default_factory=lambda: MappingProxyType({}))
    holders: Mapping[Claim, LeaseKey] = field(default_factory=lambda: MappingProxyType({}))
    waiting: Mapping[Claim, frozenset[LeaseKey]] = field(default_factory=lambda: MappingProxyType({}))
    judged: AbstractSet[LeaseKey] = field(default=frozenset(), compare=False)

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """All that are refused, by key.  Cost: linear in their number."""
        return tuple(Refusal(key, self.refused[key].rule) for key in sorted(self.refused))


def admit(
    book: LeaseBook,
    config: NetworkConfig,
    host: Host,
    own: Lease,
    previous: Admission | None = None,
    changed: frozenset[LeaseKey] | None = None,
) -> Admission:
    """Judge the leases of ``book``, held ones included, and leave out our own.

    A reservation that no node has taken yet is neither a peer nor refused.  With ``previous``
    (the admission of an earlier book, same other arguments) and ``changed`` (the keys that differ
    since) only those and whoever shares a claim with them are judged again; the result is the
    same as from scratch.
    """
    judge = _Judge.of(config, host, own)
    if previous is None or changed is None:
        previous, circle = Admission(), book.leases.keys() | book.held.keys()
    else:
        circle = _circle(book, judge, previous, changed)
    freed = {claim for key in circle for claim in judge.claims(previous.peers.get(key))}
    peers: dict[LeaseKey, Lease] = {}
    taken: dict[Claim, LeaseKey] = {}

    def holder(claim: Claim) -> LeaseKey | None:
        return taken.get(claim) or (None if claim in freed else previous.holders.get(claim))

    refused: dict[LeaseKey, Refused] = {}
    for lease in _by_age(book, circle):
        if lease.key == own.key or _is_untaken_reservation(lease):
            continue
        claims, fault = judge.claims(lease), judge.fault(lease)
        if fault is not None:
            refused[lease.key] = Refused(fault)
        elif (clash := _clash(claims, holder)) is not None:
            refused[lease.key] = Refused(clash, claims)
        else:
            peers[lease.key] = lease
            taken |= dict.fromkeys(claims, lease.key)
    return Admission(
        peers=updated(previous.peers, circle, peers),
        refused=updated(previous.refused, circle, refused),
        holders=updated(previous.holders, freed, taken),
        waiting=_waiting(previous, circle, refused),
        judged=circle,
    )


def _circle(book: LeaseBook, judge: "_Judge", previous: Admission, changed: frozenset[LeaseKey]) -> set[LeaseKey]:
    """``changed``, and every lease whose lot may be another one for it, or for that of such a one."""
    circle: set[LeaseKey] = set()
    fresh = set(changed)
    while fresh:
        circle |= fresh
        fresh = {other for key in fresh for other in _concerned(book, judge, previous, key)} - circle
    return circle


def _concerned(book: LeaseBook, judge: "_Judge", previous: Admission, key: LeaseKey) -> Iterator[LeaseKey]:
    """Who waits for what ``key`` had; and who has what it wants now, or waits for it too, and is younger.

    What an older lease has it does not get: a newcomer concerns nobody, however many want the same.
    """
    for claim in judge.claims(previous.peers.get(key)):
        yield from previous.waiting.get(claim, ())
    lease = in_force(book, key)
    for claim in judge.claims(lease):
        holder = previous.holders.get(claim)
        rivals = previous.waiting.get(claim, frozenset()) if holder is None else {holder}
        for rival in rivals:
            other = in_force(book, rival)
            if other is None or lease is None or _age(book, lease) < _age(book, other):
                yield rival


def _waiting(
    previous: Admission, circle: Iterable[LeaseKey], refused: Mapping[LeaseKey, Refused]
) -> Mapping[Claim, frozenset[LeaseKey]]:
    """Who waits for each claim, once those of ``circle`` that are refused are ``refused``."""
    nobody = Refused("")
    left = [(claim, key) for key in circle for claim in previous.refused.get(key, nobody).claims]
    came = [(claim, key) for key, each in refused.items() for claim in each.claims]
    queues = {claim: set(previous.waiting.get(claim, ())) for claim, _ in (*left, *came)}
    for claim, key in left:
        queues[claim].discard(key)
    for claim, key in came:
        queues[claim].add(key)
    return updated(
        previous.waiting,
        [claim for claim, queue in queues.items() if not queue],
        {claim: frozenset(queue) for claim, queue in queues.items() if queue},
    )


def _by_age(book: LeaseBook, keys: Iterable[LeaseKey]) -> list[Lease]:
    """Who may choose first: the older lease; a held one, which is only remembered, after all others."""
    found = [lease for key in keys if (lease := in_force(book, key)) is not None]
    return sorted(found, key=lambda lease: _age(book, lease))


def _age(book: LeaseBook, lease: Lease) -> tuple[bool, int, LeaseKey]:
    """The lower, the older."""
    return lease.key in book.held, lease.created, lease.key


def _is_untaken_reservation(lease: Lease) -> bool:
    return lease.expires_at_ns is None and not lease.backend_type and lease.vtep_mac is None


def _clash(claims: Iterable[Claim], holder: Callable[[Claim], LeaseKey | None]) -> str | None:
    """The claim that an older lease has already."""
    for claim in claims:
        older = holder(claim)
        if older is not None:
            what = f"VTEP MAC {claim[1]}" if isinstance(claim, tuple) else f"subnet {claim}"
            return f"{what} is the older lease {older}'s"
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Family:
    """One IP version of the network, and what is ours in it."""

    pool: SubnetPool
    own_subnet: IPNetwork | None
    own_mac: MacAddress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One IP version of a lease, which the network has too."""

    family: _Family
    subnet: IPNetwork
    public_ip: IPAddress | None
    mac: MacAddress | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judge:
    """The rules that a lease meets by itself.  A family that the network lacks is neither judged nor claimed."""

    backend: Backend
    four: _Family | None
    six: _Family | None
    overlay: tuple[IPNetwork, ...]
    connected: tuple[IPNetwork, ...]
    own_ips: frozenset[IPAddress | None]

    @classmethod
    def of(cls, config: NetworkConfig, host: Host, own: Lease) -> "_Judge":
        pool4, pool6, underlay = config.pool4, config.pool6, host.underlay
        return cls(
            backend=config.backend,
            four=_Family(pool=pool4, own_subnet=own.subnet, own_mac=own.vtep_mac) if pool4 else None,
            six=_Family(pool=pool6, own_subnet=own.subnet6, own_mac=own.vtep_mac6) if pool6 else None,
            overlay=config.networks,
            connected=host.connected,
            own_ips=frozenset((own.public_ip, own.public_ip6, underlay.address, underlay.address6)),
        )

    def claims(self, lease: Lease | None) -> tuple[Claim, ...]:
        """What nobody else may have beside this lease."""
        if lease is None:
            return ()
        sides = self._sides(lease)
        macs = ((side.subnet.version, side.mac) for side in sides if side.mac is not None)
        return (*(side.subnet for side in sides), *macs)

    def fault(self, lease: Lease) -> str | None:
        """The first rule that the lease breaks; None when it breaks none."""
        sides = self._sides(lease)
        if not sides:
            return "claims no subnet of a family that the network has"
        if lease.backend_type != self.backend.type:
            return f"backend {lease.backend_type or '(none)'} is not {self.backend.type}"
        tunnelled = isinstance(self.backend, Vxlan)
        if isinstance(self.backend, Vxlan) and lease.vni != self.backend.vni:
            return f"VNI {lease.vni} is not {self.backend.vni}"
        for side in sides:
            rule = self._subnet_fault(side) or self._address_fault(side) or (_mac_fault(side) if tunnelled else None)
            if rule is not None:
                return rule
        return None

    def _sides(self, lease: Lease) -> list[_Side]:
        sides: list[_Side] = []
        if lease.subnet is not None and self.four is not None:
            sides.append(_Side(family=self.four, subnet=lease.subnet, public_ip=lease.public_ip, mac=lease.vtep_mac))
        if lease.subnet6 is not None and self.six is not None:
            sides.append(_Side(family=self.six, subnet=lease.subnet6, public_ip=lease.public_ip6, mac=lease.vtep_mac6))
        return sides

    def _subnet_fault(self, side: _Side) -> str | None:
        pool, subnet = side.family.pool, side.subnet
        if subnet.prefixlen != pool.subnet_len:
            return f"subnet {subnet} is not a /{pool.subnet_len}"
        if not int(pool.first.network_address) <= int(subnet.network_address) <= int(pool.last.network_address):
            return f"subnet {subnet} is not between {pool.first} and {pool.last}"
        if subnet == side.family.own_subnet:
            return f"subnet {subnet} is our own"
        for prefix in self.connected:
            if _overlap(prefix, subnet):
                return f"subnet {subnet} overlaps {prefix}, which this host is connected to"
        return None

    def _address_fault(self, side: _Side) -> str | None:
        ip = side.public_ip
        if ip is None:
            return f"IPv{side.subnet.version} subnet without a public address"
        if ip in self.own_ips:
            return f"public address {ip} is our own"
        if _is_special(ip):
            return f"public address {ip} is not a host's"
        for network in self.overlay:
            if ip in network:
                return f"public address {ip} is inside the overlay {network}"
        if any(
            prefix.version == 4 and prefix.prefixlen < 31 and ip == prefix.broadcast_address
            for prefix in self.connected
        ):
            return f"public address {ip} is a broadcast address"
        return None


def _overlap(one: IPNetwork, other: IPNetwork) -> bool:
    """What ``overlaps`` answers, which makes a broadcast address for every peer's subnet and keeps it there."""
    wide, narrow = (one, other) if one.prefixlen <= other.prefixlen else (other, one)
    return narrow.network_address in wide


def _is_special(ip: IPAddress) -> bool:
    """Not one host's own address: a packet to it goes nowhere, to us, or to many."""
    if ip.is_loopback or ip.is_multicast or ip.is_unspecified or ip.is_link_local or ip == BROADCAST:
        return True
    return ip in THIS_NETWORK if isinstance(ip, IPv4Address) else ip.ipv4_mapped is not None


def is_station(mac: MacAddress | None) -> bool:
    """Can one device have ``mac``?"""
    return mac is not None and mac != NO_MAC and not int(mac[:2], 16) & 1


def _mac_fault(side: _Side) -> str | None:
    mac = side.mac
    if mac is None:
        return f"IPv{side.subnet.version} subnet without a VTEP MAC"
    if mac == NO_MAC:
        return "VTEP MAC is zero"
    if int(mac[:2], 16) & 1:
        return f"VTEP MAC {mac} is a group's"
    if mac == side.family.own_mac:
        return f"VTEP MAC {mac} is our own"
    return None
