"""What the kernel has counted on each device of a network namespace: ``/proc/net/dev`` → values.

Source: proc(5); the columns are of net/core/net-procfs.c.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tulle.errors import DecodeError

COLUMNS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """One direction of one device, since it was made."""

    octets: int
    packets: int
    errors: int
    drops: int


@dataclass(frozen=True, slots=True)
class DeviceTraffic:
    """Both directions."""

    received: Traffic
    sent: Traffic


def decode_net_dev(text: str) -> Mapping[str, DeviceTraffic]:
    """Traffic by device.  Raises DecodeError: it is not that table."""
    found: dict[str, DeviceTraffic] = {}
    for line in text.splitlines()[2:]:
        name, sign, rest = line.rpartition(":")
        fields = rest.split()
        if not sign or len(fields) < COLUMNS or not all(field.isdecimal() for field in fields):
            raise DecodeError("/proc/net/dev", line=line)
        numbers = [int(field) for field in fields]
        found[name.strip()] = DeviceTraffic(_traffic(numbers[:8]), _traffic(numbers[8:]))
    return found


def _traffic(numbers: list[int]) -> Traffic:
    octets, packets, errors, drops, *_ = numbers
    return Traffic(octets=octets, packets=packets, errors=errors, drops=drops)
