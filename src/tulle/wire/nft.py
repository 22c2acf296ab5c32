"""nftables: what ``nft -j`` prints ⇄ values, and the transactions that ``nft -f`` reads.

Only what tulle needs is understood; whatever else a ruleset holds is passed over.  Source:
libnftables-json(5), nft(8).
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final, TypeAlias, cast

from tulle.errors import DecodeError
from tulle.model.network import DroppingChain, IPNetwork
from tulle.model.objects import ChainAccept, ChainAcceptKey, NftElement, NftTable, NftTableKey

FORWARD_MARK: Final = "tulle forward"
"""The comment of our accepts in foreign chains."""
NFT: Final = "nft"
"""The engine of native tables, and of ``DroppingChain`` for iptables-nft's too: either tool reads the other's."""

_IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,127}")
_NUMBER: Final = re.compile(r"0x[0-9a-f]{1,32}")
_ADDRESS4: Final = re.compile(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")
_MARK: Final = re.compile(r"tulle:([0-9a-f]{16}) (\d+)/(\d+)")

Json: TypeAlias = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class BaseChain:
    """A chain that hangs on a hook."""

    family: str
    table: str
    name: str
    hook: str
    policy: str


def decode_base_chains(output: bytes) -> tuple[BaseChain, ...]:
    """``nft -j list chains``.  Raises DecodeError."""
    return tuple(
        BaseChain(*(_text(chain, field) for field in ("family", "table", "name", "hook", "policy")))
        for chain in _objects(output, "chain")
        if "hook" in chain
    )


def chain_names(output: bytes) -> frozenset[tuple[str, str]]:
    """``nft -j list chains``: family and name of every chain.  Raises DecodeError."""
    return frozenset((_text(chain, "family"), _text(chain, "name")) for chain in _objects(output, "chain"))


def table_names(output: bytes) -> frozenset[tuple[str, str]]:
    """``nft -j list tables``: family and name of every table, also of empty ones.  Raises DecodeError."""
    return frozenset((_text(table, "family"), _text(table, "name")) for table in _objects(output, "table"))


def foreign_forward_chains(chains: tuple[BaseChain, ...]) -> tuple[BaseChain, ...]:
    """The foreign ones that see forwarded IP packets.

    A chain whose name nft's own grammar cannot spell is left out: nothing could be done about it.
    """
    return tuple(
        chain
        for chain in chains
        if chain.hook == "forward"
        and chain.family in {"inet", "ip", "ip6"}
        and (chain.family, chain.table) != ("inet", "tulle")
        and _IDENTIFIER.fullmatch(chain.table)
        and _IDENTIFIER.fullmatch(chain.name)
    )


def dropping_chains(chains: tuple[BaseChain, ...]) -> tuple[DroppingChain, ...]:
    """The foreign ones that drop those forwarded packets that no rule accepts."""
    return tuple(
        DroppingChain(engine=NFT, family=chain.family, table=chain.table, chain=chain.name)
        for chain in foreign_forward_chains(chains)
        if chain.policy == "drop"
    )


def decode_table(key: NftTableKey, output: bytes) -> NftTable:
    """``nft -j list table``: the digest that all its rules agree on, "" when one is missing, foreign or outdated.

    Raises DecodeError.
    """
    marks = [_MARK.fullmatch(_text(rule, "comment")) for rule in _objects(output, "rule")]
    digests = {(found[1], found[3]) if found else ("", "") for found in marks}
    numbers = [int(found[2]) for found in marks if found]
    accepts = all(_text(chain, "policy") in {"", "accept"} for chain in _objects(output, "chain"))
    digest, total = next(iter(digests)) if len(digests) == 1 else ("", "0")
    whole = accepts and numbers == list(range(1, int(total or "0") + 1))
    return NftTable(family=key.family, name=key.name, digest=digest if whole else "")


def decode_elements(key: NftTableKey, output: bytes) -> tuple[NftElement, ...]:
    """``nft -j list table``: what its sets hold.  Raises DecodeError."""
    return tuple(
        NftElement(key.family, key.name, _text(found, "name"), value)
        for found in _objects(output, "set")
        for value in _values(found.get("elem"))
    )


def format_element(element: NftElement) -> str:
    """An element as nft's commands name it."""
    parts = (part if _NUMBER.fullmatch(part) or not _is_name(part) else f'"{part}"' for part in element.value)
    return f"element {element.family} {element.table} {element.set} {{ {' . '.join(parts)} }}"


@dataclass(frozen=True, slots=True)
class OwnRule:
    """A rule of ours in a foreign chain, by its handle; ``network`` None: not of the shape that we write."""

    handle: int
    direction: str
    network: IPNetwork | None


def decode_own_rules(output: bytes) -> tuple[OwnRule, ...]:
    """``nft -j list chain``: the rules that carry our mark.  Raises DecodeError."""
    return tuple(
        OwnRule(_handle(rule), *_accepted(rule))
        for rule in _objects(output, "rule")
        if rule.get("comment") == FORWARD_MARK
    )


