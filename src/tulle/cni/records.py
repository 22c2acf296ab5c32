"""What tulle attached, one small file for each attachment, written before anything is made.

With it a pod's addresses survive the loss of their files, and an attachment of an earlier boot or
of a namespace that is gone is known as dead.  An address file without a record is somebody
else's work (host-local's) and never judged by what is here.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from ipaddress import ip_address, ip_interface
from typing import Final

import msgspec

from tulle.cni.files import Folder
from tulle.cni.host_local import Owner
from tulle.model.network import IPAddress
from tulle.wire.cni_ipam import Delegate

SUFFIX: Final = ".json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One attachment.  ``device`` is the pair's end on the node; ``boot_id`` says which boot it lives in.

    ``addresses`` have their prefix length, as text.  ``mac`` is the pod's, "" when a version before wrote the record.
    ``guard``: what comes out of the pod is checked.  ``ipam``: who gave the addresses, None when tulle did; until that
    plugin has answered there are none.  ``masquerade``: the pod is hidden behind the node, except towards these
    networks; None when it is not, or the node's own rules do it.  ``bridge`` is "" for a routed pod.
    """

    network: str
    container_id: str
    ifname: str
    netns: str
    boot_id: str
    device: str
    bridge: str
    addresses: tuple[str, ...]
    mac: str = ""
    guard: bool = False
    ipam: Delegate | None = None
    masquerade: tuple[str, ...] | None = None

    @property
    def owner(self) -> Owner:
        return self.container_id, self.ifname

    @property
    def has_rules(self) -> bool:
        """Is anything in the packet filter about this pod alone?"""
        return self.guard or self.masquerade is not None

    @property
    def ips(self) -> tuple[IPAddress, ...]:
        """The addresses alone."""
        return tuple(_ip_of(text) for text in self.addresses)


@dataclass(frozen=True, slots=True)
class Records:
    """The records of one network.  What is remembered tells what was lost, and what rules are made from.

    ``strangers``: those who have addresses and no pod of ours, so that nobody looks for a record of theirs again.
    """

    folder: Folder
    strangers: set[Owner] = field(default_factory=set[Owner])
    _known: dict[Owner, Record] = field(default_factory=dict[Owner, Record])

    def put(self, record: Record) -> None:
        """Write or replace one.  Raises OSError."""
        with self.folder.locked(0o700) as files:
            files.replace(_name(record.owner), encode_record(record))
        self._known[record.owner] = record
        self.strangers.discard(record.owner)

    def remove(self, owner: Owner) -> None:
        """Remove one, and what was never finished; that there is neither is success.  Raises OSError."""
        self._known.pop(owner, None)
        if self.folder.has(_name(owner)):
            with self.folder.locked(0o700) as files:
                files.remove(_name(owner))
        else:
            self.folder.remove_unfinished()

    def get(self, owner: Owner) -> Record | None:
        """One; None when there is none, or what is there cannot be read."""
        found = decode_record(self.folder.read(_name(owner)) or b"")
        return found if found is not None and found.owner == owner else None

    def all(self) -> Iterator[Record]:
        """All that can be read."""
        for name in self.folder.names():
            record = decode_record(self.folder.read(name) or b"") if name.endswith(SUFFIX) else None
            if record is not None and name == _name(record.owner):
                yield record

    def take_lost(self) -> tuple[Record, ...]:
        """What somebody else removed or damaged since the last question, for who knows whether its pod still lives."""
        found = {record.owner: record for record in self.all()}
        lost = tuple(record for owner, record in self._known.items() if owner not in found)
        self._known.clear()
        self._known.update(found)
        return lost

    @property
    def known(self) -> tuple[Record, ...]:
        """Those that there were at the last question, or since: what is lost stays among them until it is told."""
        return tuple(self._known.values())

    def knows(self, owner: Owner) -> bool:
        """Was there one at the last question, or since?"""
        return owner in self._known

    def exists(self, owner: Owner) -> bool:
        """Is there one, be it a later version's?"""
        return _is_json(self.folder.read(_name(owner)) or b"")

    def is_damaged(self, owner: Owner) -> bool:
        """Is there one that cannot be read?"""
        content = self.folder.read(_name(owner))
        return content is not None and self.get(owner) is None

    def sweep(self, owners: Collection[Owner]) -> None:
        """Remove what cannot be read and is of none of ``owners``, and what was never finished.  Raises OSError."""
        self.folder.remove_unfinished()
        known = set(map(_name, owners))
        names = [name for name in self.folder.names() if name.endswith(SUFFIX) and name not in known]
        litter = [name for name in names if not _is_json(self.folder.read(name) or b"")]
        if litter:
            with self.folder.locked(0o700) as files:
                for name in litter:
                    files.remove(name)


def encode_record(record: Record) -> bytes:
    """As JSON."""
    return msgspec.json.encode(record) + b"\n"


@lru_cache(maxsize=1024)
def decode_record(content: bytes) -> Record | None:
    """A record; None when it was cut short or is something else."""
    try:
        record = msgspec.json.decode(content, type=Record)
        known = [ip_interface(text) for text in record.addresses]
        return record if known or record.ipam is not None else None
    except (msgspec.MsgspecError, ValueError):
        return None


def _is_json(content: bytes) -> bool:
    """A later version's record is one, too."""
    try:
        msgspec.json.decode(content)
    except (msgspec.MsgspecError, ValueError):
        return False
    return True


@lru_cache(maxsize=1024)
def _ip_of(text: str) -> IPAddress:
    return ip_address(text.partition("/")[0])


@lru_cache(maxsize=1024)
def _name(owner: Owner) -> str:
    """Container ids are longer than file names may be."""
    return sha256("/".join(owner).encode()).hexdigest()[:40] + SUFFIX
