"""Who this node is to the store: a random key in its state folder, made once.

Public addresses move and host names repeat; the key is what tells our own lease from another
node's that is reached at the same address.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tulle.errors import ConfigError
from tulle.model.lease import NodeId
from tulle.seams import Files, Random

FILE: Final = "node-id"
_KEY: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Identity:
    """This node's key: 32 hexadecimal digits."""

    node_id: NodeId


def node_identity(files: Files, state: Path, random: Random) -> Identity:
    """The key in ``state/node-id``, made (mode 0600) when there is none.

    Raises ConfigError: the file cannot be read or written, or holds something else.
    """
    path = state / FILE
    try:
        found = files.read(path)
        if found is None:
            found = random.token(16).hex().encode() + b"\n"
            files.replace(path, found, mode=0o600)
    except OSError as error:
        raise ConfigError(str(path), f"the node's key: {error.strerror or error}") from error
    text = found.decode("ascii", errors="replace").strip()
    if not _KEY.fullmatch(text):
        raise ConfigError(str(path), "is not a node's key", "remove it, and the node counts as a new one")
    return Identity(NodeId(text))
