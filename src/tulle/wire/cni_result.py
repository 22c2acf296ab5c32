"""CNI's results, 0.1.0 to 1.1.0: one value, seven spellings.

Up to 0.2.0 a result has one address of each family and no interfaces; up to 0.4.0 an address says
its version; 1.1.0 gives a device's MTU.  A previous plugin's result is kept as it came and
ours is added to it.  Source: CNI specification 1.1.0, "ADD Success"; 0.4.0 and 0.2.0, "Result".
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface, ip_interface
from typing import Any, Final, cast

from tulle.errors import DecodeError
from tulle.model.network import IPAddress, IPNetwork
from tulle.wire.cni_error import encode_answer

OLDEST: Final = frozenset({"0.1.0", "0.2.0"})
WITH_IP_VERSION: Final = frozenset({"0.3.0", "0.3.1", "0.4.0"})
WITH_MTU: Final = frozenset({"1.1.0"})
JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultInterface:
    """A device that ADD made; ``sandbox`` "" on the host."""

    name: str
    mac: str
    mtu: int | None = None
    sandbox: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultAddress:
    """An address of the pod, on its interface."""

    address: IPv4Interface | IPv6Interface
    gateway: IPAddress


@dataclass(frozen=True, slots=True)
class ResultRoute:
    """A route in the pod."""

    dst: IPNetwork
    gateway: IPAddress


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """What ADD made.  The pod's own interface comes last, and every address is on it."""

    interfaces: Sequence[ResultInterface]
    addresses: Sequence[ResultAddress]
    routes: Sequence[ResultRoute]
    dns: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """A result that another plugin gave, as JSON, in the version of the request."""

    body: JsonObject

    def addresses(self) -> frozenset[IPv4Interface | IPv6Interface]:
        """Every address that it names; what is none is left out."""
        old = [self.body.get("ip4"), self.body.get("ip6")]
        found = [each.get("ip") for each in map(_mapping, old)]
        found += [each.get("address") for each in _objects(self.body.get("ips"))]
        return frozenset(interface for text in found if (interface := _interface(text)) is not None)

    def mac(self, ifname: str, sandbox: str) -> str | None:
        """The MAC that a device of the pod has according to the last plugin that said so."""
        for each in _objects(self.body.get("interfaces")):
            if each.get("name") == ifname and each.get("sandbox") == sandbox and isinstance(each.get("mac"), str):
                return str(each["mac"]).lower() or None
        return None


def decode_previous(stdin: bytes) -> Result:
    """The ``prevResult`` of a configuration that has one, with its keys as they came.

    Raises DecodeError: it is no object, or what should be a list in it is none.
    """
    conf = cast("JsonObject", json.loads(stdin))
    previous = next(value for key, value in conf.items() if key.lower() == "prevresult")
    if not isinstance(previous, dict):
        raise DecodeError("prevResult", need="an object")
    body = cast("JsonObject", previous)
    for name in ("interfaces", "ips", "routes"):
        value: object = body.get(name)
        if value is not None and (
            not isinstance(value, list) or len(_objects(body.get(name))) != len(_list(body.get(name)))
        ):
            raise DecodeError("prevResult", need=f"{name}: a list of objects")
    return Result(body)


def encode_result(version: str, attached: Attached, previous: Result | None = None) -> bytes:
    """The result of ADD in ``version``, after that of the plugins before."""
    own = _oldest(attached) if version in OLDEST else _lists(version, attached, _shift(previous))
    if previous is None:
        return encode_answer({"cniVersion": version, **own})
    return encode_answer({**previous.body, "cniVersion": version, **_joined(previous.body, own)})


def _oldest(attached: Attached) -> JsonObject:
    found: JsonObject = {}
    for each in attached.addresses:
        version = each.address.version
        routes = [_route(route) for route in attached.routes if route.dst.version == version]
        entry = {"ip": str(each.address), "gateway": str(each.gateway), "routes": routes}
        found.setdefault(f"ip{version}", entry)
    return {**found, "dns": dict(attached.dns or {})}


def _lists(version: str, attached: Attached, shift: int) -> JsonObject:
    pod = shift + len(attached.interfaces) - 1
    return {
        "interfaces": [_interface_object(version, each) for each in attached.interfaces],
        "ips": [
            {
                **({"version": str(each.address.version)} if version in WITH_IP_VERSION else {}),
                "address": str(each.address),
                "gateway": str(each.gateway),
                "interface": pod,
            }
            for each in attached.addresses
        ],
        "routes": [_route(route) for route in attached.routes],
        "dns": dict(attached.dns or {}),
    }


def _interface_object(version: str, each: ResultInterface) -> JsonObject:
    return {
        "name": each.name,
        "mac": each.mac,
        **({"mtu": each.mtu} if each.mtu is not None and version in WITH_MTU else {}),
        **({"sandbox": each.sandbox} if each.sandbox else {}),
    }


def _route(route: ResultRoute) -> JsonObject:
    return {"dst": str(route.dst), "gw": str(route.gateway)}


def _shift(previous: Result | None) -> int:
    """Our interfaces are numbered after those that are there."""
    return 0 if previous is None else len(_list(previous.body.get("interfaces")))


def _joined(before: JsonObject, own: JsonObject) -> JsonObject:
    return {
        name: [*_list(before.get(name)), *value] if isinstance(value, list) else (before.get(name) or value)
        for name, value in own.items()
    }


def _list(value: object) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []


def _objects(value: object) -> list[JsonObject]:
    return [cast("JsonObject", each) for each in _list(value) if isinstance(each, dict)]


def _mapping(value: object) -> JsonObject:
    return cast("JsonObject", value) if isinstance(value, dict) else {}


def _interface(text: object) -> IPv4Interface | IPv6Interface | None:
    try:
        return ip_interface(text) if isinstance(text, str) else None
    except ValueError:
        return None
