"""Which addresses are in use on a node, whichever network has them: two names may share its subnet."""

import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from tulle.cni.host_local import is_address
from tulle.cni.listing import Listing


@dataclass(slots=True)
class InUse:
    """What the folders below ``path`` say, one for each network, whoever serves it."""

    path: Path
    _networks: Listing = field(init=False)
    _addresses: dict[str, Listing] = field(default_factory=dict[str, Listing])

    def __post_init__(self) -> None:
        self._networks = Listing(str(self.path), _is_folder)

    def anywhere(self) -> frozenset[str]:
        """The addresses of all networks.  Raises OSError: a folder cannot be read."""
        return self.elsewhere("")

    def elsewhere(self, network: str) -> frozenset[str]:
        """The addresses of all networks but this one.  Raises OSError: a folder cannot be read."""
        others = (name for name in self._networks.names() if name != network)
        return _union(tuple(self._of(name).names() for name in others))

    def _of(self, network: str) -> Listing:
        if network not in self._addresses:
            self._addresses[network] = Listing(str(self.path / network), _has_address)
        return self._addresses[network]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False)


def _has_address(entry: os.DirEntry[str]) -> bool:
    return is_address(entry.name)


@lru_cache(maxsize=32)
def _union(sets: tuple[frozenset[str], ...]) -> frozenset[str]:
    """Of the sets of a moment ago, which hardly ever change."""
    return frozenset[str]().union(*sets)
