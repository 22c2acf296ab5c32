"""Elements of nftables' sets as nfnetlink transactions: what changes with every pod, too often for a process of nft's.

Everything between the two ends of a batch takes effect at once, or nothing does.  Source: include/uapi/linux/
netfilter/nfnetlink.h, nf_tables.h (``enum nft_set_elem_list_attributes``, ``nft_set_elem_attributes``).
"""

import re
import struct
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from ipaddress import IPv6Address
from typing import Final

from tulle.errors import DecodeError
from tulle.model.objects import NftElement
from tulle.wire.netlink import NLM_F_CREATE, Message, Request, encode_attribute, nested, padded

NFGENMSG: Final = struct.Struct(">BBH")  # family, version, res_id
NFNL_MSG_BATCH_BEGIN: Final = 0x10
NFNL_MSG_BATCH_END: Final = 0x11
NF_TABLES: Final = 10
"""NFNL_SUBSYS_NFTABLES."""
NFT_MSG_NEWSETELEM: Final = NF_TABLES << 8 | 12
NFT_MSG_DELSETELEM: Final = NF_TABLES << 8 | 14
NFT_MSG_NEWGEN: Final = NF_TABLES << 8 | 15
LIST_TABLE, LIST_SET, LIST_ELEMENTS, LIST_ELEMENT, ELEMENT_KEY, DATA_VALUE = 1, 2, 3, 1, 1, 1
FAMILIES: Final = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
"""NFPROTO_*.  Source: include/uapi/linux/netfilter.h."""
IFNAMSIZ: Final = 16
_IPV4: Final = re.compile(r"(0|[1-9][0-9]{0,2})(\.(0|[1-9][0-9]{0,2})){3}")
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


BEGIN: Final = Request(NFNL_MSG_BATCH_BEGIN, 0, NFGENMSG.pack(0, 0, NF_TABLES))
"""The first message of a transaction."""
END: Final = Request(NFNL_MSG_BATCH_END, 0, BEGIN.body)
"""The last one: now it takes effect."""


def add_element(element: NftElement, subject: object) -> Request:
    """That the set holds it already is success."""
    return Request(NFT_MSG_NEWSETELEM, NLM_F_CREATE, _body(element), subject)


def delete_element(element: NftElement, subject: object) -> Request:
    return Request(NFT_MSG_DELSETELEM, 0, _body(element), subject)


def changes_rules(messages: Sequence[Message]) -> bool:
    """Do these announcements tell of more than elements?  What is in a set is nothing that a plan depends on."""
    return any(message.kind not in {NFT_MSG_NEWSETELEM, NFT_MSG_DELSETELEM, NFT_MSG_NEWGEN} for message in messages)


def encode_key(value: Sequence[str]) -> bytes:
    """An element's key: each part of a concatenation is padded to four bytes.  Raises DecodeError."""
    return _part(value[0]) if len(value) == 1 else b"".join(map(_padded_part, value))


def _body(element: NftElement) -> bytes:
    key = encode_key(element.value)
    return _before_key(element.family, element.table, element.set, len(key)) + padded(key)


@lru_cache(maxsize=64)
def _before_key(family: str, table: str, name: str, size: int) -> bytes:
    """All of a message for one set that comes before a key of ``size`` bytes."""
    key = bytes(size)
    attributes = nested(LIST_ELEMENTS, nested(LIST_ELEMENT, nested(ELEMENT_KEY, encode_attribute(DATA_VALUE, key))))
    return b"".join(
        (
            NFGENMSG.pack(FAMILIES[family], 0, 0),
            encode_attribute(LIST_TABLE, table.encode() + b"\0"),
            encode_attribute(LIST_SET, name.encode() + b"\0"),
            attributes.removesuffix(padded(key)),
        )
    )


@lru_cache(maxsize=1024)
def _part(text: str) -> bytes:
    """A number has the size of an IPv6 address, which is what it stands for."""
    if text.startswith("0x"):
        return int(text, 16).to_bytes(16, "big")
    if _MAC.fullmatch(text):
        return bytes.fromhex(text.replace(":", ""))
    if _IPV4.fullmatch(text):
        with suppress(ValueError):
            return bytes(map(int, text.split(".")))
    if ":" in text:
        with suppress(ValueError):
            return IPv6Address(text).packed
    name = text.encode()
    if len(name) >= IFNAMSIZ:
        raise DecodeError("element", name=text)
    return name.ljust(IFNAMSIZ, b"\0")


@lru_cache(maxsize=1024)
def _padded_part(text: str) -> bytes:
    return padded(_part(text))
