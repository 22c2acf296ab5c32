"""``tulle trace`` as a stranger uses it: its forms, its exit codes, and that nothing is left when it is killed."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.kit.enter import enter
from tests.kit.kernels import NEEDS_HOST_ROOT, NEEDS_ROOT
from tests.kit.labs import environment, processes
from tests.kit.ordinary import MISSING as NO_ORDINARY_USER
from tests.kit.ordinary import ordinary_user
from tests.kit.topology import MISSING, Net, two_nodes
from tests.kit.tracing import REQUEST
from tulle.trace.json import decode_journey
from tulle.trace.tracefs import open_tracefs

needs_host_root = pytest.mark.skipif(NEEDS_HOST_ROOT is not None, reason=NEEDS_HOST_ROOT or "")
pytestmark = [
    pytest.mark.skipif(NEEDS_ROOT is not None, reason=NEEDS_ROOT or ""),
    pytest.mark.skipif(MISSING is not None, reason=f"{MISSING} is not installed"),
]
DEADLINE_S = 20.0


@pytest.fixture(scope="module")
def net() -> Iterator[Net]:
    with Net() as made:
        two_nodes(made)
        yield made


def command(net: Net, source: str, target: str, *words: str) -> list[str]:
    places = [net.full(name) if name in net.names else name for name in (source, target)]
    return [sys.executable, "-m", "tulle", "trace", *places, *words]


def run(net: Net, source: str, target: str, *words: str, **settings: str) -> subprocess.CompletedProcess[str]:
    argv = command(net, source, target, *words)
    return subprocess.run(
        argv, capture_output=True, text=True, check=False, timeout=60, env={**environment(), **settings}
    )


def instances() -> list[str]:
    """Tracing instances of tulle's: of all mounts the same."""
    top = open_tracefs()
    folder = os.open("instances", os.O_RDONLY | os.O_DIRECTORY, dir_fd=top)
    try:
        return [name for name in os.listdir(folder) if name.startswith("tulle-")]
    finally:
        os.close(folder)
        os.close(top)


def namespaces(net: Net) -> list[str]:
    return [name for name in os.listdir("/run/netns") if net.prefix in name]


def in_netns(pid: int, inode: int) -> bool:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino == inode


def until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_delivered_is_0_lost_is_1_and_could_not_look_is_2(net: Net) -> None:
    assert run(net, "pod1", "pod4", "-q").returncode == 0
    assert run(net, "pod1", "10.244.2.77", "-q", "-W", "0.2").returncode == 1
    for bad in (
        run(net, "pod1", "nowhere"),
        run(net, "pod1", "pod4", "--count", "0"),
        run(net, "pod1", "pod4", "-W", "999"),
        run(net, "pod1", "pod4", "--port", "70000"),
        run(net, "pod1", "pod4", "--nonsense"),
        run(net, "switch", "pod4"),
        run(net, "pod1", "pod4", "--out", "/nonexistent/walk.json"),
    ):
        assert bad.returncode == 2
        assert bad.stderr.startswith("tulle: ")
        assert len(bad.stderr.splitlines()) == 1


def test_json_is_the_journey_and_out_writes_it(net: Net, tmp_path: Path) -> None:
    file = tmp_path / "walk.json"
    done = run(net, "pod1", "pod4", "--json", "--out", str(file))
    journey = decode_journey(done.stdout.encode())
    assert journey == decode_journey(file.read_bytes())
    assert json.loads(done.stdout)["schema"] == "tulle.trace/1"
    assert journey.created.endswith("Z")
    assert journey.tool.startswith("tulle ")


def test_jsonl_is_one_line_for_each_probe(net: Net) -> None:
    lines = run(net, "pod1", "pod4", "--jsonl", "--count", "3").stdout.splitlines()
    assert len({decode_journey(line.encode()).packet.id for line in lines}) == 3


@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_line_fits_and_none_is_coloured_in_a_pipe(net: Net, columns: int, lang: str) -> None:
    from tulle.render.walk_text import width

    done = run(net, "pod1", "pod4", "--headers", "--lang", lang, COLUMNS=str(columns))
    assert done.returncode == 0
    assert "\x1b" not in done.stdout
    assert [line for line in done.stdout.splitlines() if width(line) > columns] == []


def test_ascii_is_ascii(net: Net) -> None:
    assert run(net, "pod1", "pod4", "--ascii").stdout.isascii()


