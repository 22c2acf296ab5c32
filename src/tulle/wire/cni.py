"""CNI's words: environment and stdin → one ``Invocation``; results and errors → JSON.

Hostile until decoded here: sizes, names and paths are checked before anything is looked up.
Source: CNI specification 1.1.0, "Protocol parameters", "Network configuration", "Result types", "Error".
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import PurePosixPath
from typing import Final

from tulle.errors import DecodeError, TulleError
from tulle.model.network import IPAddress
from tulle.wire.strict_json import JsonValue, decode_object

STDIN_LIMIT: Final = 1 << 20
VERSIONS: Final = ("0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
COMMANDS: Final = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
}
SINCE: Final[Mapping[str, str]] = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
"""The version that brought a command."""

INCOMPATIBLE, UNSUPPORTED_FIELD, BAD_ENVIRONMENT, IO_FAILURE, UNDECODABLE, BAD_CONFIG = 1, 2, 4, 5, 6, 7
BAD_NETNS, TRY_AGAIN, NOT_AVAILABLE = 8, 11, 50
EXHAUSTED, ALREADY_ATTACHED, KERNEL_REFUSED, NOT_AS_ATTACHED, INTERNAL = 100, 101, 102, 103, 140

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,252}")
_IFNAME: Final = re.compile(r"[^/:\s%\x00-\x20\x7f-\xff]{1,15}")


class CniError(TulleError):
    """What a plugin answers instead of a result: a numbered cause, and a hint in ``details``."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        super().__init__(f"{msg}: {details}" if details else msg)
        self.code, self.msg, self.details = code, msg, details


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConf:
    """The network's configuration, of the keys that tulle reads.  ``mtu`` None: the node's."""

    cni_version: str
    name: str
    bridge: str = "cni0"
    mtu: int | None = None
    hairpin: bool = True
    valid_attachments: frozenset[tuple[str, str]] | None = None
    """GC: (container id, interface name) of what still lives; None when the runtime did not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One execution of the plugin.  ``netns`` is "" where the command has none."""

    command: str
    container_id: str
    netns: str
    ifname: str
    conf: NetworkConf


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultInterface:
    """A device that ADD made; ``sandbox`` "" on the host."""

    name: str
    mac: str
    sandbox: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultAddress:
    """An address of the pod, on its interface."""

    address: IPv4Interface | IPv6Interface
    gateway: IPAddress


def decode_invocation(environment: Mapping[str, str], stdin: bytes) -> Invocation:
    """What the runtime wants.  Raises CniError with the specification's code."""
    command = environment.get("CNI_COMMAND", "")
    if command not in COMMANDS:
        raise CniError(BAD_ENVIRONMENT, f"CNI_COMMAND {command!r}", f"must be one of {', '.join(COMMANDS)}")
    missing = [name for name in REQUIRED.get(command, ()) if name not in environment]
    if missing:
        raise CniError(BAD_ENVIRONMENT, "missing variables", ", ".join(missing))
    conf = _conf(command, stdin)
    if command not in REQUIRED:
        return Invocation(command=command, container_id="", netns="", ifname="", conf=conf)
    return Invocation(
        command=command,
        container_id=_matching("CNI_CONTAINERID", environment["CNI_CONTAINERID"], _NAME),
        netns=_netns(command, environment.get("CNI_NETNS", "")),
        ifname=_ifname(environment["CNI_IFNAME"]),
        conf=conf,
    )


def requested_version(stdin: bytes) -> str:
    """The version to answer an error in: the runtime's, where that can be told and is supported."""
    try:
        wanted = decode_object("CNI configuration", stdin, STDIN_LIMIT).get("cniversion")
    except DecodeError:
        wanted = None
    return wanted if isinstance(wanted, str) and wanted in VERSIONS else VERSIONS[-1]


def encode_error(error: CniError, version: str) -> bytes:
    """The error object, for stdout."""
    answer = {"cniVersion": version, "code": error.code, "msg": error.msg}
    return _encoded({**answer, **({"details": error.details} if error.details else {})})


