"""Addresses for pods, as files: one for each address, whose content says whose it is.

The format is host-local's, so that a node can change between it and tulle.  A file is made
exclusively and synced before the address is used: after a crash at any point an address is
either free or its owner is on disk.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_address, ip_interface
from itertools import chain, islice
from pathlib import Path
from typing import Final

from tulle.cni.attach import gateway_of
from tulle.model.network import IPAddress
from tulle.wire.cni import ALREADY_ATTACHED, EXHAUSTED, IO_FAILURE, CniError

CONTENT_LIMIT: Final = 1024
SCAN_LIMIT: Final = 1 << 16
"""So many addresses of a subnet are tried: more than any node has pods, also in an IPv6 subnet."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The allocations of one network on this node, in ``folder``."""

    folder: Path

    def allocate(
        self, owner: tuple[str, str], subnets: tuple[IPv4Network | IPv6Network, ...]
    ) -> tuple[IPv4Interface | IPv6Interface, ...]:
        """One address of each subnet for ``owner`` (container id, interface), durable when this returns.

        The one after the last given comes first, so that an address rests before it is used again.
        Raises CniError: the owner has addresses already, none is left, or the disk fails.
        """
        try:
            with self._locked():
                if owner in self._owners().values():
                    raise CniError(ALREADY_ATTACHED, f"{owner[0]} {owner[1]}", "has its addresses already: DEL first")
                return self._allocate_all(owner, subnets)
        except OSError as error:
            raise CniError(IO_FAILURE, f"addresses in {self.folder}", error.strerror or str(error)) from error

    def release(self, owner: tuple[str, str]) -> None:
        """Give back whatever ``owner`` has; nothing is fine.  Raises CniError: the disk fails."""
        try:
            if not self.folder.is_dir():
                return
            with self._locked():
                for name, found in self._owners().items():
                    if found == owner:
                        (self.folder / name).unlink(missing_ok=True)
                _sync(self.folder)
        except OSError as error:
            raise CniError(IO_FAILURE, f"addresses in {self.folder}", error.strerror or str(error)) from error

    def of(self, owner: tuple[str, str]) -> tuple[IPAddress, ...]:
        """The addresses of ``owner``, IPv4 first."""
        found = [ip_address(name) for name, holder in self._owners().items() if holder == owner]
        return tuple(sorted(found, key=lambda ip: (ip.version, int(ip))))

    def owners(self) -> frozenset[tuple[str, str]]:
        """Everybody who has an address."""
        return frozenset(self._owners().values())

    def _allocate_all(
        self, owner: tuple[str, str], subnets: tuple[IPv4Network | IPv6Network, ...]
    ) -> tuple[IPv4Interface | IPv6Interface, ...]:
        made: list[IPv4Interface | IPv6Interface] = []
        try:
            for number, subnet in enumerate(subnets):
                made.append(self._allocate_one(owner, subnet, number))
        except BaseException:
            for interface in made:
                (self.folder / str(interface.ip)).unlink(missing_ok=True)
            raise
        _sync(self.folder)
        return tuple(made)

    def _allocate_one(
        self, owner: tuple[str, str], subnet: IPv4Network | IPv6Network, number: int
    ) -> IPv4Interface | IPv6Interface:
        last = self.folder / f"last_reserved_ip.{number}"
        for ip in _in_turn(subnet, _address(_read(last))):
            if self._claim(str(ip), owner):
                _write(last, str(ip).encode(), os.O_TRUNC)
                return ip_interface((ip, subnet.prefixlen))
        raise CniError(
            EXHAUSTED, f"subnet {subnet}", "every address is in use: delete pods, or give nodes larger subnets"
        )

    def _claim(self, name: str, owner: tuple[str, str]) -> bool:
        try:
            _write(self.folder / name, f"{owner[0]}\r\n{owner[1]}".encode(), os.O_EXCL)
        except FileExistsError:
            return False
        return True

    def _owners(self) -> dict[str, tuple[str, str]]:
        """Owner by address; a file that was cut short has the owner ("", "")."""
        if not self.folder.is_dir():
            return {}
        names = [name for name in os.listdir(self.folder) if _address(name) is not None]
        return {name: _owner(_read(self.folder / name)) for name in names}

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Against offline plugins, which are processes of their own."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _in_turn(subnet: IPv4Network | IPv6Network, last: IPAddress | None) -> Iterator[IPAddress]:
    """Every address that a pod can have, beginning after ``last``: not the base, the gateway or the broadcast."""
    gateway = gateway_of(subnet)
    first, end = int(gateway) + 1, int(subnet[-1]) + (0 if subnet.version == 4 else 1)
    begin = int(last) + 1 if last is not None and last in subnet and first <= int(last) < end else first
    numbers = chain(range(begin, end), range(first, begin))
    make = IPv4Address if subnet.version == 4 else type(subnet[0])
    return (make(number) for number in islice(numbers, SCAN_LIMIT))


def _owner(content: str) -> tuple[str, str]:
    container_id, _, ifname = content.replace("\r\n", "\n").strip().partition("\n")
    return container_id, ifname


def _address(text: str) -> IPAddress | None:
    try:
        return ip_address(text.strip())
    except ValueError:
        return None


def _read(path: Path) -> str:
    """The content; "" when there is none, or what is there is no plain file of ours."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            return file.read(CONTENT_LIMIT).decode(errors="replace")
    return ""


def _write(path: Path, content: bytes, how: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | how
    with open(os.open(path, flags, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
