"""What a person gave: a flag, else flanneld's environment variable of the same name, else nothing.

``--public-ip`` and FLANNELD_PUBLIC_IP mean the same; an empty variable is as good as none.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from tulle.errors import ConfigError
from tulle.model.network import IPAddress

BOOLEANS: Final = {
    **dict.fromkeys(("1", "t", "T", "true", "TRUE", "True"), True),
    **dict.fromkeys(("0", "f", "F", "false", "FALSE", "False"), False),
}
"""As Go reads them.  Source: https://pkg.go.dev/strconv#ParseBool."""


@dataclass(frozen=True, slots=True)
class Given:
    """Flags and environment.  ``name`` is a flag's with underscores; errors name where the value came from."""

    args: argparse.Namespace
    environment: Mapping[str, str]

    def text(self, name: str) -> str | None:
        """The value; None when there is none."""
        flag: str | None = getattr(self.args, name)
        return flag or self.environment.get(variable(name)) or None

    def texts(self, name: str) -> tuple[str, ...]:
        """The values of a flag that may be repeated; a variable has one."""
        flags: list[str] | None = getattr(self.args, name)
        found = self.environment.get(variable(name))
        return tuple(flag for flag in flags or (found,) if flag)

    def truth(self, name: str, *, default: bool) -> bool:
        """Raises ConfigError: neither true nor false."""
        text = self.text(name)
        if text is not None and text not in BOOLEANS:
            raise ConfigError(self.named(name), "must be true or false")
        return default if text is None else BOOLEANS[text]

    def whole(self, name: str, *, default: int, low: int, high: int) -> int:
        """A whole number.  Raises ConfigError: it is none, or out of bounds."""
        text = self.text(name)
        if text is None:
            return default
        if not (text.isascii() and text.isdecimal() and len(text) <= 9 and low <= int(text) <= high):
            raise ConfigError(self.named(name), f"must be a whole number from {low} to {high}")
        return int(text)

    def address(self, name: str) -> IPAddress | None:
        """An address of either family.  Raises ConfigError: it is none."""
        text = self.text(name)
        try:
            return ip_address(text) if text else None
        except ValueError:
            raise ConfigError(self.named(name), "must be an IP address") from None

    def address4(self, name: str) -> IPv4Address | None:
        """Raises ConfigError: no IPv4 address."""
        text = self.text(name)
        try:
            return IPv4Address(text) if text else None
        except ValueError:
            raise ConfigError(self.named(name), "must be an IPv4 address") from None

    def address6(self, name: str) -> IPv6Address | None:
        """Raises ConfigError: no IPv6 address."""
        text = self.text(name)
        try:
            return IPv6Address(text) if text else None
        except ValueError:
            raise ConfigError(self.named(name), "must be an IPv6 address") from None

    def named(self, name: str) -> str:
        """Where the value came from, and the value, for an error."""
        flag = getattr(self.args, name)
        where = f"--{name.replace('_', '-')}" if flag else variable(name)
        return f"{where} {ascii(self.text(name) or '')[1:-1][:60]}"


def variable(name: str) -> str:
    """flanneld's environment variable of a flag."""
    return f"FLANNELD_{name.upper()}"
