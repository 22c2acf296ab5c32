"""What a test hears of a namespace: every change that somebody made, and nothing that the kernel tidies up."""

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.watching import announcements
from tulle.kernel import netns
from tulle.wire.rtnetlink.neighbors import decode_neighbor

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces")


@pytest.fixture
def path() -> Iterator[Path]:
    name = f"tullet-{secrets.token_hex(4)}"
    yield netns.create(name)
    netns.delete(name)


def test_a_neighbour_is_heard_of_and_the_entry_of_a_multicast_group_is_not(path: Path) -> None:
    _ip(path, "link set lo up")
    with announcements(path) as heard:
        _ip(path, "neighbour add ff02::16 lladdr 33:33:00:00:00:16 nud noarp dev lo")
        _ip(path, "neighbour del ff02::16 dev lo")
        assert heard() == []
        _ip(path, "neighbour add fd00::2 lladdr 02:00:00:00:00:02 dev lo")
        assert [str(decode_neighbor(message).dst) for message in heard()] == ["fd00::2"]


def _ip(path: Path, arguments: str) -> None:
    subprocess.run(["nsenter", f"--net={path}", "ip", *arguments.split()], check=True)
