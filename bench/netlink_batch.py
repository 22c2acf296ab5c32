"""How fast peers get into the kernel, and out of it again as values: tulle, ip and bridge, pyroute2, side by side.

A peer is what the vxlan backend programs for it: one neighbour, one FDB entry, one route.  tulle
carries out the plan that the agent's first pass would make, and lists as its audit does; the
others are given the same objects.  Each round gives every way a fresh namespace, in turn, so that
the machine's moods fall on all alike; reported are medians of wall and of CPU time (the kernel's
included), and ratios within this run.  Needs root; leaves nothing behind.

    python -m bench.netlink_batch [--peers 5000] [--rounds 3] [--no-pyroute2] [--json]
"""

import argparse
import asyncio
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, Final

from tulle.kernel import netns
from tulle.kernel.linux import LinuxKernel
from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.kernel.system import keep_collector_short
from tulle.model.change import Create, Plan
from tulle.model.network import MacAddress
from tulle.model.objects import RTPROT_TULLE, FdbEntry, KernelObject, Neighbor, Route
from tulle.model.state import KernelState, Scope
from tulle.plan.diff import in_order
from tulle.wire.rtnetlink.links import LinkSettings, decode_link, get_link, new_vxlan, set_link
from tulle.wire.rtnetlink.neighbors import NTF_SELF, NUD_PERMANENT
from tulle.wire.rtnetlink.parts import AF_INET, IfIndex
from tulle.wire.rtnetlink.routes import RT_TABLE_MAIN
from tulle.wire.rtnetlink.vxlan import VxlanInfo

DEVICE: Final = "flannel.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """What is programmed for one peer."""

    subnet: IPv4Network
    mac: MacAddress
    underlay: IPv4Address

    @property
    def gateway(self) -> IPv4Address:
        return self.subnet.network_address


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A fresh namespace with one VXLAN device."""

    name: str
    path: Path
    device: IfIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Took:
    """One way's times in one round: setting all peers, and listing all of it."""

    program: "Spent"
    listing: "Spent"


@dataclass(frozen=True, slots=True)
class Spent:
    """Seconds by the clock, and of CPU, this process's and its children's."""

    wall_s: float
    cpu_s: float


def peers(count: int) -> list[Peer]:
    return [
        Peer(
            subnet=IPv4Network((int(IPv4Address("10.0.0.0")) + (n << 8), 24)),
            mac=MacAddress(bytes((2, 0, *n.to_bytes(4, "big"))).hex(":")),
            underlay=IPv4Address("172.16.0.1") + n,
        )
        for n in range(count)
    ]


@contextmanager
def fresh_place() -> Generator[Place]:
    name = f"tulleb-{secrets.token_hex(4)}"
    path = netns.create(name)
    try:
        with NetlinkSocket.open(path) as sock:
            sock.run(set_link("lo", LinkSettings(up=True)))  # without a local table the kernel takes no gateway
            sock.run(new_vxlan(DEVICE, VxlanInfo(vni=1, learning=False), LinkSettings(up=True)))
            yield Place(name=name, path=path, device=decode_link(sock.ask(get_link(DEVICE))).index)
    finally:
        netns.delete(name)


def timed(work: Callable[[], object]) -> Spent:
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    work()
    return Spent(time.perf_counter() - wall, sum(os.times()[:4]) - cpu)


def with_tulle(place: Place, wanted: list[Peer]) -> Took:
    """Encoding included; every answer is checked, every listed object decoded to a value with its key."""
    desired = KernelState.of(obj for peer in wanted for obj in objects_for(peer))
    plan = Plan(in_order([Create(obj) for obj in desired], desired))

    async def program() -> None:  # returns nothing, since asyncio.run makes a repr of what it returns
        assert all(outcome.error is None for outcome in await kernel.apply(plan))

    async def listing() -> None:
        assert len(await kernel.observe(Scope.all())) > len(desired)

    kernel = LinuxKernel.open(place.path)
    try:
        return Took(program=timed(lambda: asyncio.run(program())), listing=timed(lambda: asyncio.run(listing())))
    finally:
        kernel.close()


def objects_for(peer: Peer) -> tuple[KernelObject, ...]:
    return (
        Neighbor(device=DEVICE, ip=peer.gateway, mac=peer.mac),
        FdbEntry(device=DEVICE, mac=peer.mac, dst=peer.underlay),
        Route(dst=peer.subnet, device=DEVICE, via=peer.gateway, onlink=True),
    )


def with_iproute2(place: Place, wanted: list[Peer]) -> Took:
    """The text is written beforehand; the two processes' start counts, as it would for whoever uses them."""
    ip_text = "".join(
        f"neigh add {p.gateway} lladdr {p.mac} dev {DEVICE} nud permanent\n"
        f"route add {p.subnet} via {p.gateway} dev {DEVICE} onlink proto {RTPROT_TULLE}\n"
        for p in wanted
    )
    bridge_text = "".join(f"fdb add {p.mac} dev {DEVICE} dst {p.underlay} self permanent\n" for p in wanted)

    def run(*argv: str, text: str = "") -> None:
        subprocess.run(argv, check=True, input=text, text=True, stdout=subprocess.PIPE)

    def program() -> None:
        run("ip", "-n", place.name, "-batch", "-", text=ip_text)
        run("bridge", "-n", place.name, "-batch", "-", text=bridge_text)

    def listing() -> None:
        run("ip", "-n", place.name, "-j", "neigh", "show", "nud", "all")
        run("bridge", "-n", place.name, "-j", "fdb", "show", "dev", DEVICE)
        run("ip", "-n", place.name, "-j", "route", "show")

    return Took(program=timed(program), listing=timed(listing))


