"""iptables: what ``iptables-save`` prints ⇄ values, and the text that ``iptables-restore --noflush`` reads.

Only what tulle or flannel wrote is understood; every other line is passed over unread, so that a
node with ten thousand rules of somebody else costs one scan of the text.  Source:
iptables-save(8), iptables-restore(8).
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Final

from tulle.errors import DecodeError
from tulle.model.network import IPNetwork
from tulle.model.objects import IptablesRules, IptablesTable
from tulle.wire.nft import FORWARD_MARK

NFT_VARIANT: Final = "iptables-nft"
"""The engine whose rules live in nftables."""
LEGACY: Final = "iptables-legacy"
VARIANTS: Final = (NFT_VARIANT, LEGACY)

_MARK: Final = re.compile(r'--comment "?tulle:([0-9a-f]{16}) (\d+)/(\d+)"?')
_TABLE: Final = re.compile(r"\*(\S+)")
_CHAIN: Final = re.compile(r":(\S+) (\S+)")
_APPEND: Final = re.compile(r"-A (\S+) ")
_ACCEPT: Final = re.compile(
    rf'-A FORWARD -(?P<way>[sd]) (?P<network>[0-9a-f.:/]+) -m comment --comment "{FORWARD_MARK}" -j ACCEPT'
)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose rules: by the chains that lead to them, and by the comments on rules in the built-in chains."""

    name: str
    forward: str
    postrouting: str
    comment: re.Pattern[str]

    @property
    def chains(self) -> tuple[str, str]:
        return self.forward, self.postrouting


TULLE: Final = Owner("tulle", "TULLE-FWD", "TULLE-POSTRTG", re.compile(r'--comment "?tulle:[0-9a-f]{16} '))
FLANNEL: Final = Owner("flannel", "FLANNEL-FWD", "FLANNEL-POSTRTG", re.compile(r'--comment "flanneld (masq|forward)"'))
OWNERS: Final[Mapping[str, Owner]] = {owner.name: owner for owner in (TULLE, FLANNEL)}


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a table; for a rule, with the chain that it stands in."""

    table: str
    text: str
    chain: str = ""


def decode_rules(output: bytes, engine: str, version: int, owner: Owner) -> IptablesRules | None:
    """What ``iptables-save`` shows of ``owner``; None when that is nothing.  Raises DecodeError."""
    chains: dict[str, list[str]] = {}
    rules: dict[str, list[str]] = {}
    for line in _lines(output):
        if line.text.startswith(":"):
            found = _CHAIN.match(line.text)
            if found and found[1] in owner.chains:
                chains.setdefault(line.table, []).append(found[1])
        elif _is_of(owner, line):
            rules.setdefault(line.table, []).append(line.text)
    tables = tuple(
        IptablesTable(name, tuple(chains.get(name, ())), tuple(rules.get(name, ())))
        for name in sorted(chains.keys() | rules.keys())
    )
    if not tables:
        return None
    return IptablesRules(engine=engine, version=version, owner=owner.name, digest=_digest(tables), tables=tables)


def holds_rules(output: bytes) -> bool:
    """Is there any rule at all in what ``iptables-save`` printed?"""
    return output.startswith(b"-A ") or b"\n-A " in output


def forward_drops(output: bytes) -> bool:
    """Is it the policy of FORWARD to drop?"""
    return b"\n:FORWARD DROP " in output


def decode_accepts(output: bytes) -> tuple[tuple[str, IPNetwork | None], ...]:
    """Our accepts at the end of a foreign FORWARD: direction (``s``, ``d``) and network; None: not as we write them."""
    found: list[tuple[str, IPNetwork | None]] = []
    for line in _lines(output):
        if line.chain == "FORWARD" and line.table == "filter" and f'"{FORWARD_MARK}"' in line.text:
            accept = _ACCEPT.fullmatch(line.text)
            found.append((accept["way"], _network(accept["network"])) if accept else ("", None))
    return tuple(found)


def restore_text(before: IptablesRules | None, after: IptablesRules | None) -> str:
    """For ``iptables-restore --noflush``: from what is there of an owner to what is wanted; others' rules stay.

    Each table changes in one transaction, in which the new rules come before the old jumps go.
    """
    old = {table.name: table for table in before.tables} if before else {}
    new = {table.name: table for table in after.tables} if after else {}
    nothing = IptablesTable("", (), ())
    texts = (_table_text(name, old.get(name, nothing), new.get(name, nothing)) for name in sorted(old.keys() | new))
    return "".join(texts)


def accept_lines(verb: str, networks: Iterable[IPNetwork]) -> tuple[str, ...]:
    """Our accepts for a foreign FORWARD, appended (``-A``) or deleted (``-D``)."""
    comment = f'-m comment --comment "{FORWARD_MARK}" -j ACCEPT'
    return tuple(f"{verb} FORWARD -{way} {network} {comment}" for network in networks for way in ("s", "d"))


def accept_text(stale: Iterable[IPNetwork], networks: Iterable[IPNetwork]) -> str:
    """For ``iptables-restore --noflush``: our accepts for ``networks`` instead of those for ``stale``."""
    return "\n".join(("*filter", *accept_lines("-A", networks), *accept_lines("-D", stale), "COMMIT", ""))


def _table_text(name: str, old: IptablesTable, new: IptablesTable) -> str:
    jumps = (rule for rule in old.rules if _chain_of(rule) not in old.chains)
    gone = [chain for chain in old.chains if chain not in new.chains]
    lines = (
        f"*{name}",
        *(f":{chain} - [0:0]" for chain in new.chains),  # makes it, or empties it
        *new.rules,
        *(f"-D{rule[2:]}" for rule in jumps),
        *(f"-F {chain}" for chain in gone),
        *(f"-X {chain}" for chain in gone),
        "COMMIT",
    )
    return "\n".join(lines) + "\n"


def _lines(output: bytes) -> Iterator[Line]:
    try:
        text = output.decode()
    except UnicodeDecodeError as error:
        raise DecodeError("iptables-save", reason=str(error)) from None
    table = ""
    for line in text.splitlines():
        match line[:1]:
            case "*":
                found = _TABLE.fullmatch(line)
                table = found[1] if found else ""
            case ":":
                yield Line(table, line)
            case "-":
                yield Line(table, line, _chain_of(line))
            case _:
                pass


def _is_of(owner: Owner, line: Line) -> bool:
    """In a chain of the owner's, leading to one, or marked as the owner's."""
    if line.chain in owner.chains or line.text.rsplit(" ", 1)[-1] in owner.chains:
        return True
    return owner.comment.search(line.text) is not None


def _chain_of(rule: str) -> str:
    found = _APPEND.match(rule)
    return found[1] if found else ""


def _digest(tables: tuple[IptablesTable, ...]) -> str:
    """What all rules agree on, in order and complete; else ""."""
    marks = [_MARK.search(rule) for table in tables for rule in table.rules]
    digests = {(found[1], found[3]) if found else ("", "0") for found in marks}
    digest, total = next(iter(digests)) if len(digests) == 1 else ("", "0")
    numbers = [int(found[2]) for found in marks if found]
    return digest if numbers == list(range(1, int(total) + 1)) else ""


def _network(text: str) -> IPNetwork | None:
    try:
        return ip_network(text)
    except ValueError:
        return None