def chain_accept(key: ChainAcceptKey, rules: tuple[OwnRule, ...]) -> ChainAccept | None:
    """What our rules in a chain amount to: the networks accepted both ways; None when there is no rule.

    Anything that is double or half there makes the set differ from every wanted one.
    """
    if not rules:
        return None
    pairs = [(rule.direction, rule.network) for rule in rules]
    networks = tuple(dict.fromkeys(network for _, network in pairs if network is not None))
    exact = sorted(map(str, pairs)) == sorted(str((way, net)) for net in networks for way in ("saddr", "daddr"))
    return ChainAccept(
        engine=key.engine, family=key.family, table=key.table, chain=key.chain, networks=networks if exact else ()
    )


def accept_rules(accept: ChainAccept) -> tuple[str, ...]:
    """The rules of ``accept``, as nft spells them."""
    return tuple(
        f'{"ip" if net.version == 4 else "ip6"} {way} {net} accept comment "{FORWARD_MARK}"'
        for net in accept.networks
        for way in ("saddr", "daddr")
    )


def replace_table(table: NftTable) -> str:
    """The transaction that makes a table hold exactly the wanted text, whether or not it exists."""
    return f"add table {table.family} {table.name}\ndelete table {table.family} {table.name}\n{table.text or ''}"


def delete_table(table: NftTable) -> str:
    """The transaction that removes a table."""
    return f"delete table {table.family} {table.name}\n"


def replace_accept(accept: ChainAccept, stale: tuple[OwnRule, ...]) -> str:
    """The transaction that appends our accepts to a foreign chain and drops those that were there."""
    chain = f"{accept.family} {accept.table} {accept.chain}"
    made = (f"add rule {chain} {rule}\n" for rule in accept_rules(accept))
    return delete_own_rules(accept, stale) + "".join(made)


def delete_own_rules(accept: ChainAccept, stale: tuple[OwnRule, ...]) -> str:
    """The transaction that removes our accepts from a foreign chain."""
    chain = f"{accept.family} {accept.table} {accept.chain}"
    return "".join(f"delete rule {chain} handle {rule.handle}\n" for rule in stale)


def rules_of(output: bytes) -> Iterator[Mapping[str, object]]:
    """The rules in what ``nft -j list …`` printed, as they are.  Raises DecodeError."""
    return _objects(output, "rule")


def _objects(output: bytes, kind: str) -> Iterator[Json]:
    try:
        document: object = json.loads(output)
    except (ValueError, RecursionError) as error:
        raise DecodeError("nft's JSON", reason=str(error)) from None
    items = cast("Json", document).get("nftables") if isinstance(document, dict) else None
    if not isinstance(items, list):
        raise DecodeError("nft's JSON", need="nftables")
    for item in cast("list[object]", items):
        found = cast("Json", item).get(kind) if isinstance(item, dict) else None
        if isinstance(found, dict):
            yield cast("Json", found)


def _values(elements: object) -> Iterator[tuple[str, ...]]:
    """Each element as its parts; what is neither a text nor a concatenation of texts is passed over."""
    for element in cast("list[object]", elements) if isinstance(elements, list) else []:
        parts: object = cast("Json", element).get("concat") if isinstance(element, dict) else [element]
        texts = (
            [part for part in cast("list[object]", parts) if isinstance(part, str)] if isinstance(parts, list) else []
        )
        if texts and len(texts) == len(cast("list[object]", parts)):
            yield tuple(map(_canonical, texts))


def _canonical(part: str) -> str:
    return f"{int(part, 16):#x}" if _NUMBER.fullmatch(part) else part


def _is_name(part: str) -> bool:
    """A device's, which has no colon; an address has one, or is IPv4's."""
    return ":" not in part and not _ADDRESS4.fullmatch(part)


def _text(obj: Json, field: str) -> str:
    value = obj.get(field, "")
    return value if isinstance(value, str) else ""


def _handle(rule: Json) -> int:
    value = rule.get("handle")
    if not isinstance(value, int):
        raise DecodeError("nft rule", handle=value)
    return value


def _accepted(rule: Json) -> tuple[str, IPNetwork | None]:
    """Direction and network of ``ip saddr 10.244.0.0/16 accept``; ("", None) for any other rule."""
    terms = rule.get("expr")
    match cast("list[object]", terms) if isinstance(terms, list) else []:
        case [
            {"match": {"op": "==", "left": {"payload": {"field": str(way)}}, "right": object() as right}},
            *_,
            {"accept": None},
        ] if way in {"saddr", "daddr"}:
            return way, _network(right)
        case _:
            return "", None


def _network(right: object) -> IPNetwork | None:
    """A prefix, or the bare address that nft prints for a /32."""
    try:
        match right:
            case {"prefix": {"addr": str(address), "len": int(length)}}:
                return ip_network(f"{address}/{length}")
            case str(address):
                return ip_network(address)
            case _:
                return None
    except ValueError:
        return None
