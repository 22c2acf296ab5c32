"""How fast peers get into the kernel, and out of it again as values: tulle, ip and bridge, pyroute2, side by side.

A peer is what the vxlan backend programs for it: one neighbour, one FDB entry, one route.  Each
round gives every way a fresh namespace, in turn, so that the machine's moods fall on all alike;
reported are medians, and ratios within this run.  Needs root; leaves nothing behind.

    python -m bench.netlink_batch [--peers 5000] [--rounds 3] [--json]
"""

import argparse
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
from tulle.kernel.netlink_socket import NetlinkSocket
from tulle.model.network import MacAddress
from tulle.model.objects import RTPROT_TULLE
from tulle.wire.netlink import Request
from tulle.wire.rtnetlink.links import LinkSettings, decode_link, get_link, new_vxlan, set_link
from tulle.wire.rtnetlink.neighbors import (
    NTF_SELF,
    NUD_PERMANENT,
    NeighborMessage,
    decode_neighbor,
    dump_fdb,
    dump_neighbors,
    new_neighbor,
)
from tulle.wire.rtnetlink.parts import AF_BRIDGE, AF_INET, IfIndex
from tulle.wire.rtnetlink.routes import RT_TABLE_MAIN, RouteMessage, decode_route, dump_routes, new_route
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
    """One way's time in one round, in seconds: setting all peers, and listing all of it."""

    program_s: float
    list_s: float


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


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def with_tulle(place: Place, wanted: list[Peer]) -> Took:
    """Encoding included; every answer is checked, every listed object decoded to a value."""

    def program() -> None:
        answers = sock.execute([request for peer in wanted for request in requests_for(place.device, peer)])
        assert not any(answer.errno for answer in answers)

    def listing() -> None:
        found = [decode_neighbor(m) for ask in (dump_neighbors(), dump_fdb(place.device)) for m in sock.dump(ask)]
        found_routes = [decode_route(m) for m in sock.dump(dump_routes(4, table=RT_TABLE_MAIN))]
        assert len(found) >= 2 * len(wanted)
        assert len(found_routes) == len(wanted)

    with NetlinkSocket.open(place.path) as sock:
        return Took(program_s=timed(program), list_s=timed(listing))


def requests_for(device: IfIndex, peer: Peer) -> tuple[Request, Request, Request]:
    neighbor = NeighborMessage(family=AF_INET, index=device, dst=peer.gateway, lladdr=peer.mac)
    entry = NeighborMessage(family=AF_BRIDGE, index=device, dst=peer.underlay, lladdr=peer.mac, flags=NTF_SELF)
    route = RouteMessage(dst=peer.subnet, oif=device, gateway=peer.gateway, onlink=True, protocol=RTPROT_TULLE)
    return new_neighbor(neighbor), new_neighbor(entry), new_route(route)


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

    return Took(program_s=timed(program), list_s=timed(listing))


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
            return Took(program_s=timed(program), list_s=timed(listing))
        finally:
            ip.close()

    ip: Any = None
    return netns.run_in(place.path, work)


WAYS: Final[dict[str, Callable[[Place, list[Peer]], Took]]] = {
    "tulle": with_tulle,
    "ip + bridge -batch": with_iproute2,
    "pyroute2": with_pyroute2,
}


def missing() -> str | None:
    """What this bench needs and does not find."""
    tools = [tool for tool in ("ip", "bridge") if shutil.which(tool) is None]
    modules = [module for module in ("pyroute2",) if find_spec(module) is None]
    if os.geteuid() != 0:
        return "root"
    return ", ".join(tools + modules) or None


def measure(count: int, rounds: int) -> dict[str, list[Took]]:
    wanted = peers(count)
    took: dict[str, list[Took]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, work in WAYS.items():
            with fresh_place() as place:
                took[way].append(work(place, wanted))
    return took


def summary(count: int, took: dict[str, list[Took]]) -> dict[str, object]:
    program = {way: statistics.median(t.program_s for t in times) for way, times in took.items()}
    listing = {way: statistics.median(t.list_s for t in times) for way, times in took.items()}
    return {
        "schema": "tulle.bench.netlink_batch/1",
        "peers": count,
        "objects": 3 * count,
        "rounds": len(took["tulle"]),
        "ways": {
            way: {
                "program_ns": round(program[way] * 1e9),
                "program_ns_per_object": round(program[way] * 1e9 / (3 * count)),
                "program_ratio": round(program[way] / program["tulle"], 2),
                "list_ns": round(listing[way] * 1e9),
                "list_ratio": round(listing[way] / listing["tulle"], 2),
            }
            for way in took
        },
    }


def table(result: dict[str, Any]) -> str:
    lines = [
        f"{result['peers']} peers, {result['objects']} objects, medians of {result['rounds']} rounds",
        f"{'':20}{'program':>12}{'per object':>13}{'÷ tulle':>9}{'list':>12}{'÷ tulle':>9}",
    ]
    for way, figures in result["ways"].items():
        lines.append(
            f"{way:20}{figures['program_ns'] / 1e6:>9.1f} ms{figures['program_ns_per_object'] / 1e3:>10.2f} µs"
            f"{figures['program_ratio']:>9.2f}{figures['list_ns'] / 1e6:>9.1f} ms{figures['list_ratio']:>9.2f}"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.netlink_batch", description="peers into the kernel, side by side")
    parser.add_argument("--peers", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    lacking = missing()
    if lacking is not None:
        print(f"bench.netlink_batch: needs {lacking}", file=sys.stderr)
        return 2
    result = summary(options.peers, measure(options.peers, options.rounds))
    print(json.dumps(result) if options.json else table(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
