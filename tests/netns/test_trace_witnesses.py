"""The walk against witnesses that are not ours: ``tcpdump`` at each place, ``ip`` and ``bridge`` for each decision."""

import re
import subprocess
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.kit.enter import enter
from tests.kit.kernels import NEEDS_ROOT, NO_TCPDUMP
from tests.kit.topology import MISSING, Net, two_nodes
from tests.kit.tracing import hop_at, traced
from tulle.trace.journey import Hop, Journey

pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=NEEDS_ROOT or ""),
    pytest.mark.skipif(MISSING is not None, reason=f"{MISSING} is not installed"),
    pytest.mark.skipif(NO_TCPDUMP is not None, reason=NO_TCPDUMP or ""),
]
PLACES = {"pod1": ["eth0"], "node1": ["vethpod1", "cbr0", "flannel.1", "eth0"], "switch": ["port1", "port2"],
          "node2": ["eth0", "flannel.1", "cbr0", "vethpod4"], "pod4": ["eth0"]}  # fmt: skip
DEADLINE_S = 20.0
LINE = re.compile(r"^(?P<time>\d+\.\d+) .*?length (?P<length>\d+): .*")


@contextmanager
def witness(net: Net, name: str, device: str) -> Generator[list[str]]:
    """``tcpdump`` on one device: its lines once the body is left, a request and a reply at least."""
    command = [*enter(net.full(name)), "tcpdump", "-Z", "root", "-i", device, "-l", "-n", "-e", "-tt"]
    command += ["--time-stamp-precision=nano", "--immediate-mode", "-Q", "inout", "icmp or udp port 8472"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stderr:
            if "listening on" in line:
                break
        yield lines
        for line in process.stdout:
            lines += [line] if LINE.match(line) else []
            if len(lines) == 2:
                break
    finally:
        process.terminate()
        process.communicate(timeout=DEADLINE_S)


@pytest.fixture(scope="module")
def told() -> Iterator[tuple[Net, Journey, dict[str, list[str]]]]:
    """A trace that tcpdump watched at each of the twelve places."""
    with Net() as net:
        two_nodes(net)
        traced(net, "pod1", "pod4")  # so that no ARP is on the wire
        with ExitStack() as stack:
            lines = {
                f"{name}/{device}": stack.enter_context(witness(net, name, device))
                for name, devices in PLACES.items()
                for device in devices
            }
            journey = traced(net, "pod1", "pod4")
        yield net, journey, lines


def _place(hop: Hop) -> str:
    return f"{hop.node if hop.netns == 'root' else hop.netns}/{hop.dev}"


def test_every_sighting_is_where_tcpdump_saw_a_frame_of_that_length(
    told: tuple[Net, Journey, dict[str, list[str]]],
) -> None:
    _, journey, lines = told
    assert journey.verdict.status == "delivered"
    for hop in journey.hops:
        if hop.n is None:
            continue
        lengths = [int(found["length"]) for line in lines[_place(hop)] if (found := LINE.match(line))]
        assert hop.len in lengths, (_place(hop), lines[_place(hop)])


def test_the_order_of_the_places_is_that_of_tcpdumps_stamps(told: tuple[Net, Journey, dict[str, list[str]]]) -> None:
    _, journey, lines = told
    first = {place: float(said[0].split()[0]) for place, said in lines.items()}
    stamps = [first[_place(hop)] for hop in journey.sightings("request")]
    assert stamps == sorted(stamps)


def test_what_the_hops_cite_is_what_ip_and_bridge_answer(told: tuple[Net, Journey, dict[str, list[str]]]) -> None:
    net, journey, _ = told
    route = hop_at(journey, "3a").reason("route")
    assert route is not None
    said = net.run("node1", "ip", "route", "get", "10.244.2.3", "from", "10.244.1.2", "iif", "cbr0")
    assert f"via {route.facts['via']} dev {route.facts['dev']}" in said
    neighbor, entry = hop_at(journey, "3b").reason("neigh"), hop_at(journey, "3b").reason("fdb")
    assert neighbor is not None
    assert entry is not None
    assert neighbor.facts["mac"] in net.run("node1", "ip", "neigh", "show", neighbor.facts["ip"], "dev", "flannel.1")
    said = net.run("node1", "bridge", "fdb", "show", "dev", "flannel.1")
    assert f"{entry.facts['mac']} dst {entry.facts['dst']}" in said
    behind = hop_at(journey, "7").reason("bridge-fdb")
    assert behind is not None
    said = net.run("node2", "bridge", "fdb", "show", "br", "cbr0")
    assert f"{behind.facts['mac']} dev {behind.facts['port']} master cbr0" in said
