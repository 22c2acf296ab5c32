"""What a namespace's kernel counts: packets and bytes of its devices, and what its IP layer drops.

Nothing is kept open between two looks, so that a namespace that goes is not held alive by who watches it.
"""

import time
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.kernel.netns import inside
from tulle.wire.proc_net import IpCounters, parse_ip_counters
from tulle.wire.rtnetlink.links import LinkMessage, decode_link, dump_links

PROC_NET: Final = Path("/proc/thread-self/net")
FILES: Final = ("snmp", "netstat", "snmp6")
RECEIVE_BUFFER: Final = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """One look: ``at_ns`` is CLOCK_BOOTTIME."""

    at_ns: int
    links: tuple[LinkMessage, ...]
    ip: IpCounters


def read_counters(netns: Path | None = None) -> Counters:
    """The counters in ``netns`` (None: where this thread is), now.  About a quarter of a millisecond.

    Raises KernelError; ConfigError: no such namespace.
    """
    with nullcontext() if netns is None else inside(netns):
        with NetlinkSocket.open(receive_buffer=RECEIVE_BUFFER) as sock:
            messages = sock.dump(dump_links(statistics=True))
        at_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        ip = parse_ip_counters("".join(_text(PROC_NET / name) for name in FILES))
    return Counters(at_ns=at_ns, links=tuple(map(decode_link, messages)), ip=ip)


def _text(path: Path) -> str:
    with suppress(OSError):  # snmp6 is only where there is IPv6
        return path.read_text()
    return ""
