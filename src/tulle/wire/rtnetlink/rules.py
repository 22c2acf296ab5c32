"""Policy routing rules, read only: which tables a look-up asks, in which order.

Source: include/uapi/linux/fib_rules.h.
"""

import struct
from dataclasses import dataclass
from typing import Final

from tulle.errors import DecodeError
from tulle.model.network import IPAddress
from tulle.wire.netlink import Message, Request, parse_attributes
from tulle.wire.rtnetlink.parts import (
    AF_INET,
    AF_INET6,
    RTM_GETRULE,
    dump,
    fixed_part,
    read_address,
    read_s32,
    read_text,
    read_u32,
)

FIB_RULE_HDR: Final = struct.Struct("=BBBBBxxBI")  # family, dst_len, src_len, tos, table, action, flags
FRA_DST, FRA_SRC, FRA_IIFNAME, FRA_PRIORITY, FRA_FWMARK = 1, 2, 3, 6, 10
FRA_SUPPRESS_PREFIXLEN, FRA_TABLE, FRA_FWMASK, FRA_OIFNAME = 14, 15, 16, 17
FR_ACT_TO_TBL: Final = 1
FIB_RULE_INVERT: Final = 2
_LONGEST: Final = {AF_INET: 32, AF_INET6: 128}


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleMessage:
    """A rule.  ``src`` and ``dst`` None: any address; ``iif`` and ``oif`` "": any device.

    ``action`` FR_ACT_TO_TBL (1) asks ``table``; a route found there whose prefix is not longer than
    ``suppress_prefixlen`` (−1: none is) counts as not found.
    """

    family: int
    priority: int
    table: int
    action: int = FR_ACT_TO_TBL
    src: tuple[IPAddress, int] | None = None
    dst: tuple[IPAddress, int] | None = None
    tos: int = 0
    mark: int = 0
    mark_mask: int = 0
    iif: str = ""
    oif: str = ""
    inverted: bool = False
    suppress_prefixlen: int = -1


def decode_rule(message: Message) -> RuleMessage:
    """A rule from RTM_NEWRULE or RTM_DELRULE.  Raises DecodeError."""
    family, dst_len, src_len, tos, table, action, flags = fixed_part(message, FIB_RULE_HDR, "fib_rule_hdr")
    found = parse_attributes(message.payload, FIB_RULE_HDR.size)
    if max(dst_len, src_len) > _LONGEST.get(family, 128):
        raise DecodeError("fib_rule_hdr", dst_len=dst_len, src_len=src_len)
    src, dst = read_address(found.get(FRA_SRC)), read_address(found.get(FRA_DST))
    return RuleMessage(
        family=family,
        priority=read_u32(found.get(FRA_PRIORITY)),
        table=read_u32(found.get(FRA_TABLE), table),
        action=action,
        src=None if src is None else (src, src_len),
        dst=None if dst is None else (dst, dst_len),
        tos=tos,
        mark=read_u32(found.get(FRA_FWMARK)),
        mark_mask=read_u32(found.get(FRA_FWMASK)),
        iif=read_text(found.get(FRA_IIFNAME)),
        oif=read_text(found.get(FRA_OIFNAME)),
        inverted=bool(flags & FIB_RULE_INVERT),
        suppress_prefixlen=read_s32(found.get(FRA_SUPPRESS_PREFIXLEN), -1),
    )


def dump_rules(version: int) -> Request:
    """All rules of one IP version, in the order in which they are asked."""
    family = AF_INET if version == 4 else AF_INET6
    return dump(RTM_GETRULE, FIB_RULE_HDR.pack(family, 0, 0, 0, 0, 0, 0), "list of rules")
