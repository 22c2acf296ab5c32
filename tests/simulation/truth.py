"""What is true of the store, told by the store itself: who holds what, who held it, and how it went.

The laws judge agents by this, never by what an agent believes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network

from tests.simulation.nodes import PREFIX, Peer
from tulle.errors import DecodeError
from tulle.wire.etcd import Event, KeyValue
from tulle.wire.leases import decode_lease

SUBNETS = f"{PREFIX}/subnets/".encode()


class Ending(Enum):
    """How a claim ended."""

    EXPIRED = "expired"
    DELETED = "deleted"
    REPLACED = "replaced"
    FORGOTTEN = "forgotten"
    """The store was wiped or restored."""


@dataclass(slots=True)
class Claim:
    """One peer's time in the store; ``hostile``: no node of the story wrote it."""

    peer: Peer
    since_s: float
    hostile: bool
    ended_s: float | None = None
    ending: Ending | None = None


@dataclass
class Truth:
    """All claims that there ever were, by their subnet, the newest last."""

    claims: dict[IPv4Network, list[Claim]] = field(default_factory=dict[IPv4Network, list[Claim]])
    version: int = 0
    """Grows with every change."""
    forgotten: bool = False
    """The store has been wiped or restored, and with it who had what."""
    deleting: bool = False
    """An operator is deleting now."""
    attacking: bool = False
    """What is written now, no node of the story writes."""

    def current(self, subnet: IPv4Network) -> Claim | None:
        """The claim that stands."""
        last = self.claims.get(subnet, [])[-1:]
        return last[0] if last and last[0].ended_s is None else None

    def last_of(self, peer: Peer) -> Claim | None:
        """The newest claim of exactly this peer."""
        return next((claim for claim in reversed(self.claims.get(peer.subnet, [])) if claim.peer == peer), None)

    def standing(self) -> list[Claim]:
        """Every honest claim that stands."""
        return [last for claims in self.claims.values() if (last := claims[-1]).ended_s is None and not last.hostile]

    def hears(self, events: tuple[Event, ...], now_s: float) -> None:
        """The store changed."""
        for event in events:
            if event.kv.key.startswith(SUBNETS):
                if event.deleted:
                    self._ends(event.kv.key, now_s, Ending.DELETED if self.deleting else Ending.EXPIRED)
                else:
                    self._begins(event.kv, now_s)

    def becomes(self, keys: Mapping[bytes, KeyValue], now_s: float) -> None:
        """The store is another one."""
        self.forgotten = True
        for key, kv in keys.items():
            if key.startswith(SUBNETS):
                self._begins(kv, now_s)
        shown = {_subnet(key) for key in keys}
        for subnet, claims in self.claims.items():
            self.version += 1
            if subnet not in shown and claims[-1].ended_s is None:
                claims[-1].ended_s, claims[-1].ending = now_s, Ending.FORGOTTEN

    def _begins(self, kv: KeyValue, now_s: float) -> None:
        peer = _peer(kv)
        if peer is None:
            return
        current = self.current(peer.subnet)
        if current is not None and current.peer == peer:
            return
        self._ends(kv.key, now_s, Ending.REPLACED)
        self.version += 1
        self.claims.setdefault(peer.subnet, []).append(Claim(peer, now_s, self.attacking))

    def _ends(self, key: bytes, now_s: float, ending: Ending) -> None:
        subnet = _subnet(key)
        current = self.current(subnet) if subnet is not None else None
        if current is not None:
            self.version += 1
            current.ended_s, current.ending = now_s, ending


def _subnet(key: bytes) -> IPv4Network | None:
    try:
        return IPv4Network(key[len(SUBNETS) :].decode().replace("-", "/"))
    except ValueError:
        return None


def _peer(kv: KeyValue) -> Peer | None:
    """The peer that a lease's value names; None when it names none."""
    try:
        lease = decode_lease(kv.key[len(SUBNETS) :].decode("utf-8", "replace"), kv.value)
    except DecodeError:
        return None
    if lease.subnet is None or lease.public_ip is None or lease.vtep_mac is None:
        return None
    return Peer(lease.subnet, lease.public_ip, lease.vtep_mac)
