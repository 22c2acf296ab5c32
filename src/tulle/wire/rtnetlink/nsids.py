"""Namespace ids: the numbers by which one namespace's links refer to another (IFLA_LINK_NETNSID).

Source: include/uapi/linux/net_namespace.h.
"""

from dataclasses import dataclass
from typing import Final

from tulle.wire.netlink import Message, Request, parse_attributes
from tulle.wire.rtnetlink.parts import (
    AF_UNSPEC,
    GENMSG,
    RTM_GETNSID,
    RTM_NEWNSID,
    dump,
    fixed_part,
    read_s32,
    s32_attribute,
    u32_attribute,
)

NETNSA_NSID, NETNSA_PID, NETNSA_FD = 1, 2, 3
NETNSA_NSID_NOT_ASSIGNED: Final = -1


@dataclass(frozen=True, slots=True)
class NsidMessage:
    """``nsid`` is the id of the namespace that was asked about, in the asking one; None: it has none."""

    nsid: int | None


def decode_nsid(message: Message) -> NsidMessage:
    """The answer to ``get_nsid``.  Raises DecodeError."""
    fixed_part(message, GENMSG, "rtgenmsg")
    nsid = read_s32(parse_attributes(message.payload, GENMSG.size).get(NETNSA_NSID), NETNSA_NSID_NOT_ASSIGNED)
    return NsidMessage(None if nsid < 0 else nsid)


def get_nsid(*, fd: int | None = None, pid: int | None = None) -> Request:
    """Which id has the namespace of this open descriptor, or of this process (as this namespace sees it)?"""
    return Request(RTM_GETNSID, 0, _body(fd, pid), f"id of namespace {fd if pid is None else pid}")


def new_nsid(nsid: int = NETNSA_NSID_NOT_ASSIGNED, *, fd: int | None = None, pid: int | None = None) -> Request:
    """Give a namespace an id (−1: any free one); the kernel refuses (EEXIST) when it has one."""
    subject = f"id of namespace {fd if pid is None else pid}"
    return Request(RTM_NEWNSID, 0, _body(fd, pid) + s32_attribute(NETNSA_NSID, nsid), subject)


def dump_nsids() -> Request:
    """All ids that this namespace has given."""
    return dump(RTM_GETNSID, GENMSG.pack(AF_UNSPEC), "list of namespace ids")


def _body(fd: int | None, pid: int | None) -> bytes:
    by = b"" if fd is None else u32_attribute(NETNSA_FD, fd)
    return GENMSG.pack(AF_UNSPEC) + by + (b"" if pid is None else u32_attribute(NETNSA_PID, pid))
