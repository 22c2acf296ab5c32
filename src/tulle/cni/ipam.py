"""Addresses for pods, as files: one for each address, whose content says whose it is.

The format is host-local's, so that a node can change between it and tulle.  After a crash at any
point an address is either free or its owner is in its file.  ``released`` is ours: the addresses
that were given back, in that order, so that the one that has been free for longest comes first.
"""

import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface
from typing import Final, TypeAlias

from tulle.cni.files import Files, Folder
from tulle.cni.holdings import Holdings
from tulle.cni.host_local import Owner, format_owner, ip_of, is_address, is_damaged, parse_address, parse_owner
from tulle.cni.pools import Pool, Subnet, choose_pools
from tulle.model.network import IPAddress
from tulle.wire.cni_error import ADDRESS_OUTSIDE, ADDRESS_TAKEN, ALREADY_ATTACHED, EXHAUSTED, CniError
from tulle.wire.cni_ranges import AddressRange

RELEASED: Final = "released"
LISTED_S: Final = 1.0
"""A folder whose time has not changed is listed again after so long: others may change it within one tick."""
RELEASED_LIMIT: Final = 32 << 10
"""A longer list of what was given back is written anew, without what is in use again."""

Interfaces: TypeAlias = tuple[IPv4Interface | IPv6Interface, ...]


