"""Sends the probes of ``doctor.overlay`` from this network namespace, and listens.  Changes nothing.

Nothing is configured for it: a request leaves by a packet socket, and whatever comes in is seen
there before routes, filters and the reverse-path check of this host have a say.
"""

import asyncio
import os
import select
import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from typing import Final

from tulle.doctor.overlay import Answer, Finding, Target, Way, judge, probe_frame, read_answer
from tulle.errors import Unsupported
from tulle.kernel.linux import LinuxKernel
from tulle.model.network import IPAddress
from tulle.model.objects import Link, Neighbor, NeighborKey, Route
from tulle.model.state import KernelState, Scope
from tulle.plan.ways import way_to
from tulle.trace.probe_packet import Probe
from tulle.trace.probe_wire import encode_probe

ETH_P_ALL: Final = 3
TRIES: Final = 3
PAUSE_S: Final = 0.3
"""Between two tries; a round trip in one data centre takes a hundredth of it."""
LAST_S: Final = 1.0
TOKEN_BYTES: Final = 16
SNAP: Final = 2048


def find_out(targets: Sequence[Target], sources: Mapping[int, IPAddress]) -> list[Finding]:
    """A finding for each target.  ``sources`` is our underlay address of each IP version.

    Takes about three seconds.  Raises Unsupported: no packet sockets for this process; KernelError.
    """
    ident, token = os.getpid() & 0xFFFF, os.urandom(TOKEN_BYTES)
    state = _observed()
    devices = {name for target in targets if (name := _device(state, target)) is not None}
    with ExitStack() as stack:
        taps = {name: stack.enter_context(_tap(name)) for name in devices}
        _greet(targets, sources, ident, token)
        answers = _listen(taps.values(), LAST_S, ident, token)
        state = _observed()  # by now every next hop that answers is known
        ways = [_way(state, target, sources) for target in targets]
        for attempt in range(TRIES):
            for target, way in zip(targets, ways, strict=True):
                if way is not None:
                    for inside in target.inside:
                        with suppress(OSError):  # one device that is down does not stop the others
                            taps[way.device].send(probe_frame(way, inside, ident, token))
            answers += _listen(taps.values(), LAST_S if attempt == TRIES - 1 else PAUSE_S, ident, token)
    return [judge(target, way, answers) for target, way in zip(targets, ways, strict=True)]


def _observed() -> KernelState:
    kernel = LinuxKernel.open()
    try:
        return asyncio.run(kernel.observe(Scope.all()))
    finally:
        kernel.close()


def _device(state: KernelState, target: Target) -> str | None:
    route = way_to(state.each(Route), target.public_ip)
    return route.device if route is not None else None


def _way(state: KernelState, target: Target, sources: Mapping[int, IPAddress]) -> Way | None:
    """The first hop towards the target's own address; None where the kernel does not know it."""
    route = way_to(state.each(Route), target.public_ip)
    source = sources.get(target.public_ip.version)
    if route is None or route.device is None or source is None:
        return None
    link = state.link(route.device)
    found = state.get(NeighborKey(route.device, route.via or target.public_ip))
    if not isinstance(link, Link) or link.mac is None or not isinstance(found, Neighbor) or found.mac is None:
        return None
    return Way(device=route.device, own_mac=link.mac, next_mac=found.mac, source=source)


def _tap(device: str) -> socket.socket:
    try:
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.htons(ETH_P_ALL))
    except PermissionError:
        raise Unsupported("packet sockets", "run it as root, or with CAP_NET_RAW") from None
    tap.bind((device, ETH_P_ALL))
    tap.setblocking(False)
    return tap


def _greet(targets: Iterable[Target], sources: Mapping[int, IPAddress], ident: int, token: bytes) -> None:
    """Ask each peer's own address, by the kernel's own routes: it may be silent, and its next hop gets known."""
    for target in targets:
        source = sources.get(target.public_ip.version)
        if source is None:
            continue
        probe = Probe(protocol="icmp", source=source, target=target.public_ip, id=token, ident=ident, sequence=0)
        family = socket.AF_INET if probe.family == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, probe.number) as raw, suppress(OSError):
            raw.sendto(encode_probe(probe), (str(target.public_ip), 0))


def _listen(taps: Iterable[socket.socket], seconds: float, ident: int, token: bytes) -> list[Answer]:
    found: list[Answer] = []
    until = time.monotonic() + seconds
    open_taps = list(taps)
    while (left := until - time.monotonic()) > 0 and open_taps:
        for tap in select.select(open_taps, (), (), left)[0]:
            with suppress(OSError):
                answer = read_answer(tap.recv(SNAP), ident, token)
                found += [answer] if answer is not None else []
    return found
