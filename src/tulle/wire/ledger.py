"""What a node's switches were before tulle turned them: ``ledger.json``, so that whoever leaves can turn them back.

    {"schema":"tulle.ledger/1","boot_id":"…","sysctls":{"net/ipv4/ip_forward":["0","1"]}}

Each with the value that was found and the one that was set.  It counts within one boot, since a boot resets them all.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from tulle.errors import DecodeError
from tulle.model.change import Change, Plan
from tulle.model.objects import Sysctl
from tulle.wire.strict_json import decode_object

SCHEMA: Final = "tulle.ledger/1"
LIMIT: Final = 4096
SWITCHES: Final = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
"""Those of the whole node; a device's own go with the device."""
_WHAT: Final = "ledger"


@dataclass(frozen=True, slots=True)
class Ledger:
    """``turned``: by its path what was found at a switch, and what was set."""

    boot_id: str
    turned: Mapping[str, tuple[str, str]] = field(default_factory=lambda: MappingProxyType({}))

    def with_plan(self, plan: Plan) -> "Ledger":
        """And what ``plan`` is going to turn; what was found first stays."""
        fresh = {
            step.before.path: (step.before.value, step.after.value)
            for step in plan.steps
            if isinstance(step, Change) and isinstance(step.before, Sysctl) and isinstance(step.after, Sysctl)
            if step.before.path in SWITCHES and step.before.value is not None and step.after.value is not None
        }
        return Ledger(self.boot_id, {**fresh, **self.turned}) if fresh.keys() - self.turned.keys() else self


def encode_ledger(ledger: Ledger) -> bytes:
    """The file."""
    fields = {"schema": SCHEMA, "boot_id": ledger.boot_id, "sysctls": dict(sorted(ledger.turned.items()))}
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def decode_ledger(data: bytes) -> Ledger:
    """Raises DecodeError: not the shape, or a switch that tulle does not turn."""
    fields = decode_object(_WHAT, data, LIMIT)
    boot_id, sysctls = fields.get("boot_id"), fields.get("sysctls")
    if fields.get("schema") != SCHEMA or not isinstance(boot_id, str) or not isinstance(sysctls, dict):
        raise DecodeError(_WHAT, reason="not of its shape")
    turned = dict[str, tuple[str, str]]()
    for path, values in sysctls.items():
        match values:
            case [("0" | "1" | "2") as found, ("0" | "1" | "2") as was_set] if path in SWITCHES:
                turned[path] = (str(found), str(was_set))
            case _:
                raise DecodeError(_WHAT, sysctl=ascii(path)[:60], reason="none of tulle's switches, or no value of one")
    return Ledger(boot_id, turned)
