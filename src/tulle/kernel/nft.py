"""nftables through its own tool, as a process in the node's namespace.

A fault in the tool or its library cannot take the agent down, and a process costs 2 to 5 ms for
rules that change rarely.  The ruleset's generation (one small netlink question) tells whether
anything changed at all, so that a quiet node starts no process.

Chains that iptables-nft made are read and written here too: it shows our native rules as its
own.  Chains of the older iptables engine are written through its own tool where that is there.
"""

import asyncio
import os
import re
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from errno import EINVAL, EIO, ENOENT
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Final, TypeVar

from tulle.errors import DecodeError, KernelError, Unsupported
from tulle.kernel.netlink_socket import NETLINK_NETFILTER, NetlinkSocket
from tulle.kernel.netns import run_in
from tulle.kernel.nft_elements import Transact, apply_elements
from tulle.model.change import Create, Delete, Step
from tulle.model.network import DroppingChain, IPNetwork
from tulle.model.objects import ChainAccept, ChainAcceptKey, KernelObject, NftElement, NftTable, NftTableKey
from tulle.plan.dropping import dropping_rule
from tulle.wire import nft
from tulle.wire.netlink import Request
from tulle.wire.nft_elements import NFGENMSG
from tulle.wire.nft_rules import ForwardRule, decode_forward_rules

T = TypeVar("T")

TIMEOUT_S: Final = 10.0
NFT_MSG_GETGEN: Final = 10 << 8 | 16
"""Subsystem nf_tables, message GETGEN.  Source: nfnetlink.h, nf_tables.h."""
MOST_CHAINS: Final = 16
"""So many chains of one foreign table are listed at most, a process each."""
LEGACY_TABLES: Final = Path("/proc/thread-self/net/ip_tables_names")
_LEGACY_RULE: Final = re.compile(
    rf'-A FORWARD -(?P<way>[sd]) (?P<network>[0-9./]+) -m comment --comment "{nft.FORWARD_MARK}" -j ACCEPT'
)
_LEGACY_WAYS: Final = {"s": "saddr", "d": "daddr"}


class ToolFailure(Exception):
    """A tool ended with an error; ``line`` is the first line that it printed."""

    def __init__(self, line: str) -> None:
        super().__init__(line)
        self.line = line