def with_pyroute2(place: Place, wanted: list[Peer]) -> Took:
    """Its plain calls, one answer each."""
    module: Any = import_module("pyroute2")

    def program() -> None:
        for p in wanted:
            ip.neigh("add", dst=str(p.gateway), lladdr=p.mac, ifindex=place.device, state=NUD_PERMANENT)
            ip.fdb("add", ifindex=place.device, lladdr=p.mac, dst=str(p.underlay), state=NUD_PERMANENT, flags=NTF_SELF)
            ip.route("add", dst=str(p.subnet), gateway=str(p.gateway), oif=place.device, flags=4, proto=RTPROT_TULLE)

    def listing() -> None:
        assert len(list(ip.get_neighbours(family=AF_INET))) >= len(wanted)
        assert len(list(ip.fdb("dump"))) >= len(wanted)
        assert len(list(ip.get_routes(family=AF_INET, table=RT_TABLE_MAIN))) == len(wanted)

    def work() -> Took:
        nonlocal ip
        ip = module.IPRoute()
        try:
            return Took(program=timed(program), listing=timed(listing))
        finally:
            ip.close()

    ip: Any = None
    return netns.run_in(place.path, work)


WAYS: Final[dict[str, Callable[[Place, list[Peer]], Took]]] = {
    "tulle": with_tulle,
    "ip + bridge -batch": with_iproute2,
    "pyroute2": with_pyroute2,
}


def missing(ways: list[str]) -> str | None:
    """What this bench needs and does not find."""
    tools = [tool for tool in ("ip", "bridge") if shutil.which(tool) is None]
    modules = [module for module in ("pyroute2",) if module in ways and find_spec(module) is None]
    if os.geteuid() != 0:
        return "root"
    return ", ".join(tools + modules) or None


def measure(count: int, rounds: int, ways: list[str]) -> dict[str, list[Took]]:
    wanted = peers(count)
    took: dict[str, list[Took]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, work in ((way, WAYS[way]) for way in ways):
            with fresh_place() as place:
                took[way].append(work(place, wanted))
    return took


def summary(count: int, took: dict[str, list[Took]]) -> dict[str, object]:
    program = {way: [t.program for t in times] for way, times in took.items()}
    listing = {way: [t.listing for t in times] for way, times in took.items()}
    return {
        "schema": "tulle.bench.netlink_batch/2",
        "peers": count,
        "objects": 3 * count,
        "rounds": len(took["tulle"]),
        "ways": {
            way: {
                "program": _figures(program[way], program["tulle"]),
                "list": _figures(listing[way], listing["tulle"]),
            }
            for way in took
        },
    }


def _figures(spent: list[Spent], ours: list[Spent]) -> dict[str, float]:
    wall_s, cpu_s = (statistics.median(figures) for figures in ([s.wall_s for s in spent], [s.cpu_s for s in spent]))
    return {
        "wall_ns": round(wall_s * 1e9),
        "cpu_ns": round(cpu_s * 1e9),
        "wall_ratio": round(wall_s / statistics.median(s.wall_s for s in ours), 2),
        "cpu_ratio": round(cpu_s / statistics.median(s.cpu_s for s in ours), 2),
    }


def table(result: dict[str, Any]) -> str:
    head = f"{'ms':>11}{'÷ tulle':>9}{'CPU ms':>10}{'÷ tulle':>9}"
    lines = [
        f"{result['peers']} peers, {result['objects']} objects, medians of {result['rounds']} rounds",
        f"{'':20}{'program':>{len(head)}}{'list':>{len(head)}}",
        f"{'':20}{head}{head}",
    ]
    for way, figures in result["ways"].items():
        cells = "".join(
            f"{f['wall_ns'] / 1e6:>11.1f}{f['wall_ratio']:>9.2f}{f['cpu_ns'] / 1e6:>10.1f}{f['cpu_ratio']:>9.2f}"
            for f in (figures["program"], figures["list"])
        )
        lines.append(f"{way:20}{cells}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.netlink_batch", description="peers into the kernel, side by side")
    parser.add_argument("--peers", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pyroute2", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    ways = list(WAYS) if options.pyroute2 else [way for way in WAYS if way != "pyroute2"]
    lacking = missing(ways)
    if lacking is not None:
        print(f"bench.netlink_batch: needs {lacking}", file=sys.stderr)
        return 2
    keep_collector_short()  # as the agent does
    result = summary(options.peers, measure(options.peers, options.rounds, ways))
    print(json.dumps(result) if options.json else table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
