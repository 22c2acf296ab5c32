"""Rules of foreign forward chains, as ``nft -j list chain`` prints them, as far as they are about whole networks.

Only prefixes and device names are understood; every other condition is kept as one that a packet
may or may not meet.  Source: libnftables-json(5).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final, TypeAlias, cast

from tulle.model.network import IPNetwork
from tulle.wire.nft import rules_of

Json: TypeAlias = Mapping[str, object]

VERDICTS: Final = ("accept", "drop", "reject", "return", "jump", "goto")
_HARMLESS: Final = frozenset({*VERDICTS, "counter", "log", "xt", "mangle"})
"""Statements that do not keep a rule from applying; ``xt`` is judged by its kind."""


@dataclass(frozen=True, slots=True)
class AddressIn:
    """``ip saddr 10.244.0.0/16``; the networks are of one IP version."""

    direction: str
    networks: tuple[IPNetwork, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class DeviceIn:
    """``iifname "flannel.1"``; a name may end in ``*``."""

    direction: str
    names: tuple[str, ...]
    negated: bool


@dataclass(frozen=True, slots=True)
class Unknown:
    """A condition of another kind."""


Condition: TypeAlias = AddressIn | DeviceIn | Unknown


@dataclass(frozen=True, slots=True)
class ForwardRule:
    """One rule.  ``verdict`` is "" when it has none; ``target`` is the chain of a jump or goto."""

    handle: int
    conditions: tuple[Condition, ...]
    verdict: str
    target: str = ""


def decode_forward_rules(output: bytes) -> tuple[ForwardRule, ...]:
    """The rules of one chain, in order.  Raises DecodeError."""
    return tuple(_rule(rule) for rule in rules_of(output))


def _rule(rule: Json) -> ForwardRule:
    handle, terms = rule.get("handle"), rule.get("expr")
    statements = [cast("Json", item) for item in _list(terms) if isinstance(item, dict)]
    verdict, target = "", ""
    for statement in statements:
        for word in VERDICTS:
            if word in statement:
                verdict, target = word, _target(statement[word])
    conditions = tuple(_conditions(statements))
    return ForwardRule(handle if isinstance(handle, int) else 0, conditions, verdict, target)


def _conditions(statements: list[Json]) -> Iterator[Condition]:
    for statement in statements:
        match statement:
            case {"match": {"op": str(op), "left": object() as left, "right": object() as right}}:
                yield _condition(op, left, right)
            case {"xt": {"name": "comment"}}:
                pass
            case {"xt": {"type": "match"}}:
                yield Unknown()
            case _ if not _HARMLESS.intersection(statement):
                yield Unknown()
            case _:
                pass


def _condition(op: str, left: object, right: object) -> Condition:
    if op not in {"==", "!="}:
        return Unknown()
    match left:
        case {"payload": {"protocol": "ip" | "ip6", "field": str(direction)}} if direction in {"saddr", "daddr"}:
            networks = tuple(_networks(right))
            return AddressIn(direction, networks, op == "!=") if networks else Unknown()
        case {"meta": {"key": str(direction)}} if direction in {"iifname", "oifname", "iif", "oif"}:
            names = tuple(_names(right))
            return DeviceIn(direction[:3], names, op == "!=") if names else Unknown()
        case _:
            return Unknown()


def _networks(right: object) -> Iterator[IPNetwork]:
    """The prefixes of a right side; a range or a named set has none."""
    try:
        match right:
            case str(address):
                yield ip_network(address)
            case {"prefix": {"addr": str(address), "len": int(length)}}:
                yield ip_network(f"{address}/{length}")
            case {"set": object() as items}:
                for item in _list(items):
                    yield from _networks(item)
            case _:
                return
    except ValueError:
        return


def _names(right: object) -> Iterator[str]:
    match right:
        case str(name):
            yield name
        case {"set": object() as items}:
            for item in _list(items):
                yield from _names(item)
        case _:
            return


def _target(value: object) -> str:
    match value:
        case {"target": str(name)}:
            return name
        case _:
            return ""


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
