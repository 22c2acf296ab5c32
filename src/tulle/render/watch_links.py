"""A node's devices as they are watched: what each is for, and how much passes it."""

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass
from typing import Final, Literal, TypeAlias

from tulle.wire.rtnetlink.links import LinkMessage, LinkStatistics

Role: TypeAlias = Literal["underlay", "tunnel", "bridge", "pod"]
ROLES: Final[tuple[Role, ...]] = ("underlay", "tunnel", "bridge", "pod")

POD_ALIAS: Final = "tulle:"
"""How the alias of a pod's link begins; the container's id follows."""
NO_DEVICE: Final = 0
NS: Final = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedLink:
    """A device of the data path.  ``pod`` is the name of the pod behind it, "" when nobody says."""

    index: int
    name: str
    role: Role
    pod: str = ""
    up: bool
    carrier: bool
    counters: LinkStatistics

    @property
    def dropped(self) -> int:
        """Frames that came to nothing here, since the device was made."""
        counters = self.counters
        return counters.rx_dropped + counters.tx_dropped + counters.rx_errors + counters.tx_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """What passed a device, per second."""

    rx_bytes: float = 0.0
    tx_bytes: float = 0.0
    rx_packets: float = 0.0
    tx_packets: float = 0.0
    dropped: float = 0.0

    def __add__(self, other: "Rates") -> "Rates":
        return Rates(
            rx_bytes=self.rx_bytes + other.rx_bytes,
            tx_bytes=self.tx_bytes + other.tx_bytes,
            rx_packets=self.rx_packets + other.rx_packets,
            tx_packets=self.tx_packets + other.tx_packets,
            dropped=self.dropped + other.dropped,
        )


def watched_links(
    links: Iterable[LinkMessage], underlay: str | None, pods: Mapping[str, str]
) -> tuple[WatchedLink, ...]:
    """The devices that the overlay uses, the underlay's first; others are nobody's business here.

    ``underlay`` is the device that the agent names, None: not known; ``pods`` are names by container id.
    """
    every = tuple(links)
    lower = {link.link for link in every if link.kind == "vxlan" and link.link != NO_DEVICE}
    bridges = {link.master for link in every if link.master and _container(link)}

    def role(link: LinkMessage) -> Role | None:
        if link.kind == "vxlan":
            return "tunnel"
        if link.name == underlay or (underlay is None and link.index in lower):
            return "underlay"
        if link.index in bridges:
            return "bridge"
        return "pod" if _container(link) else None

    found = (
        WatchedLink(
            index=link.index,
            name=link.name,
            role=known,
            pod=pods.get(_container(link), ""),
            up=link.up,
            carrier=link.lower_up,
            counters=link.statistics,
        )
        for link in every
        if (known := role(link)) is not None and link.statistics is not None
    )
    return tuple(sorted(found, key=lambda link: (ROLES.index(link.role), link.pod, link.name)))


def _container(link: LinkMessage) -> str:
    """Whose end of a pair this is, on a bridge or not; "" when it is no pod's.  A lab's own alias has a blank."""
    pods = link.alias.startswith(POD_ALIAS) and " " not in link.alias
    return link.alias.removeprefix(POD_ALIAS) if pods else ""


def rates(before: WatchedLink | None, after: WatchedLink, elapsed_ns: int) -> Rates | None:
    """What passed between two looks; None without a look before, or when the device is another one now."""
    if before is None or before.index != after.index or elapsed_ns <= 0:
        return None
    old, new = astuple(before.counters), astuple(after.counters)
    if any(now < then for then, now in zip(old, new, strict=True)):
        return None  # its counters began anew
    per_second = NS / elapsed_ns

    def rate(name: str) -> float:
        return float(getattr(after.counters, name) - getattr(before.counters, name)) * per_second

    return Rates(
        rx_bytes=rate("rx_bytes"),
        tx_bytes=rate("tx_bytes"),
        rx_packets=rate("rx_packets"),
        tx_packets=rate("tx_packets"),
        dropped=(after.dropped - before.dropped) * per_second,
    )


def total(every: Iterable[Rates | None]) -> Rates | None:
    """The sum of those that are known; None when none is."""
    known = [found for found in every if found is not None]
    return sum(known[1:], known[0]) if known else None