def encode_result(version: str, interfaces: Sequence[ResultInterface], addresses: Sequence[ResultAddress]) -> bytes:
    """The result of ADD; the pod's own interface comes last, and every address is on it."""
    old = version in {"0.3.0", "0.3.1", "0.4.0"}
    pod = len(interfaces) - 1
    return _encoded(
        {
            "cniVersion": version,
            "interfaces": [
                {"name": i.name, "mac": i.mac, **({"sandbox": i.sandbox} if i.sandbox else {})} for i in interfaces
            ],
            "ips": [
                {
                    **({"version": str(a.address.version)} if old else {}),
                    "address": str(a.address),
                    "gateway": str(a.gateway),
                    "interface": pod,
                }
                for a in addresses
            ],
            "routes": [
                {"dst": "0.0.0.0/0" if a.address.version == 4 else "::/0", "gw": str(a.gateway)} for a in addresses
            ],
            "dns": {},
        }
    )


def encode_versions(version: str) -> bytes:
    """The answer to VERSION."""
    return _encoded({"cniVersion": version, "supportedVersions": list(VERSIONS)})


def _conf(command: str, stdin: bytes) -> NetworkConf:
    if command == "VERSION":
        return NetworkConf(cni_version=requested_version(stdin), name="")
    try:
        conf = decode_object("CNI configuration", stdin, STDIN_LIMIT)
    except DecodeError as error:
        raise CniError(UNDECODABLE, "stdin is not a network configuration", str(error)) from None
    version = conf.get("cniversion", "0.1.0")
    if version not in VERSIONS:
        raise CniError(INCOMPATIBLE, f"cniVersion {version!r}", f"supported: {', '.join(VERSIONS)}")
    assert isinstance(version, str)
    since = SINCE.get(command, "0.3.0")
    if VERSIONS.index(version) < VERSIONS.index(since):
        raise CniError(INCOMPATIBLE, f"{command} with cniVersion {version}", f"needs {since}")
    _check_own_keys(conf)
    return NetworkConf(
        cni_version=version,
        name=_matching("name", conf.get("name"), _NAME, BAD_CONFIG),
        bridge=_conf_ifname(conf.get("bridge", "cni0")),
        mtu=_mtu(conf.get("mtu")),
        hairpin=_flag("hairpinMode", conf.get("hairpinmode", True)),
        valid_attachments=_attachments(conf),
    )


def _check_own_keys(conf: Mapping[str, JsonValue]) -> None:
    own = conf.get("tulle", {})
    if not isinstance(own, dict):
        raise CniError(BAD_CONFIG, "tulle", "must be an object")
    for key, value in own.items():
        raise CniError(UNSUPPORTED_FIELD, f"tulle.{key}", f"unknown key with value {value!r}")


def _attachments(conf: Mapping[str, JsonValue]) -> frozenset[tuple[str, str]] | None:
    found = conf.get("cni.dev/valid-attachments", conf.get("cni.dev/attachments"))
    if found is None:
        return None
    if not isinstance(found, list):
        raise CniError(BAD_CONFIG, "cni.dev/valid-attachments", "must be a list")
    pairs: set[tuple[str, str]] = set()
    for entry in found:
        if not isinstance(entry, dict):
            raise CniError(BAD_CONFIG, "cni.dev/valid-attachments", "must hold objects")
        pairs.add((str(entry.get("containerid", "")), str(entry.get("ifname", ""))))
    return frozenset(pairs)


def _matching(what: str, value: JsonValue, pattern: re.Pattern[str], code: int = BAD_ENVIRONMENT) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise CniError(code, f"{what} {value!r}", "must be letters, digits, '_', '.' or '-', and not begin with these")
    return value


def _ifname(value: str, code: int = BAD_ENVIRONMENT) -> str:
    if not _IFNAME.fullmatch(value) or value in {".", ".."} or not value.isascii():
        raise CniError(code, f"interface name {value!r}", "must be 1 to 15 characters without '/', ':', '%' or spaces")
    return value


def _conf_ifname(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise CniError(BAD_CONFIG, "bridge", "must be a string")
    return _ifname(value, BAD_CONFIG)


def _netns(command: str, value: str) -> str:
    if value == "" and command == "DEL":
        return ""
    if not PurePosixPath(value).is_absolute() or "\0" in value:
        raise CniError(BAD_ENVIRONMENT, f"CNI_NETNS {value!r}", "must be an absolute path")
    return value


def _mtu(value: JsonValue) -> int | None:
    if value is None or value == 0:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 68 <= value <= 65535:
        raise CniError(BAD_CONFIG, f"mtu {value!r}", "must be 68 to 65535")
    return value


def _flag(name: str, value: JsonValue) -> bool:
    if not isinstance(value, bool):
        raise CniError(BAD_CONFIG, f"{name} {value!r}", "must be true or false")
    return value


def _encoded(answer: object) -> bytes:
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"
