"""Ranges of addresses as host-local's configuration and the ``ipRanges`` capability spell them.

Source: the host-local plugin's README (``ranges``: a list of sets, each a list of ranges; one address comes from
each set) and CNI's CONVENTIONS.md, ``ipRanges``.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from tulle.model.network import IPAddress
from tulle.wire.cni_error import BAD_CONFIG, UNSUPPORTED_FIELD, CniError
from tulle.wire.strict_json import JsonValue

OLD_KEYS = ("subnet", "rangestart", "rangeend", "gateway")
"""One range, before there were lists of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AddressRange:
    """From ``first`` to ``last``, both included.  ``field`` is where it was asked for; ``gateway`` None: any."""

    field: str
    first: IPAddress
    last: IPAddress
    gateway: IPAddress | None = None

    @property
    def version(self) -> int:
        return self.first.version


def parse_ranges(ipam: Mapping[str, JsonValue], runtime: Mapping[str, JsonValue]) -> tuple[AddressRange, ...]:
    """What is asked for, of each family by the runtime, or else by the configuration.

    Raises CniError naming the field: (7) it breaks its rule; (2) two addresses of one family are asked for.
    """
    asked = _sets("ipRanges", runtime.get("ipranges"))
    configured = _sets("ipam.ranges", ipam.get("ranges"))
    if ipam.get("subnet") is not None:
        old = {key: value for key in OLD_KEYS if (value := ipam.get(key)) is not None}
        configured = [*configured, (_range("ipam", old),)]
    by_family = _by_family(configured) | _by_family(asked)
    return tuple(each for ranges in by_family.values() for each in ranges)


def _by_family(sets: list[tuple[AddressRange, ...]]) -> dict[int, tuple[AddressRange, ...]]:
    found: dict[int, tuple[AddressRange, ...]] = {}
    for ranges in sets:
        first = ranges[0]
        if any(each.version != first.version for each in ranges):
            raise CniError(BAD_CONFIG, first.field, "a set of ranges must be of one family")
        if first.version in found:
            raise CniError(UNSUPPORTED_FIELD, first.field, f"a pod has one address of IPv{first.version}")
        found[first.version] = ranges
    return found


def _sets(field: str, value: JsonValue) -> list[tuple[AddressRange, ...]]:
    return [tuple(_set(f"{field}[{n}]", each)) for n, each in enumerate(_list(field, value)) if each != []]


def _set(field: str, value: JsonValue) -> Iterator[AddressRange]:
    for number, entry in enumerate(_list(field, value)):
        where = f"{field}[{number}]"
        if not isinstance(entry, dict):
            raise CniError(BAD_CONFIG, where, "must be an object")
        yield _range(where, entry)


def _range(field: str, entry: Mapping[str, JsonValue]) -> AddressRange:
    subnet = _subnet(f"{field}.subnet", entry.get("subnet"))
    first = _within(f"{field}.rangeStart", entry.get("rangestart"), subnet) or subnet[0]
    last = _within(f"{field}.rangeEnd", entry.get("rangeend"), subnet) or subnet[-1]
    if int(first) > int(last):
        raise CniError(BAD_CONFIG, f"{field}.rangeStart {str(first)!r}", f"comes after rangeEnd, {last}")
    gateway = _within(f"{field}.gateway", entry.get("gateway"), subnet)
    return AddressRange(field=field, first=first, last=last, gateway=gateway)


def _subnet(field: str, value: JsonValue) -> IPv4Network | IPv6Network:
    try:
        return ip_network(value if isinstance(value, str) and "/" in value else "")
    except ValueError:
        raise CniError(BAD_CONFIG, f"{field} {value!r}", "must be a network, without host bits") from None


def _within(field: str, value: JsonValue, subnet: IPv4Network | IPv6Network) -> IPAddress | None:
    if value is None or value == "":
        return None
    try:
        found = ip_address(value) if isinstance(value, str) and "%" not in value else None
    except ValueError:
        found = None
    if found is None or found not in subnet:
        raise CniError(BAD_CONFIG, f"{field} {value!r}", f"must be an address of {subnet}")
    return found


def _list(field: str, value: JsonValue) -> list[JsonValue]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise CniError(BAD_CONFIG, field, "must be a list")
    return value
