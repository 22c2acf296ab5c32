"""A real lab behind the page, as root and as an ordinary user: what a page may do, and that nothing of it is left."""

import os
import re
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path

import pytest

from tests.kit.labs import NEEDS_ROOT, LabCommand, User, a_lab, eventually
from tests.kit.ordinary import lab_of
from tests.kit.serving import Serving, served

pytestmark = pytest.mark.skipif(bool(NEEDS_ROOT), reason=str(NEEDS_ROOT))


@pytest.fixture(params=["root", "ordinary"])
def lab(request: pytest.FixtureRequest) -> Iterator[LabCommand]:
    with lab_of(request.param) as command:
        yield command


@pytest.fixture
def one() -> Iterator[LabCommand]:
    with a_lab() as command:
        command.must("up", "--pods", "1", "-q")
        yield command


def entry_of(page: Serving, kind: str, node: str) -> str:
    """The name of the entry of this kind that may be deleted on a node."""
    found = re.search(rf'data-node={node} data-object="({kind} [^"]+)"', page.view()["tables"])
    assert found is not None
    return found[1]


def paused(lab: LabCommand) -> list[bool]:
    return [node["agent_paused"] for node in lab.listed()["nodes"]]


def test_a_packet_walks_stops_and_walks_again(lab: LabCommand) -> None:
    lab.must("up", "--pods", "1", "-q")
    with served(lab) as page:
        status, told = page.ask("trace", source="pod1", to="pod2")
        assert (status, told.get("delivered")) == (200, True), told
        assert page.ask("pause", node="node1")[0] == 200
        assert page.view()["paused"] == ["node1"]
        for kind, rule in (("fdb", "D01"), ("neighbour", "D03"), ("route", "D17")):
            entry = entry_of(page, kind, "node1")
            status, told = page.ask("delete", node="node1", object=entry)
            assert status == 200, told
            status, told = page.ask("trace", source="pod1", to="pod2")
            assert (status, told["delivered"], told["stopped"]) == (200, False, "node1"), told
            assert rule in told["en"]
            assert page.ask("delete", node="node1", object=entry)[0] == 404
        assert page.view()["wrong"] == 3
        assert page.ask("resume", node="node1")[0] == 200
        eventually(lambda: page.view()["wrong"] == 0)
        assert page.ask("trace", source="pod1", to="pod2")[1]["delivered"]
        assert page.stop()[::2] == (0, "")
    lab.must("down")
    assert lab.leftovers() == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_told_to_stop_it_lets_the_agents_go_on_that_a_page_paused(one: LabCommand, number: signal.Signals) -> None:
    one.must("pause", "node2")
    with served(one) as page:
        assert page.ask("pause", node="node1")[0] == 200
        assert paused(one) == [True, True]
        assert page.stop(number) == (0, "", "")
    assert paused(one) == [False, True]  # whom somebody else paused stays so


def test_told_to_stop_in_the_middle_of_a_trace_it_leaves_no_tap(one: LabCommand) -> None:
    taps = Path(f"/proc/{one.listed()['nodes'][0]['agent_pid']}/net/packet")
    before = taps.read_text()
    with served(one) as page, ThreadPoolExecutor() as pool:
        page.ask("pause", node="node1")
        page.ask("delete", node="node1", object=entry_of(page, "fdb", "node1"))
        asking = pool.submit(page.ask, "trace", source="pod1", to="pod2")
        eventually(lambda: taps.read_text() != before)  # it waits a second for the reply
        assert page.stop() == (0, "", "")
        assert isinstance(asking.exception(), OSError | HTTPException)
    assert taps.read_text() == before
    assert paused(one) == [False, False]


def test_a_lab_that_goes_ends_its_server(one: LabCommand) -> None:
    with served(one) as page:
        page.view()
        one.must("down")
        assert page.ended() == (0, "", "")
    assert one.leftovers() == []


def test_what_cannot_be_served_is_said_in_one_line(one: LabCommand) -> None:
    with served(one) as page:
        port = page.url.split(":")[2].split("/")[0]
        taken = one.run("serve", "--port", port)
        assert (taken.returncode, taken.stderr) == (
            2,
            f"tulle: --port {port}: Address already in use: leave it out for a free one\n",
        )
    wrong = one.run("serve", "--port", "70000")
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    one.must("down")
    gone = one.run("serve")
    assert gone.returncode == 2
    assert gone.stderr.startswith(f"tulle: lab {one.name}: no such lab: ")


def test_the_desktops_opener_is_given_a_file_that_only_its_user_can_read(one: LabCommand, tmp_path: Path) -> None:
    opener, told = tmp_path / "xdg-open", tmp_path / "told"
    opener.write_text(f'#!/bin/sh\nstat -c %a "$1" >{told}; cat "$1" >>{told}; echo "$1" >>{told}; echo end >>{told}\n')
    opener.chmod(0o755)
    user = User(environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    with served(LabCommand(one.name, user), "--open") as page:
        eventually(lambda: told.exists() and told.read_text().endswith("end\n"))
        mode, html, file, _ = told.read_text().splitlines()
        assert (mode, page.url in html, page.url.split("/")[3] in file) == ("600", True, False)
        assert Path(file).exists()
        assert page.stop() == (0, "", "")
        assert not Path(file).exists()


def test_the_address_is_of_the_loopback_and_another_each_time(one: LabCommand) -> None:
    urls: set[str] = set()
    for _ in range(2):
        with served(one) as page:
            assert re.fullmatch(r"http://127\.0\.0\.1:\d+/[\w-]{32}/", page.url)
            urls.add(page.url.split("/")[3])
    assert len(urls) == 2
