"""host-local's files: an address is a file's name, and whose it is its content.  Pure.

A node can change between that plugin and tulle, and both may serve networks of one node.
"""

from functools import lru_cache
from ipaddress import ip_address
from typing import Final, TypeAlias

from tulle.model.network import IPAddress
from tulle.wire.cni_conf import IFNAME, NAME

NOBODY: Final = ("", "")
"""The owner in a file that is empty, or nonsense."""
Owner: TypeAlias = tuple[str, str]
"""Container id and interface name."""


def format_owner(owner: Owner) -> bytes:
    """A file's content, as host-local writes it."""
    return f"{owner[0]}\r\n{owner[1]}".encode()


def parse_owner(content: bytes | None) -> Owner:
    """Whose an address is; ``NOBODY`` when the file is gone, empty or nonsense, no interface when it is very old."""
    text = (content or b"").decode(errors="replace").replace("\r\n", "\n").strip()
    container_id, _, ifname = text.partition("\n")
    is_whole = NAME.fullmatch(container_id) and (not ifname or IFNAME.fullmatch(ifname))
    return (container_id, ifname) if is_whole else NOBODY


def is_damaged(content: bytes | None, owner: Owner) -> bool:
    """Can the file of an address that ``owner`` was given have become this: cut short, or nonsense?"""
    return parse_owner(content) == NOBODY or format_owner(owner).startswith(content or b"")


def is_cut(cut: Owner, owner: Owner) -> bool:
    """Is ``cut`` what remains of ``owner`` in a file that lost its end?"""
    return cut not in {owner, NOBODY} and format_owner(owner).startswith(format_owner(cut).strip())


@lru_cache(maxsize=8192)
def ip_of(name: str) -> IPAddress:
    """The address that a file is called as: read for every file at every ADD."""
    return ip_address(name)


@lru_cache(maxsize=8192)
def is_address(name: str) -> bool:
    """Is this an address in its canonical spelling, which is what files are called?"""
    try:
        return str(ip_address(name)) == name
    except ValueError:
        return False


def parse_address(content: bytes | None) -> IPAddress | None:
    """The address that a file holds, in its canonical spelling; None for anything else."""
    text = (content or b"").decode(errors="replace").strip()
    return ip_of(text) if is_address(text) else None
