"""nftables through its own tool, as a process in the node's namespace.

The ruleset's generation (one small netlink question) tells whether anything changed at all, so
that a quiet node starts no process.  Chains that iptables-nft made are read and written here too:
it shows our native rules as its own.
"""

import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from errno import EIO
from typing import Final, TypeVar

from tulle.errors import DecodeError, KernelError, Unsupported
from tulle.kernel.netlink_socket import NETLINK_NETFILTER, NetlinkSocket
from tulle.kernel.nft_elements import Transact, apply_elements
from tulle.kernel.tools import ToolFailure, Tools, tool_error
from tulle.model.change import Create, Delete, Step
from tulle.model.network import DroppingChain, IPNetwork
from tulle.model.objects import ChainAccept, ChainAcceptKey, KernelObject, NftElement, NftTable, NftTableKey
from tulle.plan.dropping import dropping_rule
from tulle.wire import iptables, nft
from tulle.wire.netlink import Request
from tulle.wire.nft_elements import NFGENMSG
from tulle.wire.nft_rules import ForwardRule, decode_forward_rules

T = TypeVar("T")

NFT_MSG_GETGEN: Final = 10 << 8 | 16
"""Subsystem nf_tables, message GETGEN.  Source: nfnetlink.h, nf_tables.h."""
MOST_CHAINS: Final = 16
"""So many chains of one foreign table are listed at most, a process each."""


class NftEngine:
    """One namespace's nftables.  Not for concurrent calls of ``apply``."""

    def __init__(
        self,
        tools: Tools,
        generation: Callable[[], int | None],
        transact: Transact,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        """``generation`` answers the ruleset's generation; None when the kernel does not tell."""
        self._tools = tools
        self._close, self._transact_messages = close, transact
        self.generation = generation
        self._known: dict[tuple[str, ...], bytes] = {}
        self._known_generation: int | None = None

    @classmethod
    def open(cls, netns: int | None) -> "NftEngine":
        """The engine of one namespace (None: this thread's).  Raises KernelError: the kernel has no nfnetlink."""
        sock = NetlinkSocket.open(netns, protocol=NETLINK_NETFILTER)

        def generation() -> int | None:
            try:
                return decode_generation(sock.ask(Request(NFT_MSG_GETGEN, 0, NFGENMSG.pack(0, 0, 0), "nft")).payload)
            except KernelError:
                return None

        return cls(Tools(netns), generation, sock.transact, sock.close)

    def close(self) -> None:
        """Release the socket."""
        self._close()

    async def observe(self, keys: Iterable[NftTableKey | ChainAcceptKey]) -> list[KernelObject]:
        """The objects of ``keys`` that are there; without nft, none is.  Raises KernelError.

        Whoever then wants to make one is told which tool is missing.
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
            return ()
        foreign = nft.foreign_forward_chains(chains)
        by_rule = [found for chain in foreign if (found := await self._drops_by_rule(chain, networks, tunnels))]
        return (*nft.dropping_chains(chains), *by_rule)

    async def holds_iptables_rules(self, version: int) -> bool:
        """May iptables-nft have something to show of tulle or flannel?  Raises KernelError."""
        try:
            chains = await self._read("chains", nft.chain_names)
        except Unsupported:
            return True
        family = "ip" if version == 4 else "ip6"
        return any((family, chain) in chains for owner in iptables.OWNERS.values() for chain in owner.chains)

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

    async def apply(self, step: Step) -> None:
        """Carry out one step in one transaction.  Raises ToolFailure, Unsupported, DecodeError."""
        obj = step.obj if isinstance(step, Create | Delete) else step.after
        match obj:
            case NftTable():
                await self._transact(nft.delete_table(obj) if isinstance(step, Delete) else nft.replace_table(obj))
            case ChainAccept():
                stale = nft.decode_own_rules(await self._list("chain", obj.family, obj.table, obj.chain))
                wanted = nft.replace_accept(obj, stale)
                await self._transact(nft.delete_own_rules(obj, stale) if isinstance(step, Delete) else wanted)
            case _:
                raise AssertionError(f"{obj} is not of nftables")

    def apply_elements(self, steps: Sequence[Step]) -> list[KernelError | None]:
        """Carry out steps about elements of sets, together."""
        self._known.clear()
        return apply_elements(self._transact_messages, steps)

    async def _table(self, key: NftTableKey) -> NftTable | None:
        if (key.family, key.name) not in await self._read("tables", nft.table_names):
            return None
        try:
            return nft.decode_table(key, await self._list("table", key.family, key.name))
        except ToolFailure as failure:
            error = tool_error(failure, key)
            if error.target_missing:
                return None
            raise error from None

    async def _accept(self, key: ChainAcceptKey) -> ChainAccept | None:
        place = (key.family, key.table, key.chain)
        if place not in {(chain.family, chain.table, chain.name) for chain in await self._base_chains()}:
            return None
        try:
            output = await self._list("chain", key.family, key.table, key.chain)
        except ToolFailure as failure:
            error = tool_error(failure, key)
            if error.target_missing:
                return None
            raise error from None
        return nft.chain_accept(key, nft.decode_own_rules(output))

    async def _base_chains(self) -> tuple[nft.BaseChain, ...]:
        return await self._read("chains", nft.decode_base_chains)

    async def _read(self, what: str, decode: Callable[[bytes], T]) -> T:
        """``nft list WHAT``, decoded.  Raises KernelError."""
        try:
            return decode(await self._list(what))
        except ToolFailure as failure:
            raise tool_error(failure, f"nft list {what}") from None
        except DecodeError as error:
            raise KernelError(EIO, f"nft list {what}", str(error)) from None

    async def _list(self, *what: str) -> bytes:
        """``nft -j list …``, remembered for as long as the ruleset's generation stays."""
        generation = self.generation()
        if generation is None or generation != self._known_generation:
            self._known.clear()
            self._known_generation = generation
        if what not in self._known:
            self._known[what] = await self._tools.run("nft", "-j", "list", *what)
        return self._known[what]

    async def _transact(self, text: str) -> None:
        self._known.clear()
        await self._tools.run("nft", "-f", "-", given=text.encode())


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
