"""CNI's questions: environment and stdin → one ``Invocation``.

Hostile until decoded here: sizes, names and paths are checked before anything is looked up.
The configuration's keys are ``wire/cni_conf.py``'s, answers ``wire/cni_result.py``'s and ``cni_error``'s.
Source: CNI specification 1.1.0, "Protocol parameters".
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from tulle.errors import DecodeError
from tulle.wire.cni_conf import (
    NAME,
    NetworkConf,
    matching,
    parse_conf,
    parse_ifname,
    parse_mac,
    parse_wanted_address,
    with_ranges,
)
from tulle.wire.cni_error import BAD_CONFIG, BAD_ENVIRONMENT, INCOMPATIBLE, UNDECODABLE, VERSIONS, CniError
from tulle.wire.cni_ipam import Delegate, delegate_of
from tulle.wire.cni_result import Result, decode_previous
from tulle.wire.strict_json import JsonValue, decode_object

STDIN_LIMIT: Final = 1 << 20
COMMANDS: Final = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
REQUIRED: Final[Mapping[str, tuple[str, ...]]] = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME"),
}
SINCE: Final[Mapping[str, str]] = {"CHECK": "0.4.0", "GC": "1.1.0", "STATUS": "1.1.0"}
"""The version that brought a command."""
KNOWN_ARGS: Final = frozenset(
    (
        *("IgnoreUnknown", "IP", "MAC"),
        *("K8S_POD_NAMESPACE", "K8S_POD_NAME", "K8S_POD_INFRA_CONTAINER_ID", "K8S_POD_UID"),
    )
)
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
"""What Go's strconv.ParseBool takes, since runtimes write for its callers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One execution of the plugin.  ``netns`` is "" where the command has none.

    ``own_netns`` allows the node's own namespace as the pod's, as libcni's CNI_NETNS_OVERRIDE does.
    """

    command: str
    container_id: str
    netns: str
    ifname: str
    conf: NetworkConf
    previous: Result | None = None
    delegate: Delegate | None = None
    own_netns: bool = False

    @property
    def owner(self) -> tuple[str, str]:
        """Whose the addresses are: the container and its interface."""
        return self.container_id, self.ifname


def decode_invocation(environment: Mapping[str, str], stdin: bytes) -> Invocation:
    """What the runtime wants.  Raises CniError with the specification's code."""
    command = environment.get("CNI_COMMAND", "")
    if command not in COMMANDS:
        raise CniError(BAD_ENVIRONMENT, f"CNI_COMMAND {command!r}", f"must be one of {', '.join(COMMANDS)}")
    missing = [name for name in REQUIRED.get(command, ()) if not environment.get(name)]
    if missing:
        raise CniError(BAD_ENVIRONMENT, "missing variables", ", ".join(missing))
    if command == "VERSION":
        return _without_attachment(command, NetworkConf(cni_version=requested_version(stdin), name=""))
    decoded, conf = _configuration(command, stdin)
    delegate = None if conf.ipam is None else delegate_of(conf.ipam, environment, stdin)
    if command not in REQUIRED:
        return replace(_without_attachment(command, conf), delegate=delegate)
    return Invocation(
        command=command,
        container_id=matching("CNI_CONTAINERID", environment["CNI_CONTAINERID"], NAME),
        netns=_netns(command, environment.get("CNI_NETNS", "")),
        ifname=parse_ifname(environment["CNI_IFNAME"]),
        conf=_with_args(conf, environment.get("CNI_ARGS", "")) if command == "ADD" else conf,
        previous=_previous(command, decoded, stdin),
        delegate=delegate,
        own_netns=environment.get("CNI_NETNS_OVERRIDE", "") in _TRUE,
    )


def requested_version(stdin: bytes) -> str:
    """The version to answer an error in: the runtime's, where that can be told and is supported."""
    try:
        wanted = decode_object("CNI configuration", stdin, STDIN_LIMIT).get("cniversion")
    except DecodeError:
        wanted = None
    return wanted if isinstance(wanted, str) and wanted in VERSIONS else VERSIONS[-1]


def _without_attachment(command: str, conf: NetworkConf) -> Invocation:
    return Invocation(command=command, container_id="", netns="", ifname="", conf=conf)


@lru_cache(maxsize=8)
def _configuration(command: str, stdin: bytes) -> tuple[Mapping[str, JsonValue], NetworkConf]:
    """As it came, and parsed: the pods of a node mostly come with the same.  Raises CniError."""
    try:
        conf = decode_object("CNI configuration", stdin, STDIN_LIMIT)
    except DecodeError as error:
        raise CniError(UNDECODABLE, "stdin is not a network configuration", str(error)) from None
    version = conf.get("cniversion") or VERSIONS[0]
    if not isinstance(version, str) or version not in VERSIONS:
        raise CniError(INCOMPATIBLE, f"cniVersion {version!r}", f"supported: {', '.join(VERSIONS)}")
    since = SINCE.get(command, VERSIONS[0])
    if VERSIONS.index(version) < VERSIONS.index(since):
        raise CniError(INCOMPATIBLE, f"{command} with cniVersion {version}", f"needs {since}")
    parsed = parse_conf(conf, version)
    return conf, with_ranges(parsed, conf) if command in {"ADD", "STATUS"} else parsed


def _previous(command: str, conf: Mapping[str, JsonValue], stdin: bytes) -> Result | None:
    """The chain's result so far; DEL works without one, and whatever it is."""
    if conf.get("prevresult") is None or command == "DEL":
        if command == "CHECK":
            raise CniError(BAD_CONFIG, "prevResult", "CHECK needs the result of ADD")
        return None
    try:
        return decode_previous(stdin)
    except DecodeError as error:
        raise CniError(BAD_CONFIG, "prevResult", str(error)) from None


def _with_args(conf: NetworkConf, text: str) -> NetworkConf:
    """CNI_ARGS' wishes, where the configuration has none.  Raises CniError: an unknown key that nobody lets pass."""
    if not text:
        return conf
    args = _args(text)
    unknown = sorted(args.keys() - KNOWN_ARGS)
    if unknown and args.get("IgnoreUnknown") not in _TRUE:
        raise CniError(BAD_ENVIRONMENT, f"CNI_ARGS {', '.join(unknown)}", "unknown, and IgnoreUnknown is not 1")
    wishes = conf.wishes
    if "MAC" in args and wishes.mac is None:
        wishes = replace(wishes, mac=parse_mac("CNI_ARGS MAC", args["MAC"], BAD_ENVIRONMENT))
    if "IP" in args and not wishes.addresses:
        wanted = (parse_wanted_address("CNI_ARGS IP", args["IP"], BAD_ENVIRONMENT),)
        wishes = replace(wishes, addresses=wanted)
    return replace(conf, wishes=wishes) if wishes != conf.wishes else conf


def _args(text: str) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for pair in text.split(";"):
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise CniError(BAD_ENVIRONMENT, f"CNI_ARGS {pair!r}", "must be K=V;K=V")
        found[name] = value
    return found


def _netns(command: str, value: str) -> str:
    if value == "" and command == "DEL":
        return ""
    if not value.startswith("/") or "\0" in value:
        raise CniError(BAD_ENVIRONMENT, f"CNI_NETNS {value!r}", "must be an absolute path")
    return value
