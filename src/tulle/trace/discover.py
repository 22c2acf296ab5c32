"""Find the devices between two namespaces: from both ends, along veth pairs, by what the kernel says.

A veth's message names its peer by interface index and by a namespace id that is local to the
asking namespace (IFLA_LINK, IFLA_LINK_NETNSID); RTM_GETNSID tells which of the candidates has
that id.  Nothing is guessed from names.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import Final

from tulle.errors import KernelError
from tulle.model.network import IPAddress
from tulle.trace.asking import Rtnetlink
from tulle.trace.spaces import Spaces
from tulle.trace.topology import Device, DeviceKey, Namespace, NetnsId, Topology
from tulle.wire.netlink import Request, parse_attributes
from tulle.wire.rtnetlink.addresses import decode_address, dump_addresses
from tulle.wire.rtnetlink.links import LinkMessage, decode_link, dump_links
from tulle.wire.rtnetlink.parts import RTM_GETNSID, RTM_NEWADDR, RTM_NEWLINK, u32_attribute

LARGEST: Final = 64
"""Namespaces that are looked into: a big lab's other pods are not on the way."""
IFF_LOOPBACK: Final = 0x8
_NETNSA_NSID, _NETNSA_FD = 1, 3
_NO_ID: Final = 0xFFFFFFFF


def discover(spaces: Spaces, source: NetnsId, target: NetnsId, limit: int = LARGEST) -> Topology:
    """What can be reached over veth pairs from either end, nearest first, at most ``limit`` namespaces.

    Raises KernelError: one of the two ends cannot be entered.
    """
    found: dict[NetnsId, Namespace] = {source: _look(spaces, source)}
    if target != source:
        found[target] = _look(spaces, target)
    frontier: list[NetnsId] = [source, target]
    while frontier and len(found) < limit:
        reached = _beyond(found, frontier, spaces)
        frontier = []
        for netns in reached[: limit - len(found)]:
            space = _try_to_look(spaces, netns)
            if space is not None:
                found[netns] = space
                frontier.append(netns)
    return Topology(found)


def _beyond(found: dict[NetnsId, Namespace], frontier: Iterable[NetnsId], spaces: Spaces) -> list[NetnsId]:
    """New neighbours of ``frontier``; those that join two known ones first, for they are on the way."""
    counted: dict[NetnsId, int] = {}
    for netns in frontier:
        peers = {device.peer.netns for device in found[netns].devices if device.peer}
        for other in peers - found.keys():
            counted[other] = counted.get(other, 0) + 1
    return sorted((netns for netns in counted if netns in spaces), key=lambda netns: (-counted[netns], netns))


def _try_to_look(spaces: Spaces, netns: NetnsId) -> Namespace | None:
    """None: it has gone meanwhile, or may not be entered.  It is then simply not on any way that is seen."""
    try:
        return _look(spaces, netns)
    except KernelError:
        return None


def _look(spaces: Spaces, netns: NetnsId) -> Namespace:
    with Rtnetlink(spaces.descriptor(netns)) as conversation:
        links = [decode_link(m) for m in conversation.dump(dump_links()).messages if m.kind == RTM_NEWLINK]
        addresses: dict[int, list[IPAddress]] = {}
        for message in conversation.dump(dump_addresses()).messages:
            if message.kind == RTM_NEWADDR:
                address = decode_address(message)
                addresses.setdefault(address.index, []).append(address.interface.ip)
        namespaces = _namespace_ids(conversation, spaces, {link.link_netnsid for link in links})
    devices = tuple(_device(netns, link, addresses.get(link.index, []), namespaces) for link in links)
    return Namespace(id=netns, name=spaces.name(netns), devices=devices)


def _device(netns: NetnsId, link: LinkMessage, addresses: list[IPAddress], namespaces: dict[int, NetnsId]) -> Device:
    here = netns if link.link_netnsid is None else namespaces.get(link.link_netnsid)
    is_pair = link.kind == "veth" and link.link and here is not None
    return Device(
        netns=netns,
        ifindex=link.index,
        name=link.name,
        kind=link.kind,
        mac=link.mac,
        mtu=link.mtu,
        up=link.up,
        loopback=bool(link.flags & IFF_LOOPBACK),
        master=link.master or None,
        lower=(link.vxlan.link if link.vxlan else 0 if link.kind == "veth" else link.link) or None,
        peer=DeviceKey(here, link.link) if is_pair and here is not None else None,
        vni=link.vxlan.vni if link.vxlan else None,
        port=link.vxlan.port if link.vxlan else None,
        local=link.vxlan.local if link.vxlan else None,
        addresses=tuple(addresses),
    )


def _namespace_ids(conversation: Rtnetlink, spaces: Spaces, wanted: set[int | None]) -> dict[int, NetnsId]:
    """Which candidate each of this namespace's ids stands for."""
    if not wanted - {None}:
        return {}
    candidates = list(spaces)
    requests = [_get_nsid(spaces.descriptor(netns)) for netns in candidates]
    found: dict[int, NetnsId] = {}
    for netns, answer in zip(candidates, conversation.ask_all(requests), strict=True):
        for nsid in _ids(payload for payload in (message.payload for message in answer.messages)):
            found[nsid] = netns
    return found


def _get_nsid(descriptor: int) -> Request:
    """Source: include/uapi/linux/net_namespace.h; the header is ``struct rtgenmsg``, padded."""
    return Request(RTM_GETNSID, 0, struct.pack("=B3x", 0) + u32_attribute(_NETNSA_FD, descriptor), "namespace id")


def _ids(payloads: Iterable[bytes]) -> Iterator[int]:
    for payload in payloads:
        value = parse_attributes(payload, 4).get(_NETNSA_NSID)
        if value is not None and (nsid := int(struct.unpack("=I", value)[0])) != _NO_ID:
            yield nsid
