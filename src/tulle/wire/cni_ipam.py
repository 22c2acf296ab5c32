"""Address management by another plugin: what it is executed with, and what it answers.

It gets the runtime's environment and the whole configuration, as the specification has it.  Its answer is a result
without interfaces, in the version of the request.  Source: CNI specification 1.1.0, section 4, "Plugin Delegation".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from typing import Any, Final, cast

from tulle.errors import DecodeError
from tulle.model.network import IPAddress
from tulle.wire.cni_conf import PodRoute, parse_route
from tulle.wire.cni_error import BAD_CONFIG, BAD_ENVIRONMENT, IPAM_FAILED, CniError
from tulle.wire.strict_json import JsonValue, decode_object

ANSWER_LIMIT: Final = 1 << 20
CONF_LIMIT: Final = 32 << 10
"""So much fits an attachment's record."""
PASSED_ON: Final = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")


@dataclass(frozen=True, slots=True, kw_only=True)
class Delegate:
    """How the plugin is executed.  ``path``: the folders where it may be; ``conf``: its standard input.

    It is written into the attachment's record, so that what it gave is given back whoever asks.
    """

    type: str
    path: tuple[str, ...]
    environment: dict[str, str]
    conf: str


@dataclass(frozen=True, slots=True)
class GivenAddress:
    """An address that it gave; ``gateway`` None: it did not say."""

    interface: IPv4Interface | IPv6Interface
    gateway: IPAddress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """Its answer to ADD."""

    addresses: tuple[GivenAddress, ...]
    routes: tuple[PodRoute, ...] = ()
    dns: Mapping[str, JsonValue] | None = None


def delegate_of(kind: str, environment: Mapping[str, str], stdin: bytes) -> Delegate:
    """Who manages the addresses of this request.

    Raises CniError (4): CNI_PATH names no absolute folder; (7): the configuration is too long to be kept.
    """
    folders = tuple(folder for folder in environment.get("CNI_PATH", "").split(":") if folder)
    if not folders or not all(folder.startswith("/") for folder in folders):
        raise CniError(BAD_ENVIRONMENT, f"CNI_PATH {environment.get('CNI_PATH', '')!r}", f"{kind} is to be found in it")
    if len(stdin) > CONF_LIMIT:
        raise CniError(BAD_CONFIG, "the configuration", f"more than {CONF_LIMIT >> 10} KiB, and {kind} is to have it")
    passed = {name: environment[name] for name in PASSED_ON if name in environment}
    return Delegate(type=kind, path=folders, environment=passed, conf=stdin.decode())


def decode_given(kind: str, answer: bytes) -> Given:
    """What it gave, in any version.  Raises CniError."""
    try:
        found = decode_object(f"{kind}'s result", answer, ANSWER_LIMIT)
        given = _given(found)
    except (DecodeError, ValueError) as error:
        raise CniError(IPAM_FAILED, f"ipam {kind}", f"its result cannot be used: {error}") from None
    if not given.addresses:
        raise CniError(IPAM_FAILED, f"ipam {kind}", "it gave no address")
    return given


def failure_of(kind: str, verb: str, answer: bytes, said: str) -> CniError:
    """Its own error, which keeps its code; without one, what it said on standard error."""
    try:
        found = cast("dict[str, Any]", json.loads(answer))
        return CniError(int(found["code"]), f"ipam {kind}: {found['msg']}", str(found.get("details", "")))
    except (ValueError, TypeError, KeyError, RecursionError):
        return CniError(IPAM_FAILED, f"ipam {kind}", f"{verb} failed: {said}" if said else f"{verb} failed")


def _given(found: Mapping[str, JsonValue]) -> Given:
    old = [_object(found.get(name)) for name in ("ip4", "ip6") if found.get(name)]
    entries = [*old, *map(_object, _list(found.get("ips")))]
    routes = [route for entry in old for route in _list(entry.get("routes"))]
    return Given(
        addresses=tuple(map(_address, entries)),
        routes=tuple(parse_route(_object(route)) for route in (*routes, *_list(found.get("routes")))),
        dns=_object(found.get("dns")) or None,
    )


def _address(entry: Mapping[str, JsonValue]) -> GivenAddress:
    gateway = entry.get("gateway")
    interface = ip_interface(str(entry.get("address", entry.get("ip"))))
    return GivenAddress(interface, ip_address(str(gateway)) if gateway else None)


def _object(value: JsonValue) -> Mapping[str, JsonValue]:
    if value is not None and not isinstance(value, dict):
        raise DecodeError("result", need="an object")
    return value or {}


def _list(value: JsonValue) -> Sequence[JsonValue]:
    if value is not None and not isinstance(value, list):
        raise DecodeError("result", need="a list")
    return value or []
