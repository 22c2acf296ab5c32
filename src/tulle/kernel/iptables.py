"""iptables through its own tools: ``iptables-save`` shows, ``iptables-restore --noflush`` writes.

There are two engines.  The rules of iptables-nft live in nftables, whose generation tells whether
anything changed; the older one announces nothing and is read each time it is asked about, but
only where it is in use at all: the kernel lists the tables that exist, and asking must not make one.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from tulle.errors import DecodeError, Unsupported
from tulle.kernel.tools import ToolFailure, Tools, find_tool
from tulle.model.change import Change, Create, Delete, Step
from tulle.model.network import DroppingChain
from tulle.model.objects import ChainAccept, ChainAcceptKey, IptablesKey, IptablesRules
from tulle.wire import iptables

LEGACY_TABLES: Final = {
    4: Path("/proc/thread-self/net/ip_tables_names"),
    6: Path("/proc/thread-self/net/ip6_tables_names"),
}
FAMILIES: Final = {4: "ip", 6: "ip6"}
_PLAIN: Final[Mapping[str, str]] = {"(nf_tables)": iptables.NFT_VARIANT, "(legacy)": iptables.LEGACY}
"""What ``iptables --version`` ends in, where the engine has no name of its own."""


class IptablesEngine:
    """One namespace's iptables tables, of both engines.  Not for concurrent calls of ``apply``."""

    def __init__(
        self, tools: Tools, generation: Callable[[], int | None], in_use: Callable[[int], Awaitable[bool]]
    ) -> None:
        """``generation`` answers that of the nftables ruleset; None when the kernel does not tell.

        ``in_use``: may iptables-nft show anything of interest for this IP version?
        """
        self._tools, self._generation, self._in_use = tools, generation, in_use
        self._known: dict[int, bytes] = {}
        self._known_generation: int | None = None
        self._prefixes: dict[tuple[str, int], str | None] = {}

    async def observe(self, keys: Iterable[IptablesKey | ChainAcceptKey]) -> list[IptablesRules | ChainAccept]:
        """The objects of ``keys`` that are there; none in an engine whose tool is not."""
        saved: dict[tuple[str, int], bytes] = {}
        found: list[IptablesRules | ChainAccept] = []
        for key in keys:
            version = key.version if isinstance(key, IptablesKey) else _version(key.family)
            engine = key.engine
            if (engine, version) not in saved:
                saved[engine, version] = await self._save(engine, version)
            obj = _decoded(key, saved[engine, version])
            found += [obj] if obj is not None else []
        return found

    async def apply(self, step: Step) -> None:
        """Carry out a step on our rules, or on an accept of ours in the older engine.  Raises ToolFailure, Unsupported.

        One transaction for each table.
        """
        before = step.obj if isinstance(step, Delete) else step.before if isinstance(step, Change) else None
        after = step.obj if isinstance(step, Create) else step.after if isinstance(step, Change) else None
        match before or after:
            case IptablesRules(engine=engine, version=version):
                old = before if isinstance(before, IptablesRules) else None
                new = after if isinstance(after, IptablesRules) else None
                await self._restore(engine, version, iptables.restore_text(old, new))
            case ChainAccept() as accept:
                await self._apply_accept(accept, after is None)
            case obj:
                raise AssertionError(f"{obj} is not of iptables")

    async def engines(self) -> frozenset[str]:
        """The engines whose tools are installed."""
        return frozenset([engine for engine in iptables.VARIANTS if await self._prefix(engine, 4) is not None])

    async def legacy_rules(self) -> bool:
        """Do the older engine's tables hold rules of anybody?"""
        return any([iptables.holds_rules(await self._save(iptables.LEGACY, version)) for version in (4, 6)])

    async def dropping_chains(self) -> tuple[DroppingChain, ...]:
        """FORWARD of the older engine, of each IP version whose policy is drop."""
        return tuple(
            [
                DroppingChain(engine=iptables.LEGACY, family=family, table="filter", chain="FORWARD")
                for version, family in FAMILIES.items()
                if iptables.forward_drops(await self._save(iptables.LEGACY, version))
            ]
        )

    async def _apply_accept(self, accept: ChainAccept, delete: bool) -> None:
        version = _version(accept.family)
        found = iptables.decode_accepts(await self._save(accept.engine, version))
        stale = [network for way, network in found if network is not None and way == "s"]
        await self._restore(accept.engine, version, iptables.accept_text(stale, () if delete else accept.networks))

    async def _save(self, engine: str, version: int) -> bytes:
        """What ``iptables-save`` prints; nothing where the engine is not in use or its tool not there."""
        if engine == iptables.LEGACY:
            if not await self._tools.inside(lambda: _legacy_tables(version)):
                return b""
            return await self._saved(engine, version)
        generation = self._generation()
        if generation is None or generation != self._known_generation:
            self._known.clear()
            self._known_generation = generation
        if version not in self._known:
            self._known[version] = await self._saved(engine, version) if await self._in_use(version) else b""
        return self._known[version]

    async def _saved(self, engine: str, version: int) -> bytes:
        prefix = await self._prefix(engine, version)
        return b"" if prefix is None else await self._tools.run(f"{prefix}-save")

    async def _restore(self, engine: str, version: int, text: str) -> None:
        self._known.clear()
        prefix = await self._prefix(engine, version)
        if prefix is None:
            raise Unsupported(engine, "install the package iptables")
        await self._tools.run(f"{prefix}-restore", "--noflush", "-w", given=text.encode())

    async def _prefix(self, engine: str, version: int) -> str | None:
        """What the names of an engine's tools begin with: its own, or the plain one where that is this engine."""
        if (engine, version) not in self._prefixes:
            self._prefixes[engine, version] = await self._find(engine, version)
        return self._prefixes[engine, version]

    async def _find(self, engine: str, version: int) -> str | None:
        plain = "iptables" if version == 4 else "ip6tables"
        own = engine.replace("iptables", plain)
        if find_tool(f"{own}-save") and find_tool(f"{own}-restore"):
            return own
        with suppress(ToolFailure, Unsupported):
            said = (await self._tools.run(plain, "--version")).decode(errors="replace").split()
            if said and _PLAIN.get(said[-1], iptables.LEGACY) == engine and find_tool(f"{plain}-save"):
                return plain
        return None


def _decoded(key: IptablesKey | ChainAcceptKey, saved: bytes) -> IptablesRules | ChainAccept | None:
    try:
        if isinstance(key, IptablesKey):
            return iptables.decode_rules(saved, key.engine, key.version, iptables.OWNERS[key.owner])
        return _accept(key, saved)
    except DecodeError as error:
        raise ToolFailure(str(error)) from None


def _accept(key: ChainAcceptKey, saved: bytes) -> ChainAccept | None:
    """What our accepts amount to; anything double, half or odd makes them differ from every wanted set."""
    found = iptables.decode_accepts(saved)
    if not found:
        return None
    networks = tuple(dict.fromkeys(network for _, network in found if network is not None))
    exact = sorted(map(str, found)) == sorted(str((way, network)) for network in networks for way in ("s", "d"))
    whole = networks if exact else ()
    return ChainAccept(engine=key.engine, family=key.family, table=key.table, chain=key.chain, networks=whole)


def _version(family: str) -> int:
    return 6 if family == "ip6" else 4


def _legacy_tables(version: int) -> str:
    """The tables of the older engine that exist here."""
    try:
        return LEGACY_TABLES[version].read_text()
    except OSError:
        return ""