class NftEngine:
    """One namespace's packet filter.  Not for concurrent calls of ``apply``."""

    def __init__(
        self,
        netns: int | None,
        generation: Callable[[], int | None],
        transact: Transact,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        """``generation`` answers the ruleset's generation; None when the kernel does not tell."""
        self._netns = netns
        self._close, self._transact_messages = close, transact
        self._generation = generation
        self._known: dict[tuple[str, ...], bytes] = {}
        self._known_generation: int | None = None

    @classmethod
    def open(cls, netns: int | None) -> "NftEngine":
        """The engine of one namespace (None: this thread's)."""
        sock = NetlinkSocket.open(netns, protocol=NETLINK_NETFILTER)

        def generation() -> int | None:
            try:
                return decode_generation(sock.ask(Request(NFT_MSG_GETGEN, 0, NFGENMSG.pack(0, 0, 0), "nft")).payload)
            except KernelError:
                return None

        return cls(netns, generation, sock.transact, sock.close)

    def close(self) -> None:
        """Release the socket."""
        self._close()

    async def observe(self, keys: Iterable[NftTableKey | ChainAcceptKey]) -> list[KernelObject]:
        """The objects of ``keys`` that are there; without the tool that shows one it is not.  Raises KernelError.

        Whoever then wants to make it is told which tool is missing.
        """
        found: list[KernelObject] = []
        for key in keys:
            with suppress(Unsupported):
                obj = await (self._table(key) if isinstance(key, NftTableKey) else self._accept(key))
                found += [obj] if obj is not None else []
                found += await self._elements(obj.key) if isinstance(obj, NftTable) else []
        return found

    async def _elements(self, key: NftTableKey) -> tuple[NftElement, ...]:
        """What the sets of a table that was just observed hold."""
        with suppress(ToolFailure):
            return nft.decode_elements(key, await self._list("table", key.family, key.name))
        return ()

    async def dropping_chains(
        self, networks: tuple[IPNetwork, ...] = (), tunnels: tuple[str, ...] = ()
    ) -> tuple[DroppingChain, ...]:
        """Foreign base chains in the forward hook that drop the overlay's packets; none where nft is missing."""
        try:
            chains = await self._base_chains()
        except Unsupported:
            chains = ()
        foreign = nft.foreign_forward_chains(chains)
        by_rule = [found for chain in foreign if (found := await self._drops_by_rule(chain, networks, tunnels))]
        return (*nft.dropping_chains(chains), *by_rule, *await self._legacy_chains())

    async def _drops_by_rule(
        self, chain: nft.BaseChain, networks: tuple[IPNetwork, ...], tunnels: tuple[str, ...]
    ) -> DroppingChain | None:
        """The chain with the first rule that is sure to drop; what it jumps to is looked at, within bounds."""
        rules: dict[str, tuple[ForwardRule, ...]] = {}
        waiting = [chain.name]
        while waiting and len(rules) < MOST_CHAINS:
            name = waiting.pop(0)
            if name in rules:
                continue
            try:
                rules[name] = decode_forward_rules(await self._list("chain", chain.family, chain.table, name))
            except (ToolFailure, DecodeError):
                rules[name] = ()  # gone meanwhile, or not spelled as nft's grammar wants it
            waiting += [rule.target for rule in rules[name] if rule.target]
        drop = dropping_rule(chain.name, rules, networks, tunnels)
        if drop is None:
            return None
        where = next(name for name, found in rules.items() if drop in found)
        return DroppingChain(
            engine=nft.NFT,
            family=chain.family,
            table=chain.table,
            chain=chain.name,
            by_rule=f"{where} handle {drop.handle}",
        )

    async def apply(self, step: Step) -> KernelError | None:
        """Carry out one step in one transaction; None when done."""
        obj = step.obj if isinstance(step, Create | Delete) else step.after
        try:
            match obj:
                case NftTable():
                    await self._transact(nft.delete_table(obj) if isinstance(step, Delete) else nft.replace_table(obj))
                case ChainAccept(engine=nft.LEGACY):
                    await self._apply_legacy(obj, isinstance(step, Delete))
                case ChainAccept():
                    stale = nft.decode_own_rules(await self._list("chain", obj.family, obj.table, obj.chain))
                    wanted = nft.replace_accept(obj, stale)
                    await self._transact(nft.delete_own_rules(obj, stale) if isinstance(step, Delete) else wanted)
                case _:
                    raise AssertionError(f"{obj} is not a packet filter's object")
        except ToolFailure as failure:
            error = _kernel_error(failure, step)
            return None if isinstance(step, Delete) and error.target_missing else error
        return None

    def apply_elements(self, steps: Sequence[Step]) -> list[KernelError | None]:
        """Carry out steps about elements of sets, together."""
        self._known.clear()
        return apply_elements(self._transact_messages, steps)

    # -- nft --------------------------------------------------------------------------

    async def _table(self, key: NftTableKey) -> NftTable | None:
        chains = await self._base_chains()
        if not any((chain.family, chain.table) == (key.family, key.name) for chain in chains):
            return None
        try:
            return nft.decode_table(key, await self._list("table", key.family, key.name))
        except ToolFailure as failure:
            error = _kernel_error(failure, key)
            if error.target_missing:
                return None
            raise error from None

    async def _accept(self, key: ChainAcceptKey) -> ChainAccept | None:
        try:
            if key.engine == nft.LEGACY:
                return nft.chain_accept(key, await self._legacy_rules())
            output = await self._list("chain", key.family, key.table, key.chain)
        except ToolFailure as failure:
            error = _kernel_error(failure, key)
            if error.target_missing:
                return None
            raise error from None
        return nft.chain_accept(key, nft.decode_own_rules(output))

    async def _base_chains(self) -> tuple[nft.BaseChain, ...]:
        try:
            return nft.decode_base_chains(await self._list("chains"))
        except ToolFailure as failure:
            raise _kernel_error(failure, "nft list chains") from None
        except DecodeError as error:
            raise KernelError(EIO, "nft list chains", str(error)) from None

    async def _list(self, *what: str) -> bytes:
        """``nft -j list …``, remembered for as long as the ruleset's generation stays."""
        generation = self._generation()
        if generation is None or generation != self._known_generation:
            self._known.clear()
            self._known_generation = generation
        if what not in self._known:
            self._known[what] = await self._run((_tool("nft"), "-j", "list", *what))
        return self._known[what]

    async def _transact(self, text: str) -> None:
        self._known.clear()
        await self._run((_tool("nft"), "-f", "-"), text.encode())

    # -- the older iptables -----------------------------------------------------------

    async def _legacy_chains(self) -> tuple[DroppingChain, ...]:
        """FORWARD of the older engine, where that is in use and its policy is drop."""
        if not shutil.which("iptables-legacy") or "filter" not in await self._inside(_legacy_tables):
            return ()
        try:
            lines = await self._legacy("-S", "FORWARD")
        except ToolFailure:
            return ()
        if "-P FORWARD DROP" not in lines:
            return ()
        return (DroppingChain(engine=nft.LEGACY, family="ip", table="filter", chain="FORWARD"),)

    async def _legacy_rules(self) -> tuple[nft.OwnRule, ...]:
        matches = (_LEGACY_RULE.fullmatch(line) for line in await self._legacy("-S", "FORWARD"))
        return tuple(
            nft.OwnRule(0, _LEGACY_WAYS[found["way"]], ip_network(found["network"])) for found in matches if found
        )

    async def _apply_legacy(self, accept: ChainAccept, delete: bool) -> None:
        for rule in await self._legacy_rules():
            await self._legacy("-D", "FORWARD", *_legacy_match(rule.direction, str(rule.network)))
        if delete:
            return
        for network in accept.networks:
            if isinstance(network, IPv4Network):
                for way in ("saddr", "daddr"):
                    await self._legacy("-A", "FORWARD", *_legacy_match(way, str(network)))

    async def _legacy(self, *arguments: str) -> list[str]:
        return (await self._run((_tool("iptables-legacy"), "-w", *arguments))).decode().splitlines()

    # -- processes --------------------------------------------------------------------

    async def _run(self, command: Sequence[str], given: bytes = b"") -> bytes:
        return await self._inside(lambda: _output(command, given))

    async def _inside(self, function: Callable[[], T]) -> T:
        netns = self._netns
        return await asyncio.to_thread(function if netns is None else lambda: run_in(netns, function))


def decode_generation(payload: bytes) -> int | None:
    """The generation that an NFT_MSG_NEWGEN carries.  Source: nfnetlink.h, nf_tables.h (NFTA_GEN_ID, big-endian)."""
    offset = NFGENMSG.size
    while offset + 8 <= len(payload):
        length, kind = struct.unpack_from("=HH", payload, offset)
        if length < 4:
            return None
        if kind & 0x3FFF == 1 and length == 8:
            return int.from_bytes(payload[offset + 4 : offset + 8], "big")
        offset += (length + 3) & ~3
    return None


def _output(command: Sequence[str], given: bytes) -> bytes:
    """What ``command`` prints.  Raises ToolFailure."""
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, timeout=TIMEOUT_S, check=False, env=_environment()
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ToolFailure(str(error)) from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ToolFailure(lines[0] if lines else f"exit code {done.returncode}")
    return done.stdout


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}


def _tool(name: str) -> str:
    found = shutil.which(name, path=_environment()["PATH"] + ":/usr/sbin:/sbin")
    if found is None:
        raise Unsupported(name, f"install the package that has {name} (nftables, iptables)")
    return found


def _kernel_error(failure: ToolFailure, subject: object) -> KernelError:
    """The tool's line as an error; that something is not there is the one case that callers tell apart."""
    missing = "No such file or directory" in failure.line or "does not exist" in failure.line
    return KernelError(ENOENT if missing else EINVAL, subject, failure.line)


def _legacy_tables() -> str:
    try:
        return LEGACY_TABLES.read_text()
    except OSError:
        return ""


def _legacy_match(way: str, network: str) -> tuple[str, ...]:
    flag = "-s" if way == "saddr" else "-d"
    return (flag, network, "-m", "comment", "--comment", nft.FORWARD_MARK, "-j", "ACCEPT")
