"""What the plugin answers instead of a result: a numbered cause with a hint.

Codes below 100 are the specification's, 100 to 140 are ours; ``docs/cni.md`` lists them.
Source: CNI specification 1.1.0, "Error".
"""

import json
from collections.abc import Mapping
from typing import Final

from tulle.errors import TulleError

VERSIONS: Final = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")

INCOMPATIBLE: Final = 1
UNSUPPORTED_FIELD: Final = 2
BAD_ENVIRONMENT: Final = 4
IO_FAILURE: Final = 5
UNDECODABLE: Final = 6
BAD_CONFIG: Final = 7
BAD_NETNS: Final = 8
TRY_AGAIN: Final = 11
NOT_AVAILABLE: Final = 50
EXHAUSTED: Final = 100
ALREADY_ATTACHED: Final = 101
KERNEL_REFUSED: Final = 102
NOT_AS_ATTACHED: Final = 103
ADDRESS_TAKEN: Final = 104
ADDRESS_OUTSIDE: Final = 105
BRIDGE_TAKEN: Final = 106
OBJECT_TAKEN: Final = 107
IPAM_FAILED: Final = 108
INTERNAL: Final = 140

HINTS: Final[Mapping[int, str]] = {
    IO_FAILURE: "look at the disk below the agent's root",
    EXHAUSTED: "delete pods, or give nodes larger subnets",
    ALREADY_ATTACHED: "DEL first",
    KERNEL_REFUSED: "see the agent's log",
    NOT_AS_ATTACHED: "delete the pod's sandbox, and let it be made again",
    ADDRESS_TAKEN: "ask for another address, or for none",
    ADDRESS_OUTSIDE: "ask for an address of this node's subnet",
    BRIDGE_TAKEN: "rename that device, or set another bridge in the network configuration",
    OBJECT_TAKEN: "remove what holds it, or let another plugin of the chain make it",
    IPAM_FAILED: "see that plugin's own words, and that it is in the runtime's plugin folder",
    INTERNAL: "see the agent's log, and report it",
}


class CniError(TulleError):
    """What a plugin answers instead of a result; ``details`` end with what to do."""

    def __init__(self, code: int, msg: str, details: str = "") -> None:
        self.code, self.msg = code, msg
        self.details = ": ".join(part for part in (details, HINTS.get(code, "")) if part)
        super().__init__(f"{msg}: {self.details}" if self.details else msg)


_COMPACT: Final = json.JSONEncoder(separators=(",", ":"))


def encode_error(error: CniError, version: str) -> bytes:
    """The error object, for stdout."""
    answer = {"cniVersion": version, "code": error.code, "msg": error.msg}
    return encode_answer({**answer, **({"details": error.details} if error.details else {})})


def encode_versions(version: str) -> bytes:
    """The answer to VERSION."""
    return encode_answer({"cniVersion": version, "supportedVersions": list(VERSIONS)})


def encode_answer(answer: object) -> bytes:
    """One compact line of JSON."""
    return _COMPACT.encode(answer).encode() + b"\n"
