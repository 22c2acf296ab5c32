"""A node's key: made once, kept, and never guessed."""

from errno import EACCES, EROFS
from pathlib import Path

import pytest

from tests.kit.virtual_time import MemoryFiles, SeededRandom
from tulle.agent.identity import node_identity
from tulle.errors import ConfigError

STATE = Path("/var/lib/tulle")
KEY = "0123456789abcdef0123456789abcdef"


def test_a_key_is_made_once_and_for_our_eyes_only() -> None:
    files = MemoryFiles()
    made = node_identity(files, STATE, SeededRandom(1))
    assert node_identity(files, STATE, SeededRandom(2)) == made
    assert files.modes == {STATE / "node-id": 0o600}
    assert len(made.node_id) == 32


def test_two_nodes_have_two_keys() -> None:
    one, other = (node_identity(MemoryFiles(), STATE, SeededRandom(seed)) for seed in (1, 2))
    assert one != other


@pytest.mark.parametrize("content", [KEY, f"{KEY}\n", f"  {KEY}\r\n"], ids=["bare", "a line", "edited by hand"])
def test_a_key_is_read_as_it_was_written(content: str) -> None:
    files = MemoryFiles({STATE / "node-id": content.encode()})
    assert node_identity(files, STATE, SeededRandom()).node_id == KEY


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(KEY[:-1].encode(), id="cut"),
        pytest.param(KEY.upper().encode(), id="upper case"),
        pytest.param(b"\xff" * 32, id="not text"),
        pytest.param(f"{KEY}\n{KEY}".encode(), id="two keys"),
    ],
)
def test_anything_else_is_refused_with_its_place_and_left_alone(content: bytes) -> None:
    files = MemoryFiles({STATE / "node-id": content})
    with pytest.raises(ConfigError, match="/var/lib/tulle/node-id: is not a node's key"):
        node_identity(files, STATE, SeededRandom())
    assert files.contents == {STATE / "node-id": content}


@pytest.mark.parametrize("errno", [EACCES, EROFS])
def test_a_file_that_cannot_be_read_is_a_configuration_error(errno: int) -> None:
    files = MemoryFiles()
    files.fail = errno
    with pytest.raises(ConfigError, match="the node's key"):
        node_identity(files, STATE, SeededRandom())