@dataclass(slots=True)
class Addresses:
    """The allocations of one network on this node, in ``folder``.  What is remembered is checked each time.

    ``elsewhere`` names the addresses that other networks of the node use, which may share the subnet.
    """

    folder: Folder
    elsewhere: Callable[[], frozenset[str]] = frozenset
    _last: dict[str, str] = field(default_factory=dict[str, str])
    _written: dict[str, str] = field(default_factory=dict[str, str])
    _lost: dict[str, Owner] = field(default_factory=dict[str, Owner])
    _holdings: Holdings = field(default_factory=Holdings)
    _seen: dict[str, int] = field(default_factory=dict[str, int])
    """The inode of every file; 0: ours, made since."""
    _released_size: int = -1
    _changed_ns: int = 0
    """The folder's time when it held what is remembered."""
    _listed_s: float = 0.0

    def allocate(
        self,
        owner: Owner,
        subnets: tuple[Subnet, ...],
        wanted: tuple[IPAddress, ...] = (),
        journal: Callable[[Interfaces], None] = lambda _: None,
        ranges: tuple[AddressRange, ...] = (),
        *,
        looked: bool = False,
    ) -> Interfaces:
        """One address of each subnet for ``owner``: the wanted one, else the longest free; within ``ranges``, if any.

        ``journal`` hears the choice before anything is claimed.  ``looked``: ``take_lost`` has just been asked; what
        came since is met when it is claimed, and nothing is refused without a look.  Raises CniError: the owner has
        addresses already, none is left, a wanted one is in use or outside, or so is a range; OSError: the disk fails.
        """
        pools = choose_pools(subnets, ranges)
        with self.folder.locked() as files:
            is_as_known = files.changed_ns() == self._changed_ns
            self._read_released(files)
            if not looked:
                self._remember(files.names(), files.read)
            try:
                chosen = self._choose(files, owner, pools, wanted)
            except CniError:
                self._remember(files.names(), files.read)
                chosen = self._choose(files, owner, pools, wanted)
            journal(chosen)
            while not self._claim_all(files, owner, chosen):
                self._remember(files.names(), files.read)  # a process that does not know the lock was faster
                chosen = self._choose(files, owner, pools, wanted)
                journal(chosen)
            self._last.update({f"last_reserved_ip.{number}": str(each.ip) for number, each in enumerate(chosen)})
            if is_as_known:
                self._changed_ns = files.changed_ns()
            return chosen

    def release(self, owner: Owner, recorded: Iterable[IPAddress] = ()) -> tuple[IPAddress, ...]:
        """Give back whatever ``owner`` has, and say what it was; nothing is fine.

        ``recorded``: what it was given, so that a damaged file of it is known.  Raises OSError: the disk fails.
        """
        if not self.folder.exists():
            return ()
        with self.folder.locked() as files:
            self._refresh(files)
            damaged = {str(ip) for ip in recorded if str(ip) in self._held}
            found = [name for name, held_by in self._held.items() if held_by == owner or name in damaged]
            freed: list[str] = []
            for name in found:
                content = files.read(name)
                if parse_owner(content) == owner or (name in damaged and is_damaged(content, owner)):
                    files.remove(name)
                    freed.append(name)
                    self._holdings.give_back(name)
                else:
                    self._holdings.lose([name])
                del self._seen[name]  # what stays is read again
            with suppress(OSError):  # the order is a wish, the addresses are free
                self._note_released(files, freed)
            self._changed_ns = files.changed_ns()
        return _sorted(freed)

    def restore(self, owner: Owner, addresses: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
        """Claim again what a living ``owner`` has, where the file is missing or damaged; what somebody else holds now.

        Raises OSError: the disk fails.
        """
        taken: list[IPAddress] = []
        with self.folder.locked() as files:
            self._refresh(files)
            for ip in addresses:
                holder = self._held.get(str(ip))
                if holder is None:
                    files.create(str(ip), format_owner(owner))
                elif holder == owner:
                    continue
                elif is_damaged(files.read(str(ip)), owner):
                    files.replace(str(ip), format_owner(owner))
                else:
                    taken.append(ip)
            self._holdings.lose(self._held)
            self._seen.clear()
            self._changed_ns = 0
        return tuple(taken)

    def note_last(self) -> None:
        """Write which address was given last, where host-local looks: now and then, since it costs more than an ADD.

        Raises OSError: the disk fails.
        """
        news = {name: last for name, last in self._last.items() if last and self._written.get(name) != last}
        if news:
            with self.folder.locked() as files:
                for name, last in news.items():
                    files.replace(name, last.encode(), hint=True)
                self._written.update(news)

    def take_lost(self) -> Mapping[Owner, tuple[IPAddress, ...]]:
        """What somebody else removed since the last question, for who knows whether its owner still lives.

        As the folder's time tells, or a look, but for what was removed in the very tick of a change of ours.
        """
        changed_ns, now = self.folder.changed_ns(), time.monotonic()
        if changed_ns != self._changed_ns or now - self._listed_s >= LISTED_S:
            self._look()
            self._changed_ns, self._listed_s = changed_ns, now
        lost, self._lost = self._lost, {}
        return _by_owner(lost)

    def of(self, owner: Owner) -> tuple[IPAddress, ...]:
        """The addresses of ``owner``, IPv4 first."""
        return _sorted(name for name, held_by in self._look().items() if held_by == owner)

    def owners(self) -> Mapping[Owner, tuple[IPAddress, ...]]:
        """Everybody who has an address; ``NOBODY`` has those whose file was cut short."""
        return _by_owner(self._look())

    @property
    def given_back(self) -> Collection[str]:
        """What was given back, in this order, some of it in use again; as of the last look."""
        return self._holdings.released

    @property
    def _held(self) -> Mapping[str, Owner]:
        return self._holdings.held

    # -- choosing ----------------------------------------------------------------------

    def _choose(self, files: Files, owner: Owner, pools: tuple[Pool, ...], wanted: tuple[IPAddress, ...]) -> Interfaces:
        if owner in self._held.values():
            raise CniError(ALREADY_ATTACHED, f"{owner[0]} {owner[1]}", "has its addresses already")
        for ip in wanted:
            if not any(ip in pool for pool in pools):
                raise CniError(ADDRESS_OUTSIDE, f"address {ip}", f"is no pod's of {', '.join(map(str, pools))}")
        elsewhere = self.elsewhere()
        chosen: list[IPv4Interface | IPv6Interface] = []
        for number, pool in enumerate(pools):
            asked = next((ip for ip in wanted if ip in pool), None)
            if asked is not None and (str(asked) in self._held or str(asked) in elsewhere):
                raise CniError(ADDRESS_TAKEN, f"address {asked}", "is in use")
            last = self._last_given(files, f"last_reserved_ip.{number}")
            ip = asked if asked is not None else self._holdings.longest_free(pool, last, elsewhere)
            if ip is None:
                raise CniError(EXHAUSTED, str(pool), f"all its {pool.capacity} addresses are in use")
            chosen.append(_interface(ip, pool.subnet.prefixlen))
        return tuple(chosen)

    def _last_given(self, files: Files, name: str) -> IPAddress | None:
        if name not in self._last:
            found = parse_address(files.read(name))
            self._last[name] = self._written[name] = "" if found is None else str(found)
        return ip_of(self._last[name]) if self._last[name] else None

    def _claim_all(self, files: Files, owner: Owner, chosen: Interfaces) -> bool:
        made: list[str] = []
        try:
            for interface in chosen:
                if not files.create(str(interface.ip), format_owner(owner)):
                    return False
                made.append(str(interface.ip))
            claimed, made = made, []
            for name in claimed:
                self._holdings.hold(name, owner)
                self._seen[name] = 0
            return True
        finally:
            for name in made:
                files.remove(name)

    # -- remembering -------------------------------------------------------------------

    def _look(self) -> Mapping[str, Owner]:
        self._remember(self.folder.names(), self.folder.read)
        return self._held

    def _refresh(self, files: Files) -> None:
        self._remember(files.names(), files.read)
        self._read_released(files)

    def _read_released(self, files: Files) -> None:
        if files.size(RELEASED) == max(0, self._released_size):
            return
        content = files.read(RELEASED) or b""
        lines = content.decode(errors="replace").splitlines()
        self._holdings.set_released(filter(is_address, lines))
        self._released_size = len(content)

    def _remember(self, names: Mapping[str, int], read: Callable[[str], bytes | None]) -> None:
        """Read what is new; an inode tells a file that was made again."""
        self._lost.update(self._holdings.lose(self._held.keys() - names.keys()))
        for name, _ in names.items() - self._seen.items():
            if self._seen.get(name) != 0 and is_address(name):
                self._holdings.hold(name, parse_owner(read(name)))
        self._seen = dict(names)

    def _note_released(self, files: Files, names: Iterable[str]) -> None:
        lines = "".join(f"{name}\n" for name in names).encode()
        if not lines:
            return
        if self._released_size + len(lines) > RELEASED_LIMIT:
            lines = "".join(f"{name}\n" for name in self._holdings.released if name not in self._held).encode()
            files.replace(RELEASED, lines, hint=True)
            self._released_size = len(lines)
        else:
            files.append(RELEASED, lines)
            self._released_size = max(0, self._released_size) + len(lines)


def _interface(ip: IPAddress, prefixlen: int) -> IPv4Interface | IPv6Interface:
    """From the number: else the library writes the address down to read it again."""
    return (IPv4Interface if isinstance(ip, IPv4Address) else IPv6Interface)((int(ip), prefixlen))


def _by_owner(owners: Mapping[str, Owner]) -> Mapping[Owner, tuple[IPAddress, ...]]:
    found: dict[Owner, list[str]] = {}
    for name, owner in owners.items():
        found.setdefault(owner, []).append(name)
    return {owner: _sorted(names) for owner, names in found.items()}


def _sorted(names: Iterable[str]) -> tuple[IPAddress, ...]:
    return tuple(sorted(map(ip_of, names), key=lambda ip: (ip.version, int(ip))))
