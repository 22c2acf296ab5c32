"""Tell whoever started the agent how it is, where NOTIFY_SOCKET says that somebody listens.

systemd is one such listener, the lab another.  Source: sd_notify(3).
"""

import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

READY: Final = "READY=1"
"""The lease is held and the control socket answers."""
PATIENCE_S: Final = 1.0
"""How long a listener whose queue is full may hold the agent up."""


def notify(environment: Mapping[str, str], state: str) -> None:
    """Send ``state`` to the listener; nothing when there is none, or it went away."""
    name = environment.get("NOTIFY_SOCKET", "")
    if not name.startswith(("/", "@")):
        return
    address = "\0" + name[1:] if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock, suppress(OSError):
        sock.settimeout(PATIENCE_S)
        sock.sendto(state.encode(), address)
