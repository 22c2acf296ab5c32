"""What the kernel says when a setting of IP itself changes: forwarding, for a device or for all of them.

Source: include/uapi/linux/netconf.h.
"""

from typing import Final

from tulle.errors import DecodeError
from tulle.wire.netlink import Message, parse_attributes
from tulle.wire.rtnetlink.parts import AF_INET, AF_INET6, S32

RTM_NEWNETCONF: Final = 80
RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF = 24, 25
NETCONFA_IFINDEX, NETCONFA_FORWARDING = 1, 2
NETCONFA_IFINDEX_ALL: Final = -1
NETCONFMSG_SIZE: Final = 4
"""struct netconfmsg, one byte, padded."""


def decode_forwarding(message: Message) -> int | None:
    """4 or 6 when forwarding of that IP version was set for the whole namespace; None when it is about less.

    Raises DecodeError.
    """
    if len(message.payload) < NETCONFMSG_SIZE:
        raise DecodeError("netconfmsg", need=NETCONFMSG_SIZE, got=len(message.payload))
    version = {AF_INET: 4, AF_INET6: 6}.get(message.payload[0])
    attributes = parse_attributes(message.payload, NETCONFMSG_SIZE)
    index = attributes.get(NETCONFA_IFINDEX, b"")
    if len(index) != S32.size or NETCONFA_FORWARDING not in attributes:
        return None
    return version if S32.unpack(index)[0] == NETCONFA_IFINDEX_ALL else None
