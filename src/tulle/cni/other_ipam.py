"""Attachments whose addresses another plugin gives: ask it once, remember how, and give back in any state.

The record is written before it is asked, so that after a crash a DEL, or the collection, asks it to take back
what it may have given.  Its folders and files are its own: nothing here looks into them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface, IPv6Interface

from tulle.cni.attach import mac_of
from tulle.cni.records import Record
from tulle.cni.site import Site
from tulle.model.network import IPAddress
from tulle.wire.cni import Invocation
from tulle.wire.cni_error import ALREADY_ATTACHED, CniError
from tulle.wire.cni_ipam import Delegate, Given, decode_given


@dataclass(frozen=True, slots=True)
class Obtained:
    """What it gave.  ``call`` is the request with the routes and DNS settings of its answer."""

    call: Invocation
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    gateways: Mapping[IPAddress, IPAddress]


async def obtain(site: Site, call: Invocation, delegate: Delegate) -> Obtained:
    """Ask for addresses.  Raises CniError: its own, and nothing is left of it; OSError: the disk takes no record."""
    records = site.records(call.conf.name)
    if records.get(call.owner) is not None:
        raise CniError(ALREADY_ATTACHED, f"{call.container_id} {call.ifname}", "is attached already")
    record = replace(site.new_record(call), ipam=delegate)
    records.put(record)
    try:
        given = decode_given(delegate.type, await site.ask(delegate, "ADD"))
    except BaseException:
        await give_back(site, record)
        raise
    found = _obtained(call, given)
    mac = call.conf.wishes.mac or mac_of(found.addresses[0].ip)
    records.put(replace(record, addresses=tuple(map(str, found.addresses)), mac=mac, guard=call.conf.guard))
    return found


def recorded(call: Invocation, kind: str, previous: bytes) -> Obtained:
    """What ADD obtained, as the chain's result says it.  Raises CniError."""
    return _obtained(call, decode_given(kind, previous))


async def give_back(site: Site, record: Record) -> None:
    """Ask it to take back what it gave; then the record goes.  Raises CniError: its own, and the record stays."""
    if record.ipam is not None:
        await site.ask(record.ipam, "DEL")
    site.records(record.network).remove(record.owner)


def _obtained(call: Invocation, given: Given) -> Obtained:
    gateways = {each.interface.ip: each.gateway for each in given.addresses if each.gateway is not None}
    dns = given.dns or call.conf.dns
    told = replace(call, conf=replace(call.conf, routes=given.routes, dns=dns))
    return Obtained(told, tuple(each.interface for each in given.addresses), gateways)
