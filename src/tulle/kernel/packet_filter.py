"""One namespace's packet filter: nftables and both engines of iptables behind one door.

Which engine a step belongs to is in its object; what each tool reads and writes is in ``nft`` and
``iptables``.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from errno import EOPNOTSUPP
from typing import Final

from tulle.errors import KernelError
from tulle.kernel.iptables import IptablesEngine
from tulle.kernel.nft import NftEngine
from tulle.kernel.tools import ToolFailure, Tools, find_tool, tool_error
from tulle.model.change import Change, Delete, Step
from tulle.model.network import DroppingChain, IPNetwork, PacketFilters
from tulle.model.objects import ChainAccept, ChainAcceptKey, FilterKey, IptablesKey, IptablesRules, KernelObject
from tulle.plan.text import format_step
from tulle.wire.nft import NFT

NO_NFTABLES: Final = "this kernel has no nftables: enable CONFIG_NF_TABLES"


class PacketFilter:
    """Not for concurrent calls of ``apply``."""

    def __init__(self, nft: NftEngine | None, iptables: IptablesEngine) -> None:
        """``nft`` None: this kernel has no nfnetlink."""
        self._nft, self._iptables = nft, iptables

    @classmethod
    def open(cls, netns: int | None) -> "PacketFilter":
        """The packet filter of one namespace (None: this thread's)."""
        nft: NftEngine | None = None
        with suppress(KernelError):  # a kernel without nfnetlink still has everything else
            nft = NftEngine.open(netns)
        in_use = nft.holds_iptables_rules if nft is not None else _never
        return cls(nft, IptablesEngine(Tools(netns), nft.generation if nft is not None else lambda: None, in_use))

    @classmethod
    def none(cls) -> "PacketFilter":
        """For a namespace whose rules are never asked for: it opens nothing."""
        return cls(None, IptablesEngine(Tools(None), lambda: None, _never))

    def close(self) -> None:
        """Release the socket."""
        if self._nft is not None:
            self._nft.close()

    async def observe(self, keys: Collection[FilterKey]) -> list[KernelObject]:
        """The objects of ``keys`` that are there.  Raises KernelError."""
        theirs = [key for key in keys if isinstance(key, IptablesKey | ChainAcceptKey) and key.engine != NFT]
        found: list[KernelObject] = []
        try:
            found += await self._iptables.observe(theirs)
        except ToolFailure as failure:
            raise tool_error(failure, "iptables-save") from None
        if self._nft is not None:
            others = (key for key in keys if not isinstance(key, IptablesKey))
            found += await self._nft.observe(key for key in others if key not in theirs)
        return found

    async def apply(self, step: Step) -> KernelError | None:
        """Carry out one step; None when done.  Raises Unsupported, DecodeError."""
        obj = step.after if isinstance(step, Change) else step.obj
        named = "; ".join(format_step(step)[:1])
        engine = self._engine_of(obj)
        if engine is None:
            return KernelError(EOPNOTSUPP, named, NO_NFTABLES)
        try:
            await engine.apply(step)
        except ToolFailure as failure:
            error = tool_error(failure, named)
            return None if isinstance(step, Delete) and error.target_missing else error
        return None

    def apply_elements(self, steps: Sequence[Step]) -> list[KernelError | None]:
        """Carry out steps about elements of nft's sets, together."""
        if self._nft is None:
            return [KernelError(EOPNOTSUPP, "; ".join(format_step(step)), NO_NFTABLES) for step in steps]
        return self._nft.apply_elements(steps)

    async def dropping_chains(
        self, networks: tuple[IPNetwork, ...] = (), tunnels: tuple[str, ...] = ()
    ) -> tuple[DroppingChain, ...]:
        """Foreign base chains in the forward hook that drop the overlay's packets.  Raises KernelError."""
        native = await self._nft.dropping_chains(networks, tunnels) if self._nft is not None else ()
        try:
            return (*native, *await self._iptables.dropping_chains())
        except ToolFailure as failure:
            raise tool_error(failure, "iptables-save") from None

    async def facts(self) -> PacketFilters:
        """Which engines there are.  Raises KernelError."""
        native = {NFT} if self._nft is not None and find_tool(NFT) else set[str]()
        try:
            legacy_rules = await self._iptables.legacy_rules()
        except ToolFailure as failure:
            raise tool_error(failure, "iptables-save") from None
        return PacketFilters(engines=await self._iptables.engines() | native, legacy_rules=legacy_rules)

    def _engine_of(self, obj: object) -> NftEngine | IptablesEngine | None:
        match obj:
            case IptablesRules() | ChainAccept(engine="iptables-legacy"):
                return self._iptables
            case _:
                return self._nft


async def _never(_: int) -> bool:
    return False
