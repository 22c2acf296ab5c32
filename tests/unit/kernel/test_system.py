"""What an agent asks of its own process."""

import re
import resource
from pathlib import Path

import pytest

from tests.kit.processes import in_a_child
from tulle.kernel.system import make_room_for_descriptors


def table_size() -> int:
    """How many descriptors this process's table has room for.  Source: proc(5), FDSize."""
    found = re.search(r"FDSize:\s*(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


@pytest.mark.parametrize(("limit", "room"), [(4096, 1024), (1024, 1024), (300, 300), (64, 64)])
def test_the_table_of_descriptors_is_made_at_once_and_within_the_limit(limit: int, room: int) -> None:
    def work() -> None:
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        opened = set(Path("/proc/self/fd").iterdir())
        make_room_for_descriptors()
        assert table_size() >= room
        assert len(set(Path("/proc/self/fd").iterdir())) == len(opened)

    assert in_a_child(work) == 0
