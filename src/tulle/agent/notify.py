"""Tell whoever started the agent how it is, where NOTIFY_SOCKET says that somebody listens.

systemd is one such listener, the lab another.  Source: sd_notify(3), sd_watchdog_enabled(3).
"""

import socket
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Final, Protocol

from tulle.seams import Clock

READY: Final = "READY=1"
"""The node's own part stands, and pods can be served."""
STOPPING: Final = "STOPPING=1"
WATCHDOG: Final = "WATCHDOG=1"
PATIENCE_S: Final = 1.0
"""How long a listener whose queue is full may hold the agent up."""
PERIOD_S: Final = 5.0
"""How late a listener may learn of a change."""
MORE_TIME: Final = "EXTEND_TIMEOUT_USEC=30000000"
"""A start that waits for its store is no failed start."""
US: Final = 1_000_000


class Teller(Protocol):
    """Who knows how the agent is."""

    def summary(self) -> str: ...

    def stuck(self) -> str | None: ...


def notify(environment: Mapping[str, str], *states: str, patience_s: float = PATIENCE_S) -> bool:
    """Send ``states`` to the listener, and wait so long for room in its queue; False: it did not take them."""
    name = environment.get("NOTIFY_SOCKET", "")
    if not name.startswith(("/", "@")):
        return False
    address = "\0" + name[1:] if name.startswith("@") else name
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock, suppress(OSError):
        sock.settimeout(patience_s)
        sock.sendto("\n".join(states).encode(), address)
        return True
    return False


def watchdog_s(environment: Mapping[str, str], pid: int) -> float | None:
    """How often the listener wants a sign of life from ``pid``; None: not at all."""
    wanted, whom = environment.get("WATCHDOG_USEC", ""), environment.get("WATCHDOG_PID", "")
    if not wanted.isdecimal() or int(wanted) == 0 or whom not in {"", str(pid)}:
        return None
    return int(wanted) / US


class Herald:
    """Keeps the listener told: a line of status when it changes, and signs of life while there is life."""

    def __init__(self, environment: Mapping[str, str], pid: int, teller: Teller, clock: Clock) -> None:
        self._environment, self._teller, self._clock = environment, teller, clock
        self._watchdog_s = watchdog_s(environment, pid)
        self._placed = False
        self._said = ""

    def placed(self) -> None:
        """The node has taken its place, or has gone over to another configuration."""
        self._placed = True
        notify(self._environment, READY)
        self._tell()

    def reloading(self) -> None:
        """Another configuration takes effect; ``placed`` once it has."""
        notify(self._environment, "RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    async def run(self) -> None:
        """Until cancelled, or until nobody listens any more who wants signs of life."""
        period_s = min(PERIOD_S, self._watchdog_s / 3) if self._watchdog_s else PERIOD_S
        while self._tell() or self._watchdog_s is not None:
            await self._clock.sleep(period_s)

    def _tell(self) -> bool:
        """Say what is new; False: nobody heard it."""
        states = [] if self._placed else [MORE_TIME]
        if self._watchdog_s is not None and self._teller.stuck() is None:
            states.append(WATCHDOG)
        status = self._teller.summary().replace("\n", " ")
        if status != self._said:
            states.append(f"STATUS={status}")
        if not states:
            return True
        heard = notify(self._environment, *states, patience_s=0.0)
        self._said = status if heard else self._said
        return heard