def test_an_own_path_and_a_process_are_places_too(net: Net) -> None:
    sleeper = subprocess.Popen([*enter(net.full("pod1")), "sleep", "60"])
    try:
        until(lambda: in_netns(sleeper.pid, net.path("pod1").stat().st_ino))
        done = run(net, str(sleeper.pid), str(net.path("pod4")), "--json")
    finally:
        sleeper.kill()
        sleeper.wait()
    assert done.returncode == 0
    journey = decode_journey(done.stdout.encode())
    assert (journey.source.pod, journey.target.pod) == (str(sleeper.pid), str(net.path("pod4")))


def test_nodes_without_a_name_are_found_by_the_processes_that_live_there() -> None:
    with Net() as net, ExitStack() as stack:
        two_nodes(net)
        for name in ("switch", "node1", "node2"):
            sleeper = subprocess.Popen(["nsenter", f"--net={net.path(name)}", "sleep", "60"])
            stack.callback(sleeper.wait)
            stack.callback(sleeper.kill)
            until(partial(in_netns, sleeper.pid, net.path(name).stat().st_ino))
            subprocess.run(["ip", "netns", "del", net.full(name)], check=True)
        journey = decode_journey(run(net, "pod1", "pod4", "--json").stdout.encode())
    assert journey.verdict.status == "delivered"
    assert [hop.step for hop in journey.sightings("request")] == REQUEST
    assert journey.source.node.startswith("pid ")


@needs_host_root
@pytest.mark.parametrize(
    ("number", "delay_s"),
    [
        (signal.SIGINT, 0.05),
        (signal.SIGTERM, 0.05),
        (signal.SIGKILL, 0.0),
        (signal.SIGKILL, 0.05),
        (signal.SIGKILL, 0.3),
    ],
)
def test_a_trace_that_is_ended_at_any_point_leaves_nothing(net: Net, number: signal.Signals, delay_s: float) -> None:
    spaces = namespaces(net)
    process = subprocess.Popen(
        command(net, "pod1", "10.244.2.77", "-W", "30"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    before, mine = set(instances()), set[str]()
    deadline = time.monotonic() + DEADLINE_S
    while delay_s and not mine and time.monotonic() < deadline:  # until it has its instance, and waits for the reply
        mine = set(instances()) - before
    time.sleep(delay_s)
    process.send_signal(number)
    process.communicate(timeout=DEADLINE_S)
    while (mine & set(instances()) or processes(net.prefix)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not mine & set(instances())
    assert processes(net.prefix) == []
    assert namespaces(net) == spaces


@needs_host_root
def test_an_instance_whose_owner_and_guard_are_gone_is_removed_by_the_next_trace(net: Net) -> None:
    name = "tulle-0000000000ff"
    top = open_tracefs()
    os.mkdir(f"instances/{name}", dir_fd=top)
    os.close(top)
    assert name in instances()
    assert run(net, "pod1", "pod4", "-q").returncode == 0
    assert name not in instances()


@pytest.mark.skipif(NO_ORDINARY_USER is not None, reason=NO_ORDINARY_USER or "")
def test_an_ordinary_user_traces_in_a_lab_of_their_own_and_ties_stay_ties() -> None:
    with ordinary_user() as user:

        def tulle(*words: str) -> subprocess.CompletedProcess[str]:
            argv = [*user.prefix, user.python, "-m", "tulle", *words, "--name", "mine"]
            env = {**environment(), **(user.environment or {}), "TULLE_LANG": "en"}
            return subprocess.run(argv, env=env, capture_output=True, text=True, check=False, timeout=60)

        try:
            up = tulle("lab", "up", "-q")
            assert up.returncode == 0, up.stderr
            done = tulle("trace", "pod1", "pod4", "--json")
            broken = tulle("trace", "pod1", "10.244.2.77", "--json", "-W", "0.2")
        finally:
            tulle("lab", "down")
    journey = decode_journey(done.stdout.encode())
    assert journey.verdict.status == "delivered"
    assert journey.notes == ("tracepoints:reason=root of the host only",)
    assert [hop.step for hop in journey.hops if hop.t_shared_with is not None] == ["2", "6b", "2", "6b"]
    assert broken.returncode == 1
    finding = decode_journey(broken.stdout.encode()).verdict.finding
    assert finding is not None
    assert finding.rule == "target-silent"
