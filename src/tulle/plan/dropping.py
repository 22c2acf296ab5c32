"""Does a foreign forward chain drop the overlay's packets by a rule?

Judged only where it is certain: a rule that drops whatever comes between two pods, or comes in or
goes out by the tunnel.  A rule with a condition that such a packet may or may not meet (a port, a
connection's state) is nobody's business here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, assert_never

from tulle.model.network import IPNetwork
from tulle.wire.nft_rules import AddressIn, Condition, DeviceIn, ForwardRule, Unknown

DEPTH: Final = 8
"""So many jumps deep is looked."""


class Meets(Enum):
    """Do packets of the overlay meet a condition?"""

    YES = "yes"
    MAYBE = "maybe"
    """It names devices or addresses which the packets that matter may well have."""
    SOME = "some"
    """It is about ports, states …: surely not all of them do."""
    NO = "no"

    def negated(self, on: bool) -> "Meets":
        return {Meets.YES: Meets.NO, Meets.NO: Meets.YES}.get(self, self) if on else self


@dataclass(frozen=True, slots=True)
class Packet:
    """Any packet between two pods; a device that is None may be any but the tunnel's."""

    network: IPNetwork
    iif: str | None
    oif: str | None


class Way(Enum):
    """Where a packet goes on that no rule of a chain has dropped."""

    PASSES = "passes"
    RETURNS = "returns"


def dropping_rule(
    chain: str,
    rules: Mapping[str, tuple[ForwardRule, ...]],
    networks: Iterable[IPNetwork],
    tunnels: Iterable[str],
) -> ForwardRule | None:
    """The first rule that certainly drops packets of the overlay; None when there is none.

    ``rules`` are those of ``chain`` and of the chains that it leads to; one that is missing is as good as empty.
    """
    for network in networks:
        for tunnel in tunnels:
            for packet in (Packet(network, tunnel, None), Packet(network, None, tunnel)):
                found = _walk(chain, rules, packet, DEPTH)
                if isinstance(found, ForwardRule):
                    return found
    return None


def _walk(chain: str, rules: Mapping[str, tuple[ForwardRule, ...]], packet: Packet, depth: int) -> ForwardRule | Way:
    """A drop counts when it is certain; an accept already when it may be meant for just these packets."""
    for rule in rules.get(chain, ()):
        meets = _all_met(rule.conditions, packet)
        if meets in {Meets.NO, Meets.SOME}:
            continue
        match rule.verdict:
            case "drop" | "reject" if meets is Meets.YES:
                return rule
            case "accept":
                return Way.PASSES
            case "return" if meets is Meets.YES:
                return Way.RETURNS
            case "jump" | "goto" if depth:
                found = _walk(rule.target, rules, packet, depth - 1)
                certain = meets is Meets.YES and (rule.verdict == "goto" or isinstance(found, ForwardRule))
                if found is Way.PASSES or certain:
                    return found
            case _:
                pass
    return Way.RETURNS


def _all_met(conditions: Iterable[Condition], packet: Packet) -> Meets:
    met = {_meets(condition, packet) for condition in conditions}
    return next((weakest for weakest in (Meets.NO, Meets.SOME, Meets.MAYBE) if weakest in met), Meets.YES)


def _meets(condition: Condition, packet: Packet) -> Meets:
    match condition:
        case AddressIn():
            return _address(condition, packet.network)
        case DeviceIn():
            return _device(condition, packet)
        case Unknown():
            return Meets.SOME
        case _:
            assert_never(condition)


def _address(condition: AddressIn, network: IPNetwork) -> Meets:
    same = [prefix for prefix in condition.networks if prefix.version == network.version]
    if not same:
        return Meets.NO  # it asks for the other IP version first
    inside = any(_covers(prefix, network) for prefix in same)
    beside = not any(prefix.overlaps(network) for prefix in same)
    return (Meets.YES if inside else Meets.NO if beside else Meets.MAYBE).negated(condition.negated)


def _covers(prefix: IPNetwork, network: IPNetwork) -> bool:
    return prefix.prefixlen <= network.prefixlen and prefix.overlaps(network)


def _device(condition: DeviceIn, packet: Packet) -> Meets:
    name = packet.iif if condition.direction == "iif" else packet.oif
    if name is None:
        return Meets.MAYBE
    named = any(name.startswith(n[:-1]) if n.endswith("*") else name == n for n in condition.names)
    return (Meets.YES if named else Meets.NO).negated(condition.negated)
